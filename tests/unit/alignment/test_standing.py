"""Laws of a child's standing, and of the rule that chooses a snapshot by it."""

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from stylealign.alignment import FixedCodes, Rule, Standing
from stylealign.alignment.standing import MAX_CONTENDERS
from stylealign.errors import DataError, LineageError
from stylealign.metrics.features import extract_features
from stylealign.metrics.lite2 import load_lite2
from stylealign.models import Model
from stylealign.tensors import to_uint8
from tests.full_device import full_above
from tests.tiny import tiny_model


class CoarsePixels:
    """An extractor that sees an image at 4x4 pixels."""

    name, hash = "coarse", "coarse"

    def __call__(self, images):
        """Sixteen means of each channel."""
        return torch.nn.functional.adaptive_avg_pool2d(images, 4).flatten(1)


@pytest.fixture(scope="module")
def real(child) -> np.ndarray:
    z = torch.randn(48, 8, generator=torch.Generator().manual_seed(0))  # the codes of seed 0
    with torch.no_grad():
        return extract_features(to_uint8(child.generator(z)), CoarsePixels())


@pytest.fixture(scope="module")
def codes(parent, real) -> FixedCodes:
    return FixedCodes(parent, real, CoarsePixels(), num_codes=48, num_looked_at=8)


def standing(**figures) -> Standing:
    values: dict[str, Any] = {
        "kimg": 1.0, "fidelity": 10.0, "fidelity_name": "fd", "change": 0.5, "likeness": 0.5,
        "weight_distances": {}, "group_changes": {},
    }  # fmt: skip
    return Standing(**(values | figures))


def test_the_parent_itself_has_not_changed(codes, parent):
    figures = codes.measure(parent, 0.0, with_groups=True)

    assert figures.change == pytest.approx(0.0, abs=1e-6)
    assert figures.likeness == pytest.approx(1.0)
    assert set(figures.weight_distances.values()) == {0.0}
    assert max(figures.group_changes.values()) == pytest.approx(0.0, abs=1e-6)


def test_a_child_has_moved_only_where_it_was_trained(codes, child):
    figures = codes.measure(child, 1.0, with_groups=True)

    moved = {name for name, value in figures.group_changes.items() if value > 1e-6}
    assert figures.change > 1e-3
    assert figures.likeness < 0.9999
    assert moved == {"conv.b4", "conv.b8", "conv.b16"}
    assert moved == {name for name, value in figures.weight_distances.items() if value > 0}


def test_a_child_that_draws_the_real_images_is_at_no_distance_from_them(codes, child, parent):
    assert codes.measure(child, 1.0).fidelity == pytest.approx(0.0, abs=1e-6)
    assert codes.measure(parent, 0.0).fidelity > 1e-3


def test_a_child_whose_codes_were_shuffled_is_no_longer_alike(codes, parent):
    shuffled = copy.deepcopy(parent.generator)
    with torch.no_grad():
        shuffled.mapping.network.layers[0].weight.copy_(
            shuffled.mapping.network.layers[0].weight.roll(1, dims=1)
        )

    figures = codes.measure(Model(shuffled, parent.config), 1.0)

    assert figures.likeness < 0.5


def test_the_same_child_is_measured_the_same_each_time(codes, child):
    assert codes.measure(child, 1.0) == codes.measure(child, 1.0)


class FullPixels(CoarsePixels):
    """The same on a device that holds five images."""

    def __call__(self, images):
        """As the other, or what a full GPU raises."""
        full_above(5)(self, [images])
        return super().__call__(images)


def test_a_device_that_holds_few_images_gives_the_same_figures(codes, parent, child, real):
    expected = codes.measure(child, 1.0, with_groups=True)
    models = [Model(copy.deepcopy(model.generator), model.config) for model in (parent, child)]
    for model in models:
        model.generator.mapping.register_forward_pre_hook(full_above(6))
    hook = load_lite2().stem.register_forward_pre_hook(full_above(3))

    few = FixedCodes(models[0], real, FullPixels(), num_codes=48, num_looked_at=8)
    found = few.measure(models[1], 1.0, with_groups=True)

    hook.remove()
    assert few.portions.size <= 6
    assert found.figures() == pytest.approx(expected.figures(), rel=1e-3, abs=1e-5)


