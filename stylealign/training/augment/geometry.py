"""Geometric augmentations: each draws where a pixel of the result is looked up."""

import math
from collections.abc import Callable, Collection

import torch
from torch import Tensor

from stylealign.training.augment.draws import Draws

Geometry = Callable[[Draws, int], Tensor]
"""From draws and the side of the images in pixels to matrices [N, 3, 3]."""

XINT_MAX = 0.125
XFRAC_STD = 0.125
SCALE_STD = 0.2
ANISO_STD = 0.2


def xflip(draws: Draws, _side: int) -> Tensor:
    """Mirror left to right."""
    is_flipped = torch.floor(draws.uniform() * 2) * draws.choose()
    return _scaling(1 - 2 * is_flipped, torch.ones_like(is_flipped))


def rotate90(draws: Draws, _side: int) -> Tensor:
    """Turn by a multiple of 90 degrees."""
    quarters = torch.floor(draws.uniform() * 4) * draws.choose()
    return _rotation(quarters * (math.pi / 2))


def xint(draws: Draws, side: int) -> Tensor:
    """Shift by whole pixels."""
    shares = (draws.uniform(2) * 2 - 1) * XINT_MAX * draws.choose()
    return _translation(-torch.round(shares * side))


def scale(draws: Draws, _side: int) -> Tensor:
    """Zoom."""
    factor = torch.exp2(draws.normal() * SCALE_STD * draws.choose())
    return _scaling(1 / factor, 1 / factor)


def rotate_before(draws: Draws, _side: int) -> Tensor:
    """Turn by any angle, before `aniso`."""
    return _rotation(_any_angle(draws) * draws.choose_half(is_second=False))


def aniso(draws: Draws, _side: int) -> Tensor:
    """Stretch one axis as much as the other shrinks."""
    factor = torch.exp2(draws.normal() * ANISO_STD * draws.choose())
    return _scaling(1 / factor, factor)


def rotate_after(draws: Draws, _side: int) -> Tensor:
    """Turn by any angle, after `aniso`, so that all directions are stretched."""
    return _rotation(_any_angle(draws) * draws.choose_half(is_second=True))


def xfrac(draws: Draws, side: int) -> Tensor:
    """Shift by any distance."""
    return _translation(-draws.normal(2) * (XFRAC_STD * side) * draws.choose())


TRANSFORMS: dict[str, tuple[Geometry, ...]] = {
    "xflip": (xflip,),
    "rotate90": (rotate90,),
    "xint": (xint,),
    "scale": (scale,),
    "rotate": (rotate_before, rotate_after),
    "aniso": (aniso,),
    "xfrac": (xfrac,),
}

ORDER: tuple[Geometry, ...] = (
    xflip, rotate90, xint, scale, rotate_before, aniso, rotate_after, xfrac
)  # fmt: skip


def draw_geometry(names: Collection[str], draws: Draws, side: int) -> Tensor:
    """Matrices that lead from a pixel of the result to where it is looked up, [N, 3, 3].

    Units:  pixels from the centre of the image, x to the right, y down.
    Source: arXiv:2006.06676, appendix B, figure 22.
    """
    chosen = {transform for name in names for transform in TRANSFORMS[name]}
    matrices = torch.eye(3).repeat(draws.batch, 1, 1)
    for transform in ORDER:
        if transform in chosen:
            matrices = matrices @ transform(draws, side)
    return matrices


def _any_angle(draws: Draws) -> Tensor:
    return (draws.uniform() * 2 - 1) * math.pi


def _scaling(x: Tensor, y: Tensor) -> Tensor:
    return torch.diag_embed(torch.cat([x, y, torch.ones_like(x)], dim=1))


def _rotation(angle: Tensor) -> Tensor:
    cos, sin = torch.cos(angle), torch.sin(angle)
    matrices = torch.eye(3).repeat(len(angle), 1, 1)
    matrices[:, 0, :2] = torch.cat([cos, -sin], dim=1)
    matrices[:, 1, :2] = torch.cat([sin, cos], dim=1)
    return matrices


def _translation(shift: Tensor) -> Tensor:
    matrices = torch.eye(3).repeat(len(shift), 1, 1)
    matrices[:, :2, 2] = shift
    return matrices
