"""Random classes for conditional models."""

import torch

from stylealign.models.generator import Generator
from stylealign.models.latents import Labels


def draw_classes(generator: Generator, num: int, rng: torch.Generator) -> Labels | None:
    """Classes drawn uniformly, one-hot; None for a model without classes.

    Shapes: returns [num, c_dim].
    """
    c_dim = generator.mapping.network.c_dim
    if c_dim == 0:
        return None
    picks = torch.randint(c_dim, (num,), generator=rng)
    return torch.eye(c_dim)[picks].to(generator.w_avg)
