"""The fast 3x3 convolution against the sum over taps that it stands for."""

import gc
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from stylealign.models import convolution, minimal_filtering
from stylealign.models.constants import KeptConstants
from stylealign.models.convolution import conv3x3, convolve, upconv3x3


def wide_layer(rng, size=32, channels=128):
    x = torch.randn(2, channels, size, size, generator=rng)
    weight = torch.randn(channels + 4, channels, 3, 3, generator=rng) / (9 * channels) ** 0.5
    return x, weight


def test_wide_layers_agree_with_the_sum_in_float64_to_a_few_roundings(rng):
    x, weight = wide_layer(rng)
    expected = F.conv2d(x.double(), weight.double(), padding=1)

    error = (conv3x3(x, weight) - expected).abs()

    assert error.max() < 3e-5  # outputs have unit variance
    assert error.square().mean().sqrt() < 3e-6


def test_wide_layers_take_less_than_every_product(rng):
    """Else this file compares the plain convolution with itself."""
    x, weight = wide_layer(rng)

    assert not torch.equal(conv3x3(x, weight), F.conv2d(x, weight, padding=1))


def test_gradients_agree_for_inputs_and_kernels(rng):
    x, weight = wide_layer(rng)
    target = torch.randn(2, len(weight), 32, 32, generator=rng)

    gradients = [
        torch.autograd.grad((layer(a, b) * target).sum(), (a, b))
        for layer in (conv3x3, lambda a, b: F.conv2d(a, b, padding=1))
        for a, b in [(x.clone().requires_grad_(), weight.clone().requires_grad_())]
    ]

    for ours, expected in zip(*gradients, strict=True):
        assert (ours - expected).norm() < 1e-5 * expected.norm()


def test_second_derivatives_agree_as_r1_needs_them(rng):
    x, weight = wide_layer(rng)

    def penalty_gradients(layer):
        a, b = x.clone().requires_grad_(), weight.clone().requires_grad_()
        (slope,) = torch.autograd.grad(layer(a, b).tanh().sum(), a, create_graph=True)
        return torch.autograd.grad(slope.square().sum(), (a, b))

    ours = penalty_gradients(conv3x3)
    expected = penalty_gradients(lambda a, b: F.conv2d(a, b, padding=1))

    for gradient, reference in zip(ours, expected, strict=True):
        assert (gradient - reference).norm() < 1e-5 * reference.norm()


def test_the_gradient_of_the_kernel_can_itself_be_differentiated(rng):
    x, weight = wide_layer(rng)

    def nested(layer):
        a, b = x.clone().requires_grad_(), weight.clone().requires_grad_()
        (slope,) = torch.autograd.grad(layer(a, b).tanh().sum(), b, create_graph=True)
        return torch.autograd.grad(slope.square().sum(), (a, b))

    ours, expected = nested(conv3x3), nested(lambda a, b: F.conv2d(a, b, padding=1))

    for gradient, reference in zip(ours, expected, strict=True):
        assert (gradient - reference).norm() < 1e-5 * reference.norm()


@pytest.mark.parametrize("size", [16, 32, 64])
def test_an_image_is_the_same_in_every_batch(size, rng):
    x, weight = wide_layer(rng, size)

    assert torch.equal(conv3x3(x, weight)[1:], conv3x3(x[1:], weight))


@pytest.mark.parametrize(("num", "size"), [(1, 16), (9, 16), (3, 32), (1, 64)])
def test_images_are_transformed_in_groups_and_rows_that_leave_none_out(num, size, rng):
    x, weight = torch.randn(num, 128, size, size, generator=rng), wide_layer(rng)[1]
    target = torch.randn(num, len(weight), size, size, generator=rng)

    pairs = []
    for layer in (conv3x3, lambda a, b: F.conv2d(a, b, padding=1)):
        a, b = x.clone().requires_grad_(), weight.clone().requires_grad_()
        y = layer(a, b)
        pairs.append((y, *torch.autograd.grad((y * target).sum(), (a, b))))

    for ours, expected in zip(*pairs, strict=True):
        assert (ours - expected).norm() < 1e-5 * expected.norm()


def test_kept_kernels_change_no_number(rng):
    x, weight = wide_layer(rng)
    weight = torch.nn.Parameter(weight, requires_grad=False)
    x = x.requires_grad_()

    def drawn() -> tuple[torch.Tensor, ...]:
        y = conv3x3(x, weight)
        return y, *torch.autograd.grad(y.tanh().sum(), x)

    expected, kept = drawn(), KeptConstants()
    with kept.at_hand():
        first = drawn()
    with kept.at_hand():
        again = drawn()

    for ours in (first, again):
        assert all(torch.equal(a, b) for a, b in zip(ours, expected, strict=True))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 0.02)])
@pytest.mark.parametrize("channels", [8, 128])
@pytest.mark.parametrize("layer", [conv3x3, upconv3x3])
def test_kernels_are_kept_as_they_are_read_and_do_the_same(layer, channels, dtype, tolerance, rng):
    x, weight = wide_layer(rng, 8, channels)
    weight = torch.nn.Parameter(weight, requires_grad=False)
    x, kept = x.to(dtype).requires_grad_(), KeptConstants()

    def drawn(x: torch.Tensor, weight: torch.Tensor) -> tuple[torch.Tensor, ...]:
        y = layer(x, weight)
        return y, *torch.autograd.grad(y.double().tanh().sum(), x)

    expected = drawn(x.detach().double().requires_grad_(), weight.double())
    with kept.at_hand():
        first = drawn(x, weight)
        weight.mul_(2)  # forbidden for constants: it shows what is kept
        again = drawn(x, weight)

    is_read_as_it_lies = dtype == weight.dtype and layer is conv3x3
    for ours, next_time, exact in zip(first, again, expected, strict=True):
        assert (ours - exact).norm() < tolerance * exact.norm()
        assert torch.equal(ours, next_time) != is_read_as_it_lies


