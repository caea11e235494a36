"""3x3 convolutions by Winograd's minimal filtering, with all their derivatives."""

import math
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional as F

from stylealign.models.constants import is_kept, made_of
from stylealign.models.functions import asked_of, autocast_as_forward

TILE = 4
"""Output pixels of a tile along each axis; 6 input pixels make it."""
_NUM_TILES = 128
"""Tiles that are transformed at once: enough for fast products, few enough for the cache."""
_NUM_KERNELS = 8192


def filter3x3(x: Tensor, weight: Tensor) -> Tensor:
    """Correlate with a 3x3 kernel, zeros around, by F(4x4, 3x3).

    Differentiable any number of times. 36 products per 16 pixels, where the sum over taps
    takes 144.

    Shapes: x [N, in, H, W], H and W multiples of `TILE`; weight [out, in, 3, 3]
        -> [N, out, H, W], channels last.
    Source: Lavin and Gray, arXiv:1509.09308; points +-1/sqrt(2), +-sqrt(2) after Barabasz et
        al., arXiv:1803.10986: a sixth of the error that 1 and 2 make.
    """
    y: Tensor = _Winograd.apply(x, weight)
    return y


@autocast_as_forward
class _Winograd(Function):
    """The convolution. Its gradients are a convolution and a sum of the same kind."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:  # noqa: ANN401 - torch's
        kernels = made_of(weight, _transformed)
        kept = kernels if is_kept(weight) else None
        ctx.save_for_backward(x if ctx.needs_input_grad[1] else None, weight, kept)
        return _convolve(x, kernels.transpose(1, 2), _forms().straight)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, Tensor | None]:  # noqa: ANN401
        (gradient,), (x, weight, kept) = grad_outputs, ctx.saved_tensors
        needs_x, needs_weight = asked_of(ctx)
        of_x = None
        if needs_x and torch.is_grad_enabled():
            of_x = filter3x3(gradient, _turned(weight))
        elif needs_x:
            kernels = _transformed(weight) if kept is None else kept
            of_x = _convolve(gradient, kernels, _forms().turned)
        return of_x, _WeightGradient.apply(gradient, x) if needs_weight else None


@autocast_as_forward
class _WeightGradient(Function):
    """What the output's gradient and the input make of the weight; linear in both."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, x: Tensor) -> Tensor:  # noqa: ANN401
        ctx.save_for_backward(gradient, x)
        return _correlate(gradient, x)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, Tensor | None]:  # noqa: ANN401
        (cotangent,), (gradient, x) = grad_outputs, ctx.saved_tensors
        needs_gradient, needs_x = asked_of(ctx)
        return (
            filter3x3(x, cotangent) if needs_gradient else None,
            filter3x3(gradient, _turned(cotangent)) if needs_x else None,
        )


def _turned(weight: Tensor) -> Tensor:
    """The kernel of the transposed convolution: in and out exchanged, rotated by 180 degrees."""
    return weight.flip((2, 3)).transpose(0, 1)


def _transformed(weight: Tensor) -> Tensor:
    """Transformed kernels: [out, in, 3, 3] -> [36, out, in], as many at once as the cache holds."""
    taps = weight.detach().reshape(-1, 9).t()
    kernels = taps.new_empty(36, taps.shape[1])
    for first in range(0, taps.shape[1], _NUM_KERNELS):
        part = slice(first, first + _NUM_KERNELS)
        torch.mm(_forms().kernels, taps[:, part], out=kernels[:, part])
    return kernels.view(36, *weight.shape[:2])


class _Form(NamedTuple):
    """Matrices that transform tiles, [36, 36], and results, [16, 36]."""

    tiles: Tensor
    results: Tensor


class _Forms(NamedTuple):
    """Minimal filtering by a kernel, and by the same turned by 180 degrees.

    `kernels`, [36, 9], transforms either.
    """

    kernels: Tensor
    straight: _Form
    turned: _Form


@cache
def _forms() -> _Forms:
    """The matrices of minimal filtering.

    Evaluating two polynomials at 5 points and infinity turns their product into 6 products of
    numbers; filtering is the transpose of that, and two axes are its Kronecker square.

    Turning a kernel k(p) gives p^2 k(1/p), and 1/p is a point as well: the same six numbers in
    another order, times powers of two. Matrices with these in them take a kernel turned.
    """
    with torch.device("cpu"):
        return _make_forms()


