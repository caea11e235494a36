"""The fast 3x3 convolution against the sum over taps that it stands for."""

import pytest
import torch
from torch.nn import functional as F

from stylealign.models.convolution import conv3x3, convolve


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


def test_an_image_is_the_same_in_every_batch(rng):
    x, weight = wide_layer(rng)

    assert torch.equal(conv3x3(x, weight)[1:], conv3x3(x[1:], weight))


@pytest.mark.parametrize(("size", "channels"), [(16, 128), (34, 128), (32, 64)])
def test_other_layers_keep_the_sum(size, channels, rng):
    x, weight = wide_layer(rng, size, channels)
    bias = torch.randn(len(weight), generator=rng)

    assert torch.equal(conv3x3(x, weight, bias), F.conv2d(x, weight, bias, padding=1))


FORMS = [
    {"padding": 1}, {"stride": 2, "padding": 1}, {"groups": 4, "padding": 2},
    {"stride": 2, "is_transposed": True},
    {"stride": 2, "padding": 1, "groups": 4, "is_transposed": True},
]  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_a_constant_kernel_gives_the_same_bits_and_exact_second_derivatives(form, rng):
    x = torch.randn(2, 4, 6, 6, generator=rng)
    weight = torch.randn(4, 4 // form.get("groups", 1), 3, 3, generator=rng)

    results = [
        (y, *torch.autograd.grad(y.tanh().sum(), a))
        for kernel in (weight, weight.clone().requires_grad_())
        for a in [x.clone().requires_grad_()]
        for y in [convolve(a, kernel, **form)]
    ]
    double, exact = x.double().requires_grad_(), weight.double()

    assert all(torch.equal(ours, torchs) for ours, torchs in zip(*results, strict=True))
    assert torch.autograd.gradgradcheck(lambda a: convolve(a, exact, **form).tanh(), [double])


@pytest.mark.parametrize("channels", [4, 128])
def test_what_goes_into_a_constant_kernel_is_not_kept(channels, rng):
    x = torch.randn(1, channels, 32, 32, generator=rng).requires_grad_()
    weight = torch.randn(channels, channels, 3, 3, generator=rng)

    def kept_sizes(weight: torch.Tensor) -> list[torch.Size]:
        sizes: list[torch.Size] = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda tensor: sizes.append(tensor.shape) or tensor, lambda tensor: tensor
        ):
            conv3x3(x * 1, weight)
        return sizes

    assert x.shape not in kept_sizes(weight)
    assert x.shape in kept_sizes(weight.clone().requires_grad_())
