"""A styled convolution that scales weights is the one that scales activations, gradients too."""

from itertools import product

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from stylealign.models import styled, upconv
from stylealign.models.frozen import frozen
from stylealign.models.layers import StyledConv
from stylealign.models.operators import blur, blur_kernel
from stylealign.models.styled import Layer, is_large, styled_conv

CHANNELS, OUT = 6, 4
FORMS = [
    pytest.param(*form, id="-".join(map(str, form)))
    for form in product([False, True], [None, 0.5], ["one", "each", "none"])
]
"""Whether the size is doubled, clamp, and whether noise is the same for all images."""


@pytest.fixture
def few_pixels_are_many(monkeypatch):
    """Small images take the way of large ones, some rows at a time."""
    monkeypatch.setattr(styled, "_MANY_PIXELS", 4)
    monkeypatch.setattr(styled, "_CHUNK", 20)


def new_layer(size: int, *, is_up: bool, clamp: float | None, noise: str) -> Layer:
    rng = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=rng, dtype=torch.float64)

    size *= 1 + is_up
    maps = {"one": (1, size, size), "each": (2, 1, size, size)}
    return Layer(
        weight=draw(OUT, CHANNELS, 3, 3),
        bias=draw(OUT),
        noise=None if noise == "none" else draw(*maps[noise]),
        kernel=blur_kernel(gain=4.0).double() if is_up else None,
        clamp=clamp,
    )


def draw_inputs(size: int) -> tuple[Tensor, Tensor, Tensor]:
    rng = torch.Generator().manual_seed(1)
    shapes = (2, CHANNELS, size, size), (2, CHANNELS), (2, OUT)
    x, style, demodulation = (
        torch.randn(shape, generator=rng, dtype=torch.float64) for shape in shapes
    )
    demodulation = demodulation.abs() + 0.5
    return x.requires_grad_(), style.requires_grad_(), demodulation.requires_grad_()


def by_formula(x: Tensor, style: Tensor, demodulation: Tensor, layer: Layer) -> Tensor:
    """What the docstring says, in torch's own functions."""
    x = x * style[:, :, None, None]
    if layer.kernel is None:
        x = F.conv2d(x, layer.weight, padding=1)
    else:
        x = F.conv_transpose2d(x, layer.weight.transpose(0, 1), stride=2)
        x = F.conv2d(F.pad(x, (1, 1, 1, 1)), layer.kernel.expand(OUT, 1, 4, 4), groups=OUT)
    x = x * demodulation[:, :, None, None] + layer.bias[:, None, None]
    x = F.leaky_relu(x if layer.noise is None else x + layer.noise, 0.2)
    return x if layer.clamp is None else x.clamp(-layer.clamp, layer.clamp)


@pytest.mark.parametrize(("is_up", "clamp", "noise"), FORMS)
@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
@pytest.mark.usefixtures("few_pixels_are_many")
def test_images_and_gradients_are_those_of_the_formula(is_up, clamp, noise, order):
    layer = new_layer(5, is_up=is_up, clamp=clamp, noise=noise)
    x, *others = draw_inputs(5)
    x = x.detach().contiguous(memory_format=order).requires_grad_()
    inputs = x, others[0], others[1]
    assert is_large(x, layer)

    y, expected = styled_conv(*inputs, layer), by_formula(*inputs, layer)
    ahead = torch.randn(y.shape, generator=torch.Generator().manual_seed(2)).double()

    torch.testing.assert_close(y, expected)
    found, wanted = (torch.autograd.grad(one, inputs, ahead) for one in (y, expected))
    torch.testing.assert_close(found, wanted)
    with torch.no_grad():
        torch.testing.assert_close(styled_conv(*inputs, layer), expected)


@pytest.mark.parametrize(("is_up", "clamp", "noise"), FORMS)
@pytest.mark.usefixtures("few_pixels_are_many")
def test_both_derivatives_are_those_of_finite_differences(is_up, clamp, noise):
    layer, inputs = new_layer(3, is_up=is_up, clamp=clamp, noise=noise), draw_inputs(3)

    def function(x: Tensor, style: Tensor, demodulation: Tensor) -> Tensor:
        return styled_conv(x, style, demodulation, layer)

    assert torch.autograd.gradcheck(function, inputs)
    assert torch.autograd.gradgradcheck(function, inputs, fast_mode=True)


