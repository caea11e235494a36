"""Terms that keep a child's drawing of a code in the places of its parent's."""

import torch
from torch import Tensor
from torch.nn import functional as F

from stylealign.models.latents import Images


def layout_distance(child: Images, parent: Images, resolution: int) -> Tensor:
    """Mean squared difference of the standardised luminance at a low resolution.

    Each image's own brightness and contrast are taken out first, so that a domain of other
    colours is free to have them; what remains is where things are.

    Shapes: [N, 3, H, W] twice -> scalar.
    """

    def layout(images: Images) -> Tensor:
        gray = F.adaptive_avg_pool2d(images.mean(dim=1, keepdim=True), resolution).flatten(1)
        gray = gray - gray.mean(dim=1, keepdim=True)
        return gray / (gray.square().mean(dim=1, keepdim=True) + 1e-3).sqrt()

    return F.mse_loss(layout(child), layout(parent))


def feature_distance(
    child: dict[str, Tensor], parent: dict[str, Tensor], max_resolution: int
) -> Tensor:
    """Mean squared difference of feature maps, each in units of the parent's own variance.

    Shapes: maps by block name ("b8": [N, C, 8, 8]) -> scalar.
    """
    terms = [
        F.mse_loss(child[name], parent[name]) / (parent[name].var() + 1e-6)
        for name in parent
        if int(name[1:]) <= max_resolution
    ]
    return torch.stack(terms).mean()
