"""Terms that keep a child's drawing of a code in the places of its parent's."""

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional as F

from stylealign.models.latents import Images
from stylealign.training.split import Split


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
    child: dict[str, Tensor],
    parent: dict[str, Tensor],
    max_resolution: int,
    variances: dict[str, Tensor] | None = None,
) -> Tensor:
    """Mean squared difference of feature maps, each in units of the parent's own variance.

    The variances are those of the maps at hand, or of a joint batch that they are a part of.

    Shapes: maps by block name ("b8": [N, C, 8, 8]) -> scalar.
    """
    terms = [
        F.mse_loss(child[name], maps)
        / ((maps.var() if variances is None else variances[name]) + 1e-6)
        for name, maps in parent.items()
        if maps.shape[-1] <= max_resolution
    ]
    return torch.stack(terms).mean()


def joint_variances(parts: Iterable[dict[str, Tensor]], split: Split) -> dict[str, Tensor]:
    """Variance of each map over all parts of all processes, as if they were one batch.

    Shapes: maps by block name ("b8": [N, C, 8, 8]) -> scalars by block name.
    """
    sums: dict[str, Tensor] = {}
    for maps in parts:
        for name, values in maps.items():
            wide = values.double()
            found = torch.stack([wide.new_tensor(wide.numel()), wide.sum(), wide.square().sum()])
            sums[name] = sums[name] + found if name in sums else found
    variances: dict[str, Tensor] = {}
    for name, mean in zip(sums, split.average_all([*sums.values()]), strict=True):
        count, total, squares = mean * split.num_ranks
        variances[name] = ((squares - total.square() / count) / (count - 1)).float()
    return variances
