"""A styled convolution, its styles scaling activations, or the weights of each image."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function

from stylealign.models.convolution import conv3x3, convolve
from stylealign.models.demodulation import demodulate
from stylealign.models.functions import autocast_as_forward
from stylealign.models.operators import LRELU_SLOPE, blur, scaled_leaky_relu
from stylealign.models.upconv import filtered_upconv3x3

_MANY_PIXELS = 128 * 128
_CHUNK = 2**17
"""Activations that pass through the cache at once."""
_LEAST_STYLE = 1e-15
"""What stands for a style of zero where is divided by it."""

Gradients = tuple[Tensor | None, ...]


class Layer(NamedTuple):
    """What a styled convolution has beside its styles.

    `kernel` is the low-pass filter of a layer that doubles the size. Bias and noise carry the gain.

    Shapes: weight [out, in, 3, 3], bias [out], noise [N, 1, H, W] or [1, H, W].
    """

    weight: Tensor
    bias: Tensor
    noise: Tensor | None = None
    kernel: Tensor | None = None
    clamp: float | None = None


def styled_conv(x: Tensor, style: Tensor, demodulation: Tensor, layer: Layer) -> Tensor:
    """leaky_relu(conv(x * style) * demodulation + bias + noise), within [-clamp, clamp].

    The activations are scaled, so that one convolution serves the whole batch. Where images have
    many more pixels than a layer has weights, and these are constants, the weights of each image
    are scaled instead: that saves two passes over its activations, and three over their gradient.
    Differentiable any number of times.

    Shapes: x [N, in, H, W], style [N, in], demodulation [N, out] -> [N, out, H, W], twice the size
        with a kernel.
    """
    if is_large(x, layer):
        x = x.contiguous(memory_format=torch.channels_last)
        y: Tensor = _Large.apply(x, style, demodulation, layer)
        return y
    return _styled_conv(x, style, demodulation, layer)


def is_large(x: Tensor, layer: Layer) -> bool:
    """Whether the weights of each image are scaled.

    Not where weight, bias or noise has a gradient, which would be a convolution more; in half
    precision only where nothing has, as sums over pixels are made in the type of the activations.
    """
    constants = layer.weight, layer.bias, layer.noise
    is_constant = not torch.is_grad_enabled() or (
        x.dtype.itemsize >= 4 and not any(c is not None and c.requires_grad for c in constants)
    )
    return (
        is_constant
        and x.device.type == "cpu"
        and x.shape[2:].numel() >= _MANY_PIXELS
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and len(x) > 0
    )


def _styled_conv(x: Tensor, style: Tensor, demodulation: Tensor, layer: Layer) -> Tensor:
    x = x * style.to(x.dtype)[:, :, None, None]
    x = _convolve(x, layer.weight, layer.kernel)
    factor = demodulation.to(x.dtype)
    return demodulate(x, factor, layer.bias, layer.noise, clamp=layer.clamp)


def _convolve(
    x: Tensor, weight: Tensor, kernel: Tensor | None, bias: Tensor | None = None
) -> Tensor:
    if kernel is None:
        return conv3x3(x, weight, bias)
    return filtered_upconv3x3(x, weight, kernel, bias)


def _transposed(gradient: Tensor, weight: Tensor, kernel: Tensor | None) -> Tensor:
    """The gradient of what goes into `_convolve`."""
    if kernel is None:
        return conv3x3(gradient, weight.flip((2, 3)).transpose(0, 1))
    return convolve(blur(gradient, kernel, padding=2), weight.transpose(0, 1), stride=2)


@autocast_as_forward
class _Large(Function):
    """With p = conv(x s) d + b and y = leaky_relu(p), whose slope is l: l p = y.

    So for the gradient g of y, sum(l g conv(x s)) = sum(g y - l g b) / d is that of d, and with h
    the gradient of x, sum(x h) / s is that of s: no convolution is kept or made again.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, *given: Any) -> Tensor:  # noqa: ANN401 - torch's
        style, demodulation, layer = given
        bias = layer.bias.to(x.dtype)
        drawn: list[Tensor] = []
        for index, weight in enumerate(_scaled(layer.weight, style, demodulation)):
            # One at a time, so that an image is the same in every batch.
            y = _convolve(x[index : index + 1], weight, layer.kernel, bias)
            y = y.contiguous(memory_format=torch.channels_last)
            drawn.append(_finish(y, _noise_of(layer, index), layer.clamp))
        y = drawn[0] if len(drawn) == 1 else torch.cat(drawn)
        ctx.save_for_backward(x, style, demodulation, y, *layer[:3])
        ctx.rest = layer[3:]
        return y

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Gradients:  # noqa: ANN401
        (gradient,), (x, style, demodulation, y, *constants) = grad_outputs, ctx.saved_tensors
        layer = Layer(*constants, *ctx.rest)
        if torch.is_grad_enabled():
            return *_gradients_by_formula((x, style, demodulation), layer, gradient), None
        style = torch.where(style.abs() < _LEAST_STYLE, _LEAST_STYLE, style)
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        of_x, of_style, of_demodulation = list[Tensor](), list[Tensor](), list[Tensor]()
        for index, weight in enumerate(_scaled(layer.weight, style, demodulation)):
            row = slice(index, index + 1)
            noise = _noise_of(layer, index)
            inner, total = _through_end(gradient[row], y[row], noise, layer)
            of_x.append(_transposed(inner, weight, layer.kernel))
            of_style.append(_dot(x[row], of_x[-1]))
            of_demodulation.append(total)
        return (
            of_x[0] if len(of_x) == 1 else torch.cat(of_x),
            torch.stack(of_style) / style,
            torch.stack(of_demodulation) / demodulation,
            None,
        )


