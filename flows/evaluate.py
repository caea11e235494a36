"""Stage `evaluate`: children and transferred labels go in, figures and readers come out."""

from pathlib import Path
from typing import Any

from prefect import flow

from stylealign.params import Params
from tasks.devices import choose_device
from tasks.figures import flat_numbers, write_figures
from tasks.layout import artifact, child_places, metrics_file
from tasks.metrics import judge, score_arms, score_images
from tasks.reader_registry import register_reader, save_reader
from tasks.real_images import measure_confidence
from tasks.records import recorded
from tasks.registry import promote


@flow(name="evaluate")
def evaluate(params: Params) -> Path:
    """Score every child, fit its reader, and let what passes the gate become champions."""
    section, path = params.evaluate, metrics_file("evaluate")
    inputs = {child: artifact("transfer", child) for child in params.train_child}
    with recorded("evaluate", "", section, inputs) as record:
        figures = {child: evaluate_child(params, child) for child in params.train_child}
        write_figures(figures, path)
        record.metrics(flat_numbers(figures))
    return path


def evaluate_child(params: Params, child: str) -> dict[str, Any]:
    """Scores of one child, and the gate's verdict on it and on the reader learned from it."""
    section, places = params.evaluate, child_places(params, child)
    device, num_threads = choose_device(params.project.device), params.project.num_threads
    prepared = artifact("prepare")
    scores = score_images(section, places, device, num_threads)
    scores["labels"] = score_arms(section, places, prepared, device, num_threads)
    scores["confidence"] = measure_confidence(section, places, prepared, num_threads)
    scores["gate"] = judge(scores, places.transferred, params.quality)
    reasons = scores["gate"]["reasons"]
    promote(child, places.child, reasons)
    reader = save_reader(section, child, places.transferred, num_threads)
    if reader is not None:
        register_reader(child, reader, places.transferred, reasons)
    return scores
