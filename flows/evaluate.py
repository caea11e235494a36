"""Stage `evaluate`: children and transferred labels go in, metrics/evaluate.json comes out."""

from pathlib import Path
from typing import Any

from prefect import flow

from stylealign.params import Params
from tasks.devices import choose_device
from tasks.layout import artifact, metrics_file
from tasks.metrics import flat_numbers, judge, score_images, score_labels, write_figures
from tasks.records import recorded
from tasks.registry import promote


@flow(name="evaluate")
def evaluate(params: Params) -> Path:
    """Score every child, then let those that pass the gate become champions."""
    section, path = params.evaluate, metrics_file("evaluate")
    prepared, figures = artifact("prepare"), dict[str, Any]()
    num_threads, device = params.project.num_threads, choose_device(params.project.device)
    with recorded("evaluate", "", section, {"images": prepared}) as record:
        for child, trained in params.train_child.items():
            moved, model = artifact("transfer", child), artifact("train_child", child)
            real, parent = prepared / trained.dataset, prepared / params.invert.dataset
            scores: dict[str, Any] = score_images(section, model, real, device, num_threads)
            scores["labels"] = score_labels(
                section, child, parent, moved, prepared, trained.dataset, num_threads
            )
            promote(child, judge(scores, moved, params.quality))
            figures[child] = scores
        write_figures(figures, path)
        record.metrics(flat_numbers(figures))
    return path
