"""Terms that keep what a child's codes and features mean near what they mean in its parent."""

import torch
from torch import Tensor
from torch.nn import functional as F

from stylealign.models import Generator
from stylealign.training.classes import Classes

NUM_REFERENCE_CODES = 1024


def style_distance(
    child: dict[str, Tensor], parent: dict[str, Tensor], variances: dict[str, Tensor]
) -> Tensor:
    """Mean squared drift of the style space, each layer in units of the parent's own variance.

    The styles of the same z through each model's own mapping and affine layers: 0 while neither
    has moved; two codes drawn at random are 2 apart.

    Shapes: styles by layer name ("b8.conv0": [N, C]), variances as `style_variances` -> scalar.
    """
    terms = [
        F.mse_loss(child[name], styles) / (variances[name] + 1e-6)
        for name, styles in parent.items()
    ]
    return torch.stack(terms).mean()


@torch.no_grad()
def style_variances(parent: Generator, classes: Classes | None) -> dict[str, Tensor]:
    """Variance of each layer's styles over codes, mean over its channels, by layer name.

    Always of the same codes, so that it depends on nothing but the parent.
    """
    rng = torch.Generator().manual_seed(0)
    z = torch.randn(NUM_REFERENCE_CODES, parent.mapping.network.z_dim, generator=rng)
    c = None if classes is None else classes.draw(len(z), rng).to(parent.w_avg)
    styles = parent.styles(parent.mapping(z.to(parent.w_avg), c))
    return {name: values.var(dim=0).mean() for name, values in styles.items()}


def correspondence_distance(
    child: dict[str, Tensor], parent: dict[str, Tensor], group_size: int
) -> Tensor:
    """How much of the likeness between images the child has lost: a KL divergence.

    For each image its cosine similarities to the others of its group, at each block, become a
    distribution; the child's is compared with the parent's. So a child keeps which images are
    alike, and thereby its variety, while each may look as it likes. This is the cross-domain
    distance alone; the relaxed realism of the paper (an image-level critic near anchors, a patch
    critic elsewhere) is not part of it.

    Groups are strided through the batch, as those of the minibatch stddev are.

    Shapes: maps by block name ("b8": [N, C, 8, 8]), N a multiple of group_size >= 3 -> scalar.
    Units:  nats, mean over blocks and images; as a cosine is at most 1 it stays small, hence the
        paper's weight of 1000.
    Source: Ojha et al., arXiv:2104.06820, equations 1-3, with groups of 4 as in its code; the
        mean over all blocks, of which that code draws one.
    """
    terms = [
        F.kl_div(
            _likeness(maps, group_size), _likeness(child[name], group_size),
            reduction="sum", log_target=True,
        ) / len(maps)
        for name, maps in parent.items()
    ]  # fmt: skip
    return torch.stack(terms).mean()


def _likeness(maps: Tensor, group_size: int) -> Tensor:
    """Log-probability of each other image of a group under a softmax of cosines."""
    directions = F.normalize(maps.flatten(1), dim=1)
    groups = directions.unflatten(0, (group_size, -1)).transpose(0, 1)
    cosines = groups @ groups.transpose(1, 2)
    is_other = ~torch.eye(group_size, dtype=torch.bool, device=maps.device)
    return F.log_softmax(cosines[:, is_other].unflatten(1, (group_size, -1)), dim=2)
