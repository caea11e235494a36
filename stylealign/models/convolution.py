"""Convolutions, each in the form that is fastest where it runs and keeps least."""

from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional as F

from stylealign.models.constants import Make, is_kept, made_of
from stylealign.models.functions import asked_of, autocast_as_forward
from stylealign.models.kernel_gradient import Pair, kernel_gradient
from stylealign.models.minimal_filtering import TILE, filter3x3

_MIN_CHANNELS = 128
_MIN_SIZE = 16
_MANY_PIXELS = 128 * 128


def convolve(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    stride: int | Pair = 1,
    padding: int | Pair = 0,
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
    elif _learns_by_products(x, weight, groups):
        kind = _Trained
    if kind is not None:
        y: Tensor = kind.apply(x, weight, bias, stride, padding, is_transposed, groups)
        return y
    function = F.conv_transpose2d if is_transposed else F.conv2d
    return function(x, weight, bias, stride=stride, padding=padding, groups=groups)


def conv3x3(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Correlate with a 3x3 kernel, zeros around; differentiable any number of times.

    The kernel is read in the type of x. Wide float32 layers on a CPU take minimal filtering
    (`filter3x3`), whose rounding error is about five times that of the sum over taps, which other
    layers, devices and types keep. Which way is taken does not depend on the number of images, so
    that an image is the same in every batch, as far as products of matrices are the same for any
    number of rows.

    Shapes: x [N, in, H, W], weight [out, in, 3, 3], bias [out] -> [N, out, H, W].
    """
    if not _is_worth_it(x, weight):
        return convolve(x, _arranged(weight, x), bias, padding=1)
    y = filter3x3(x, weight)
    return y if bias is None else y + bias[:, None, None]


def upconv3x3(x: Tensor, weight: Tensor) -> Tensor:
    """Transposed convolution of stride 2 with a 3x3 kernel, not yet low-pass filtered.

    The kernel is read in the type of x. Wide layers on a CPU take activations channels last, which
    saves a copy of what comes out.

    Shapes: x [N, in, H, W], weight [out, in, 3, 3] -> [N, out, 2H + 1, 2W + 1].
    """
    if _is_wide(x, weight):
        x = x.contiguous(memory_format=torch.channels_last)
    return convolve(x, _arranged(weight, x, is_turned=True), stride=2, is_transposed=True)


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


def _arranged(weight: Tensor, x: Tensor, *, is_turned: bool = False) -> Tensor:
    """The weight in the type of x, and in its memory order where it is kept: that is what is read.

    Turned, [out, in, ...] becomes [in, out, ...].
    """
    if is_kept(weight):
        order = torch.contiguous_format if x.is_contiguous() else torch.channels_last
        return made_of(weight, _arrangement(x.dtype, order, is_turned))
    weight = weight.to(x.dtype)
    if not is_turned:
        return weight
    return _turned(weight) if _is_wide(x, weight) else weight.transpose(0, 1)


@cache
def _arrangement(dtype: torch.dtype, order: torch.memory_format, is_turned: bool) -> Make:
    """One and the same for the same settings, by which `made_of` knows it."""

    def arrange(weight: Tensor) -> Tensor:
        weight = weight.to(dtype)
        return (_turned(weight) if is_turned else weight).contiguous(memory_format=order)

    return arrange


def _turned(weight: Tensor) -> Tensor:
    """[out, in, H, W] -> [in, out, H, W], channels last: in memory a matrix's transpose."""
    num_out, num_in, *size = weight.shape
    rows = weight.reshape(num_out, -1).t().contiguous()
    return rows.view(num_in, *size, num_out).movedim(-1, 1)


def _is_wide(x: Tensor, weight: Tensor) -> bool:
    return x.device.type == "cpu" and min(weight.shape[:2]) >= _MIN_CHANNELS


def _is_worth_it(x: Tensor, weight: Tensor) -> bool:
    size = x.shape[2:]
    return (
        _is_wide(x, weight)
        and x.dtype == torch.float32
        and min(size) >= _MIN_SIZE
        and not any(length % TILE for length in size)
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


def _learns_by_products(x: Tensor, weight: Tensor, groups: int) -> bool:
    """Whether the kernel's gradient is quicker by products of matrices, channels last."""
    return (
        weight.requires_grad
        and torch.is_grad_enabled()
        and x.device.type == "cpu"
        and x.dtype.itemsize >= 4
        and groups == 1
        and not x.is_contiguous()
        and (_is_wide(x, weight) or x.shape[2:].numel() >= _MANY_PIXELS)
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
    )


@autocast_as_forward
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


@autocast_as_forward
class _Trained(Function):
    """A convolution whose kernel's gradient is taken channels last, as its input lies."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, *given: Any) -> Tensor:  # noqa: ANN401 - torch's
        weight, bias, stride, padding, is_transposed, groups = given
        ctx.save_for_backward(x, weight)
        ctx.settings = _pair(stride), _pair(padding), _pair(1), is_transposed, _pair(0), groups
        return torch.convolution(x, weight, bias, *ctx.settings)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        (gradient,), (x, weight) = grad_outputs, ctx.saved_tensors
        stride, padding, _, is_transposed, *_ = ctx.settings
        needs_x, needs_weight, *needs_bias = asked_of(ctx)
        is_differentiated, size = torch.is_grad_enabled(), tuple(weight.shape[2:])

        def by_torch(*, is_weight: bool) -> Tensor:
            mask = not is_weight, is_weight, False
            found = torch.ops.aten.convolution_backward(
                gradient, x, weight, None, *ctx.settings, mask
            )
            return found[is_weight]

        of_x = of_weight = None
        if needs_x and is_differentiated and (is_transposed or _is_even(x, size, stride, padding)):
            # Another one of these, so that its kernel learns by products in turn.
            of_x = convolve(
                gradient, weight, stride=stride, padding=padding, is_transposed=not is_transposed
            )
        elif needs_x:
            of_x = by_torch(is_weight=False)
        if needs_weight and is_differentiated:
            of_weight = by_torch(is_weight=True)
        elif needs_weight:
            read, made = (gradient, x) if is_transposed else (x, gradient)
            of_weight = kernel_gradient(read, made, size, stride, padding)
        of_bias = gradient.sum((0, 2, 3)) if any(needs_bias) else None
        return of_x, of_weight, of_bias, *(None,) * 4


def _is_even(x: Tensor, size: Pair, stride: Pair, padding: Pair) -> bool:
    """Whether a kernel's steps end at the border, so that the transposed gives the size of x."""
    lengths = zip(x.shape[2:], size, stride, padding, strict=True)
    return not any((length + 2 * p - taps) % step for length, taps, step, p in lengths)


@autocast_as_forward
class _ChannelsLastMix(Function):
    """torch would give x a gradient with channels first, and mixed orders slow all that follows."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:  # noqa: ANN401 - torch's
        ctx.save_for_backward(x, weight)
        return torch.bmm(weight, _pixels(x).transpose(1, 2)).unflatten(2, x.shape[2:])

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, Tensor | None]:  # noqa: ANN401
        (gradient,), (x, weight) = grad_outputs, ctx.saved_tensors
        needs_x, needs_weight = asked_of(ctx)
        rows = gradient.flatten(2)
        of_x = None
        if needs_x:
            of_x = torch.bmm(rows.transpose(1, 2), weight).unflatten(1, x.shape[2:]).movedim(-1, 1)
        return of_x, torch.bmm(rows, _pixels(x)) if needs_weight else None


def _pixels(x: Tensor) -> Tensor:
    """[N, C, H, W] -> [N, H * W, C], a view where channels are last."""
    return x.movedim(1, -1).flatten(1, 2)


def _pair(number: int | Pair) -> Pair:
    return (number, number) if isinstance(number, int) else number
