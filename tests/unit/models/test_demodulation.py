"""Demodulation against the plain formula, both derivatives, and what it keeps."""

import pytest
import torch
from torch.nn import functional as F

from stylealign.models.demodulation import demodulate

SHAPES = [None, (1, 4, 4), (2, 1, 4, 4)]
"""Of noise: none, one map for all images, or one for each."""


def plain(x, demodulation, bias, noise=None, *, clamp=None):
    y = x * demodulation[:, :, None, None] + bias[:, None, None]
    y = F.leaky_relu(y if noise is None else y + noise, 0.2)
    return y if clamp is None else y.clamp(-clamp, clamp)


def draw(noise_shape=None):
    rng = torch.Generator().manual_seed(0)
    shapes = [(2, 3, 4, 4), (2, 3), (3,), *([noise_shape] if noise_shape else [])]
    drawn = [torch.randn(shape, generator=rng, dtype=torch.float64) for shape in shapes]
    drawn[1] = drawn[1].abs() + 0.5
    return [tensor.requires_grad_() for tensor in drawn]


@pytest.mark.parametrize("noise_shape", SHAPES)
@pytest.mark.parametrize("clamp", [None, 0.8])
@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
def test_values_and_gradients_are_those_of_the_formula(noise_shape, clamp, order):
    ours, theirs = draw(noise_shape), draw(noise_shape)
    ours[0] = ours[0].detach().contiguous(memory_format=order).requires_grad_()
    weights = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(1)).double()

    y, expected = demodulate(*ours, clamp=clamp), plain(*theirs, clamp=clamp)
    (y * weights).sum().backward()
    (expected * weights).sum().backward()

    torch.testing.assert_close(y, expected)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one.grad, other.grad)


@pytest.mark.parametrize("noise_shape", SHAPES)
@pytest.mark.parametrize("clamp", [None, 0.8])
def test_first_and_second_derivatives_are_those_of_finite_differences(noise_shape, clamp):
    tensors = draw(noise_shape)

    def function(*arguments):
        return demodulate(*arguments, clamp=clamp)

    assert torch.autograd.gradcheck(function, tensors)
    assert torch.autograd.gradgradcheck(function, tensors)


@pytest.mark.parametrize("noise_shape", SHAPES)
def test_of_all_large_tensors_only_the_result_is_kept(noise_shape):
    x, *others = draw(noise_shape)
    went_in = x * 1
    kept = []

    def note(tensor):
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        y = demodulate(went_in, *others)

    assert {one.data_ptr() for one in kept if one.numel() == y.numel()} == {y.data_ptr()}