def test_what_is_kept_serves_several_threads_at_once(rng):
    x, weight = wide_layer(rng)
    weight, kept = torch.nn.Parameter(weight, requires_grad=False), KeptConstants()
    expected = conv3x3(x, weight)
    inside, leave = threading.Barrier(2), threading.Barrier(2)

    def draw() -> torch.Tensor:
        with kept.at_hand():
            inside.wait(timeout=30)
            y = conv3x3(x, weight)
            leave.wait(timeout=30)
        return y

    with ThreadPoolExecutor(2) as pool:
        results = [pool.submit(draw) for _ in range(2)]

    assert all(torch.equal(result.result(), expected) for result in results)


@pytest.mark.parametrize("kind", ["constant", "trained", "no parameter"])
def test_kernels_are_kept_of_constant_parameters_alone(kind, rng):
    x, weight = wide_layer(rng)
    if kind != "no parameter":
        weight = torch.nn.Parameter(weight, requires_grad=kind == "trained")

    with torch.no_grad(), KeptConstants().at_hand():
        before = conv3x3(x, weight)
        weight.mul_(2)  # forbidden for constants: it shows what is kept
        after = conv3x3(x, weight)

    assert torch.equal(after, before) == (kind == "constant")


def test_what_was_kept_for_inference_serves_a_gradient(rng):
    x, weight = wide_layer(rng)
    weight = torch.nn.Parameter(weight, requires_grad=False)

    with KeptConstants().at_hand():
        with torch.inference_mode():
            conv3x3(x, weight)
        x = x.requires_grad_()
        (gradient,) = torch.autograd.grad(conv3x3(x, weight).sum(), x)

    assert torch.equal(gradient, torch.autograd.grad(conv3x3(x, weight).sum(), x)[0])


def test_what_was_kept_goes_with_the_backward_pass_where_nobody_keeps_it_longer(rng, monkeypatch):
    make, made = minimal_filtering.__dict__["_transformed"], []

    def transformed(weight: torch.Tensor) -> torch.Tensor:
        kernels = make(weight)
        made.append(weakref.ref(kernels))
        return kernels

    monkeypatch.setattr(minimal_filtering, "_transformed", transformed)
    x, weight = wide_layer(rng)
    weight = torch.nn.Parameter(weight, requires_grad=False)
    with KeptConstants().at_hand():
        y = conv3x3(x.requires_grad_(), weight)
    y.sum().backward()
    gc.collect()

    assert y.grad_fn is not None
    assert len(made) == 1
    assert made[0]() is None


def test_another_default_device_is_not_where_the_matrices_are(rng):
    x, weight = wide_layer(rng)
    expected = conv3x3(x, weight)
    minimal_filtering.__dict__["_forms"].cache_clear()

    with torch.device("meta"):
        y = conv3x3(x, weight)

    assert torch.equal(y, expected)


def test_what_was_kept_serves_a_backward_pass_outside(rng):
    x, weight = wide_layer(rng)
    weight = torch.nn.Parameter(weight, requires_grad=False)
    x = x.requires_grad_()
    expected = torch.autograd.grad(conv3x3(x, weight).sum(), x)[0]

    with KeptConstants().at_hand():
        y = conv3x3(x, weight)

    assert torch.equal(torch.autograd.grad(y.sum(), x)[0], expected)


@pytest.mark.parametrize(("size", "channels"), [(8, 128), (34, 128), (32, 64)])
def test_other_layers_keep_the_sum(size, channels, rng):
    x, weight = wide_layer(rng, size, channels)
    bias = torch.randn(len(weight), generator=rng)

    assert torch.equal(conv3x3(x, weight, bias), F.conv2d(x, weight, bias, padding=1))


FORMS = [
    pytest.param({"padding": 1}, id="same size"),
    pytest.param({"stride": 2}, id="half the size"),
    pytest.param({"stride": 3}, id="pixels left over"),
    pytest.param({"stride": 2, "is_transposed": True}, id="twice the size"),
]


@pytest.fixture
def learning_by_products(monkeypatch):
    """Where a kernel's gradient is faster by products of matrices, with any number of pixels."""
    monkeypatch.setattr(convolution, "_MANY_PIXELS", 0)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.usefixtures("learning_by_products")
def test_a_kernel_that_learns_by_products_has_the_derivatives_of_the_convolution(
    form: dict[str, Any], rng
):
    x, weight, bias = (
        torch.randn(shape, generator=rng, dtype=torch.float64).requires_grad_()
        for shape in ((2, 3, 5, 5), (3, 3, 3, 3), (3,))
    )
    last = x.detach().contiguous(memory_format=torch.channels_last).requires_grad_()
    plain = F.conv_transpose2d if form.get("is_transposed") else F.conv2d
    settings = {name: value for name, value in form.items() if name != "is_transposed"}

    def function(*given: Any) -> torch.Tensor:
        return convolve(*given, **form)

    y, expected = function(last, weight, bias), plain(x, weight, bias, **settings)
    found = torch.autograd.grad(y.tanh().sum(), (last, weight, bias))
    wanted = torch.autograd.grad(expected.tanh().sum(), (x, weight, bias))

    assert "_Trained" in str(y.grad_fn)
    torch.testing.assert_close((y, *found), (expected, *wanted))
    assert torch.autograd.gradcheck(function, (last, weight, bias))
    assert torch.autograd.gradgradcheck(function, (last, weight, bias))
