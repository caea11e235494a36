"""Laws of the terms that keep codes and features alike."""

import pytest
import torch

from stylealign.training.kinship import correspondence_distance, style_distance


@pytest.fixture
def maps(rng):
    return {f"b{size}": torch.randn(5, 3, size, size, generator=rng) for size in (4, 8)}


def test_styles_that_have_not_moved_are_at_no_distance(rng):
    styles = {"b4.conv1": torch.randn(6, 3, generator=rng)}

    assert style_distance(styles, styles) == 0


def test_styles_shuffled_between_codes_have_drifted_by_twice_the_variance(rng):
    styles = {name: torch.randn(4000, 3, generator=rng) * 7 for name in ("b4.conv1", "b4.torgb")}

    shuffled = {name: values.roll(1, 0) for name, values in styles.items()}

    assert style_distance(shuffled, styles).item() == pytest.approx(2.0, rel=0.05)


def test_style_drift_does_not_depend_on_the_scale_of_a_layer(rng):
    parent, child = ({"a": torch.randn(50, 3, generator=rng)} for _ in range(2))

    scaled = style_distance({"a": child["a"] * 9}, {"a": parent["a"] * 9})

    assert scaled.item() == pytest.approx(style_distance(child, parent).item(), rel=1e-4)


def test_correspondence_agrees_with_the_divergence_written_out(maps, rng):
    child = {
        name: values + torch.randn(values.shape, generator=rng) for name, values in maps.items()
    }

    distance = correspondence_distance(child, maps)

    terms = []
    for name in maps:
        for i in range(5):
            kinds = []
            for model in (child, maps):
                rows = model[name].flatten(1)
                near = [
                    torch.cosine_similarity(rows[i], rows[j], dim=0) for j in range(5) if j != i
                ]
                kinds.append(torch.softmax(torch.stack(near), dim=0))
            terms.append((kinds[0] * (kinds[0] / kinds[1]).log()).sum())
    assert distance.item() == pytest.approx(torch.stack(terms).mean().item(), rel=1e-4)


def test_correspondence_lets_all_images_change_alike(maps):
    # turned and scaled features keep every cosine
    changed = {name: 3 * values.flip(2) for name, values in maps.items()}

    assert correspondence_distance(changed, maps).item() == pytest.approx(0.0, abs=1e-6)
    assert correspondence_distance({n: v.roll(1, 0) for n, v in maps.items()}, maps) > 1e-3


@pytest.mark.parametrize("distance", [style_distance, correspondence_distance])
def test_gradients_are_those_of_finite_differences(distance, rng):
    parent = torch.randn(4, 3, generator=rng, dtype=torch.float64)
    child = torch.randn(4, 3, generator=rng, dtype=torch.float64, requires_grad=True)

    assert torch.autograd.gradcheck(lambda x: distance({"b4": x}, {"b4": parent}), child)