def test_drawings_in_the_classes_of_the_real_images_are_at_no_distance_from_them():
    model = tiny_model(c_dim=2, noise=False, id="parent", root_id="parent")
    c = torch.eye(2)[[0] * 36 + [1] * 4]
    z = torch.randn(40, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        real = extract_features(to_uint8(model.generator(z, c)), CoarsePixels())

    given, uniform = (
        FixedCodes(model, real, CoarsePixels(), num_codes=40, c=classes).measure(model, 0.0)
        for classes in (c, None)
    )

    assert given.fidelity == pytest.approx(0.0, abs=1e-6)
    assert uniform.fidelity > 1e-3


def test_an_unrelated_model_has_no_standing(codes, stranger):
    with pytest.raises(LineageError):
        codes.measure(stranger, 1.0)


def test_figures_carry_the_names_under_which_they_are_logged(codes, child):
    figures = codes.measure(child, 1.0, with_groups=True).figures()

    assert {"fd_coarse_48", "change", "likeness", "group_change.affine"} <= figures.keys()


def test_too_little_to_compare_is_refused(parent, real):
    with pytest.raises(DataError, match="at least 3"):
        FixedCodes(parent, real, CoarsePixels(), num_codes=2)


def test_a_child_that_draws_one_image_for_all_codes_is_like_nothing(codes, parent):
    collapsed = copy.deepcopy(parent.generator)
    with torch.no_grad():
        for layer in collapsed.mapping.network.layers:
            layer.weight.zero_()

    assert codes.measure(Model(collapsed, parent.config), 1.0).likeness == 0.0


RULE = Rule(tolerance=0.1, margin=0.0)


def course(*figures: tuple[float, float]) -> list[Standing]:
    """Standings of these fidelities and likenesses, a kimg apart."""
    return [
        standing(kimg=float(kimg), fidelity=fidelity, likeness=likeness)
        for kimg, (fidelity, likeness) in enumerate(figures, start=1)
    ]


def random_course(seed: int, length: int) -> list[Standing]:
    """Standings of few values, so that ties are common; eighths, so that sums are exact."""
    rng = np.random.default_rng(seed)
    fidelities, likenesses = rng.integers(16, 20, length), rng.integers(0, 8, length) / 8
    return course(*zip(map(float, fidelities), map(float, likenesses), strict=True))


def chosen_by_hand(standings: list[Standing], rule: Rule) -> Standing:
    """The rule as it is written down, over all snapshots at once."""
    limit = min(one.fidelity for one in standings) * (1 + rule.tolerance)
    good = [one for one in standings if one.fidelity <= limit]
    best = max(good, key=lambda one: (one.likeness, -one.fidelity, one.kimg))
    last = standings[-1]
    return last if last in good and best.likeness <= last.likeness + rule.margin else best


def test_the_rule_takes_the_best_aligned_of_the_nearly_best_images():
    early, kept, best = standings = course((30.0, 0.99), (10.9, 0.7), (10.0, 0.4))

    assert early not in RULE.contenders(standings)
    assert RULE.choose(standings) is kept
    assert replace(RULE, tolerance=0.0).choose(standings) is best


def test_the_last_stays_where_another_is_better_by_no_more_than_the_margin():
    earlier, last = standings = course((10.0, 0.75), (10.0, 0.5))

    assert replace(RULE, margin=0.25).choose(standings) is last
    assert replace(RULE, margin=0.24).choose(standings) is earlier


def test_the_last_is_not_spared_where_its_images_got_worse_than_the_tolerance():
    earlier, _last = standings = course((10.0, 0.5), (11.1, 0.5))

    assert replace(RULE, margin=1.0).choose(standings) is earlier


def test_of_equal_likeness_the_better_images_are_kept_and_of_equals_the_later():
    _, better, _ = standings = course((10.5, 0.5), (10.0, 0.5), (10.9, 0.4))
    _, later, _ = equals = course((10.0, 0.5), (10.0, 0.5), (10.0, 0.4))

    assert RULE.choose(standings) is better
    assert RULE.choose(equals) is later


@pytest.mark.parametrize("margin", [0.0, 0.125, 0.375])
@pytest.mark.parametrize("length", range(1, MAX_CONTENDERS + 1))
def test_the_rule_is_what_is_written_down(length, margin):
    rule = Rule(tolerance=0.125, margin=margin)

    for seed in range(50):
        standings = random_course(seed, length)
        assert rule.choose(standings) is chosen_by_hand(standings, rule)


def test_a_snapshot_of_less_likeness_is_held_as_the_best_may_leave_the_tolerance():
    first, second, _third = standings = course((10.0, 0.9), (9.5, 0.8), (8.8, 0.5))

    assert RULE.contenders(standings[:2]) == [second, first]
    assert RULE.choose(standings[:2]) is first
    assert RULE.choose(standings) is second


@pytest.mark.parametrize("seed", range(20))
def test_only_what_was_held_before_or_is_new_is_held_and_never_more_than_the_limit(seed):
    standings = random_course(seed, 30)

    held: list[Standing] = []
    for length in range(1, 31):
        taken = standings[:length]
        now = RULE.contenders(taken)
        assert all(one in [*held, taken[-1]] for one in now)
        assert len(now) <= MAX_CONTENDERS
        assert RULE.choose(taken) in [*now, taken[-1]]
        held = now


def test_of_too_many_contenders_the_one_that_adds_least_is_given_up():
    standings = course((10.4, 0.9), (10.3, 0.7), (10.2, 0.65), (10.1, 0.4), (10.0, 0.2))

    held = RULE.contenders(standings)

    assert [one.likeness for one in held] == [0.2, 0.4, 0.65, 0.9]


def test_the_rule_refuses_to_choose_from_nothing():
    with pytest.raises(DataError, match="at least one"):
        RULE.choose([])
