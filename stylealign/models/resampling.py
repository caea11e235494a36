"""General resampling: upsample, filter, convolve and downsample in one pass.

Arguments are those of the reference implementation, so that its calls can be made here. A filter
`f` is [taps_y, taps_x], or [taps] for a separable one, and None where nothing is filtered;
factors are one integer or (x, y); padding is one integer, (x, y) or (left, right, top, bottom) in
upsampled pixels, negative to crop; `flip_filter` correlates instead of convolving.
"""

from collections.abc import Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

Factor: TypeAlias = int | Sequence[int]
Padding: TypeAlias = int | Sequence[int]
Edges: TypeAlias = tuple[int, int, int, int]
_SEPARABLE_TAPS = 8
"""From here on, two passes of a line cost less than one of its square."""


def setup_filter(
    f: Tensor | Sequence[Any] | int | float | None,
    *,
    normalize: bool = True,
    flip_filter: bool = False,
    gain: int | float = 1,
    separable: bool | None = None,
) -> Tensor:
    """A filter of these taps, summing to `gain`; short lines become their outer square.

    Shapes: f a number, [taps] or [taps_y, taps_x] -> [taps_y, taps_x], or [taps] if separable.
    Raises: ValueError for no taps, or a square that is to be separable.
    """
    taps = torch.as_tensor(1.0 if f is None else f, dtype=torch.float32, device="cpu")
    taps = taps[None] if taps.ndim == 0 else taps
    if separable is None:
        separable = taps.ndim == 1 and taps.numel() >= _SEPARABLE_TAPS
    if taps.ndim == 1 and not separable:
        taps = torch.outer(taps, taps)
    if taps.numel() == 0 or taps.ndim != (1 if separable else 2):
        message = f"expected taps of shape [n] or [n, m], got {list(taps.shape)} for {separable=}"
        raise ValueError(message)
    if normalize:
        taps = taps / taps.sum()
    if flip_filter:
        taps = taps.flip(list(range(taps.ndim)))
    return taps * gain ** (taps.ndim / 2)


def upfirdn2d(
    x: Tensor,
    f: Tensor | None,
    *,
    up: Factor = 1,
    down: Factor = 1,
    padding: Padding = 0,
    flip_filter: bool = False,
    gain: int | float = 1,
) -> Tensor:
    """Insert zeros, pad, convolve every channel with one filter, and keep every `down`-th pixel.

    The zeros are never made: a transposed convolution gives the same numbers, of which the
    padding then says which are kept. Differentiable any number of times.

    Shapes: x [N, C, H, W] -> [N, C, H', W'].
    Source: arXiv:2006.06676, appendix C; arXiv:2106.12423, section 3.
    """
    (up_x, up_y), (down_x, down_y) = _pair(up), _pair(down)
    left, right, top, bottom = _four(padding)
    taps = x.new_ones(1, 1) if f is None else f.to(x.dtype)
    if flip_filter:
        taps = taps.flip(list(range(taps.ndim)))
    if taps.ndim == 2:
        edges = (left, right, top, bottom)
        return _resample(x, taps * gain, (up_y, up_x), (down_y, down_x), edges)
    taps = taps * gain**0.5
    x = _resample(x, taps[None, :], (1, up_x), (1, down_x), (left, right, 0, 0))
    return _resample(x, taps[:, None], (up_y, 1), (down_y, 1), (0, 0, top, bottom))


def filter2d(
    x: Tensor,
    f: Tensor | None,
    *,
    padding: Padding = 0,
    flip_filter: bool = False,
    gain: int | float = 1,
) -> Tensor:
    """Filter at the same resolution: [N, C, H, W] -> [N, C, H, W], and `padding` beyond it."""
    edges = _centred(f, padding)
    return upfirdn2d(x, f, padding=edges, flip_filter=flip_filter, gain=gain)


def upsample2d(
    x: Tensor,
    f: Tensor | None,
    *,
    up: Factor = 2,
    padding: Padding = 0,
    flip_filter: bool = False,
    gain: int | float = 1,
) -> Tensor:
    """Multiply the resolution, brightness kept: [N, C, H, W] -> [N, C, H * up, W * up]."""
    up_x, up_y = _pair(up)
    edges, gain = _centred(f, padding, up=up), gain * up_x * up_y
    return upfirdn2d(x, f, up=up, padding=edges, flip_filter=flip_filter, gain=gain)


def downsample2d(
    x: Tensor,
    f: Tensor | None,
    *,
    down: Factor = 2,
    padding: Padding = 0,
    flip_filter: bool = False,
    gain: int | float = 1,
) -> Tensor:
    """Divide the resolution: [N, C, H, W] -> [N, C, H / down, W / down]."""
    edges = _centred(f, padding, down=down)
    return upfirdn2d(x, f, down=down, padding=edges, flip_filter=flip_filter, gain=gain)


