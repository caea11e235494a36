"""Resampling and activation, the two operators that every block is built from."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from stylealign.models.convolution import convolve

LRELU_SLOPE = 0.2
LRELU_GAIN = math.sqrt(2)


def blur_kernel(gain: float = 1.0) -> Tensor:
    """The 4x4 binomial low-pass filter [1, 3, 3, 1], summing to `gain`.

    It is a constant, so it holds its numbers even in a network that is built on the meta device.

    Shapes: returns [1, 1, 4, 4].
    Source: arXiv:1912.04958, appendix B.
    """
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0], device="cpu")
    kernel = torch.outer(taps, taps)
    return (kernel / kernel.sum() * gain)[None, None]


def blur(
    x: Tensor,
    kernel: Tensor,
    bias: Tensor | None = None,
    *,
    padding: int | tuple[int, int],
    stride: int = 1,
) -> Tensor:
    """Filter every channel with one symmetric kernel: a depthwise convolution."""
    channels = x.shape[1]
    weight = kernel.to(x.dtype).expand(channels, 1, 4, 4)
    return convolve(x, weight, bias, padding=padding, stride=stride, groups=channels)


def upsample(x: Tensor, kernel: Tensor) -> Tensor:
    """Double the resolution; `kernel` sums to 4 so that brightness is kept."""
    channels = x.shape[1]
    weight = kernel.to(x.dtype).expand(channels, 1, 4, 4)
    return convolve(x, weight, stride=2, padding=1, groups=channels, is_transposed=True)


def downsample(x: Tensor, kernel: Tensor) -> Tensor:
    """Halve the resolution after low-pass filtering."""
    return blur(x, kernel, padding=1, stride=2)


def scaled_leaky_relu(x: Tensor, *, clamp: float | None = None) -> Tensor:
    """Leaky ReLU of activations that already carry the gain sqrt(2); works in place.

    The function is positively homogeneous, so the gain is folded into whatever made `x`
    (bias, demodulation, noise), which saves a pass over memory.
    """
    x = F.leaky_relu_(x, LRELU_SLOPE)
    return x if clamp is None else x.clamp(-clamp, clamp)
