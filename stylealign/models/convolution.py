"""Convolutions, each in the form that is fastest where it runs and keeps least."""

import math
from collections.abc import Iterator
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional as F

_TILE = 4
"""Output pixels of a tile along each axis; 6 input pixels make it."""
_MIN_CHANNELS = 128
_MIN_SIZE = 32
_MANY_PIXELS = 128 * 128
_CHUNK = 2**17
"""Tiles x channels that are transformed at once: they stay in the cache, and memory is bounded."""


def convolve(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    stride: int = 1,
    padding: int | tuple[int, int] = 0,
    groups: int = 1,
    is_transposed: bool = False,
) -> Tensor:
    """Correlate, or transpose that; x is kept for the backward pass only where it is needed.

    The gradient of x takes the kernel alone. torch keeps x nevertheless, so a filter, a frozen
    layer or a whole generator in an inversion would hold activations that nothing reads.
    """
    kind: type[_Constant | _Trained] | None = None
    if _is_kept_in_vain(x, weight, bias):
        kind = _Constant
    elif _is_turned_to_learn(x, weight, groups):
        kind = _Trained
    if kind is not None:
        y: Tensor = kind.apply(x, weight, bias, stride, padding, is_transposed, groups)
        return y
    function = F.conv_transpose2d if is_transposed else F.conv2d
    return function(x, weight, bias, stride=stride, padding=padding, groups=groups)


