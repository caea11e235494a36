"""The gradient of a convolution's kernel, as products of matrices."""

from collections.abc import Iterator

from torch import Tensor
from torch.nn import functional as F

_NUM_ROWS = 512
"""Pixels that are gathered at once: enough for fast products, few enough for the cache."""


Pair = tuple[int, int]
"""Of rows and of columns."""


def kernel_gradient(x: Tensor, gradient: Tensor, size: Pair, stride: Pair, padding: Pair) -> Tensor:
    """What an input and the gradient of the output make of the kernel.

    Sums over pixels, some hundred patches of the input at a time. oneDNN takes up to three times as
    long for it where channels are last, and up to five times without AVX-512.

    Shapes: x [N, in, H, W], gradient [N, out, h, w], size (kh, kw) -> [out, in, kh, kw].
    """
    (num_in, num_out), (height, width) = (x.shape[1], gradient.shape[1]), size
    above, beside = padding
    padded = F.pad(x.movedim(1, -1), (0, 0, beside, beside, above, above))
    patches = padded.unfold(1, height, stride[0]).unfold(2, width, stride[1]).movedim(3, -1)
    pixels = gradient.movedim(1, -1)
    total = x.new_zeros(num_out, height * width * num_in)
    for part in _parts(pixels):
        rows = pixels[part].reshape(-1, num_out)
        total.addmm_(rows.t(), patches[part].reshape(len(rows), -1))
    return total.view(num_out, height, width, num_in).movedim(-1, 1)


def _parts(pixels: Tensor) -> Iterator[tuple[slice, slice]]:
    """Images and rows of them that are gathered at once; one image, or as many small ones."""
    num, height, width, _ = pixels.shape
    num_images = max(1, _NUM_ROWS // (height * width))
    num_rows = max(1, _NUM_ROWS // width)
    for image in range(0, num, num_images):
        for row in range(0, height, num_rows):
            yield slice(image, image + num_images), slice(row, row + num_rows)