@pytest.mark.usefixtures("few_pixels_are_many")
def test_a_demodulation_that_follows_from_the_style_is_counted_once():
    """As in every layer; gradients that are differentiated take another way than others."""
    layer, (x, style, _) = new_layer(4, is_up=False, clamp=None, noise="one"), draw_inputs(4)

    def derivatives(function):
        y = function(x, style, 1 / (1 + style[:, :OUT].square()), layer).tanh().sum()
        first = torch.autograd.grad(y, (x, style), create_graph=True)
        again = torch.autograd.grad(first[0].square().sum() + first[1].square().sum(), (x, style))
        return *(g.detach() for g in first), *again

    torch.testing.assert_close(derivatives(styled_conv), derivatives(by_formula))


@pytest.mark.usefixtures("few_pixels_are_many")
def test_weights_that_change_before_the_backward_pass_are_an_error():
    layer, inputs = new_layer(4, is_up=False, clamp=None, noise="one"), draw_inputs(4)
    y = styled_conv(*inputs, layer)
    layer.weight.mul_(3)

    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


@pytest.mark.usefixtures("few_pixels_are_many")
def test_no_images_give_none():
    layer, inputs = new_layer(4, is_up=True, clamp=None, noise="one"), draw_inputs(4)

    x, style, demodulation = (one[:0] for one in inputs)

    assert styled_conv(x, style, demodulation, layer).shape == (0, OUT, 8, 8)


@pytest.mark.usefixtures("few_pixels_are_many")
def test_a_style_of_zero_has_its_gradient():
    layer, inputs = new_layer(4, is_up=False, clamp=None, noise="one"), draw_inputs(4)
    inputs[1].data[:, 2] = 0.0

    found, wanted = (
        torch.autograd.grad(function(*inputs, layer).square().sum(), inputs)
        for function in (styled_conv, by_formula)
    )

    torch.testing.assert_close(found, wanted)


def test_weights_are_scaled_where_they_are_constants_and_images_large():
    torch.manual_seed(0)
    layer = StyledConv(CHANNELS, OUT, 8, 128)
    x, style = torch.randn(1, CHANNELS, 128, 128), torch.randn(1, CHANNELS, requires_grad=True)

    def kind(given: Tensor) -> str:
        function = layer(given, style, "none").grad_fn
        return "" if function is None else function.name()

    assert "_Large" not in kind(x)
    with frozen(layer):
        assert "_Large" in kind(x)
        assert "_Large" not in kind(x.bfloat16())
        assert "_Large" not in kind(x[..., :64])


@pytest.mark.parametrize("is_up", [False, True])
def test_an_image_is_the_same_in_every_batch(is_up):
    layer = new_layer(128, is_up=is_up, clamp=None, noise="none")
    layer = layer._replace(weight=layer.weight.float(), bias=layer.bias.float())
    x, style, demodulation = (one.detach().float() for one in draw_inputs(128))

    together = styled_conv(x, style, demodulation, layer)
    alone = styled_conv(x[1:], style[1:], demodulation[1:], layer)

    assert is_large(x, layer)
    assert (together[1:] == alone).all()


@pytest.mark.usefixtures("few_pixels_are_many")
def test_of_all_activations_what_goes_in_and_what_comes_out_are_kept():
    layer, (x, *others) = new_layer(8, is_up=False, clamp=None, noise="one"), draw_inputs(8)
    x = x.detach().contiguous(memory_format=torch.channels_last).requires_grad_()
    kept: list[Tensor] = []

    def note(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        y = styled_conv(x, others[0], others[1], layer)

    large = {one.data_ptr() for one in kept if one.numel() >= y.numel()}
    assert large == {x.data_ptr(), y.data_ptr()}


@pytest.mark.parametrize("size", [(7, 5), (4, 8)])
@pytest.mark.parametrize("chunk", [1, 100, 10_000])
@torch.no_grad()
def test_bands_make_what_the_whole_image_makes(size, chunk, monkeypatch):
    monkeypatch.setattr(upconv, "_CHUNK", chunk)
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(2, CHANNELS, *size, generator=rng, dtype=torch.float64)
    weight = torch.randn(OUT, CHANNELS, 3, 3, generator=rng, dtype=torch.float64)
    bias = torch.randn(OUT, generator=rng, dtype=torch.float64)
    kernel = blur_kernel(gain=4.0).double()

    whole = F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
    whole = blur(whole, kernel, bias, padding=1)

    banded = upconv.upconv_in_bands(x, weight, kernel, bias)
    torch.testing.assert_close(banded, whole)