def conv3x3(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Correlate with a 3x3 kernel, zeros around; differentiable any number of times.

    Wide float32 layers on a CPU take Winograd's minimal filtering F(4x4, 3x3): 36 products per
    16 pixels where the sum over taps takes 144. Its rounding error is about five times that of
    the sum, which other layers, devices and types keep. Which way is taken does not depend on
    the number of images, so that an image is the same in every batch.

    Shapes: x [N, in, H, W], weight [out, in, 3, 3], bias [out] -> [N, out, H, W].
    Source: Lavin and Gray, arXiv:1509.09308; points +-1/sqrt(2), +-sqrt(2) after Barabasz et
        al., arXiv:1803.10986: a sixth of the error that 1 and 2 make.
    """
    if not _is_worth_it(x, weight):
        return convolve(x, weight, bias, padding=1)
    y: Tensor = _Winograd.apply(x, weight)
    return y if bias is None else y + bias[:, None, None]


def upconv3x3(x: Tensor, weight: Tensor) -> Tensor:
    """Transposed convolution of stride 2 with a 3x3 kernel, not yet low-pass filtered.

    Wide layers on a CPU take activations channels last, which saves a copy of what comes out.

    Shapes: x [N, in, H, W], weight [out, in, 3, 3] -> [N, out, 2H + 1, 2W + 1].
    """
    if _is_wide(x, weight):
        x = x.contiguous(memory_format=torch.channels_last)
    return convolve(x, weight.transpose(0, 1), stride=2, is_transposed=True)


def mix_channels(x: Tensor, weight: Tensor) -> Tensor:
    """A 1x1 convolution with a kernel for each image; differentiable any number of times.

    Where channels are last neither x nor its gradient is copied into another order.

    Shapes: x [N, in, H, W], weight [N, out, in] -> [N, out, H, W].
    """
    if x.is_contiguous() or torch.compiler.is_compiling():
        return torch.bmm(weight, x.flatten(2)).unflatten(2, x.shape[2:])
    y: Tensor = _ChannelsLastMix.apply(x, weight)
    return y


def tap_power(weight: Tensor) -> Tensor:
    """Sum of squares over the taps of each kernel: [out, in, 3, 3] -> [out, in]."""
    if _is_wide(weight, weight):
        # A product with ones is half the time of a sum over rows of 9.
        return (weight * weight).flatten(2) @ weight.new_ones(9)
    return weight.square().sum(dim=[2, 3])


def has_avx2_alone() -> bool:
    """Whether oneDNN is without AVX-512, and so without fast forms of some convolutions."""
    return torch.backends.cpu.get_cpu_capability() == "AVX2"


def _is_wide(x: Tensor, weight: Tensor) -> bool:
    return x.device.type == "cpu" and min(weight.shape[:2]) >= _MIN_CHANNELS


def _is_worth_it(x: Tensor, weight: Tensor) -> bool:
    size = x.shape[2:]
    return (
        _is_wide(x, weight)
        and x.dtype == torch.float32
        and min(size) >= _MIN_SIZE
        and not any(length % _TILE for length in size)
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
    )


def _is_kept_in_vain(x: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    is_constant = not weight.requires_grad and (bias is None or not bias.requires_grad)
    return (
        is_constant
        and x.requires_grad
        and torch.is_grad_enabled()
        and not torch.is_autocast_enabled(x.device.type)
        and not torch.compiler.is_compiling()
    )


def _is_turned_to_learn(x: Tensor, weight: Tensor, groups: int) -> bool:
    """Whether the weight's gradient is worth copies of x and the output's, channels first."""
    return (
        weight.requires_grad
        and torch.is_grad_enabled()
        and x.device.type == "cpu"
        and x.dtype.itemsize >= 4
        and groups == 1
        and not x.is_contiguous()
        and (_is_wide(x, weight) or x.shape[2:].numel() >= _MANY_PIXELS)
        and has_avx2_alone()
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
    )


class _Constant(Function):
    """A convolution by a kernel without gradients, torch's own both ways."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, *given: Any) -> Tensor:  # noqa: ANN401 - torch's
        weight, bias, stride, padding, is_transposed, groups = given
        ctx.save_for_backward(weight)
        ctx.form = x.size(), x.stride(), x.dtype
        ctx.settings = _pair(stride), _pair(padding), _pair(1), is_transposed, _pair(0), groups
        return torch.convolution(x, weight, bias, *ctx.settings)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        (gradient,), (weight,) = grad_outputs, ctx.saved_tensors
        size, stride, dtype = ctx.form
        # Of x only the form is read: memory that is never touched stands for it.
        blank = torch.empty_strided(size, stride, dtype=dtype, device=gradient.device)
        mask = (True, False, False)
        of_x, _, _ = torch.ops.aten.convolution_backward(
            gradient, blank, weight, None, *ctx.settings, mask
        )
        return (of_x, *(None,) * 6)


class _Trained(Function):
    """A convolution whose weight's gradient is taken channels first, all else as it lies.

    Without AVX-512 oneDNN takes two to five times as long for it where channels are last.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, *given: Any) -> Tensor:  # noqa: ANN401 - torch's
        weight, bias, stride, padding, is_transposed, groups = given
        ctx.save_for_backward(x, weight)
        ctx.settings = _pair(stride), _pair(padding), _pair(1), is_transposed, _pair(0), groups
        return torch.convolution(x, weight, bias, *ctx.settings)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        (gradient,), (x, weight) = grad_outputs, ctx.saved_tensors
        needs_x, needs_weight, needs_bias, *_ = ctx.needs_input_grad
        of_x = of_weight = None
        if needs_x:
            of_x, _, _ = torch.ops.aten.convolution_backward(
                gradient, x, weight, None, *ctx.settings, (True, False, False)
            )
        if needs_weight:
            _, of_weight, _ = torch.ops.aten.convolution_backward(
                gradient.contiguous(), x.contiguous(), weight, None, *ctx.settings,
                (False, True, False),
            )  # fmt: skip
        return of_x, of_weight, gradient.sum((0, 2, 3)) if needs_bias else None, *(None,) * 4


class _ChannelsLastMix(Function):
    """torch would give x a gradient with channels first, and mixed orders slow all that follows."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:  # noqa: ANN401 - torch's
        ctx.save_for_backward(x, weight)
        return torch.bmm(weight, _pixels(x).transpose(1, 2)).unflatten(2, x.shape[2:])

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, Tensor | None]:  # noqa: ANN401
        (gradient,), (x, weight) = grad_outputs, ctx.saved_tensors
        needs_x, needs_weight = ctx.needs_input_grad
        rows = gradient.flatten(2)
        of_x = None
        if needs_x:
            of_x = torch.bmm(rows.transpose(1, 2), weight).unflatten(1, x.shape[2:]).movedim(-1, 1)
        return of_x, torch.bmm(rows, _pixels(x)) if needs_weight else None


def _pixels(x: Tensor) -> Tensor:
    """[N, C, H, W] -> [N, H * W, C], a view where channels are last."""
    return x.movedim(1, -1).flatten(1, 2)


def _pair(number: int | tuple[int, int]) -> tuple[int, int]:
    return (number, number) if isinstance(number, int) else number


class _Winograd(Function):
    """The convolution. Its gradients are a convolution and a sum of the same kind."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:  # noqa: ANN401 - torch's
        ctx.save_for_backward(x if ctx.needs_input_grad[1] else None, weight)
        return _convolve(x, weight)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, Tensor | None]:  # noqa: ANN401
        (gradient,), (x, weight) = grad_outputs, ctx.saved_tensors
        needs_x, needs_weight = ctx.needs_input_grad
        return (
            conv3x3(gradient, _turned(weight)) if needs_x else None,
            _WeightGradient.apply(gradient, x) if needs_weight else None,
        )


class _WeightGradient(Function):
    """What the output's gradient and the input make of the weight; linear in both."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, x: Tensor) -> Tensor:  # noqa: ANN401
        ctx.save_for_backward(gradient, x)
        return _correlate(gradient, x)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, Tensor | None]:  # noqa: ANN401
        (cotangent,), (gradient, x) = grad_outputs, ctx.saved_tensors
        needs_gradient, needs_x = ctx.needs_input_grad
        return (
            conv3x3(x, cotangent) if needs_gradient else None,
            conv3x3(gradient, _turned(cotangent)) if needs_x else None,
        )


