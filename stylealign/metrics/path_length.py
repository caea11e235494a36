"""Perceptual path length: how much images change along short steps between random codes."""

from collections.abc import Callable, Sequence
from typing import Final, Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from stylealign.errors import DataError
from stylealign.metrics.perceptual import perceptual_distance
from stylealign.models import Generator
from stylealign.models.classes import draw_classes

Sampling: TypeAlias = Literal["end", "full"]
"""Steps begin at one of the two codes, or anywhere between them."""
PathSpace: TypeAlias = Literal["z", "w"]
Draw: TypeAlias = Callable[[Tensor], Tensor]
"""Codes of one space [N, D] to images [N, 3, H, W]."""

EPSILON: Final = 1e-4
TRIMMED_PERCENT: Final = 1
MAX_LOOKED_AT_PX: Final = 256
"""Larger images are averaged down to this side before they are looked at, as the reference does."""


@runtime_checkable
class Look(Protocol):
    """Feature maps of images, as `perceptual_distance` compares them."""

    @property
    def name(self) -> str:
        """The name that metrics carry."""
        ...

    def __call__(self, images: Float[Tensor, "N 3 H W"]) -> list[Float[Tensor, "N _ _ _"]]:
        """Return feature maps of images with pixels in [-1, 1]."""
        ...


def perceptual_path_length(
    generator: Generator,
    look: Look,
    *,
    num_paths: int,
    rng: torch.Generator,
    space: PathSpace = "w",
    sampling: Sampling = "end",
    batch_size: int = 50,
    shares: Sequence[float] = (),
) -> float:
    """Measure the perceptual path length of a generator: lower is smoother.

    Each path joins two random codes of one class, drawn uniformly or by `shares`; a step of 1e-4 of
    it is drawn at both ends, with equal noise, and their perceptual distance is divided by the
    square of 1e-4. The mean leaves out what lies under the 1st and over the 99th percentile. In
    float32 rounding moves it by less than 0.1 % (measured at 32 pixels), in TF32 to many times its
    value: set `torch.backends.cudnn.allow_tf32 = False` on a GPU. Networks in float64 are kept so.

    Units:  that of the perceptual distance; only figures of one `look` can be compared.
    Raises: DataError if there is no path to measure.
    Source: Karras et al., arXiv:1812.04948, section 4.1; end sampling in w, arXiv:1912.04958.
    """
    lengths: list[Tensor] = []
    for start in range(0, num_paths, batch_size):
        size = min(batch_size, num_paths - start)
        z = torch.randn(2, size, generator.mapping.network.z_dim, generator=rng)
        place = torch.rand(size, 1, generator=rng) if sampling == "full" else torch.zeros(size, 1)
        c = draw_classes(generator, size, rng, shares)
        with torch.no_grad():
            draw, first, last = _in_space(space, generator, z.to(generator.w_avg), c)
            steps = step_lengths(draw, look, first, last, place.to(first), is_arc=space == "z")
        lengths.append(steps.cpu())
    return trimmed_mean(torch.cat(lengths).numpy() if lengths else np.empty(0))


def step_lengths(
    draw: Draw,
    look: Look,
    first: Float[Tensor, "N D"],
    last: Float[Tensor, "N D"],
    place: Float[Tensor, "N 1"],
    *,
    is_arc: bool,
) -> Float[Tensor, " N"]:
    """Distance of the images at both ends of a short step, divided by the square of the step.

    `is_arc` goes along the great circle through both codes, as z lives on a sphere, instead of
    the straight line.

    Shapes: place is where steps begin, in [0, 1] between the codes; returns [N].
    """
    between = _along_arc if is_arc else torch.lerp
    codes = torch.cat([between(first, last, place), between(first, last, place + EPSILON)])
    near, far = (look(_shrink(images)) for images in draw(codes).chunk(2))
    return perceptual_distance(far, near).double() / EPSILON**2


def trimmed_mean(lengths: np.ndarray) -> float:
    """Mean of what lies between the percentiles 1 and 99, the nearest values outwards included.

    Raises: DataError if there is nothing, or a length is not finite.
    """
    if len(lengths) == 0 or not np.isfinite(lengths).all():
        message = f"{len(lengths)} path lengths have no finite mean; expected at least one path"
        raise DataError(f"{message}, and a generator whose images are finite")
    low = np.percentile(lengths, TRIMMED_PERCENT, method="lower")
    high = np.percentile(lengths, 100 - TRIMMED_PERCENT, method="higher")
    return float(lengths[(lengths >= low) & (lengths <= high)].mean())


def _in_space(
    space: PathSpace, generator: Generator, z: Tensor, c: Tensor | None
) -> tuple[Draw, Tensor, Tensor]:
    """How codes of a space are drawn, and both ends of every path in it."""
    both = None if c is None else torch.cat([c, c])
    if space == "z":
        return lambda codes: generator(codes, both), z[0], z[1]
    first, last = (generator.mapping(end, c)[:, 0] for end in z)
    return lambda codes: generator.synthesis(generator.to_w_plus(codes, "w")), first, last


def _along_arc(first: Tensor, last: Tensor, place: Tensor) -> Tensor:
    """Codes on the great circle from one direction to another, of unit length."""
    start, stop = functional.normalize(first, dim=1), functional.normalize(last, dim=1)
    cosine = (start * stop).sum(1, keepdim=True).clamp(-1.0, 1.0)
    # what is left of the second direction without the first; 0 where they are parallel
    across = functional.normalize(stop - cosine * start, dim=1)
    angle = place * torch.arccos(cosine)
    return start * angle.cos() + across * angle.sin()


def _shrink(images: Tensor) -> Tensor:
    factor = images.shape[-1] // MAX_LOOKED_AT_PX
    return functional.avg_pool2d(images, factor) if factor > 1 else images
