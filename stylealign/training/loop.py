"""The training loop: yields one Tick at a time, and can stop and go on between any two."""

import math
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from stylealign.errors import DivergenceError
from stylealign.training.state import Batches, Training
from stylealign.training.steps import train_step


@dataclass(frozen=True)
class Tick:
    """What happened since the last tick.

    Units: kimg in thousands of real images; images_per_sec of wall time; losses are means.
    """

    kimg: float
    total_kimg: float
    images_per_sec: float
    losses: dict[str, float]


def train(training: Training, batches: Batches, *, snapshot: Path | None = None) -> Iterator[Tick]:
    """Train until `recipe.total_kimg`, yielding a Tick every `recipe.tick_kimg`.

    With `snapshot`, the state goes to that file at the tick after every `snapshot_kimg` and at
    the end, and a run that finds the file goes on from it: the same bytes as an undisturbed run
    on one machine type with one thread count.

    Raises: DivergenceError if a loss is not finite; CheckpointError for a foreign snapshot.
    """
    recipe = training.recipe
    if snapshot is not None and snapshot.exists():
        training.load(snapshot, batches)
    next_tick = _next_multiple(training.kimg, recipe.tick_kimg)
    next_snapshot = _next_multiple(training.kimg, recipe.snapshot_kimg)
    pending: dict[str, list[Tensor]] = defaultdict(list)
    since, start_nimg = time.monotonic(), training.nimg
    while training.kimg < recipe.total_kimg:
        batch = next(batches)
        c = training.classes_of(batch)
        for name, value in train_step(training, batch.images, c).items():
            pending[name].append(value)
        is_done = training.kimg >= recipe.total_kimg
        if training.kimg < next_tick and not is_done:
            continue
        losses = _means(pending, training.kimg)
        training.history.append({"kimg": training.kimg, **losses})
        if snapshot is not None and (training.kimg >= next_snapshot or is_done):
            training.save(snapshot, batches)
            next_snapshot = _next_multiple(training.kimg, recipe.snapshot_kimg)
        speed = (training.nimg - start_nimg) / max(time.monotonic() - since, 1e-9)
        yield Tick(training.kimg, recipe.total_kimg, speed, losses)
        pending.clear()
        next_tick = _next_multiple(training.kimg, recipe.tick_kimg)
        since, start_nimg = time.monotonic(), training.nimg


def _next_multiple(kimg: float, interval: float) -> float:
    return (int(kimg / interval + 1e-9) + 1) * interval


def _means(pending: dict[str, list[Tensor]], kimg: float) -> dict[str, float]:
    """Mean of each loss.

    Raises: DivergenceError naming the first that is not finite.
    """
    losses = {name: torch.stack(values).mean().item() for name, values in pending.items()}
    for name, value in losses.items():
        if not math.isfinite(value):
            message = f"{name} became {value} by {kimg:.1f} kimg; lower g_lr and d_lr"
            raise DivergenceError(message)
    return losses
