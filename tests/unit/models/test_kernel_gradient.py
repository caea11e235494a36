"""The gradient of a kernel against the sum over pixels that defines it."""

import pytest
import torch

from stylealign.models.kernel_gradient import kernel_gradient

SHAPES = [
    pytest.param((2, 3, 9, 13), (3, 3), (1, 1), (1, 1), id="same size"),
    pytest.param((2, 3, 9, 13), (3, 3), (2, 2), (0, 0), id="half the size"),
    pytest.param((1, 2, 70, 70), (3, 3), (1, 1), (1, 1), id="several parts of an image"),
    pytest.param((70, 2, 5, 5), (3, 3), (2, 2), (0, 0), id="several groups of images"),
    pytest.param((2, 3, 30, 30), (1, 1), (1, 1), (0, 0), id="one tap"),
    pytest.param((2, 3, 9, 14), (3, 2), (1, 2), (1, 0), id="rows and columns of their own"),
]


@pytest.mark.parametrize(("shape", "size", "stride", "padding"), SHAPES)
def test_it_is_the_sum_over_pixels(shape, size, stride, padding, rng):
    x = torch.randn(shape, generator=rng, dtype=torch.float64)
    num, _, *lengths = shape
    made = [
        (length + 2 * around - taps) // step + 1
        for length, taps, step, around in zip(lengths, size, stride, padding, strict=True)
    ]
    gradient = torch.randn((num, 4, *made), generator=rng, dtype=torch.float64)
    above, beside = padding
    padded = torch.nn.functional.pad(x, (beside, beside, above, above))
    expected = torch.zeros(4, shape[1], *size, dtype=torch.float64)
    for i in range(size[0]):
        for j in range(size[1]):
            read = padded[:, :, i :: stride[0], j :: stride[1]][..., : made[0], : made[1]]
            expected[..., i, j] = torch.einsum("nohw,nihw->oi", gradient, read)

    found = kernel_gradient(x, gradient, size, stride, padding)

    torch.testing.assert_close(found, expected)
