"""Where an inversion starts when no encoder says: at the nearest of the model's own samples."""

import torch
from torch import Tensor

from stylealign.inversion.losses import build_pyramid
from stylealign.models import Generator, Space
from stylealign.models.classes import draw_classes
from stylealign.models.latents import Images, Labels
from stylealign.portions import Portions

_NUM_STATISTICS = 2048
_LAYOUT = 16


def measure_w_std(generator: Generator) -> float:
    """Standard deviation of w around its mean, over all dimensions and classes."""
    rng = torch.Generator().manual_seed(0)
    z_dim = generator.mapping.network.z_dim
    z = torch.randn(_NUM_STATISTICS, z_dim, generator=rng).to(generator.w_avg.device)
    w = generator.mapping.network(z, draw_classes(generator, _NUM_STATISTICS, rng))
    return float((w - w.mean(dim=0)).square().mean().sqrt().clamp(min=1e-6))


def nearest_samples(
    images: Images,
    generator: Generator,
    c: Labels | None,
    space: Space,
    *,
    num: int,
    seed: int,
    batch_size: int,
) -> Tensor:
    """Code of the sample that looks most like each image; in w the mean code competes too.

    All images choose from the same candidates, so an image's start does not depend on the
    others; a conditional model draws the candidates anew for every class.

    Shapes: images [N, C, R, R]; returns [N, dim] or [N, num_ws, dim].
    """
    layouts = _layout(images)
    codes = images.new_empty((len(images), *code_shape(generator, space)))
    for rows, label in _rows_by_class(len(images), c, images.device):
        candidates, drawn = _draw_candidates(generator, label, space, num, seed, batch_size)
        nearest = torch.cdist(layouts[rows], drawn).argmin(dim=1)
        codes[rows] = candidates[nearest]
    return codes


def code_shape(generator: Generator, space: Space) -> tuple[int, ...]:
    """Shape of one image's code."""
    is_z = space in ("z", "z_plus")
    dim = generator.mapping.network.z_dim if is_z else len(generator.w_avg)
    return (generator.mapping.num_ws, dim) if space.endswith("_plus") else (dim,)


def _rows_by_class(
    num: int, c: Tensor | None, device: torch.device
) -> list[tuple[Tensor, Tensor | None]]:
    if c is None:
        return [(torch.arange(num, device=device), None)]
    classes, members = torch.unique(c, dim=0, return_inverse=True)
    return [
        (torch.nonzero(members == index)[:, 0], classes[index : index + 1])
        for index in range(len(classes))
    ]


def _draw_candidates(
    generator: Generator,
    label: Labels | None,
    space: Space,
    num: int,
    seed: int,
    batch_size: int,
) -> tuple[Tensor, Tensor]:
    """Codes of random samples and what they look like, coarsely."""
    rng = torch.Generator().manual_seed(seed)
    z = torch.randn(num, generator.mapping.network.z_dim, generator=rng)
    z = to_sphere(z.to(generator.w_avg.device))
    codes = z
    if space in ("w", "w_plus"):
        labels = None if label is None else label.expand(num, -1)
        codes = torch.cat([generator.w_avg[None], generator.mapping.network(z, labels)])
    single: Space = "w" if space in ("w", "w_plus") else "z"

    def layout(rows: slice) -> Tensor:
        labels = None if label is None else label.expand(len(codes[rows]), -1)
        return _layout(generator.synthesis(generator.to_w_plus(codes[rows], single, labels)))

    layouts = torch.cat(Portions(batch_size).map(len(codes), layout))
    if space.endswith("_plus"):
        return codes[:, None].expand(-1, generator.mapping.num_ws, -1), layouts
    return codes, layouts


def _layout(images: Images) -> Tensor:
    for level in build_pyramid(images):
        if level.shape[-1] <= _LAYOUT:
            return level.flatten(1)
    return images.flatten(1)


def to_sphere(codes: Tensor) -> Tensor:
    """Codes of unit mean square along the last axis: z as the mapping sees it."""
    return codes * (codes.square().mean(dim=-1, keepdim=True) + 1e-8).rsqrt()
