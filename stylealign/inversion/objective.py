"""What an inversion minimises: one number per image, from its drawing and its code."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from stylealign.inversion.losses import (
    build_pyramid,
    noise_correlation,
    prior,
    pyramid_distance,
    spread,
)
from stylealign.metrics.perceptual import perceptual_distance
from stylealign.models import Space
from stylealign.models.latents import Images

Features = Callable[[Images], Sequence[Tensor]]
"""Feature maps of images, such as `metrics.perceptual.Lite2Blocks`."""


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Weight of each term beside the pixels, whose weight is 1."""

    perceptual: float
    spread: float
    prior: float
    noise: float


@dataclass(frozen=True, kw_only=True)
class Objective:
    """The images to be drawn, in every form that the terms compare with."""

    pyramid: Sequence[Tensor]
    features: Sequence[Tensor]
    extract: Features
    weights: Weights
    space: Space
    w_avg: Tensor
    w_std: float

    @property
    def images(self) -> Images:
        """The images to be drawn."""
        return self.pyramid[0]

    def measure(
        self, images: Images, codes: Tensor, noise_maps: Sequence[Tensor]
    ) -> Float[Tensor, " N"]:
        """Loss of each image; noise maps only where they are optimised."""
        weights = self.weights
        losses = pyramid_distance(images, self.pyramid)
        if weights.perceptual:
            losses = losses + weights.perceptual * self.perceptual(images)
        if weights.spread:
            losses = losses + weights.spread * spread(codes, self.space, self.w_std)
        if weights.prior:
            losses = losses + weights.prior * prior(codes, self.space, self.w_avg, self.w_std)
        if len(noise_maps) > 0:
            losses = losses + weights.noise * noise_correlation(noise_maps)
        return losses

    def perceptual(self, images: Images) -> Float[Tensor, " N"]:
        """Perceptual distance of each drawing to its image."""
        return perceptual_distance(self.extract(images), self.features)


def build_objective(
    images: Images,
    *,
    extract: Features,
    weights: Weights,
    space: Space,
    w_avg: Tensor,
    w_std: float,
) -> Objective:
    """Prepare the images once, so that no step computes their features again."""
    return Objective(
        pyramid=build_pyramid(images),
        features=[feature.detach() for feature in extract(images)],
        extract=extract,
        weights=weights,
        space=space,
        w_avg=w_avg,
        w_std=w_std,
    )