def _make_forms() -> _Forms:
    half, double = math.sqrt(0.5), math.sqrt(2)
    points = torch.tensor([0.0, half, -half, double, -double], dtype=torch.float64)
    inverses, scales = [5, 3, 4, 1, 2, 0], torch.tensor([1, 0.5, 0.5, 2, 2, 1]).double()

    def evaluate(num_terms: int) -> Tensor:
        infinity = F.one_hot(torch.tensor([num_terms - 1]), num_terms).double()
        return torch.cat([points[:, None] ** torch.arange(num_terms), infinity])

    def both_axes(matrix: Tensor) -> Tensor:
        return torch.kron(matrix, matrix).float()

    tile, result = torch.linalg.inv(evaluate(6)).T, evaluate(TILE).T
    return _Forms(
        both_axes(evaluate(3)),
        _Form(both_axes(tile), both_axes(result)),
        _Form(both_axes(tile[inverses]), both_axes((result * scales)[:, inverses])),
    )


def _convolve(x: Tensor, kernels: Tensor, form: _Form) -> Tensor:
    """Transform tiles, multiply over channels, transform back; kernels [36, in, out]."""
    batch, _, height, width = x.shape
    num_out = kernels.shape[2]
    y = x.new_empty(batch, height // TILE, TILE, width // TILE, TILE, num_out)
    for images in _groups(x):
        patches = _patches(x[images])
        for rows in _chunks(x):
            y[images, rows] = _filter(patches[:, rows], kernels, form)
    return y.view(batch, height, width, num_out).permute(0, 3, 1, 2)


def _filter(patches: Tensor, kernels: Tensor, form: _Form) -> Tensor:
    """Results of patches: [N, tiles_y, tiles_x, C, 6, 6] -> [N, tiles_y, 4, tiles_x, 4, out]."""
    products = torch.bmm(_tiles(patches, form.tiles), kernels)
    tiles = form.results @ products.view(36, -1)
    return tiles.view(TILE, TILE, *patches.shape[:3], -1).permute(2, 3, 0, 4, 1, 5)


def _correlate(gradient: Tensor, x: Tensor) -> Tensor:
    """The weight's gradient, by the same transforms the other way round."""
    forms = _forms()
    num_out, num_in = gradient.shape[1], x.shape[1]
    results = gradient.permute(0, 2, 3, 1).unflatten(1, (-1, TILE)).unflatten(3, (-1, TILE))
    total = x.new_zeros(36, num_out, num_in)
    for images in _groups(x):
        patches = _patches(x[images])
        for rows in _chunks(x):
            tiles = results[images, rows].permute(2, 4, 0, 1, 3, 5).reshape(16, -1)
            products = (forms.straight.results.t() @ tiles).view(36, -1, num_out)
            factors = _tiles(patches[:, rows], forms.straight.tiles)
            total.baddbmm_(products.transpose(1, 2), factors)
            del tiles, products, factors
    weight = forms.kernels.t() @ total.view(36, -1)
    return weight.view(3, 3, num_out, num_in).permute(2, 3, 0, 1)


def _patches(x: Tensor) -> Tensor:
    """Overlapping 6x6 patches as a view: [N, C, H, W] -> [N, tiles_y, tiles_x, C, 6, 6]."""
    padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))
    return padded.unfold(1, TILE + 2, TILE).unfold(2, TILE + 2, TILE)


def _tiles(patches: Tensor, transform: Tensor) -> Tensor:
    """Transformed patches: [N, tiles_y, tiles_x, C, 6, 6] -> [36, tiles, C]."""
    pixels = patches.permute(4, 5, 0, 1, 2, 3).reshape(36, -1)
    return (transform @ pixels).view(36, -1, patches.shape[3])


def _groups(x: Tensor) -> Iterator[slice]:
    """Images that are transformed at once: one, or as many small ones."""
    num, _, height, width = x.shape
    step = max(1, _NUM_TILES // ((height // TILE) * (width // TILE)))
    return (slice(first, first + step) for first in range(0, num, step))


def _chunks(x: Tensor) -> Iterator[slice]:
    """Rows of tiles that are transformed at once, of the images of a group."""
    height, width = x.shape[2:]
    step = max(1, _NUM_TILES // (width // TILE))
    return (slice(first, first + step) for first in range(0, height // TILE, step))
