"""What a generator is fed while it trains: codes, their mixtures, noise, and the mean of w."""

import torch
from torch import Tensor

from stylealign.models import Generator
from stylealign.models.latents import WPlus
from stylealign.models.layers import StyledConv

MixedZ = list[tuple[Tensor, int]]
"""z codes, each with the first layer that it is for."""


def draw_z(
    generator: Generator, batch: int, *, style_mixing: float, rng: torch.Generator
) -> MixedZ:
    """Random z, and with probability `style_mixing` a second one from a random layer on."""
    device = generator.w_avg.device
    z_dim, num_ws = generator.mapping.network.z_dim, generator.mapping.num_ws
    z = [(torch.randn(batch, z_dim, generator=rng).to(device), 0)]
    if style_mixing and torch.rand([], generator=rng).item() < style_mixing:
        cut = int(torch.randint(1, num_ws, [], generator=rng))
        z.append((torch.randn(batch, z_dim, generator=rng).to(device), cut))
    return z


def mix(generator: Generator, z: MixedZ) -> WPlus:
    """w_plus whose layers come from the z given for them.

    Source: style mixing, arXiv:1812.04948, section 3.1.
    """
    w_plus = generator.mapping(z[0][0])
    for codes, cut in z[1:]:
        w_plus = torch.cat([w_plus[:, :cut], generator.mapping(codes)[:, cut:]], dim=1)
    return w_plus


def part_of_z(z: MixedZ, part: slice) -> MixedZ:
    """The z codes of some rows of a joint batch."""
    return [(codes[part], cut) for codes, cut in z]


def part_of(maps: dict[str, Tensor], part: slice) -> dict[str, Tensor]:
    """The noise inputs, or other maps by name, of some rows of a joint batch."""
    return {name: values[part] for name, values in maps.items()}


@torch.no_grad()
def track_w_avg(generator: Generator, w_mean: Tensor, beta: float) -> None:
    """Move the running mean of w towards this batch's mean, [w_dim]."""
    generator.w_avg.lerp_(w_mean, 1 - beta)


def draw_noise(generator: Generator, batch: int, rng: torch.Generator) -> dict[str, Tensor]:
    """Fresh noise inputs by layer name, [N, 1, H, W]; empty for a model without noise."""
    return {
        name.removeprefix("blocks."): torch.randn(
            (batch, 1, layer.resolution, layer.resolution), generator=rng
        ).to(generator.w_avg.device)
        for name, layer in generator.synthesis.named_modules()
        if isinstance(layer, StyledConv) and layer.noise_strength is not None
    }
