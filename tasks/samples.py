"""Random images of a model, as several stages compare them."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from stylealign.images import PixelBatch
from stylealign.models import Model
from stylealign.models.classes import draw_classes
from stylealign.models.latents import Labels
from stylealign.portions import Portions
from stylealign.tensors import to_uint8

SAMPLE_BATCH = 100


@torch.no_grad()
def iterate_samples(
    model: Model,
    num: int,
    seed: int,
    *,
    num_at_once: int = SAMPLE_BATCH,
    draw_c: Callable[[int, torch.Generator], Labels] | None = None,
) -> Iterator[PixelBatch]:
    """Images of random codes, psi 1, a batch at a time; of random classes where it knows any.

    These come from `draw_c`, or are as frequent as in the images that the model was trained on,
    where its config says it. As many as the device does not hold are halved.
    """
    shares = model.config.class_shares
    rng, portions = torch.Generator().manual_seed(seed), Portions(num_at_once)
    for start in range(0, num, SAMPLE_BATCH):
        size = min(SAMPLE_BATCH, num - start)
        z = torch.randn(size, model.config.z_dim, generator=rng).to(model.generator.w_avg)
        if draw_c is None:
            c = draw_classes(model.generator, size, rng, shares)
        else:
            c = draw_c(size, rng).to(z)

        def draw(rows: slice, z: Tensor = z, c: Tensor | None = c) -> PixelBatch:
            w_plus = model.generator.mapping(z[rows], None if c is None else c[rows])
            return to_uint8(model.generator.synthesis(w_plus))

        yield np.concatenate(portions.map(size, draw))


def draw_samples(model: Model, num: int, seed: int) -> PixelBatch:
    """The same images, all at once."""
    return np.concatenate(list(iterate_samples(model, num, seed)))
