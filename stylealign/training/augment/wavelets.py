"""The wavelet filters that augmentations resample and filter with."""

import torch
from torch import Tensor

# Orthogonal low-pass filters of the symlets of order 2 and 6, of sum sqrt(2).
# Source: Daubechies, Ten Lectures on Wavelets, SIAM 1992, section 8.1.1; digits of PyWavelets.
SYM2 = (-0.12940952255092145, 0.22414386804185735, 0.836516303737469, 0.48296291314469025)
SYM6 = (
    0.015404109327027373, 0.0034907120842174702, -0.11799011114819057, -0.048311742585633,
    0.4910559419267466, 0.787641141030194, 0.3379294217276218, -0.07263752278646252,
    -0.021060292512300564, 0.04472490177066578, 0.0017677118642428036, -0.007800708325034148,
)  # fmt: skip

NUM_BANDS = 4


def lowpass() -> Tensor:
    """Low-pass filter of unit sum for doubling and halving resolution, [12].

    It is orthogonal to its own shifts by two, so doubling followed by halving loses nothing.
    """
    taps = torch.tensor(SYM6, dtype=torch.float64)
    return (taps / taps.sum()).float()


def band_filters() -> Tensor:
    """Symmetric filters that split a signal in octaves, lowest first, and add up to 1: [4, 43].

    Each octave is split again by the low- and the high-pass of SYM2, both run forth and back.
    A split leaves more room between taps than the one before: taps move apart by two.

    Source: arXiv:2006.06676, appendix B, equation 5.
    """
    low = torch.tensor(SYM2, dtype=torch.float64)
    high = low * torch.tensor([1.0, -1.0, 1.0, -1.0], dtype=torch.float64)
    halves = [_convolve(taps, taps.flip(0)) / 2 for taps in (low, high)]
    bands = [torch.ones(1, dtype=torch.float64)]
    for _ in range(NUM_BANDS - 1):
        bands = [_convolve(_spread(band), halves[0]) for band in bands]
        around = (len(bands[0]) - len(halves[1])) // 2
        bands.append(torch.nn.functional.pad(halves[1], (around, around)))
    return torch.stack(bands).float()


def _convolve(first: Tensor, second: Tensor) -> Tensor:
    taps = second.flip(0)[None, None]
    return torch.nn.functional.conv1d(first[None, None], taps, padding=len(second) - 1)[0, 0]


def _spread(taps: Tensor) -> Tensor:
    """The same taps with a zero between any two."""
    spread = taps.new_zeros(2 * len(taps) - 1)
    spread[::2] = taps
    return spread
