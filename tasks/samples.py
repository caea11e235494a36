"""Random images of a model, as several stages compare them."""

import numpy as np
import torch

from stylealign.images import PixelBatch
from stylealign.models import Model
from stylealign.models.classes import draw_classes
from stylealign.tensors import to_uint8

SAMPLE_BATCH = 100


@torch.no_grad()
def draw_samples(model: Model, num: int, seed: int) -> PixelBatch:
    """Images of random codes, psi 1; of random classes where the model knows any.

    These are as frequent as in the images that it was trained on, where its config says it.
    """
    shares = model.config.class_shares
    rng = torch.Generator().manual_seed(seed)
    parts: list[PixelBatch] = []
    for start in range(0, num, SAMPLE_BATCH):
        size = min(SAMPLE_BATCH, num - start)
        z = torch.randn(size, model.config.z_dim, generator=rng).to(model.generator.w_avg)
        w_plus = model.generator.mapping(z, draw_classes(model.generator, size, rng, shares))
        parts.append(to_uint8(model.generator.synthesis(w_plus)))
    return np.concatenate(parts)
