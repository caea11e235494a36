"""The whole augmentation: which transforms, in which order, how strongly."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from stylealign.errors import ParamsError
from stylealign.models.latents import Images
from stylealign.training.augment import color, geometry
from stylealign.training.augment.color import recolor
from stylealign.training.augment.corruption import (
    cut_out,
    draw_gains,
    draw_noise,
    draw_windows,
    filter_bands,
)
from stylealign.training.augment.draws import Draws, RandomDraws
from stylealign.training.augment.warp import warp

_BLIT: Final = ("xflip", "rotate90", "xint")
_GEOMETRY: Final = ("scale", "rotate", "aniso", "xfrac")
_COLOR: Final = tuple(color.TRANSFORMS)
_BGC: Final = (*_BLIT, *_GEOMETRY, *_COLOR)

KINDS: Final[Mapping[str, tuple[str, ...]]] = {
    "none": (),
    "blit": _BLIT,
    "geom": _GEOMETRY,
    "color": _COLOR,
    "filter": ("filter",),
    "noise": ("noise",),
    "cutout": ("cutout",),
    "bg": (*_BLIT, *_GEOMETRY),
    "bgc": _BGC,
    "bgcf": (*_BGC, "filter"),
    "bgcfn": (*_BGC, "filter", "noise"),
    "bgcfnc": (*_BGC, "filter", "noise", "cutout"),
}
"""Transforms by the name under which they are known as a set."""

MIN_FILTER_RESOLUTION: Final = 22


@dataclass(frozen=True)
class Drawn:
    """What happens to each image of a batch; None where nothing does.

    Shapes: matrices [N, 3, 3], colors [N, 4, 4], gains [N, bands], noise [N, C, H, W],
        windows [N, 3].
    """

    matrices: Tensor | None = None
    colors: Tensor | None = None
    gains: Tensor | None = None
    noise: Tensor | None = None
    windows: Tensor | None = None

    def part(self, rows: slice) -> "Drawn":
        """The same for some images of the batch."""
        fields = {name: value for name, value in vars(self).items() if value is not None}
        return Drawn(**{name: value[rows] for name, value in fields.items()})

    def apply(self, images: Images) -> Images:
        """Images after all that was drawn for them; differentiable any number of times."""
        if self.matrices is not None:
            images = _warp_moved(images, self.matrices)
        if self.colors is not None:
            images = recolor(images, self.colors)
        if self.gains is not None:
            images = filter_bands(images, self.gains)
        if self.noise is not None:
            images = images + self.noise.to(images)
        return images if self.windows is None else cut_out(images, self.windows)


class Augmentation:
    """Transforms that hide from a discriminator how little data there is.

    Both what is real and what is drawn pass through it, so the generator learns nothing of it as
    long as most images are left alone.

    Shapes: `shape` of an image is [C, R, R].
    Raises: ParamsError if the images are too small for a transform, or have other channels.
    Source: Karras et al., StyleGAN2-ADA, arXiv:2006.06676, section 2 and appendix B.
    """

    def __init__(self, transforms: Collection[str], shape: tuple[int, int, int]) -> None:
        if "filter" in transforms and shape[1] < MIN_FILTER_RESOLUTION:
            message = (
                f"augmentation 'filter' needs images of {MIN_FILTER_RESOLUTION} pixels, "
                f"got {shape[1]}; choose a set without it, such as 'bgc'"
            )
            raise ParamsError(message)
        if shape[0] not in (1, 3) and any(name in color.TRANSFORMS for name in transforms):
            message = f"augmentation of colours needs images of 1 or 3 channels, got {shape[0]}"
            raise ParamsError(f"{message}; choose a set without them, such as 'bg'")
        self.transforms, self.shape = tuple(transforms), shape
        self._geometric = [name for name in transforms if name in geometry.TRANSFORMS]
        self._coloring = [name for name in transforms if name in color.TRANSFORMS]

    def draw(self, batch: int, strength: float, rng: torch.Generator) -> Drawn:
        """Each transform for each image with probability `strength`, on its own."""
        if strength <= 0:
            return Drawn()
        return self.draw_from(RandomDraws(batch, min(strength, 1.0), rng))

    def draw_from(self, draws: Draws) -> Drawn:
        """Transforms by any source of numbers."""
        names = self.transforms
        return Drawn(
            matrices=geometry.draw_geometry(self._geometric, draws, self.shape[1])
            if self._geometric else None,
            colors=color.draw_color(self._coloring, draws, self.shape[0])
            if self._coloring else None,
            gains=draw_gains(draws) if "filter" in names else None,
            noise=draw_noise(draws, self.shape) if "noise" in names else None,
            windows=draw_windows(draws) if "cutout" in names else None,
        )  # fmt: skip


def _warp_moved(images: Images, matrices: Tensor) -> Images:
    """`warp` of those images whose matrix is not the identity, which would change nothing."""
    is_moved = (matrices != torch.eye(3)).flatten(1).any(dim=1)
    if is_moved.all():
        return warp(images, matrices)
    if not is_moved.any():
        return images
    places = is_moved.nonzero()[:, 0]
    moved = places.to(images.device)
    return images.index_copy(0, moved, warp(images[moved], matrices[places]))
