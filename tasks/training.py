"""What `train_child` and `train_parent` share: images become weights, in runs that go on."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stylealign.checkpoints import save_model
from stylealign.checkpoints.beside import HISTORY_FILE
from stylealign.data.batches import TrainingBatches
from stylealign.data.dataset import ImageDataset, open_dataset
from stylealign.errors import DataError
from stylealign.models import ModelConfig
from stylealign.models.precision import ADVICE, is_imitated
from stylealign.params import ShardsParams
from stylealign.recipe import Recipe
from stylealign.training import Training, train
from stylealign.training.classes import Classes, find_classes
from stylealign.training.requirements import require_colours
from stylealign.training.snapshot import SnapshotFiles
from tasks.interrupts import stop_on_interrupt
from tasks.progress import progress
from tasks.records import LiveRecord
from tasks.saying import warn
from tasks.snapshots import note_other_runs, settle_start, snapshot_key
from tasks.watching import Watch


@dataclass(frozen=True)
class Run:
    """A training that is ready to start or to go on, in this process."""

    name: str
    training: Training
    batches: TrainingBatches
    snapshot: Path
    tables: dict[str, object] = field(default_factory=dict[str, object])
    """What is known of it before it starts, by the name of the file beside the model."""

    @property
    def files(self) -> SnapshotFiles:
        """Its snapshots, up to its end."""
        return SnapshotFiles.of(self.snapshot, self.training.recipe)


def make_run(
    name: str,
    training: Training,
    dataset: ImageDataset,
    base: Path,
    settings: Sequence[object],
    only: Sequence[str] | None = None,
) -> Run:
    """A training with the images of this process, or some of them.

    Its snapshots are called as `base`, and a key of all that it depends on: the recipe, the images
    and the `settings`.
    """
    recipe, split = training.recipe, training.split
    batches = TrainingBatches(
        dataset,
        recipe.batch_size // split.num_ranks,
        seed=recipe.seed,
        only=only,
        labels=[recipe.classes] if recipe.classes else [],
        mirror=recipe.mirror,
        rank=split.rank,
        num_ranks=split.num_ranks,
    )
    key = snapshot_key(recipe, batches.content_hash, *settings)
    snapshot = base.with_name(f"{base.name}-{key}.safetensors")
    note_other_runs(training, snapshot)
    if is_imitated(recipe.precision, training.G.w_avg.device):
        training.notes.append(ADVICE)
    return Run(name, training, batches, snapshot)


def follow_training(
    run: Run, record: LiveRecord, on_snapshot: Callable[[], None] = lambda: None
) -> None:
    """Train to the end, or go on from the snapshot; ticks go to the bar and to the record.

    Raises: KeyboardInterrupt after Ctrl-C, once the state is saved.
    """
    training, total = run.training, run.training.recipe.total_kimg
    settle_start(training, run.snapshot)
    watch = Watch(training, run.snapshot, record)
    with progress(f"train {run.name}", total, unit="kimg") as bar, stop_on_interrupt() as stop:
        bar.reach(run.files.newest_kimg(total))
        ticks = train(
            training,
            run.batches,
            snapshot=run.snapshot,
            on_snapshot=on_snapshot,
            should_stop=stop,
            on_step=bar.reach,
        )
        for tick in ticks:
            bar.describe(f"train {run.name}, {tick.images_per_sec:.0f} images/s")
            watch.follow(tick, warn)
        bar.reach(training.kimg)  # of a run that was done already there is no tick
    if training.rollbacks:
        record.tag(rollbacks=json.dumps(training.rollbacks))
    if training.kimg < total:
        message = f"stopped at {training.kimg:g} of {total:g} kimg, the state is saved"
        raise KeyboardInterrupt(f"{message}; run the same command again to go on from there")
    watch.finish()


def finish_training(run: Run, folder: Path, tables: Mapping[str, object]) -> SnapshotFiles:
    """Save the model, its history and more tables by file name.

    Returns the snapshots, which stay until all is done that follows.
    """
    save_model(run.training.model, folder)
    for name, table in {HISTORY_FILE: run.training.history, **run.tables, **tables}.items():
        (folder / name).write_text(json.dumps(table, indent=1) + "\n", "utf-8")
    return run.files


def classes_of(dataset: ImageDataset, recipe: Recipe) -> Classes | None:
    """The classes that the recipe conditions the model on; None for an unconditional one."""
    if not recipe.classes:
        return None
    return find_classes(dataset, recipe.classes, mirror=recipe.mirror)


def class_shares(dataset: ImageDataset, recipe: Recipe) -> tuple[float, ...]:
    """How often the images themselves have each class; empty for an unconditional model."""
    if not recipe.classes:
        return ()
    return tuple(find_classes(dataset, recipe.classes).shares.tolist())


def open_images(where: Path | ShardsParams) -> ImageDataset:
    """The images to train on; those at a URL must be the ones that are meant.

    Raises: DataError if they cannot be read, or have another content hash.
    """
    if isinstance(where, Path):
        return open_dataset(where)
    dataset = open_dataset(where.url)
    if dataset.content_hash != where.content_hash:
        raise DataError(
            f"{where.url!r} has content_hash {dataset.content_hash!r}, "
            f"expected {where.content_hash!r}: correct shards in params.yaml if these are the "
            "images that are meant"
        )
    return dataset


def require_images(dataset: ImageDataset, config: ModelConfig) -> None:
    """Refuse images of another size, or other channels, than the model draws.

    Raises: DataError that names both.
    """
    if dataset.resolution != config.resolution:
        raise DataError(
            f"{str(dataset.folder)!r} has images of {dataset.resolution} pixels, the parent draws "
            f"{config.resolution}: set resolution to {config.resolution} in prepare"
        )
    require_colours(config)
