"""Random codes of a model, for candidates and for training an encoder."""

import torch
from torch import Tensor

from stylealign.inversion.start import to_sphere
from stylealign.models import Generator, Space
from stylealign.models.latents import Labels


def draw_codes(
    generator: Generator, space: Space, c: Labels | None, num: int, rng: torch.Generator
) -> Tensor:
    """Codes of random samples; half of those with a code per layer mix two samples.

    Shapes: returns [num, dim] or [num, num_ws, dim].
    """
    network, num_ws = generator.mapping.network, generator.mapping.num_ws
    z = to_sphere(torch.randn(2, num, network.z_dim, generator=rng)).to(generator.w_avg)
    cut = torch.randint(1, num_ws, (num,), generator=rng)
    cut[torch.rand(num, generator=rng) < 0.5] = num_ws
    if space == "z":
        return z[0]
    if space == "w":
        return network(z[0], c)
    first, second = z if space == "z_plus" else (network(part, c) for part in z)
    is_first = (torch.arange(num_ws) < cut[:, None]).to(generator.w_avg.device)
    return torch.where(is_first[:, :, None], first[:, None], second[:, None])
