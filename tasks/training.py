"""Task of stage `train_child`, and what it shares with `train_parent`: images become weights."""

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from stylealign.checkpoints import load_model, save_model
from stylealign.data.batches import TrainingBatches
from stylealign.data.dataset import ImageDataset, open_dataset
from stylealign.errors import DataError
from stylealign.models import Model, ModelConfig
from stylealign.models.precision import ADVICE, is_imitated
from stylealign.params import (
    AnalyzeParams,
    ShardsParams,
    StandingParams,
    TrainChildParams,
    TrainParentParams,
)
from stylealign.recipe import Recipe
from stylealign.standings import Standings
from stylealign.training import Training, train
from stylealign.training.classes import Classes, find_classes
from stylealign.training.snapshot import FREE_FIELDS, SnapshotFiles
from stylealign.training.split import Split
from tasks.interrupts import stop_on_interrupt
from tasks.layout import LabelledSets, feature_folder, reader_folder, snapshot_folder
from tasks.processes import joined_processes, own_device
from tasks.progress import progress
from tasks.readings import ChildReadings
from tasks.records import Record
from tasks.saying import tell, warn
from tasks.watching import PICTURES, Watch

HISTORY_FILE = "history.json"
STANDINGS_FILE = "standings.json"
KEY_DIGITS = 16
"""Length of what stands for everything that a training depends on in the names of its snapshots."""
CHANNELS = 3
"""Colours of the images in a prepared data set."""


@dataclass(frozen=True)
class Run:
    """A training that is ready to start or to go on, in this process."""

    name: str
    training: Training
    batches: TrainingBatches
    snapshot: Path


@task(cache_policy=NO_CACHE)
def fine_tune(
    child: str,
    parent_folder: Path,
    images: Path | ShardsParams,
    section: TrainChildParams,
    standing: StandingParams,
    folder: Path,
    device: str,
    record: Record,
    sets: LabelledSets | None,
    analyze: AnalyzeParams,
) -> ModelConfig:
    """Start from the parent, train on the child's images, save the child with its lineage.

    At each snapshot it is measured where the child stands; the one that the rule takes is saved.
    Where there are labelled `sets`, readers as of `analyze` look at it too, for the record alone.
    """
    logger = get_run_logger()
    with joined_processes(own_device(device)) as split:
        run = child_run(child, parent_folder, images, section, standing, device, split)
        parent = load_model(parent_folder, own_device(device))
        standings = Standings(
            run.training,
            parent,
            run.batches.dataset,
            standing,
            choose=section.choose,
            features=feature_folder(),
        )
        readings = ChildReadings(run.training, parent, sets, analyze, reader_folder(), warn)

        def measure() -> None:
            figures, seen = standings.measure().figures(), readings.measure()
            if seen is not None:
                logger.info("readers at %g kimg: %s", run.training.kimg, seen)
                figures |= seen.figures()
            numbers = {f"standing.{name}": value for name, value in figures.items()}
            record.metrics(numbers, run.training.nimg)

        follow_training(run, record, measure)
    kept = standings.keep(run.snapshot)
    record.tag(kept_kimg=f"{kept.kimg:g}")
    where = f"{kept.fidelity_name} {kept.fidelity:.4g}, likeness {kept.likeness:.3f}"
    tell(f"kept the child of {kept.kimg:g} of {run.training.kimg:g} kimg: {where}")
    return finish_training(run, folder, {STANDINGS_FILE: standings.summary(kept)})


def child_run(
    child: str,
    parent_folder: Path,
    images: Path | ShardsParams,
    section: TrainChildParams,
    standing: StandingParams,
    device: str,
    split: Split,
) -> Run:
    """A child that starts from its parent.

    Raises: DataError, CheckpointError or ParamsError if model, images and recipe do not fit.
    """
    recipe = section.recipe
    parent = load_model(parent_folder, own_device(device))
    dataset = open_images(images)
    require_images(dataset, parent.config)
    classes, shares = classes_of(dataset, recipe), class_shares(dataset, recipe)
    model = parent.new_child(child, data_hash=dataset.content_hash, class_shares=shares)
    training = Training(model, parent.generator, recipe, split=split, classes=classes)
    settings = section.model_dump(mode="json", exclude={"recipe"}), standing.model_dump(mode="json")
    key = snapshot_key(recipe, parent.config.id, dataset.content_hash, *settings)
    return make_run(child, training, dataset, snapshot_folder() / f"{child}-{key}.safetensors")


def parent_run(
    params: TrainParentParams,
    images: Path | ShardsParams,
    snapshots: Path,
    device: str,
    split: Split,
) -> Run:
    """A parent that starts from nothing.

    Raises: DataError if the section has no architecture and recipe.
    """
    if params.architecture is None or params.recipe is None:
        raise DataError(
            "train_parent has no architecture and recipe, so its model must be given: "
            f"put a checkpoint at {str(params.model)!r}, or add both to params.yaml"
        )
    dataset = open_images(images)
    classes = classes_of(dataset, params.recipe)
    config = ModelConfig(
        **params.architecture.model_dump(),
        c_dim=0 if classes is None else len(classes.shares),
        class_shares=class_shares(dataset, params.recipe),
        resolution=dataset.resolution,
        domain=params.dataset,
        data_hash=dataset.content_hash,
    )
    torch.manual_seed(params.recipe.seed)
    model = Model.new(config).to(own_device(device))
    training = Training(model, None, params.recipe, split=split, classes=classes)
    key = snapshot_key(
        params.recipe, config.model_dump_json(exclude={"kimg"}), dataset.content_hash
    )
    name = params.dataset
    return make_run(name, training, dataset, snapshots / f"{name}-{key}.safetensors")


def make_run(name: str, training: Training, dataset: ImageDataset, snapshot: Path) -> Run:
    """A training with the images of this process; says so where they are few."""
    recipe, split = training.recipe, training.split
    batches = TrainingBatches(
        dataset,
        recipe.batch_size // split.num_ranks,
        seed=recipe.seed,
        mirror=recipe.mirror,
        rank=split.rank,
        num_ranks=split.num_ranks,
    )
    if len(batches.ids) < recipe.batch_size:
        training.notes.append(
            f"{len(batches.ids)} images are fewer than the batch of {recipe.batch_size}: "
            "each batch shows some of them more than once"
        )
    if is_imitated(recipe.precision, training.G.w_avg.device):
        training.notes.append(ADVICE)
    return Run(name, training, batches, snapshot)


def follow_training(
    run: Run, record: Record, on_snapshot: Callable[[], None] = lambda: None
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
    for name, table in {HISTORY_FILE: run.training.history, **tables}.items():
        (folder / name).write_text(json.dumps(table, indent=1) + "\n", "utf-8")
    return config


@task(cache_policy=NO_CACHE)
def drop_snapshots(name: str, snapshots: Path) -> None:
    """Remove the snapshots and pictures of a model that is finished, of earlier recipes too.

    Not before all that follows the training is done: until then a killed stage starts from them.
    """
    own = f"{name}-{'[0-9a-f]' * KEY_DIGITS}"
    for path in snapshots.glob(f"{own}@*.safetensors"):
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
