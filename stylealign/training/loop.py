"""The training loop: yields one Tick at a time, and can stop and go on between any two."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from stylealign.errors import DataError
from stylealign.training.fallback import Fallback
from stylealign.training.health import (
    Window,
    find_divergence,
    measure_health,
    require_finite_weights,
)
from stylealign.training.requirements import require_mirrored
from stylealign.training.state import Batch, Batches, ImageBatches, Training
from stylealign.training.steps import train_step


@dataclass(frozen=True)
class Tick:
    """What happened since the last tick.

    Units: kimg in thousands of real images; images_per_sec of wall time, over all processes;
        losses are means, and figures are those that show whether the run is sound.
    """

    kimg: float
    total_kimg: float
    images_per_sec: float
    losses: dict[str, float]
    figures: dict[str, float]
    notes: tuple[str, ...] = ()
    """What the run had to adapt to since the last tick, in sentences."""


def train(
    training: Training,
    batches: Batches,
    *,
    snapshot: str | Path | None = None,
    on_snapshot: Callable[[], object] = lambda: None,
    should_stop: Callable[[], bool] = lambda: False,
    on_step: Callable[[float], None] = lambda _: None,
) -> Iterator[Tick]:
    """Train until `recipe.total_kimg`, yielding a Tick every `recipe.tick_kimg`.

    With `snapshot`, the state goes to files of that name with the kimg behind it (see
    `SnapshotFiles`) at the tick after every `snapshot_kimg` and at the end, and a run that finds
    some goes on from the newest: the same bytes as an undisturbed run on one machine type with
    one thread count. `on_snapshot` is called just before a regular snapshot, to measure the model:
    what it notes by `note_measured` and in `training.contenders` is part of it; the others of
    several processes wait. `should_stop` is asked at each tick: if so, the state is written and the
    iterator ends early, at a `training.kimg` below the total. `on_step` hears the kimg after each
    step, for a bar that moves within ticks.

    A tick whose numbers are not finite, or whose samples or logits have collapsed, is undone: the
    run goes back to the last regular snapshot, with lower learning rates.

    Raises: DivergenceError if it has gone back `max_rollbacks` times; DataError for images that
        do not fit the model, are not finite or all alike, or come to an end, or a snapshot that
        cannot be written; CheckpointError for a foreign snapshot, or weights that are not finite;
        ParamsError if the batches do not mirror as the recipe says.
    """
    recipe = training.recipe
    require_finite_weights(training)
    if isinstance(batches, ImageBatches):
        require_mirrored(recipe, is_mirrored=batches.mirror)
        note_few_images(training, len(batches.ids))
    training.split.copy_from_first([training.G, training.D, training.G_ema])
    fallback = Fallback(training, batches, snapshot)
    device = training.G.w_avg.device
    while training.kimg < recipe.total_kimg:
        since, start_nimg = time.monotonic(), training.nimg
        next_snapshot = next_multiple(training.nimg, recipe.snapshot_kimg)
        losses, figures = _train_to_tick(training, batches, device, on_step)
        reason = find_divergence(training, losses | figures)
        if reason:
            fallback.fall_back(reason)
            continue
        times = {"rollbacks": float(len(training.rollbacks))} if training.rollbacks else {}
        training.note_kimg()
        training.history.append({"kimg": training.kimg, **losses, **figures, **times})
        is_done = training.kimg >= recipe.total_kimg
        if is_done or training.nimg >= next_snapshot:
            on_snapshot()
            fallback.keep()
        speed = (training.nimg - start_nimg) / max(time.monotonic() - since, 1e-9)
        notes = tuple(training.notes)
        training.notes.clear()
        yield Tick(training.kimg, recipe.total_kimg, speed, losses, figures, notes)
        if not is_done and training.split.agree(should_stop(), device):
            fallback.stop()
            return


def note_few_images(training: Training, num_images: int) -> None:
    """Say so if there are fewer images than a batch takes."""
    if num_images < training.recipe.batch_size:
        training.notes.append(
            f"{num_images} images are fewer than the batch of {training.recipe.batch_size}: "
            "each batch shows some of them more than once"
        )


def _train_to_tick(
    training: Training,
    batches: Batches,
    device: torch.device,
    on_step: Callable[[float], None],
) -> tuple[dict[str, float], dict[str, float]]:
    """Means of the losses up to the next tick, and the figures of health at it."""
    recipe, window = training.recipe, Window()
    next_tick = next_multiple(training.nimg, recipe.tick_kimg)
    pending: dict[str, list[Tensor]] = defaultdict(list)
    while training.nimg < next_tick and training.kimg < recipe.total_kimg:
        batch = _next_batch(training, batches)
        real = batch.images.to(device, non_blocking=True)
        c = training.classes_of(batch)
        window.add(training, real, c)
        for name, value in train_step(training, real, c).items():
            pending[name].append(value)
        on_step(training.kimg)
    newest = window.close(training)
    means = [torch.stack(values).mean().to(device) for values in pending.values()]
    averaged = training.split.average_all(means)
    losses = {name: value.item() for name, value in zip(pending, averaged, strict=True)}
    norms = {name: losses.pop(name) for name in [*losses] if name.startswith("grad_norm")}
    return losses, norms | measure_health(training, *newest)


def _next_batch(training: Training, batches: Batches) -> Batch:
    """The next real images.

    Raises: DataError if they have come to an end.
    """
    try:
        return next(batches)
    except StopIteration:
        message = f"the batches ended by {training.kimg:.3f} of {training.recipe.total_kimg:g} kimg"
        raise DataError(f"{message}: they have to go on without end, pass after pass") from None


def next_multiple(nimg: int, interval_kimg: float) -> int:
    """The first multiple of an interval behind this point, in whole images."""
    interval = max(round(1000 * interval_kimg), 1)
    return (nimg // interval + 1) * interval
