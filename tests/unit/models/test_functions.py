"""What a backward pass of ours asks for and computes in, wherever it is called."""

from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor
from torch.autograd import Function

from stylealign.models import minimal_filtering
from stylealign.models.convolution import conv3x3, convolve, mix_channels
from stylealign.models.demodulation import demodulate
from stylealign.models.functions import asked_of


class Product(Function):
    """x * weight, which notes what each pass asks for."""

    asked: ClassVar[list[tuple[bool, ...]]] = []

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, _: None) -> Tensor:
        """The product, for arguments of which one is no tensor."""
        ctx.save_for_backward(x, weight)
        return x * weight

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, Tensor, None]:
        """Both gradients, asked for or not."""
        (gradient,), (x, weight) = grad_outputs, ctx.saved_tensors
        Product.asked.append(asked_of(ctx))
        return gradient * weight, gradient * x, None


@pytest.fixture
def inputs() -> tuple[Tensor, Tensor]:
    return torch.ones(3, requires_grad=True), torch.full((3,), 2.0, requires_grad=True)


@pytest.fixture
def asked() -> list[tuple[bool, ...]]:
    Product.asked = []
    return Product.asked


@pytest.mark.parametrize("is_leaf", [True, False])
@pytest.mark.parametrize(("wanted", "expected"), [("x", (True, False)), ("w", (False, True)),
                                                  ("xw", (True, True))])  # fmt: skip
def test_a_gradient_of_some_inputs_asks_for_these(wanted, expected, is_leaf, inputs, asked):
    x, weight = inputs
    y: Tensor = Product.apply(x if is_leaf else x * 1, weight if is_leaf else weight * 1, None)

    torch.autograd.grad(y.sum(), [{"x": x, "w": weight}[name] for name in wanted])

    assert asked == [expected]


def test_a_backward_pass_to_all_leaves_asks_for_all_that_learn(inputs, asked):
    x, weight = inputs
    Product.apply(x, weight, None).sum().backward()
    Product.apply(x.detach(), weight, None).sum().backward()

    assert asked == [(True, True), (False, True)]


def test_the_second_pass_of_a_penalty_asks_for_what_the_first_did_not(inputs, asked):
    x, weight = inputs
    y: Tensor = Product.apply(Product.apply(x, weight, None), weight, None)
    (slope,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    assert asked == [(True, False)] * 2

    (found,) = torch.autograd.grad(slope.square().sum(), weight)

    assert torch.equal(found, 4 * weight**3)


def wide(x: Tensor, weight: Tensor) -> Tensor:
    return conv3x3(x, weight)


def learning(x: Tensor, weight: Tensor) -> Tensor:
    return convolve(x, weight, stride=2)


def mixed(x: Tensor, weight: Tensor) -> Tensor:
    return mix_channels(x, weight.flatten(2).transpose(0, 2).mean(0, keepdim=True))


def demodulated(x: Tensor, weight: Tensor) -> Tensor:
    return demodulate(x, weight[:1, :, 0, 0].exp(), weight[0, :, 0, 1])


@pytest.mark.parametrize("is_differentiated", [False, True])
@pytest.mark.parametrize("layer", [wide, learning, mixed, demodulated])
def test_autocast_around_a_backward_pass_alone_changes_no_gradient(layer, is_differentiated, rng):
    x = torch.randn(1, 128, 17 if layer is learning else 16, 16, generator=rng)
    x = x.contiguous(memory_format=torch.channels_last).requires_grad_()
    weight = (torch.randn(128, 128, 3, 3, generator=rng) / 30).requires_grad_()

    def gradients(*, is_cast: bool) -> tuple[Tensor, ...]:
        y = layer(x, weight)
        assert "Backward" in y.grad_fn.name()
        loss = y.square().sum()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=is_cast):
            return torch.autograd.grad(loss, (x, weight), create_graph=is_differentiated)

    for found, expected in zip(gradients(is_cast=True), gradients(is_cast=False), strict=True):
        assert (found - expected).norm() <= 1e-5 * expected.norm()


def test_the_first_pass_of_r1_makes_no_gradient_of_a_kernel(rng, monkeypatch):
    x = torch.randn(1, 128, 16, 16, generator=rng, requires_grad=True)
    weight = torch.randn(128, 128, 3, 3, generator=rng, requires_grad=True)
    make, made = minimal_filtering.__dict__["_correlate"], []
    monkeypatch.setattr(minimal_filtering, "_correlate", lambda *a: made.append(a) or make(*a))

    (slope,) = torch.autograd.grad(conv3x3(x, weight).sum(), x, create_graph=True)
    assert not made

    torch.autograd.grad(slope.square().sum(), weight)
    assert made