def _gradients_by_formula(inputs: Sequence[Tensor], layer: Layer, gradient: Tensor) -> Gradients:
    """Those of the plain formula, which are differentiable themselves.

    The demodulation is a function of the style: aliases of both are none of one another.
    """
    inputs = [one.view_as(one) for one in inputs]
    needed = [one for one in inputs if one.requires_grad]
    y = _styled_conv(inputs[0], inputs[1], inputs[2], layer)
    found = iter(torch.autograd.grad(y, needed, gradient, create_graph=True))
    return tuple(next(found) if one.requires_grad else None for one in inputs)


def _scaled(weight: Tensor, style: Tensor, demodulation: Tensor) -> Tensor:
    """The weights of each image: [N, out, in, 3, 3]."""
    scaled = weight * style[:, None, :, None, None]
    return scaled * demodulation[:, :, None, None, None]


def _noise_of(layer: Layer, index: int) -> Tensor | None:
    """The noise of one image by pixels, [H * W, 1]."""
    if layer.noise is None:
        return None
    maps = layer.noise.flatten(0, -3)
    return maps[min(index, len(maps) - 1)].reshape(-1, 1)


def _finish(y: Tensor, noise: Tensor | None, clamp: float | None) -> Tensor:
    """Add noise and rectify in place."""
    rows = _pixels(y)
    for part in _parts(rows):
        if noise is not None:
            rows[part] += noise[part].to(y.dtype)
        scaled_leaky_relu(rows[part])
        if clamp is not None:
            rows[part].clamp_(-clamp, clamp)
    return y


def _through_end(
    gradient: Tensor, y: Tensor, noise: Tensor | None, layer: Layer
) -> tuple[Tensor, Tensor]:
    """The gradient of what the convolution gives, and the sum of its product with that, by channel.

    The gradient counts the demodulation as part of the weights.
    """
    inner = torch.empty_like(y)
    rows, ends, results = _pixels(inner), _pixels(gradient), _pixels(y)
    products = torch.zeros_like(rows[next(_parts(rows))])
    for part in _parts(rows):
        outer, result, into = ends[part], results[part], rows[part]
        if layer.clamp is not None:
            outer = outer * (result.abs() < layer.clamp)
        torch.ops.aten.leaky_relu_backward.grad_input(
            outer, result, LRELU_SLOPE, True, grad_input=into
        )
        shift = layer.bias if noise is None else layer.bias + noise[part]
        total = products[: len(into)]
        total.addcmul_(outer, result).addcmul_(into, shift, value=-1)
    return inner, products.sum(0)


def _dot(one: Tensor, other: Tensor) -> Tensor:
    """Sum over the pixels of the product of one image's maps: [1, C, H, W] twice -> [C]."""
    first, second = _pixels(one), _pixels(other)
    products = torch.zeros_like(first[next(_parts(first))])
    for part in _parts(first):
        products[: len(first[part])].addcmul_(first[part], second[part])
    return products.sum(0)


def _pixels(x: Tensor) -> Tensor:
    """[1, C, H, W], channels last -> [H * W, C], a view."""
    return x[0].movedim(0, -1).flatten(0, 1)


def _parts(rows: Tensor) -> Iterator[slice]:
    """Slices of rows whose numbers fit into the cache."""
    step = max(1, _CHUNK // rows.shape[1])
    return (slice(first, first + step) for first in range(0, len(rows), step))
