"""Laws of a child's standing, and of the rule that chooses a snapshot by it."""

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from stylealign.alignment import FixedCodes, Standing, choose_standing
from stylealign.errors import DataError, LineageError
from stylealign.images import to_uint8
from stylealign.models import Model


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
        return to_uint8(child.generator(z))


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


def test_an_unrelated_model_has_no_standing(codes, stranger):
    with pytest.raises(LineageError):
        codes.measure(stranger, 1.0)


def test_figures_carry_the_names_under_which_they_are_logged(codes, child):
    figures = codes.measure(child, 1.0, with_groups=True).figures()

    assert {"fd_coarse_48", "change", "likeness", "group_change.affine"} <= figures.keys()


def test_too_little_to_compare_is_refused(parent, real):
    with pytest.raises(DataError, match="at least 3"):
        FixedCodes(parent, real, CoarsePixels(), num_codes=2)


def test_the_rule_takes_the_best_aligned_of_the_nearly_best_images():
    early = standing(kimg=1.0, fidelity=30.0, likeness=0.99)
    kept = standing(kimg=2.0, fidelity=10.9, likeness=0.7)
    best = standing(kimg=3.0, fidelity=10.0, likeness=0.4)

    assert choose_standing([early, kept, best], tolerance=0.1) is kept
    assert choose_standing([early, kept, best], tolerance=0.0) is best


def test_the_rule_takes_the_earliest_of_equals():
    first = standing(kimg=1.0)
    second = replace(first, kimg=2.0)

    assert choose_standing([second, first]) is first


def test_the_rule_refuses_to_choose_from_nothing():
    with pytest.raises(DataError, match="at least one"):
        choose_standing([])
