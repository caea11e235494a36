"""What real child images say: rightness of transferred labels, and the latent route to them."""

from pathlib import Path
from typing import Any

import numpy as np
from prefect import task
from prefect.cache_policies import NO_CACHE

from stylealign.data.dataset import open_dataset
from stylealign.data.tables import CONFIDENCE_PREFIX
from stylealign.inversion import load_encoder
from stylealign.metrics.calibration import CalibrationFigures, measure_calibration
from stylealign.metrics.readers import Reader, Readings, load_reader
from stylealign.params import EvaluateParams
from stylealign.params.labels import ChildSetsParams
from stylealign.transfer import lead_back, measure_rightness
from tasks.devices import compute
from tasks.inversion import open_model, row_seed
from tasks.layout import ChildPlaces
from tasks.lessons import choose_schema
from tasks.readers import train_reader
from tasks.verdicts import read_calibration

Measured = dict[str, dict[str, dict[str, Any]]]
"""Per label, as `parent` (hold-outs that it was calibrated on) and `child`."""


@task(cache_policy=NO_CACHE)
def measure_confidence(
    params: EvaluateParams, places: ChildPlaces, prepared: Path, num_threads: int
) -> Measured:
    """Stated confidence against what a reader of true child labels says of the same images."""
    measured: Measured = {
        name: {"parent": figures.model_dump()}
        for name, figures in read_calibration(places.transferred).items()
    }
    if places.name not in params.children:
        return measured
    with compute(num_threads):
        reader = fit_judge(params, params.children[places.name], prepared)
    for name, figures in judge_rows(reader, places.transferred).items():
        measured.setdefault(name, {})["child"] = figures.model_dump()
    return measured


def fit_judge(params: EvaluateParams, sets: ChildSetsParams, prepared: Path) -> Reader:
    """A reader of true child labels: those of the oracle, or of the test set without an oracle.

    It never reads the images it learned from: it judges transferred ones.
    """
    return train_reader(
        prepared / (sets.oracle or sets.test),
        params.labels,
        split="train" if sets.oracle else "test",
        num_steps=params.num_steps,
        seed=params.seeds[0],
        description="reader of true child labels",
    )


def judge_rows(reader: Reader, transferred: Path) -> dict[str, CalibrationFigures]:
    """Calibration of every label that the reader knows, over all rows, accepted or not.

    What is right is what the transferred set says is, by its own tolerances.
    """
    moved = open_dataset(transferred)
    given, table = moved.labels().reset_index(drop=True), moved.table()
    schema = choose_schema(moved, list(reader.schema))
    rightness = measure_rightness(given, reader.predict(moved.images()), schema)
    figures: dict[str, CalibrationFigures] = {}
    for name in schema:
        stated = table[f"{CONFIDENCE_PREFIX}{name}"].to_numpy(np.float64)
        known = np.isfinite(stated)
        if known.any():
            is_right = rightness[name].to_numpy(bool)
            figures[name] = measure_calibration(stated[known], is_right[known])
    return figures


def read_latent(params: EvaluateParams, places: ChildPlaces, test: Path, device: str) -> Readings:
    """The latent route: real child images led back to the parent, and read there."""
    parent, child = (open_model(folder, device) for folder in places.models)
    dataset = open_dataset(test)
    ids = dataset.ids("test")
    back = lead_back(
        dataset.images(ids),
        child,
        parent,
        load_encoder(places.instruments / "encoder", child),
        seeds=[row_seed(params.seeds[0], name) for name in ids],
        num_steps=params.latent_steps,
        pixel_noise=0.0,
    )
    return load_reader(places.instruments / "reader").read(back.images)
