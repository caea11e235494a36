"""Random classes for conditional models."""

from collections.abc import Sequence

import torch

from stylealign.models.generator import Generator
from stylealign.models.latents import Labels


def draw_classes(
    generator: Generator, num: int, rng: torch.Generator, shares: Sequence[float] = ()
) -> Labels | None:
    """Classes, one-hot, drawn uniformly or as often as `shares` says; None for a model without.

    Shapes: returns [num, c_dim].
    """
    c_dim = generator.mapping.network.c_dim
    if c_dim == 0:
        return None
    if shares:
        picks = torch.multinomial(torch.tensor(shares), num, replacement=True, generator=rng)
    else:
        picks = torch.randint(c_dim, (num,), generator=rng)
    return torch.zeros(num, c_dim).scatter_(1, picks[:, None], 1.0).to(generator.w_avg)
