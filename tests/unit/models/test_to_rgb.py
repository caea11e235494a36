"""tRGB reads either order of memory, and gives gradients in that order."""

import torch

from stylealign.models.convolution import mix_channels
from stylealign.models.layers import ToRGB

CHANNELS = 6


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
