"""Laws of the terms that keep codes and features alike."""

import pytest
import torch

from stylealign.models import Generator, ModelConfig
from stylealign.training.kinship import (
    correspondence_distance,
    style_distance,
    style_variances,
)


@pytest.fixture
def maps(rng):
    return {f"b{size}": torch.randn(5, 3, size, size, generator=rng) for size in (4, 8)}


def test_styles_that_have_not_moved_are_at_no_distance(rng):
    styles = {"b4.conv1": torch.randn(6, 3, generator=rng)}

    assert style_distance(styles, styles, {"b4.conv1": torch.tensor(1.0)}) == 0


def test_styles_of_other_codes_are_two_apart_whatever_a_layers_scale(rng):
    torch.manual_seed(0)
    config = ModelConfig(
        resolution=8, z_dim=8, w_dim=8, num_mapping_layers=2, channels={4: 4, 8: 4}
    )
    generator = Generator(config)
    with torch.no_grad():
        generator.get_parameter("synthesis.blocks.b4.conv1.affine.weight").mul_(9)
    codes = [torch.randn(2000, 8, generator=rng) for _ in range(2)]

    first, second = (generator.styles(generator.mapping(z)) for z in codes)
    distance = style_distance(first, second, style_variances(generator, None))

    assert distance.item() == pytest.approx(2.0, rel=0.1)


def test_correspondence_agrees_with_the_divergence_written_out(maps, rng):
    child = {
        name: values + torch.randn(values.shape, generator=rng) for name, values in maps.items()
    }

    distance = correspondence_distance(child, maps, 5)

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

    assert correspondence_distance(changed, maps, 5).item() == pytest.approx(0.0, abs=1e-6)
    assert correspondence_distance({n: v.roll(1, 0) for n, v in maps.items()}, maps, 5) > 1e-3


def test_groups_are_strided_through_the_batch_and_compared_alone(rng):
    parent, child = ({"b4": torch.randn(6, 3, 4, 4, generator=rng)} for _ in range(2))

    grouped = correspondence_distance(child, parent, 3)

    alone = [
        correspondence_distance({"b4": child["b4"][i::2]}, {"b4": parent["b4"][i::2]}, 3)
        for i in range(2)
    ]
    assert grouped.item() == pytest.approx(torch.stack(alone).mean().item(), rel=1e-5)


def test_gradients_are_those_of_finite_differences(rng):
    parent = torch.randn(4, 3, generator=rng, dtype=torch.float64)
    child = torch.randn(4, 3, generator=rng, dtype=torch.float64, requires_grad=True)
    one = {"b4": torch.ones([], dtype=torch.float64)}

    def styles(x):
        return style_distance({"b4": x}, {"b4": parent}, one)

    def correspondence(x):
        return correspondence_distance({"b4": x}, {"b4": parent}, 4)

    assert torch.autograd.gradcheck(styles, child)
    assert torch.autograd.gradcheck(correspondence, child)
