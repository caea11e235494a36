"""What a generator is fed while it trains: codes, classes, mixtures, noise, and the mean of w."""

from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor

from stylealign.models import Generator
from stylealign.models.latents import Images, Labels, WPlus
from stylealign.models.layers import StyledConv
from stylealign.training.classes import Classes

MixedZ = list[tuple[Tensor, int]]
"""z codes, each with the first layer that it is for."""


@dataclass(frozen=True)
class Codes:
    """All that decides what a generator draws: z, class, and noise by layer name."""

    z: MixedZ
    c: Labels | None
    noise: dict[str, Tensor]

    def part(self, rows: slice) -> "Codes":
        """The same of some rows of a joint batch."""
        return Codes(
            [(codes[rows], cut) for codes, cut in self.z],
            None if self.c is None else self.c[rows],
            {name: values[rows] for name, values in self.noise.items()},
        )


@dataclass(frozen=True)
class Drawing:
    """What a generator makes of codes, from w to the image."""

    w_plus: WPlus
    styles: dict[str, Tensor]
    taps: dict[str, Tensor]
    """Feature maps by block."""
    images: Images


def draw_codes(
    generator: Generator,
    batch: int,
    *,
    style_mixing: float,
    classes: Classes | None,
    rng: torch.Generator,
) -> Codes:
    """Random codes, with probability `style_mixing` mixed from two z at a random layer.

    Both z of a mixture have the same class, drawn as often as the data has it.
    """
    device = generator.w_avg.device
    z_dim, num_ws = generator.mapping.network.z_dim, generator.mapping.num_ws
    z = [(torch.randn(batch, z_dim, generator=rng).to(device), 0)]
    if style_mixing and torch.rand([], generator=rng).item() < style_mixing:
        cut = int(torch.randint(1, num_ws, [], generator=rng))
        z.append((torch.randn(batch, z_dim, generator=rng).to(device), cut))
    c = None if classes is None else classes.draw(batch, rng).to(device)
    return Codes(z, c, draw_noise(generator, batch, rng))


def mix(generator: Generator, codes: Codes) -> WPlus:
    """w_plus whose layers come from the z given for them.

    Source: style mixing, arXiv:1812.04948, section 3.1.
    """
    w_plus = generator.mapping(codes.z[0][0], codes.c)
    for z, cut in codes.z[1:]:
        w_plus = torch.cat([w_plus[:, :cut], generator.mapping(z, codes.c)[:, cut:]], dim=1)
    return w_plus


def draw(generator: Generator, codes: Codes, precision: AbstractContextManager[object]) -> Drawing:
    """Images of codes, with all that leads to them; `precision` is that of the feature maps.

    Shapes: whatever the precision, all of it comes as float32.
    """
    w_plus = mix(generator, codes)
    styles, taps = generator.styles(w_plus), dict[str, Tensor]()
    with precision:
        images = generator.synthesis.draw(styles, noise_maps=codes.noise, taps=taps)
    taps = {name: maps.float() for name, maps in taps.items()}
    return Drawing(w_plus, styles, taps, images.float())


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
