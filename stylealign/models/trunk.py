"""Layers of the small networks of our own that look at images: readers and encoders."""

from torch import nn


def normed_convolution(
    in_channels: int, out_channels: int, *, kernel_size: int, stride: int
) -> list[nn.Module]:
    """A convolution by one pixel of padding, batch normalisation and SiLU, in this order.

    Shapes: [N, in_channels, H, W] -> [N, out_channels, H', W'], the same size for kernel 3 and
        stride 1, half of it for kernel 4 and stride 2.
    """
    return [
        nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.SiLU(),
    ]
