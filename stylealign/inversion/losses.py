"""Per-image terms of the inversion: what the image looks like, and where its code may go."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from stylealign.models.latents import Images, Space

_COARSEST = 4


def build_pyramid(images: Images) -> list[Tensor]:
    """The images and their averages over 2 x 2 pixels, down to 4 x 4.

    Shapes: images [N, C, R, R]; returns [N, C, R, R], [N, C, R/2, R/2], ...
    """
    pyramid = [images]
    while pyramid[-1].shape[-1] > _COARSEST:
        pyramid.append(F.avg_pool2d(pyramid[-1], 2))
    return pyramid


def pyramid_distance(images: Images, targets: Sequence[Tensor]) -> Float[Tensor, " N"]:
    """Mean squared error of each image, averaged over the levels of its pyramid.

    Coarse levels pull a misplaced face into place where single pixels have no say.

    Shapes: images [N, C, R, R], targets as `build_pyramid` gives them; returns [N].
    """
    levels = [
        (level - target).square().mean(dim=(1, 2, 3))
        for level, target in zip(build_pyramid(images), targets, strict=True)
    ]
    return torch.stack(levels).mean(dim=0)


def spread(codes: Tensor, space: Space, w_std: float) -> Float[Tensor, " N"]:
    """How far apart the codes of one image's layers are; 0 where a single code serves all.

    In z_plus only directions matter: 1 - |mean of the unit vectors|^2, between 0 and 1. In w_plus
    it is the mean squared distance to the layers' mean, in units of the variance of w.

    Shapes: codes [N, dim] or [N, num_ws, dim]; returns [N].
    """
    if space == "z_plus":
        return 1 - F.normalize(codes, dim=2).mean(dim=1).square().sum(dim=1)
    if space == "w_plus":
        deviation = codes - codes.mean(dim=1, keepdim=True)
        return deviation.square().mean(dim=(1, 2)) / w_std**2
    return codes.new_zeros(len(codes))


def prior(codes: Tensor, space: Space, w_avg: Tensor, w_std: float) -> Float[Tensor, " N"]:
    """Mean squared distance of w codes to the mean code, in units of the variance of w.

    A z code lies on a sphere that the model treats alike everywhere: no prior there.

    Shapes: codes [N, dim] or [N, num_ws, dim]; returns [N].
    """
    if space in ("z", "z_plus"):
        return codes.new_zeros(len(codes))
    return (codes - w_avg).square().flatten(1).mean(dim=1) / w_std**2


def noise_correlation(noise_maps: Sequence[Tensor]) -> Float[Tensor, " N"]:
    """Squared correlation of each noise map with itself one pixel on, at every scale down to 8.

    It keeps optimised noise noise: a map that draws a picture correlates with its neighbours.

    Shapes: maps [N, 1, R, R]; returns [N].
    Source: arXiv:1912.04958, section 5 (projection), the noise regularisation term.
    """
    terms = []
    for noise in noise_maps:
        level = noise
        while True:
            shifted = (level.roll(1, axis) for axis in (2, 3))
            terms += [(level * other).mean(dim=(1, 2, 3)).square() for other in shifted]
            if level.shape[-1] <= 8:
                break
            level = F.avg_pool2d(level, 2) * 2  # averaging halves the deviation of white noise
    return torch.stack(terms).sum(dim=0)
