"""A cheap perceptual distance between images of one size, with gradients."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from stylealign.errors import DataError
from stylealign.metrics.lite2 import load_lite2
from stylealign.networks import on_device


@dataclass(frozen=True, kw_only=True)
class Lite2Blocks:
    """Early features of EfficientNet-Lite2 at the image's own size, for `perceptual_distance`.

    It is a substitute for LPIPS on a CPU and must not be called that: no human judgement was
    used to weight it. One block costs a third of four blocks.
    """

    num_blocks: int = 4

    @property
    def name(self) -> str:
        """The name that metrics carry."""
        return "lite2_blocks"

    def __call__(self, images: Float[Tensor, "N 3 H W"]) -> list[Float[Tensor, "N _ _ _"]]:
        """Return feature maps of falling resolution, each of unit length across channels.

        Shapes: images [N, 3, H, W]; returns a list of [N, C, H / 2, W / 2] and smaller.
        Units:  pixels in [-1, 1].
        """
        network = on_device(load_lite2(), images.device)
        features = network.block_features(images, num_blocks=self.num_blocks)
        return [unit_channels(feature) for feature in features]


def perceptual_distance(
    features: Sequence[Float[Tensor, "N _ _ _"]], targets: Sequence[Float[Tensor, "N _ _ _"]]
) -> Float[Tensor, " N"]:
    """Measure how different each image looks from its target, from the features of both.

    At each scale the squared distance is summed over channels and averaged over positions; the
    scales are then averaged, so the distance lies in [0, 4]. Targets are passed as features
    because an optimisation computes them once.

    Shapes: each feature [N, C, H, W]; returns [N].
    Raises: DataError if the two lists do not have the same shapes.
    Source: Zhang et al., arXiv:1801.03924, eq. 1, with all channel weights equal.
    """
    if [f.shape for f in features] != [t.shape for t in targets]:
        shapes = [[tuple(f.shape) for f in side] for side in (features, targets)]
        raise DataError(f"features of shapes {shapes[0]} cannot be compared with {shapes[1]}")
    scales = [
        (feature - target).square().sum(1).mean((1, 2))
        for feature, target in zip(features, targets, strict=True)
    ]
    return torch.stack(scales).mean(0)


def unit_channels(feature: Float[Tensor, "N C H W"]) -> Float[Tensor, "N C H W"]:
    """Scale what stands at each position to unit length across channels."""
    return feature / feature.square().sum(1, keepdim=True).add(1e-6).sqrt()
