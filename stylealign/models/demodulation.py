"""The end of a styled layer: demodulation, bias, noise and leaky ReLU, for one tensor kept."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from stylealign.models.functions import autocast_as_forward
from stylealign.models.operators import LRELU_SLOPE, scaled_leaky_relu


def demodulate(
    x: Tensor,
    demodulation: Tensor,
    bias: Tensor,
    noise: Tensor | None = None,
    *,
    clamp: float | None = None,
) -> Tensor:
    """leaky_relu(x * demodulation + bias + noise), within [-clamp, clamp]; differentiable twice.

    The backward pass needs x, for the gradient of the demodulation. torch would keep it beside the
    result, which the next layer keeps anyway; here x is got back from the result, as the function
    can be inverted where it is not bounded. That takes a quarter off the memory of an inversion at
    1024 pixels; in bfloat16 nothing, so there torch does as it does.

    Shapes: x [N, C, H, W], demodulation [N, C], bias [C], noise [N, 1, H, W] or [1, H, W].
    """
    is_kept = x.dtype == torch.bfloat16 or torch.compiler.is_compiling()
    if is_kept or not torch.is_grad_enabled():
        return _demodulate(x, demodulation, bias, noise, clamp)
    y: Tensor = _Demodulated.apply(x, demodulation, bias, noise, clamp)
    return y


def _demodulate(
    x: Tensor, demodulation: Tensor, bias: Tensor, noise: Tensor | None, clamp: float | None
) -> Tensor:
    shift = bias[:, None, None]
    if noise is not None and x.is_contiguous():
        shift = shift + noise
    elif noise is not None:  # in the memory order of the activations that it is added to
        shift = (noise.movedim(-3, -1) + bias).movedim(-1, -3)
    shift = shift.to(x.dtype)
    shifted = torch.addcmul(shift, x, demodulation[:, :, None, None])
    return scaled_leaky_relu(shifted, clamp=clamp)


@autocast_as_forward
class _Demodulated(Function):
    """With p = x d + s and y = leaky_relu(p), whose slope is l: l p = y, so l x = (y - l s) / d."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, *given: Any) -> Tensor:  # noqa: ANN401 - torch's
        demodulation, bias, noise, clamp = given
        y = _demodulate(x, demodulation, bias, noise, clamp)
        ctx.save_for_backward(y, demodulation, bias, noise)
        ctx.clamp = clamp
        return y

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        (gradient,), (y, demodulation, bias, noise) = grad_outputs, ctx.saved_tensors
        needs_x, needs_demodulation, needs_bias, needs_noise, _ = ctx.needs_input_grad
        if ctx.clamp is not None:
            gradient = gradient * (y.abs() < ctx.clamp)
        inner = torch.ops.aten.leaky_relu_backward(gradient, y, LRELU_SLOPE, self_is_result=True)
        of_demodulation = None
        if needs_demodulation:
            total, noisy = _sums(inner, noise)
            of_demodulation = (_dot(gradient, y) - noisy - total * bias) / demodulation
        return (
            inner * demodulation[:, :, None, None] if needs_x else None,
            of_demodulation,
            inner.sum((0, 2, 3)) if needs_bias else None,
            inner.sum_to_size(noise.shape) if needs_noise else None,
            None,
        )


def _sums(x: Tensor, noise: Tensor | None) -> tuple[Tensor, Tensor | float]:
    """Sums over the pixels of x, and of x * noise, in one pass: [N, C] each."""
    if noise is None:
        return x.sum((2, 3)), 0.0
    maps = noise.reshape(-1, 1, noise.shape[-2] * noise.shape[-1]).to(x.dtype)
    maps = torch.cat([torch.ones_like(maps), maps], dim=1)
    if x.is_contiguous():
        sums = x.flatten(2) @ maps.transpose(1, 2)
    else:
        sums = (maps @ x.movedim(1, -1).flatten(1, 2)).transpose(1, 2)
    return sums[..., 0], sums[..., 1]


def _dot(one: Tensor, other: Tensor) -> Tensor:
    """Sum over the pixels of the product: [N, C, H, W] twice -> [N, C]."""
    if one.is_contiguous() and other.is_contiguous():
        return (one.flatten(2)[..., None, :] @ other.flatten(2)[..., None])[..., 0, 0]
    return (one * other).sum((2, 3))
