"""The gradient of a kernel against the sum over pixels that defines it."""

import pytest
import torch

from stylealign.models.kernel_gradient import kernel_gradient

SHAPES = [
    pytest.param((2, 3, 9, 13), 3, 1, 1, id="same size"),
    pytest.param((2, 3, 9, 13), 3, 2, 0, id="half the size"),
    pytest.param((1, 2, 70, 70), 3, 1, 1, id="several parts of an image"),
    pytest.param((70, 2, 5, 5), 3, 2, 0, id="several groups of images"),
    pytest.param((2, 3, 30, 30), 1, 1, 0, id="one tap"),
]


@pytest.mark.parametrize(("shape", "size", "stride", "padding"), SHAPES)
def test_it_is_the_sum_over_pixels(shape, size, stride, padding, rng):
    x = torch.randn(shape, generator=rng, dtype=torch.float64)
    num, _, height, width = shape
    made = ((length + 2 * padding - size) // stride + 1 for length in (height, width))
    gradient = torch.randn((num, 4, *made), generator=rng, dtype=torch.float64)
    padded = torch.nn.functional.pad(x, (padding,) * 4)
    expected = torch.zeros(4, shape[1], size, size, dtype=torch.float64)
    for i in range(size):
        for j in range(size):
            read = padded[:, :, i::stride, j::stride][..., : gradient.shape[2], : gradient.shape[3]]
            expected[..., i, j] = torch.einsum("nohw,nihw->oi", gradient, read)

    found = kernel_gradient(x, gradient, (size, size), stride, padding)

    torch.testing.assert_close(found, expected)
