"""What `train_child` and `train_parent` share: images become weights, in runs that go on."""

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

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
from stylealign.training.snapshot import (
    FREE_FIELDS,
    PARTIAL,
    SnapshotFiles,
    kimg_of,
    peek,
    recipe_changes,
)
from tasks.interrupts import stop_on_interrupt
from tasks.progress import progress
from tasks.records import LiveRecord
from tasks.saying import warn
from tasks.watching import PICTURES, Watch

KEY_DIGITS = 16
"""Length of what stands for everything that a training depends on in the names of its snapshots."""
KEY = "[0-9a-f]" * KEY_DIGITS
CHANNELS = 3
"""Colours of the images in a prepared data set."""


@dataclass(frozen=True)
class Run:
    """A training that is ready to start or to go on, in this process."""

    name: str
    training: Training
    batches: TrainingBatches
    snapshot: Path
    tables: dict[str, object] = field(default_factory=dict[str, object])
    """What is known of it before it starts, by the name of the file beside the model."""


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


def note_other_runs(training: Training, snapshot: Path) -> None:
    """Say if the run starts anew though snapshots of its name lie there, and what is different."""
    stem = snapshot.stem[:-KEY_DIGITS] + KEY
    named = {path.name.rpartition("@")[0] for path in snapshot.parent.glob(f"{stem}@*")}
    bases = [snapshot.with_name(f"{name}{snapshot.suffix}") for name in named]
    others = [path for base in bases for path in SnapshotFiles(base).all()]
    if not others or SnapshotFiles(snapshot).all():
        return
    newest = max(others, key=kimg_of)
    saved = peek(newest).get("recipe")
    changed = recipe_changes(saved, training.recipe) if saved else []
    what = f"other {', '.join(changed)}" if changed else "other images, start or settings"
    training.notes.append(
        f"starts anew: the snapshot of {kimg_of(newest):g} kimg that lies there has {what}; put "
        "that back to go on from it"
    )


def follow_training(
    run: Run, record: LiveRecord, on_snapshot: Callable[[], None] = lambda: None
) -> None:
    """Train to the end, or go on from the snapshot; ticks go to the bar and to the record.

    Raises: KeyboardInterrupt after Ctrl-C, once the state is saved.
    """
    training, total = run.training, run.training.recipe.total_kimg
    watch = Watch(training, run.snapshot, record)
    with progress(f"train {run.name}", total, unit="kimg") as bar, stop_on_interrupt() as stop:
        bar.reach(SnapshotFiles(run.snapshot).newest_kimg(total))
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


def finish_training(run: Run, folder: Path, tables: Mapping[str, object]) -> ModelConfig:
    """Save the model, its history and more tables by file name.

    Returns the config as saved.
    """
    config = save_model(run.training.model, folder)
    for name, table in {HISTORY_FILE: run.training.history, **run.tables, **tables}.items():
        (folder / name).write_text(json.dumps(table, indent=1) + "\n", "utf-8")
    return config


@task(cache_policy=NO_CACHE)
def drop_snapshots(name: str, snapshots: Path) -> None:
    """Remove the snapshots and pictures of a model that is finished, of earlier recipes too.

    Not before all that follows the training is done: until then a killed stage starts from them.
    """
    own = f"{name}-{KEY}"
    for end in (".safetensors", PARTIAL):
        for path in snapshots.glob(f"{own}@*{end}"):
            path.unlink()
    for folder in snapshots.glob(f"{own}{PICTURES}"):
        shutil.rmtree(folder, ignore_errors=True)


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
    if config.img_channels != CHANNELS:
        raise DataError(
            f"{str(dataset.folder)!r} has images of {CHANNELS} channels, the parent draws "
            f"{config.img_channels}: take a parent that draws colour images"
        )


def snapshot_key(recipe: Recipe, *others: object) -> str:
    """A name that changes with all that training depends on, so a snapshot never fits another.

    A run that is made longer or shorter keeps its name: it goes on from what is there.
    """
    text = json.dumps(
        [recipe.model_dump(mode="json", exclude=FREE_FIELDS), *others], sort_keys=True
    )
    return hashlib.sha256(text.encode()).hexdigest()[:KEY_DIGITS]
