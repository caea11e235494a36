"""Convolutions, each in the form that is fastest where it runs and keeps least."""

import math
from collections.abc import Iterator
from contextvars import ContextVar, Token
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import Parameter
from torch.nn import functional as F

_TILE = 4
"""Output pixels of a tile along each axis; 6 input pixels make it."""
_MIN_CHANNELS = 128
_MIN_SIZE = 16
_MANY_PIXELS = 128 * 128
_NUM_TILES = 128
"""Tiles that are transformed at once: enough for fast products, few enough for the cache."""


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
    the number of images, so that an image is the same in every batch, as far as products of
    matrices are the same for any number of rows.

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
        kernels, is_kept = _kernels(weight)
        ctx.kept = kernels if is_kept else None
        ctx.save_for_backward(x if ctx.needs_input_grad[1] else None, weight)
        return _convolve(x, kernels.transpose(1, 2), _forms().straight)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, Tensor | None]:  # noqa: ANN401
        (gradient,), (x, weight) = grad_outputs, ctx.saved_tensors
        needs_x, needs_weight = ctx.needs_input_grad
        of_x = None
        if needs_x and torch.is_grad_enabled():
            of_x = conv3x3(gradient, _turned(weight))
        elif needs_x:
            kernels = _transformed(weight) if ctx.kept is None else ctx.kept
            of_x = _convolve(gradient, kernels, _forms().turned)
        return of_x, _WeightGradient.apply(gradient, x) if needs_weight else None


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


class KeptKernels:
    """While it is entered, the transformed kernels of constant weights are kept for the next time.

    They take four times the memory of the weights, which are parameters without a gradient and
    must not change. It may be entered again, and lets go of all with itself.
    """

    def __init__(self) -> None:
        self._by_id: dict[int, tuple[Tensor, Tensor]] = {}
        self._tokens: list[Token[KeptKernels | None]] = []

    def __enter__(self) -> None:
        self._tokens.append(_kept.set(self))

    def __exit__(self, *_: object) -> None:
        _kept.reset(self._tokens.pop())

    def of(self, weight: Tensor) -> Tensor:
        """Transformed now, or before."""
        if id(weight) not in self._by_id:
            self._by_id[id(weight)] = weight, _transformed(weight)
        return self._by_id[id(weight)][1]


_kept: ContextVar[KeptKernels | None] = ContextVar("kept", default=None)


def _kernels(weight: Tensor) -> tuple[Tensor, bool]:
    """Transformed kernels, [out, in, 3, 3] -> [36, out, in], and whether they are kept."""
    kept = _kept.get()
    if kept is None or weight.requires_grad or not isinstance(weight, Parameter):
        return _transformed(weight), False
    return kept.of(weight), True


def _transformed(weight: Tensor) -> Tensor:
    kernels = _forms().kernels @ weight.detach().reshape(-1, 9).t()
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
    half, double = math.sqrt(0.5), math.sqrt(2)
    points = torch.tensor([0.0, half, -half, double, -double], dtype=torch.float64, device="cpu")
    inverses, scales = [5, 3, 4, 1, 2, 0], torch.tensor([1, 0.5, 0.5, 2, 2, 1]).double()

    def evaluate(num_terms: int) -> Tensor:
        infinity = F.one_hot(torch.tensor([num_terms - 1]), num_terms).double()
        return torch.cat([points[:, None] ** torch.arange(num_terms), infinity])

    def both_axes(matrix: Tensor) -> Tensor:
        return torch.kron(matrix, matrix).float()

    tile, result = torch.linalg.inv(evaluate(6)).T, evaluate(_TILE).T
    return _Forms(
        both_axes(evaluate(3)),
        _Form(both_axes(tile), both_axes(result)),
        _Form(both_axes(tile[inverses]), both_axes((result * scales)[:, inverses])),
    )


def _convolve(x: Tensor, kernels: Tensor, form: _Form) -> Tensor:
    """Transform tiles, multiply over channels, transform back; kernels [36, in, out]."""
    batch, _, height, width = x.shape
    num_out = kernels.shape[2]
    y = x.new_empty(batch, height // _TILE, _TILE, width // _TILE, _TILE, num_out)
    for images in _groups(x):
        patches = _patches(x[images])
        for rows in _chunks(x):
            y[images, rows] = _filter(patches[:, rows], kernels, form)
    return y.view(batch, height, width, num_out).permute(0, 3, 1, 2)


def _filter(patches: Tensor, kernels: Tensor, form: _Form) -> Tensor:
    """Results of patches: [N, tiles_y, tiles_x, C, 6, 6] -> [N, tiles_y, 4, tiles_x, 4, out]."""
    products = torch.bmm(_tiles(patches, form.tiles), kernels)
    tiles = form.results @ products.view(36, -1)
    return tiles.view(_TILE, _TILE, *patches.shape[:3], -1).permute(2, 3, 0, 4, 1, 5)


def _correlate(gradient: Tensor, x: Tensor) -> Tensor:
    """The weight's gradient, by the same transforms the other way round."""
    forms = _forms()
    num_out, num_in = gradient.shape[1], x.shape[1]
    results = gradient.permute(0, 2, 3, 1).unflatten(1, (-1, _TILE)).unflatten(3, (-1, _TILE))
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
    return padded.unfold(1, _TILE + 2, _TILE).unfold(2, _TILE + 2, _TILE)


def _tiles(patches: Tensor, transform: Tensor) -> Tensor:
    """Transformed patches: [N, tiles_y, tiles_x, C, 6, 6] -> [36, tiles, C]."""
    pixels = patches.permute(4, 5, 0, 1, 2, 3).reshape(36, -1)
    return (transform @ pixels).view(36, -1, patches.shape[3])


def _groups(x: Tensor) -> Iterator[slice]:
    """Images that are transformed at once: one, or as many small ones."""
    num, _, height, width = x.shape
    step = max(1, _NUM_TILES // ((height // _TILE) * (width // _TILE)))
    return (slice(first, first + step) for first in range(0, num, step))


def _chunks(x: Tensor) -> Iterator[slice]:
    """Rows of tiles that are transformed at once, of the images of a group."""
    height, width = x.shape[2:]
    step = max(1, _NUM_TILES // (width // _TILE))
    return (slice(first, first + step) for first in range(0, height // _TILE, step))
