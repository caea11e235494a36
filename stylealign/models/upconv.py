"""A transposed convolution with its low-pass filter: what doubles the size of activations."""

import torch
from torch import Tensor
from torch.nn import functional as F

from stylealign.models.convolution import upconv3x3
from stylealign.models.operators import blur

_SLOW_ROW = 2**15
"""Numbers in a row of the layers that `filtered_upconv3x3` goes round."""
_MAX_CHANNELS = 128
_CHUNK = 2**22
"""Numbers before the filter that are at hand at once."""


def filtered_upconv3x3(
    x: Tensor, weight: Tensor, kernel: Tensor, bias: Tensor | None = None
) -> Tensor:
    """Transposed convolution of stride 2 with a 3x3 kernel, then the 4x4 low-pass filter.

    Without AVX-512 oneDNN takes a transposed convolution of half the speed where a row has 128 KiB
    and at most 128 channels come out, as in the largest layers of the official widths at 512 and
    1024 pixels. There a column of zeros is added, a band of rows at a time so that it costs
    little, where nothing is differentiated.

    Shapes: x [N, in, H, W], weight [out, in, 3, 3], kernel [1, 1, 4, 4], bias [out]
        -> [N, out, 2H, 2W].
    """
    if _is_slow(x, weight) and not torch.is_grad_enabled() and not torch.compiler.is_compiling():
        return upconv_in_bands(x, weight, kernel, bias)
    return blur(upconv3x3(x, weight), kernel, bias, padding=1)


def _is_slow(x: Tensor, weight: Tensor) -> bool:
    return (
        x.device.type == "cpu"
        and x.dtype == torch.float32
        and x.shape[1] * x.shape[3] == _SLOW_ROW
        and len(weight) <= _MAX_CHANNELS
        and _has_avx2_alone()
    )


def _has_avx2_alone() -> bool:
    """Whether oneDNN is without AVX-512, and so without fast forms of some convolutions."""
    return torch.backends.cpu.get_cpu_capability() == "AVX2"


def upconv_in_bands(x: Tensor, weight: Tensor, kernel: Tensor, bias: Tensor | None) -> Tensor:
    """`filtered_upconv3x3` of images one column wider, in bands; not differentiable."""
    num_out, (num, _, height, width) = len(weight), x.shape
    y = torch.empty(
        (num, num_out, 2 * height, 2 * width),
        dtype=x.dtype,
        memory_format=torch.channels_last,
    )
    step = max(1, _CHUNK // (4 * num_out * width))
    for image in range(num):
        for first in range(0, height, step):
            last = min(first + step, height)
            band = _padded_rows(x[image : image + 1], first - 1, last + 1)
            # Of the rows that come out, the outermost on each side lack a neighbour.
            between = upconv3x3(band, weight)[:, :, 1:-1]
            filtered = blur(between, kernel, bias, padding=(0, 1))
            y[image, :, 2 * first : 2 * last] = filtered[0, ..., : 2 * width]
    return y


def _padded_rows(x: Tensor, first: int, last: int) -> Tensor:
    """Rows from `first` to `last`, zeros beyond the image, and a column of zeros on the right."""
    above, below = max(-first, 0), max(last - x.shape[2], 0)
    return F.pad(x[:, :, max(first, 0) : last], (0, 1, above, below))