def conv2d_resample(
    x: Tensor,
    w: Tensor,
    f: Tensor | None = None,
    *,
    up: int = 1,
    down: int = 1,
    padding: Padding = 0,
    groups: int = 1,
    flip_weight: bool = True,
    flip_filter: bool = False,
) -> Tensor:
    """Upsample, convolve, downsample; low-pass filtered on the way up and on the way down.

    The kernel correlates with `flip_weight`, as in all of torch, and convolves without. Filter
    and kernel commute, so the kernel is applied where the image is smallest.

    Shapes: x [N, in, H, W], w [out, in / groups, kh, kw] -> [N, out, H * up / down, ...], less
        what the padding does not restore.
    Source: arXiv:1912.04958, appendix B.
    """
    edges = _four(padding)
    edges = _centred(f, edges, up=up) if up > 1 else edges
    edges = _centred(f, edges, down=down) if down > 1 else edges
    left, right, top, bottom = edges
    w = w if flip_weight else w.flip((2, 3))
    if up == 1:
        x = upfirdn2d(x, f if down > 1 else None, padding=edges, flip_filter=flip_filter)
        return F.conv2d(x, w, stride=down, groups=groups)
    # A transposed convolution: in and out exchanged inside each group, taps the other way round.
    kernel_y, kernel_x = w.shape[2:]
    by_group = w.flip((2, 3)).unflatten(0, (groups, -1)).transpose(1, 2).flatten(0, 1)
    x = F.conv_transpose2d(x, by_group, stride=up, groups=groups)
    # It is longer by kernel - 1 on each side, and lacks the zeros that follow the last pixel.
    edges = (left - kernel_x + 1, right - kernel_x + up, top - kernel_y + 1, bottom - kernel_y + up)
    x = upfirdn2d(x, f, padding=edges, flip_filter=flip_filter, gain=up**2)
    return upfirdn2d(x, f, down=down, flip_filter=flip_filter) if down > 1 else x


def _pair(factor: Factor) -> tuple[int, int]:
    x, y = (factor, factor) if isinstance(factor, int) else factor
    return x, y


def _four(padding: Padding) -> Edges:
    """Padding as (left, right, top, bottom)."""
    if isinstance(padding, int):
        return padding, padding, padding, padding
    if len(padding) == 2:
        x, y = padding
        return x, x, y, y
    left, right, top, bottom = padding
    return left, right, top, bottom


def _centred(f: Tensor | None, padding: Padding, up: Factor = 1, down: Factor = 1) -> Edges:
    """Padding with what keeps the image where it is: the filter's reach, shared by the two sides.

    An upsampled pixel has its zeros after it, a kept one stands for those dropped after it. Either
    `up` or `down` is 1.
    """
    edges: list[int] = []
    given = _four(padding)
    sizes = (1, 1) if f is None else (f.shape[-1], f.shape[0])
    for axis, (taps, zeros, kept) in enumerate(zip(sizes, _pair(up), _pair(down), strict=True)):
        low, high = (taps + zeros - kept) // 2, (taps - max(zeros, kept)) // 2
        edges += [given[2 * axis] + low, given[2 * axis + 1] + high]
    left, right, top, bottom = edges
    return left, right, top, bottom


def _resample(
    x: Tensor, taps: Tensor, up: tuple[int, int], down: tuple[int, int], padding: Edges
) -> Tensor:
    """One pass with a 2-D kernel; pairs are (y, x)."""
    batch, channels, height, width = x.shape
    x = x.reshape(batch * channels, 1, height, width)
    if up == (1, 1):
        x = F.conv2d(_pad(x, padding), taps.flip((0, 1))[None, None], stride=down)
    else:
        left, right, top, bottom = padding
        x = F.conv_transpose2d(x, taps[None, None], stride=up)
        # The full convolution is longer than the padded one by taps - 1 on each side, and
        # shorter by the zeros that would follow the last pixel.
        taps_y, taps_x = taps.shape
        crop_x = (left - taps_x + 1, right - taps_x + up[1])
        crop_y = (top - taps_y + 1, bottom - taps_y + up[0])
        x = _pad(x, (*crop_x, *crop_y))[:, :, :: down[0], :: down[1]]
    return x.reshape(batch, channels, x.shape[2], x.shape[3])


def _pad(x: Tensor, edges: Edges) -> Tensor:
    """Grow, then crop: one side may lose more than the image had before the other grew."""
    if min(edges) < 0 < max(edges):  # in one call `F.pad` would crop first
        left, right, top, bottom = (max(edge, 0) for edge in edges)
        x = F.pad(x, (left, right, top, bottom))
        left, right, top, bottom = (min(edge, 0) for edge in edges)
        edges = (left, right, top, bottom)
    return F.pad(x, edges)
