"""What a backward pass asks for, against which gradients it gives."""

from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor
from torch.autograd import Function

from stylealign.models import minimal_filtering
from stylealign.models.asked import asked_of
from stylealign.models.convolution import conv3x3


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


def test_the_first_pass_of_r1_makes_no_gradient_of_a_kernel(rng, monkeypatch):
    x = torch.randn(1, 128, 16, 16, generator=rng, requires_grad=True)
    weight = torch.randn(128, 128, 3, 3, generator=rng, requires_grad=True)
    make, made = minimal_filtering.__dict__["_correlate"], []
    monkeypatch.setattr(minimal_filtering, "_correlate", lambda *a: made.append(a) or make(*a))

    (slope,) = torch.autograd.grad(conv3x3(x, weight).sum(), x, create_graph=True)
    assert not made

    torch.autograd.grad(slope.square().sum(), weight)
    assert made
