"""General resampling: upsample, filter and downsample in one pass."""

from torch import Tensor
from torch.nn import functional as F


def upfirdn2d(
    x: Tensor,
    filter_: Tensor,
    *,
    up: int | tuple[int, int] = 1,
    down: int | tuple[int, int] = 1,
    padding: tuple[int, int, int, int] = (0, 0, 0, 0),
    gain: float = 1.0,
    is_flipped: bool = False,
) -> Tensor:
    """Insert zeros, pad, convolve every channel with one filter, and keep every `down`-th pixel.

    The zeros are never made: a transposed convolution gives the same numbers, of which the
    padding then says which are kept. Differentiable any number of times.

    Shapes: x [N, C, H, W]; filter_ [taps_y, taps_x], or [taps] for a separable one;
        padding (left, right, top, bottom) in upsampled pixels, negative to crop.
    Units:  pairs are (x, y); is_flipped correlates instead of convolving.
    Source: arXiv:2006.06676, appendix C; arXiv:2106.12423, section 3.
    """
    up_x, up_y = up if isinstance(up, tuple) else (up, up)
    down_x, down_y = down if isinstance(down, tuple) else (down, down)
    taps = filter_.to(x.dtype)
    if is_flipped:
        taps = taps.flip(list(range(taps.ndim)))
    if taps.ndim == 2:
        return _resample(x, taps * gain, (up_y, up_x), (down_y, down_x), padding)
    left, right, top, bottom = padding
    taps = taps * gain**0.5
    x = _resample(x, taps[None, :], (1, up_x), (1, down_x), (left, right, 0, 0))
    return _resample(x, taps[:, None], (up_y, 1), (down_y, 1), (0, 0, top, bottom))


def _resample(
    x: Tensor,
    taps: Tensor,
    up: tuple[int, int],
    down: tuple[int, int],
    padding: tuple[int, int, int, int],
) -> Tensor:
    """One pass with a 2-D kernel; pairs are (y, x)."""
    batch, channels, height, width = x.shape
    x = x.reshape(batch * channels, 1, height, width)
    if up == (1, 1):
        x = F.conv2d(F.pad(x, padding), taps.flip((0, 1))[None, None], stride=down)
    else:
        left, right, top, bottom = padding
        x = F.conv_transpose2d(x, taps[None, None], stride=up)
        # The full convolution is longer than the padded one by taps - 1 on each side, and
        # shorter by the zeros that would follow the last pixel.
        taps_y, taps_x = taps.shape
        crop_x = (left - taps_x + 1, right - taps_x + up[1])
        crop_y = (top - taps_y + 1, bottom - taps_y + up[0])
        x = F.pad(x, (*crop_x, *crop_y))[:, :, :: down[0], :: down[1]]
    return x.reshape(batch, channels, x.shape[2], x.shape[3])
