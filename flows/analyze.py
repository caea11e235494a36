"""Stage `analyze`: parent and children go in, metrics/analyze.json comes out."""

from pathlib import Path
from typing import Any

from prefect import flow

from stylealign.params import Params
from tasks.alignment import compare_drawings, compare_weights
from tasks.devices import choose_device
from tasks.figures import flat_numbers, write_figures
from tasks.layout import artifact, labelled_sets, metrics_file
from tasks.records import recorded


@flow(name="analyze")
def analyze(params: Params) -> Path:
    """Measure for every child what it shares with its parent."""
    section, path = params.analyze, metrics_file("analyze")
    parent, codes = Path(params.train_parent.model), artifact("invert")
    device, num_threads = choose_device(params.project.device), params.project.num_threads
    figures = dict[str, Any]()
    with recorded("analyze", "", section, {"parent": parent}) as record:
        for name, trained in params.train_child.items():
            child, real = artifact("train_child", name), artifact("prepare", trained.dataset)
            groups = compare_weights(
                section, params.evaluate, parent, child, real, device, num_threads
            )
            figures[name] = {"groups": groups}
            sets = labelled_sets(params, name)
            if sets is not None:
                figures[name] |= compare_drawings(
                    section, parent, child, sets.parent, sets.child, codes, device, num_threads
                )
        write_figures(figures, path)
        record.metrics(flat_numbers(figures))
    return path
