"""Task of stage `train_parent`: images become the weights of a parent."""

from pathlib import Path

import torch
from prefect import task
from prefect.cache_policies import NO_CACHE

from stylealign.checkpoints.weights import check_config
from stylealign.errors import CheckpointError, DataError, ParamsError
from stylealign.models import Model
from stylealign.params import ShardsParams, TrainParentParams
from stylealign.training import Training
from stylealign.training.snapshot import SnapshotFiles
from stylealign.training.split import Split
from tasks.coverage import DataCoverage
from tasks.layout import reader_folder
from tasks.processes import joined_processes, own_device
from tasks.records import LiveRecord, Record
from tasks.saying import warn
from tasks.training import (
    Run,
    class_shares,
    classes_of,
    finish_training,
    follow_training,
    make_run,
    open_images,
)


@task(cache_policy=NO_CACHE)
def train_from_scratch(
    params: TrainParentParams,
    images: Path | ShardsParams,
    snapshots: Path,
    device: str,
    record: Record,
) -> SnapshotFiles:
    """Train a parent on its images and save it as its own root.

    At each snapshot it is measured how much of its data's spread it draws.

    Returns the snapshots, which stay until all is done that follows.
    """
    live = LiveRecord(record, warn)
    with joined_processes(own_device(device)) as split:
        run = parent_run(params, images, snapshots, device, split)
        coverage = DataCoverage(run.training, run.batches.dataset, params.coverage, reader_folder())

        def measure() -> None:
            figures = coverage.measure().figures()
            numbers = {f"coverage.{name}": value for name, value in figures.items()}
            live.metrics(numbers, run.training.nimg)

        follow_training(run, live, measure)
        coverage.catch_up()
    if coverage.complaint:
        warn(coverage.complaint)
    return finish_training(run, Path(params.model), coverage.tables())


def parent_run(
    params: TrainParentParams,
    images: Path | ShardsParams,
    snapshots: Path,
    device: str,
    split: Split,
) -> Run:
    """A parent that starts from nothing.

    Raises: DataError if the section has no architecture and recipe; ParamsError if that does not
        fit the images.
    """
    if params.architecture is None or params.recipe is None:
        raise DataError(
            "train_parent has no architecture and recipe, so its model must be given: "
            f"put a checkpoint at {str(params.model)!r}, or add both to params.yaml"
        )
    dataset = open_images(images)
    classes = classes_of(dataset, params.recipe)
    fields = params.architecture.model_dump() | {
        "c_dim": 0 if classes is None else len(classes.shares),
        "class_shares": [*class_shares(dataset, params.recipe)],
        "resolution": dataset.resolution,
        "domain": params.dataset,
        "data_hash": dataset.content_hash,
    }
    try:
        config = check_config(fields, "train_parent.architecture")
    except CheckpointError as error:
        message = f"{error}; the images of {params.dataset!r} have {dataset.resolution} pixels"
        raise ParamsError(f"{message}: correct params.yaml") from error
    torch.manual_seed(params.recipe.seed)
    model = Model.new(config).to(own_device(device))
    training = Training(model, None, params.recipe, split=split, classes=classes)
    base, settings = snapshots / snapshots_of(params.dataset), [training.origin]
    return make_run(params.dataset, training, dataset, base, settings)


def snapshots_of(dataset: str) -> str:
    """How the names of a parent's snapshots begin: no child can be called so."""
    return f"parent.{dataset}"
