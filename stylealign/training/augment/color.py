"""Colour augmentations: each draws an affine map of colours."""

import math
from collections.abc import Callable, Collection

import torch
from torch import Tensor

from stylealign.models.latents import Images
from stylealign.training.augment.draws import Draws

BRIGHTNESS_STD = 0.2
CONTRAST_STD = 0.5
SATURATION_STD = 1.0

_GRAY = torch.full((3, 3), 1 / 3)
"""Projection on the axis of greys."""

_ABOUT_GRAY = torch.tensor([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]]) / math.sqrt(3)
"""Cross product with the axis of greys."""


def brightness(draws: Draws) -> Tensor:
    """Add to all channels."""
    matrices = torch.eye(4).repeat(draws.batch, 1, 1)
    matrices[:, :3, 3] = draws.normal() * BRIGHTNESS_STD * draws.choose()
    return matrices


def contrast(draws: Draws) -> Tensor:
    """Multiply all channels."""
    factor = torch.exp2(draws.normal() * CONTRAST_STD * draws.choose())
    return _linear(factor[:, :, None] * torch.eye(3))


def lumaflip(draws: Draws) -> Tensor:
    """Turn light to dark and keep the hue."""
    is_flipped = torch.floor(draws.uniform() * 2) * draws.choose()
    return _linear(torch.eye(3) - 2 * _GRAY * is_flipped[:, :, None])


def hue(draws: Draws) -> Tensor:
    """Turn colours about the axis of greys."""
    angle = ((draws.uniform() * 2 - 1) * math.pi * draws.choose())[:, :, None]
    cos, sin = torch.cos(angle), torch.sin(angle)
    return _linear(_GRAY + (torch.eye(3) - _GRAY) * cos + _ABOUT_GRAY * sin)


def saturation(draws: Draws) -> Tensor:
    """Move colours from or towards the axis of greys."""
    factor = torch.exp2(draws.normal() * SATURATION_STD * draws.choose())
    return _linear(_GRAY + (torch.eye(3) - _GRAY) * factor[:, :, None])


TRANSFORMS: dict[str, Callable[[Draws], Tensor]] = {
    "brightness": brightness,
    "contrast": contrast,
    "lumaflip": lumaflip,
    "hue": hue,
    "saturation": saturation,
}
"""In the order in which they happen."""

NEEDS_COLOR = frozenset({"hue", "saturation"})


def draw_color(names: Collection[str], draws: Draws, num_channels: int) -> Tensor:
    """Homogeneous maps of colours, [N, 4, 4]; what turns hues is left out of grey images.

    Source: arXiv:2006.06676, appendix B, figure 22.
    """
    matrices = torch.eye(4).repeat(draws.batch, 1, 1)
    for name, transform in TRANSFORMS.items():
        if name in names and (num_channels > 1 or name not in NEEDS_COLOR):
            matrices = transform(draws) @ matrices
    return matrices


def recolor(images: Images, matrices: Tensor) -> Images:
    """Map every pixel; grey images by the mean of what becomes of their three equal channels.

    Shapes: images [N, 3, H, W] or [N, 1, H, W], matrices [N, 4, 4].
    """
    linear, offset = matrices[:, :3, :3], matrices[:, :3, 3:]
    if images.shape[1] == 1:
        linear = linear.sum(dim=2, keepdim=True).mean(dim=1, keepdim=True)
        offset = offset.mean(dim=1, keepdim=True)
    mapped = torch.baddbmm(offset.to(images), linear.to(images), images.flatten(2))
    return mapped.unflatten(2, images.shape[2:])


def _linear(block: Tensor) -> Tensor:
    matrices = torch.eye(4).repeat(len(block), 1, 1)
    matrices[:, :3, :3] = block
    return matrices
