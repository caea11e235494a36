"""Terms that keep what a child's codes and features mean near what they mean in its parent."""

import torch
from torch import Tensor
from torch.nn import functional as F


def style_distance(child: dict[str, Tensor], parent: dict[str, Tensor]) -> Tensor:
    """Mean squared drift of the style space, each layer in units of the parent's own variance.

    The styles of the same z through each model's own mapping and affine layers: 0 while neither
    has moved. The variance is that over codes, channel by channel, averaged, so a drift of 1 has
    moved a code as far as another code is.

    Shapes: styles by layer name ("b8.conv0": [N, C]) -> scalar.
    """
    terms = [
        F.mse_loss(child[name], styles) / (styles.var(dim=0, correction=0).mean() + 1e-6)
        for name, styles in parent.items()
    ]
    return torch.stack(terms).mean()


def correspondence_distance(child: dict[str, Tensor], parent: dict[str, Tensor]) -> Tensor:
    """How much of the likeness between images the child has lost: a KL divergence.

    For each image its cosine similarities to all others of the batch, at each block, become a
    distribution; the child's is compared with the parent's. So a child keeps which images are
    alike, and thereby its variety, while each may look as it likes. This is the cross-domain
    distance alone; the relaxed realism of the paper (an image-level critic near anchors, a patch
    critic elsewhere) is not part of it.

    Shapes: maps by block name ("b8": [N, C, 8, 8]) with N >= 3 -> scalar.
    Units:  nats, mean over blocks and images; under two similarities of at most 1 it stays small,
        hence the paper's weight of 1000.
    Source: Ojha et al., arXiv:2104.06820, equations 1-3; the mean over all blocks, of which the
        paper's code draws one.
    """
    terms = [
        F.kl_div(_likeness(maps), _likeness(child[name]), reduction="batchmean", log_target=True)
        for name, maps in parent.items()
    ]
    return torch.stack(terms).mean()


def _likeness(maps: Tensor) -> Tensor:
    """Log-probability of each other image under a softmax of cosines, [N, N - 1]."""
    directions = F.normalize(maps.flatten(1), dim=1)
    cosines = directions @ directions.t()
    batch = len(cosines)
    # without the diagonal: an image's likeness to itself
    others = cosines.flatten()[1:].view(batch - 1, batch + 1)[:, :-1].reshape(batch, batch - 1)
    return F.log_softmax(others, dim=1)
