"""Tasks of stages `train_parent` and `train_child`: images become model weights."""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from prefect import task
from prefect.cache_policies import NO_CACHE

from stylealign.checkpoints import load_model, save_model
from stylealign.data.batches import TrainingBatches
from stylealign.data.dataset import ImageDataset, open_dataset
from stylealign.errors import DataError
from stylealign.models import Model, ModelConfig
from stylealign.params import TrainParentParams
from stylealign.recipe import Recipe
from stylealign.training import Tick, Training, train
from stylealign.training.classes import Classes, find_classes
from tasks.progress import progress
from tasks.records import Record

HISTORY_FILE = "history.json"


@task(cache_policy=NO_CACHE)
def fine_tune(
    child: str,
    parent_folder: Path,
    data_folder: Path,
    recipe: Recipe,
    folder: Path,
    snapshots: Path,
    device: str,
    record: Record,
) -> ModelConfig:
    """Start from the parent, train on the child's images, save the child with its lineage."""
    parent, model = load_model(parent_folder, device), load_model(parent_folder, device)
    dataset = open_dataset(data_folder)
    require_resolution(dataset, model.config)
    training = Training(model, parent.generator, recipe, classes=classes_of(dataset, recipe))
    key = snapshot_key(parent.config.id, dataset.content_hash, recipe)
    run_training(training, dataset, snapshots / f"{child}-{key}.safetensors", child, record)
    model.config = model.config.model_copy(
        update={
            "domain": child,
            "parent_id": parent.config.id,
            "root_id": parent.config.root_id or parent.config.id,
            "lineage": "trained",
            "kimg": training.kimg,
            "data_hash": dataset.content_hash,
        }
    )
    return finish_training(training, folder, snapshots, child)


@task(cache_policy=NO_CACHE)
def train_from_scratch(
    params: TrainParentParams,
    data_folder: Path,
    snapshots: Path,
    device: str,
    record: Record,
) -> ModelConfig:
    """Train a parent on its images and save it as its own root."""
    if params.architecture is None or params.recipe is None:
        raise DataError(
            "train_parent has no architecture and recipe, so its model must be given: "
            f"put a checkpoint at {str(params.model)!r}, or add both to params.yaml"
        )
    dataset = open_dataset(data_folder)
    classes = classes_of(dataset, params.recipe)
    config = ModelConfig(
        **params.architecture.model_dump(),
        c_dim=0 if classes is None else len(classes.shares),
        resolution=dataset.resolution,
        domain=params.dataset,
        data_hash=dataset.content_hash,
        kimg=params.recipe.total_kimg,
    )
    torch.manual_seed(params.recipe.seed)
    training = Training(Model.new(config).to(device), None, params.recipe, classes=classes)
    key = snapshot_key(config.model_dump_json(), dataset.content_hash, params.recipe)
    name = params.dataset
    run_training(training, dataset, snapshots / f"{name}-{key}.safetensors", name, record)
    return finish_training(training, Path(params.model), snapshots, name)


def run_training(
    training: Training,
    dataset: ImageDataset,
    snapshot: Path,
    name: str,
    record: Record,
) -> None:
    """Train to the end, or go on from the snapshot; ticks go to the bar and to the record."""
    recipe = training.recipe
    batches = TrainingBatches(dataset, recipe.batch_size, seed=recipe.seed, mirror=recipe.mirror)
    with progress(f"train {name}", recipe.total_kimg, unit="kimg") as bar:
        follow = follow_ticks(bar.advance, record)
        for tick in train(training, batches, snapshot=snapshot):
            follow(tick)


def follow_ticks(advance: Callable[[float], None], record: Record) -> Callable[[Tick], None]:
    """A listener that moves a bar to each tick's kimg and logs its losses at that image."""
    last = 0.0

    def follow(tick: Tick) -> None:
        nonlocal last
        advance(tick.kimg - last)
        last = tick.kimg
        losses: Mapping[str, float] = tick.losses
        numbers = {f"loss.{name}": value for name, value in losses.items()}
        record.metrics(numbers | {"images_per_sec": tick.images_per_sec}, int(tick.kimg * 1000))

    return follow


def finish_training(training: Training, folder: Path, snapshots: Path, name: str) -> ModelConfig:
    """Save the model and its history, and drop the snapshots, which have done their work."""
    config = save_model(training.model, folder)
    history = json.dumps(training.history, indent=1) + "\n"
    (folder / HISTORY_FILE).write_text(history, "utf-8")
    for path in snapshots.glob(f"{name}-*.safetensors"):
        path.unlink()
    return config


def classes_of(dataset: ImageDataset, recipe: Recipe) -> Classes | None:
    """The classes that the recipe conditions the model on; None for an unconditional one."""
    return find_classes(dataset, recipe.classes) if recipe.classes else None


def require_resolution(dataset: ImageDataset, config: ModelConfig) -> None:
    """Refuse images of another size than the model draws.

    Raises: DataError that names both.
    """
    if dataset.resolution != config.resolution:
        raise DataError(
            f"{str(dataset.folder)!r} has images of {dataset.resolution} pixels, the parent draws "
            f"{config.resolution}: set resolution to {config.resolution} in prepare"
        )


def snapshot_key(start: str, content_hash: str, recipe: Recipe) -> str:
    """A name that changes with all that training depends on, so a snapshot never fits another."""
    text = json.dumps([start, content_hash, recipe.model_dump(mode="json")], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
