"""Task of stage `train_parent`: images become the weights of a parent."""

from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from stylealign.models import ModelConfig
from stylealign.params import ShardsParams, TrainParentParams
from tasks.coverage import DataCoverage
from tasks.layout import reader_folder
from tasks.processes import joined_processes, own_device
from tasks.records import Record
from tasks.saying import warn
from tasks.training import finish_training, follow_training, parent_run


@task(cache_policy=NO_CACHE)
def train_from_scratch(
    params: TrainParentParams,
    images: Path | ShardsParams,
    snapshots: Path,
    device: str,
    record: Record,
) -> ModelConfig:
    """Train a parent on its images and save it as its own root.

    At each snapshot it is measured how much of its data's spread it draws.
    """
    with joined_processes(own_device(device)) as split:
        run = parent_run(params, images, snapshots, device, split)
        coverage = DataCoverage(run.training, run.batches.dataset, params.coverage, reader_folder())

        def measure() -> None:
            figures = coverage.measure().figures()
            numbers = {f"coverage.{name}": value for name, value in figures.items()}
            record.metrics(numbers, run.training.nimg)

        follow_training(run, record, measure)
    if coverage.complaint:
        warn(coverage.complaint)
    return finish_training(run, Path(params.model), coverage.tables())
