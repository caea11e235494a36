"""Whether a run is sound: finite numbers, samples that differ, a discriminator that tells apart."""

import math
from collections import deque

import torch
from torch import Tensor

from stylealign.errors import CheckpointError, DataError
from stylealign.portions import Portions
from stylealign.training.requirements import require_batch, require_pixels
from stylealign.training.snapshot import optimizer_tensors
from stylealign.training.state import Training, stddev_group

NUM_SAMPLES = 16
"""Images that the figures are taken over."""

Real = tuple[Tensor, Tensor | None]
"""Images and, for a conditional model, their classes: [N, C, H, W] and [N, c_dim]."""


class Window:
    """The real images since the last tick, of which it keeps the newest few.

    It starts anew with each tick, so that a resumed run sees in it what an undisturbed one sees.
    """

    def __init__(self) -> None:
        self._newest: deque[Real] = deque()
        self._largest: list[Tensor] = []

    def add(self, training: Training, images: Tensor, c: Tensor | None) -> None:
        """Take in a batch and its classes.

        Raises: DataError if the images are not those that the model draws, or not so many.
        """
        num_images = training.recipe.batch_size // training.split.num_ranks
        require_batch(images, training.image_shape, num_images)
        self._largest.append(images.detach().abs().amax())
        self._newest.append((images, c))
        while sum(len(kept) for kept, _ in self._newest) - len(self._newest[0][0]) >= NUM_SAMPLES:
            self._newest.popleft()

    def close(self, training: Training) -> Real:
        """The newest images and their classes; the window is empty afterwards.

        Raises: DataError if an image since the last tick is not finite or far outside of [-1, 1],
            or all are alike.
        """
        images = torch.cat([kept for kept, _ in self._newest])
        classes = [c for _, c in self._newest if c is not None]
        largest = torch.stack(self._largest).amax()
        self._newest.clear()
        self._largest.clear()
        require_pixels(largest.item(), training.kimg)
        seen = unmirrored(images) if training.recipe.mirror else images
        if len(images) > 1 and spread_of(seen) < 1e-6:
            message = (
                f"the last {len(images)} real images are all alike; a model can only learn a "
                "domain from images that differ: check the data set"
            )
            raise DataError(message)
        return images, torch.cat(classes) if classes else None


@torch.no_grad()
def measure_health(training: Training, real: Tensor, c: Tensor | None = None) -> dict[str, float]:
    """Figures that show a collapse, means over all processes.

    `sample_spread` is the root mean square distance of 16 samples at fixed codes from their mean
    image, in units of that of the newest real images, or of pixels if there is only one: 0 if all
    samples are alike. `logit_spread` is the standard deviation of the discriminator's logits over
    these samples and real images: 0 if it tells nothing apart.

    Shapes: real [N, C, H, W], c [N, c_dim].
    """
    rng = torch.Generator().manual_seed(training.recipe.seed)
    z_dim = training.model.config.z_dim
    z = torch.randn(NUM_SAMPLES, z_dim, generator=rng).to(real.device)
    drawn = training.classes.draw(NUM_SAMPLES, rng).to(real.device) if training.classes else None

    def draw(rows: slice) -> Tensor:
        return training.G(z[rows], None if drawn is None else drawn[rows], noise="const")

    samples = torch.cat(training.portions.map(NUM_SAMPLES, draw))
    logits = torch.cat(
        [_judge(training, *seen, len(real)) for seen in ((samples, drawn), (real, c))]
    )
    unit = spread_of(real).clamp(min=1e-6) if len(real) > 1 else 1.0
    figures = torch.stack([spread_of(samples) / unit, logits.std()])
    sample_spread, logit_spread = training.split.average(figures).tolist()
    return {"sample_spread": sample_spread, "logit_spread": logit_spread}


def _judge(training: Training, images: Tensor, c: Tensor | None, most: int) -> Tensor:
    """D's logits of the first images, in portions of whole minibatch-stddev groups.

    Groups smaller than D's own, those of a batch below it, are looked at one by one: with more
    images at once D would take its own.
    """
    count, config = min(most, NUM_SAMPLES), training.model.config
    group = min(stddev_group(config, training.recipe.batch_size), count)
    count = count // group * group
    is_own = group == stddev_group(config, count)
    portions = training.portions if is_own else Portions(1)

    def part(values: Tensor, rows: slice) -> Tensor:
        return values[:count].unflatten(0, (group, -1))[:, rows].flatten(0, 1)

    def judge(rows: slice) -> Tensor:
        logits = training.D(part(images, rows), None if c is None else part(c, rows))
        return logits.unflatten(0, (group, -1))

    return torch.cat(portions.map(count // group, judge, unit=group), dim=1).flatten(0, 1)


def spread_of(images: Tensor) -> Tensor:
    """Root mean square distance of images from their mean image; 0 for a single one."""
    return (images - images.mean(dim=0)).square().mean().sqrt()


def unmirrored(images: Tensor) -> Tensor:
    """Each image or its x-flip, whichever is nearer to the first: copies of one are alike again."""
    mirrored, first = images.flip(3), images[:1]
    distances = [(seen - first).square().sum(dim=[1, 2, 3]) for seen in (images, mirrored)]
    is_mirrored = distances[1] < distances[0]
    return torch.where(is_mirrored[:, None, None, None], mirrored, images)


def find_divergence(training: Training, figures: dict[str, float]) -> str:
    """What is wrong with a tick, with the figure that shows it; empty if nothing is."""
    recipe = training.recipe
    for name, value in figures.items():
        if not math.isfinite(value):
            return f"{name} became {value}"
    if figures["sample_spread"] < recipe.min_sample_spread:
        return (
            f"samples became alike: sample_spread {figures['sample_spread']:.2g} of the real "
            f"images' own, expected at least {recipe.min_sample_spread:g}"
        )
    if figures["logit_spread"] < recipe.min_logit_spread:
        return (
            f"the discriminator became constant: logit_spread {figures['logit_spread']:.2g}, "
            f"expected at least {recipe.min_logit_spread:g}"
        )
    broken = first_broken_tensor(training)
    return f"tensor {broken} became not finite" if broken else ""


def first_broken_tensor(training: Training) -> str:
    """Name of the first tensor with a value that is not finite; empty if there is none.

    Moments count: an infinite one makes every later step of its weight nothing.
    """
    for network, module in (("G", training.G), ("D", training.D), ("G_ema", training.G_ema)):
        for name, tensor in module.state_dict().items():
            if not torch.isfinite(tensor).all():
                return f"{network}.{name}"
    for prefix, optimizer in (("G", training.g_optimizer), ("D", training.d_optimizer)):
        for name, tensor in optimizer_tensors(optimizer, f"{prefix}.optimizer").items():
            if not torch.isfinite(tensor).all():
                return name
    return ""


def require_finite_weights(training: Training) -> None:
    """Check a model before it is trained.

    Raises: CheckpointError naming the first tensor that is not finite.
    """
    broken = first_broken_tensor(training)
    if broken:
        message = (
            f"tensor {broken} of the model to train holds values that are not finite; "
            "take a whole checkpoint"
        )
        raise CheckpointError(message)
