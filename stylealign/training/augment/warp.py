"""Lookup of images at transformed places, alias-free and differentiable any number of times."""

from functools import cache, lru_cache

import torch
from torch import Tensor
from torch.autograd.function import BackwardCFunction
from torch.nn import functional as F

from stylealign.models.latents import Images
from stylealign.training.augment.wavelets import lowpass

_REACH = 6
"""Pixels around the result that the low-pass filter reads at double resolution, per side."""


def warp(images: Images, matrices: Tensor) -> Images:
    """Images whose pixels are looked up where `matrices` lead.

    Beyond its edges an image goes on as in a mirror. It is doubled by an orthogonal wavelet,
    looked up bilinearly, and halved by the same wavelet, so that the identity changes nothing
    and no transform lets frequencies fold.

    Shapes: images [N, C, R, R], matrices [N, 3, 3] on the CPU, pixels from the centre.
    Source: arXiv:2006.06676, appendix B.
    """
    side = images.shape[2]
    left, right, top, bottom = _margins(matrices, side)
    doubled = _along_axes(images, _doubling(side, left, right), _doubling(side, top, bottom))
    # The padding moves the centre; a pixel lies half a doubled pixel before its old place.
    moved = matrices.clone()
    moved[:, :2, 2] += matrices.new_tensor([(left - right) / 2, (top - bottom) / 2])
    to_doubled = torch.tensor([[2.0, 0.0, -0.5], [0.0, 2.0, -0.5], [0.0, 0.0, 1.0]])
    places = to_doubled @ moved @ torch.linalg.inv(to_doubled)
    looked_up: Tensor = _LookUp.apply(doubled, _grid(places, 2 * (side + _REACH), doubled))
    halving = _halving(side)
    return _along_axes(looked_up, halving, halving)


def _along_axes(images: Tensor, horizontal: Tensor, vertical: Tensor) -> Tensor:
    """Images whose rows are multiplied by one matrix and whose columns by another.

    The filters are run as matrix products: on small images, of which a CPU trains nothing else,
    many times faster than the convolutions that they are.
    """
    return torch.matmul(vertical.to(images).t(), torch.matmul(images, horizontal.to(images)))


@lru_cache(maxsize=256)
def _doubling(length: int, before: int, after: int) -> Tensor:
    """Mirror beyond both ends, double, and filter: a matrix [length, 2 * (all pixels)]."""
    mirrored = F.pad(torch.eye(length)[:, None], (before, after), mode="reflect")
    return 2 * F.conv_transpose1d(mirrored, lowpass()[None, None], stride=2, padding=5)[:, 0]


@cache
def _halving(length: int) -> Tensor:
    """Filter, halve, and drop the reach of the filter: a matrix [2 * (length + reach), length]."""
    pixels = torch.eye(2 * (length + _REACH))[:, None, 1:-1]
    return F.conv1d(pixels, lowpass()[None, None], stride=2)[:, 0]


def _margins(matrices: Tensor, side: int) -> tuple[int, int, int, int]:
    """Pixels to add left, right, top, bottom, so that every place looked up exists."""
    half = (side - 1) / 2
    corners = torch.tensor([[-half, half, half, -half], [-half, -half, half, half], [1.0] * 4])
    places = (matrices @ corners)[:, :2]
    low, high = -places.amin(dim=(0, 2)), places.amax(dim=(0, 2))
    margins = torch.stack([low, high], dim=1).flatten() + (_REACH - half)
    left, right, top, bottom = margins.clamp(0, side - 1).ceil().int().tolist()
    return left, right, top, bottom


def _grid(places: Tensor, size: int, images: Tensor) -> Tensor:
    """Coordinates of size x size places in images, normalised as `grid_sample` wants them.

    A place is the sum of what its column and what its row contribute, both of which are worked
    out in float64 on the CPU; only the sum is as large as an image.
    """
    height, width = images.shape[2:]
    scale = torch.tensor([2 / width, 2 / height], dtype=torch.float64)
    steps = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
    along_x, along_y, origin = (places[:, :2] * scale[:, None]).unbind(dim=2)
    columns = steps[:, None] * along_x[:, None]
    rows = steps[:, None] * along_y[:, None] + origin[:, None]
    return rows[:, :, None].to(images) + columns[:, None].to(images)


class _LookUp(torch.autograd.Function):
    """Bilinear lookup at fixed places: linear in the image, so its gradient is its transpose."""

    @staticmethod
    def forward(ctx: BackwardCFunction, images: Tensor, grid: Tensor) -> Tensor:
        like = images.new_empty(1).expand(images.shape)  # kept for its shape alone
        ctx.save_for_backward(grid, like)
        return F.grid_sample(images, grid, mode="bilinear", align_corners=False)

    @staticmethod
    def backward(ctx: BackwardCFunction, *gradients: Tensor) -> tuple[Tensor, None]:
        return _Scatter.apply(gradients[0], *ctx.saved_tensors), None


class _Scatter(torch.autograd.Function):
    """Transpose of `_LookUp`."""

    @staticmethod
    def forward(ctx: BackwardCFunction, gradient: Tensor, grid: Tensor, like: Tensor) -> Tensor:
        ctx.save_for_backward(grid)
        scattered, _ = torch.ops.aten.grid_sampler_2d_backward(
            gradient, like, grid, 0, 0, False, [True, False]
        )
        return scattered

    @staticmethod
    def backward(ctx: BackwardCFunction, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (grid,) = ctx.saved_tensors
        return _LookUp.apply(gradients[0], grid), None, None
