"""Styled layers of many pixels scale the weights of each image where nothing is differentiated."""

import pytest
import torch
from torch import Tensor

from stylealign.models.convolution import has_many_pixels, mix_channels
from stylealign.models.layers import StyledConv, ToRGB

CHANNELS, SIZE = 6, 128


def new_layer(*, is_up: bool, clamp: float | None = None) -> StyledConv:
    """A layer with bias and noise, drawing 256 pixels with `is_up`."""
    torch.manual_seed(0)
    layer = StyledConv(CHANNELS, 4, 8, SIZE * (1 + is_up), is_up=is_up, clamp=clamp)
    torch.nn.init.normal_(layer.bias)
    assert layer.noise_strength is not None
    torch.nn.init.constant_(layer.noise_strength, 0.5)
    return layer.double()


def inputs() -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(1)
    x = torch.randn(3, CHANNELS, SIZE, SIZE, generator=rng, dtype=torch.float64)
    return x, torch.randn(3, CHANNELS, generator=rng, dtype=torch.float64)


@pytest.mark.parametrize("noise", ["const", "none", "maps"])
@pytest.mark.parametrize("clamp", [None, 0.5])
@pytest.mark.parametrize("is_up", [False, True])
def test_both_ways_draw_the_same(is_up, clamp, noise):
    layer, (x, style) = new_layer(is_up=is_up, clamp=clamp), inputs()
    size = layer.resolution
    given = torch.randn(3, 1, size, size, dtype=torch.float64) if noise == "maps" else noise

    with_gradients = layer(x, style, given)
    with torch.no_grad():
        without = layer(x, style, given)
        assert has_many_pixels(x, layer.weight)

    assert not has_many_pixels(x, layer.weight)
    torch.testing.assert_close(without, with_gradients, rtol=1e-12, atol=1e-12)


@torch.no_grad()
def test_an_image_is_the_same_in_every_batch():
    layer, (x, style) = new_layer(is_up=True).float(), inputs()
    x, style = x.float(), style.float()

    together, alone = layer(x, style, "const"), layer(x[1:2], style[1:2], "const")

    assert (together[1:2] == alone).all()


def test_channels_last_give_the_same_contribution_to_the_image():
    torch.manual_seed(0)
    layer = ToRGB(CHANNELS, 3, 8)
    x, style = torch.randn(2, CHANNELS, 16, 16).bfloat16(), torch.randn(2, CHANNELS)

    expected = layer(x.float(), style)
    first = layer(x, style)
    last = layer(x.contiguous(memory_format=torch.channels_last), style)

    torch.testing.assert_close(last, first, rtol=0, atol=0.02)
    torch.testing.assert_close(first, expected, rtol=0, atol=0.02)


def test_mixing_channels_is_differentiable_twice_in_either_order_of_memory():
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(2, 5, 4, 3, generator=rng, dtype=torch.float64)
    weight = torch.randn(2, 3, 5, generator=rng, dtype=torch.float64).requires_grad_()
    last = x.contiguous(memory_format=torch.channels_last)
    inputs = [x.requires_grad_(), last.detach().requires_grad_()]

    drawn = [mix_channels(one, weight) for one in inputs]
    gradients = [
        torch.autograd.grad(y.square().sum(), [one, weight])
        for y, one in zip(drawn, inputs, strict=True)
    ]

    torch.testing.assert_close(drawn[1], torch.einsum("nchw,noc->nohw", x, weight))
    torch.testing.assert_close(gradients[1], gradients[0])
    assert gradients[1][0].is_contiguous(memory_format=torch.channels_last)
    both = (inputs[1], weight)
    assert torch.autograd.gradcheck(mix_channels, both)
    assert torch.autograd.gradgradcheck(mix_channels, both)
