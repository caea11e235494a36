"""What training spends beside its networks, and how fast the loader is against it.

`python -m benchmarks.loop_overhead`. Figures are CPU time of this process, so that other work on
the machine does not count: whole ticks as a stage runs them (batches from Parquet shards, health,
pictures, MLflow records), and within them the steps of the networks without the weight average.
Then what it takes to go on from the snapshot that this run leaves.
"""

import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Annotated

import mlflow
import numpy as np
import torch
import typer
from rich.console import Console

from benchmarks.people32 import CONFIG
from stylealign.data.batches import TrainingBatches
from stylealign.data.dataset import ImageDataset, open_dataset
from stylealign.data.labels import parse_schema
from stylealign.data.prepare import prepare
from stylealign.data.procedural import label_schema
from stylealign.data.sources import ProceduralSource
from stylealign.models import Model
from stylealign.recipe import Recipe
from stylealign.training import Training, loop, steps, train
from tasks.records import LiveRecord, Record
from tasks.watching import Watch

NUM_IMAGES = 1000
LARGE = 256
"""Pixels of a second data set, for the loader alone."""
RECIPE = Recipe(
    total_kimg=1.92,
    tick_kimg=0.64,
    snapshot_kimg=1.28,
    batch_size=16,
    r1_gamma=0.3,
    picture_ticks=2,
)


class Stopwatch:
    """CPU time spent inside functions that it watches."""

    def __init__(self) -> None:
        self.seconds = 0.0

    @contextmanager
    def watch(self, module: ModuleType, name: str) -> Generator[None]:
        """Time every call of a module's function while the block lasts."""
        usual: Callable[..., object] = getattr(module, name)

        def timed(*arguments: object, **options: object) -> object:
            started = time.process_time()
            result = usual(*arguments, **options)
            self.seconds += time.process_time() - started
            return result

        setattr(module, name, timed)
        try:
            yield
        finally:
            setattr(module, name, usual)


def drawn_set(folder: Path, resolution: int) -> ImageDataset:
    """A prepared data set of drawn cats."""
    prepare(
        ProceduralSource("cats", NUM_IMAGES, seed=1, resolution=resolution),
        folder,
        resolution=resolution,
        schema=parse_schema(label_schema("cats")),
        fractions={"train": 1.0, "val": 0.0, "test": 0.0},
        seed=0,
        shard_size=NUM_IMAGES // 4,
        max_rejected_fraction=0.0,
        near_duplicate_bits=0,
    )
    return open_dataset(folder)


def measure_overhead(dataset: ImageDataset, folder: Path) -> tuple[float, float, float]:
    """Seconds of whole ticks, of the networks alone, and of the weight average."""
    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    artifacts = (folder / "artifacts").as_uri()  # beside the store, not in the current folder
    mlflow.set_experiment(experiment_id=mlflow.create_experiment("overhead", artifacts))
    torch.manual_seed(0)
    parent = Model.new(CONFIG).generator
    training = Training(Model.new(CONFIG), parent, RECIPE)
    batches = TrainingBatches(dataset, RECIPE.batch_size, seed=0)
    networks, average = Stopwatch(), Stopwatch()
    with mlflow.start_run() as run:
        record = LiveRecord(Record(run.info.run_id), print)
        watch = Watch(training, folder / "run.safetensors", record)
        with networks.watch(loop, "train_step"), average.watch(steps, "update_ema"):
            started = time.process_time()
            for tick in train(training, batches, snapshot=folder / "run.safetensors"):
                watch.follow(tick, lambda _: None)
            watch.finish()
            whole = time.process_time() - started
    return whole, networks.seconds - average.seconds, average.seconds


def measure_resume(dataset: ImageDataset, folder: Path) -> float:
    """What a run that goes on does before its first step: networks, snapshot, first images.

    Units: iterations, by the median of those that follow.
    """
    parent = Model.new(CONFIG).generator
    longer = RECIPE.model_copy(update={"total_kimg": RECIPE.total_kimg + RECIPE.tick_kimg})
    moments = [time.process_time()]
    training = Training(Model.new(CONFIG), parent, longer)
    batches = TrainingBatches(dataset, RECIPE.batch_size, seed=0)
    for _ in train(
        training,
        batches,
        snapshot=folder / "run.safetensors",
        on_step=lambda _: moments.append(time.process_time()),
    ):
        pass
    first, *others = np.diff(moments)
    return float(first / np.median(others)) - 1


def measure_loader(dataset: ImageDataset) -> tuple[float, float]:
    """Images per second of CPU time: decoded anew each time, and from memory."""
    rates: list[float] = []
    for max_cached_bytes in (3 * dataset.resolution**2 * NUM_IMAGES // 2, 2**30):
        batches = TrainingBatches(dataset, 16, seed=0, max_cached_bytes=max_cached_bytes)
        next(batches)
        started = time.process_time()
        for _ in range(4 * NUM_IMAGES // 16):
            next(batches)
        rates.append(4 * NUM_IMAGES / (time.process_time() - started))
    return rates[0], rates[1]


def main(threads: Annotated[int, typer.Option(help="CPU threads.")] = 1) -> None:
    """Measure and print."""
    torch.set_num_threads(threads)
    console = Console()
    with tempfile.TemporaryDirectory() as folder:
        small = drawn_set(Path(folder) / "small", CONFIG.resolution)
        whole, networks, average = measure_overhead(small, Path(folder))
        resume = measure_resume(small, Path(folder))
        loaders = [measure_loader(small)]
        loaders.append(measure_loader(drawn_set(Path(folder) / "large", LARGE)))
    rate = RECIPE.total_kimg * 1000 / whole
    console.print(f"training  {rate:9.0f} images/s of CPU time at {CONFIG.resolution} pixels")
    for resolution, (decoded, cached) in zip((CONFIG.resolution, LARGE), loaders, strict=True):
        rates = f"{decoded:9.0f} images/s decoding shards, {cached:.0f} from memory"
        console.print(f"loader    {rates}, at {resolution} pixels")
    console.print(f"overhead  {100 * (1 - networks / whole):9.1f} % of the time, of which the")
    console.print(f"          {100 * average / whole:9.1f} % are the weight average")
    console.print(f"resume    {resume:9.2f} iterations before the first step")


if __name__ == "__main__":
    typer.run(main)
