"""Losses against independent formulas."""

import pytest
import torch
from torch.nn import functional as F

from stylealign.models import Discriminator, Generator, ModelConfig
from stylealign.training.augment import KINDS, Augmentation
from stylealign.training.losses import (
    discriminator_loss,
    generator_loss,
    path_length_penalty,
    path_lengths,
    r1_penalty,
)
from stylealign.training.structure import feature_distance, layout_distance


def test_logistic_losses_are_binary_cross_entropies():
    real, fake = torch.randn(8, 1), torch.randn(8, 1)

    g, d = generator_loss(fake), discriminator_loss(real, fake)

    ones, zeros = torch.ones(8, 1), torch.zeros(8, 1)
    bce = F.binary_cross_entropy_with_logits
    assert torch.allclose(g, bce(fake, ones))
    assert torch.allclose(d, bce(real, ones) + bce(fake, zeros))


def test_r1_of_a_quadratic_form_is_its_hand_gradient(rng):
    weight = torch.randn(12, generator=rng)
    real = torch.randn(4, 3, 2, 2, generator=rng).requires_grad_(True)

    logits = (real.flatten(1) * weight).sum(dim=1, keepdim=True).square()
    penalty = r1_penalty(real, logits)

    by_hand = (2 * (real.flatten(1) @ weight))[:, None] * weight
    assert torch.allclose(penalty, by_hand.square().sum(dim=1), rtol=1e-5)


def test_path_length_is_the_norm_of_the_jacobian_product(rng):
    config = ModelConfig(resolution=8, z_dim=4, w_dim=4, channels={4: 4, 8: 4}, noise=False)
    synthesis = Generator(config).synthesis
    w_plus = torch.randn(1, config.num_ws, 4, generator=rng).requires_grad_(True)
    noise = torch.randn(1, 3, 8, 8, generator=rng)

    length = path_lengths(synthesis(w_plus), w_plus, noise)

    jacobian = torch.autograd.functional.jacobian(lambda w: synthesis(w), w_plus)
    product = torch.einsum("nchw,nchwklm->klm", noise / 8, jacobian)[0]
    assert torch.allclose(length, product.square().sum(dim=1).mean().sqrt(), rtol=1e-4)


def test_path_length_mean_moves_by_its_decay():
    lengths = torch.tensor([1.0, 3.0], requires_grad=True)

    penalty, mean = path_length_penalty(lengths, torch.tensor(0.0), decay=0.25)

    assert mean.item() == 0.5
    assert not mean.requires_grad
    assert torch.allclose(penalty, torch.tensor([0.25, 6.25]))


def test_layout_ignores_brightness_and_contrast(rng):
    images = torch.randn(4, 3, 16, 16, generator=rng)
    others = torch.randn(4, 3, 16, 16, generator=rng)

    restyled = layout_distance(images * 0.5 + 0.2, images, 8)
    moved = layout_distance(others, images, 8)

    assert restyled < 1e-2
    assert moved > 1


def test_feature_distance_counts_blocks_up_to_a_resolution(rng):
    maps = {f"b{size}": torch.randn(2, 3, size, size, generator=rng) for size in (4, 8, 16)}
    changed = {**maps, "b16": maps["b16"] + 1}

    assert feature_distance(changed, maps, 8) == 0
    assert feature_distance(changed, maps, 16) > 0.1


@pytest.fixture
def exact():
    """A generator and a discriminator in float64, small enough for finite differences."""
    torch.manual_seed(0)
    config = ModelConfig(
        resolution=8, z_dim=3, w_dim=3, num_mapping_layers=1, channels={4: 2, 8: 2}, noise=False
    )
    return Generator(config).double(), Discriminator(config).double()


def gradcheck_parameters(loss, parameters):
    """Compare the gradient of a scalar in some parameters with finite differences."""
    found = torch.autograd.grad(loss(), parameters)
    for parameter, gradient in zip(parameters, found, strict=True):
        flat = parameter.data.view(-1)
        for index in range(len(flat)):
            values = []
            for step in (1e-6, -2e-6):
                flat[index] += step
                values.append(loss().item())
            flat[index] += 1e-6
            numeric = (values[0] - values[1]) / 2e-6
            assert gradient.flatten()[index].item() == pytest.approx(numeric, rel=1e-4, abs=1e-8)


def test_r1_through_augmentation_has_the_gradient_of_finite_differences(exact, rng):
    _, discriminator = exact
    images = torch.randn(4, 3, 8, 8, generator=rng, dtype=torch.float64).requires_grad_(True)
    drawn = Augmentation(KINDS["bgc"], (3, 8, 8)).draw(4, 0.8, rng)

    def penalty():
        return r1_penalty(images, discriminator(drawn.apply(images))).mean()

    moved = [
        discriminator.blocks["b8"].conv0.bias,
        discriminator.conv.bias,
        discriminator.out.weight,
    ]
    gradcheck_parameters(penalty, moved)


def test_path_length_penalty_has_the_gradient_of_finite_differences(exact, rng):
    generator, _ = exact
    w_plus = torch.randn(4, 4, 3, generator=rng, dtype=torch.float64).requires_grad_(True)
    y = torch.randn(4, 3, 8, 8, generator=rng, dtype=torch.float64)
    mean = torch.tensor(0.1, dtype=torch.float64)

    def penalty():
        lengths = path_lengths(generator.synthesis(w_plus), w_plus, y)
        return path_length_penalty(lengths, mean, 0.01)[0].mean()

    blocks = generator.synthesis.blocks
    moved = [blocks["b4"].const, blocks["b8"].conv0.affine.bias, blocks["b8"].conv1.bias]
    gradcheck_parameters(penalty, moved)