def _turned(weight: Tensor) -> Tensor:
    """The kernel of the transposed convolution: in and out exchanged, rotated by 180 degrees."""
    return weight.flip((2, 3)).transpose(0, 1)


@cache
def _transforms() -> tuple[Tensor, Tensor, Tensor]:
    """Matrices of tiles, kernels and results: [36, 36], [36, 9], [16, 36].

    Evaluating two polynomials at 5 points and infinity turns their product into 6 products of
    numbers; filtering is the transpose of that, and two axes are its Kronecker square.
    """
    half, double = math.sqrt(0.5), math.sqrt(2)
    points = torch.tensor([0.0, half, -half, double, -double], dtype=torch.float64, device="cpu")

    def evaluate(num_terms: int) -> Tensor:
        infinity = F.one_hot(torch.tensor([num_terms - 1]), num_terms).double()
        return torch.cat([points[:, None] ** torch.arange(num_terms), infinity])

    tile = torch.linalg.inv(evaluate(6)).T
    kernel, result = evaluate(3), evaluate(_TILE).T
    both_axes = (torch.kron(matrix, matrix).float() for matrix in (tile, kernel, result))
    tiles, kernels, results = both_axes
    return tiles, kernels, results


def _convolve(x: Tensor, weight: Tensor) -> Tensor:
    """Transform tiles and kernels, multiply over channels, transform back."""
    _, transform_kernels, _ = _transforms()
    batch, _, height, width = x.shape
    num_out, num_in = weight.shape[:2]
    kernels = transform_kernels @ weight.reshape(-1, 9).t()
    kernels = kernels.view(36, num_out, num_in).transpose(1, 2)
    y = x.new_empty(batch, height // _TILE, _TILE, width // _TILE, _TILE, num_out)
    for image, result in zip(x, y, strict=True):
        patches = _patches(image)
        for rows in _chunks(image):
            result[rows] = _filter(patches[rows], kernels)
    return y.view(batch, height, width, num_out).permute(0, 3, 1, 2)


def _filter(patches: Tensor, kernels: Tensor) -> Tensor:
    """Results of patches: [tiles_y, tiles_x, C, 6, 6] -> [tiles_y, 4, tiles_x, 4, out]."""
    _, _, transform_results = _transforms()
    products = torch.bmm(_tiles(patches), kernels)
    tiles = transform_results @ products.view(36, -1)
    return tiles.view(_TILE, _TILE, len(patches), -1, kernels.shape[2]).permute(2, 0, 3, 1, 4)


def _correlate(gradient: Tensor, x: Tensor) -> Tensor:
    """The weight's gradient, by the same transforms the other way round."""
    _, transform_kernels, transform_results = _transforms()
    num_out, num_in = gradient.shape[1], x.shape[1]
    results = gradient.permute(0, 2, 3, 1).unflatten(1, (-1, _TILE)).unflatten(3, (-1, _TILE))
    total = x.new_zeros(36, num_out, num_in)
    for image, result in zip(x, results, strict=True):
        patches = _patches(image)
        for rows in _chunks(image):
            tiles = result[rows].permute(1, 3, 0, 2, 4).reshape(16, -1)
            products = (transform_results.t() @ tiles).view(36, -1, num_out)
            total.baddbmm_(products.transpose(1, 2), _tiles(patches[rows]))
            del tiles, products
    weight = transform_kernels.t() @ total.view(36, -1)
    return weight.view(3, 3, num_out, num_in).permute(2, 3, 0, 1)


def _patches(image: Tensor) -> Tensor:
    """Overlapping 6x6 patches as a view: [C, H, W] -> [tiles_y, tiles_x, C, 6, 6]."""
    padded = F.pad(image.permute(1, 2, 0), (0, 0, 1, 1, 1, 1))
    return padded.unfold(0, _TILE + 2, _TILE).unfold(1, _TILE + 2, _TILE)


def _tiles(patches: Tensor) -> Tensor:
    """Transformed patches: [tiles_y, tiles_x, C, 6, 6] -> [36, tiles, C]."""
    transform_tiles, _, _ = _transforms()
    channels = patches.shape[2]
    pixels = patches.permute(3, 4, 0, 1, 2).reshape(36, -1)
    return (transform_tiles @ pixels).view(36, -1, channels)


def _chunks(image: Tensor) -> Iterator[slice]:
    """Rows of tiles that are transformed at once."""
    channels, height, width = image.shape
    step = max(1, _CHUNK // (channels * (width // _TILE)))
    return (slice(first, first + step) for first in range(0, height // _TILE, step))
