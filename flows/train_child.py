"""Stage `train_child`: the parent and images of a new domain go in, an aligned child comes out."""

from pathlib import Path

from prefect import flow

from stylealign.params import Params
from tasks.children import fine_tune
from tasks.devices import choose_device, compute
from tasks.layout import artifact, labelled_sets, training_images
from tasks.records import recorded
from tasks.registry import register_challenger
from tasks.snapshots import mark_finished


@flow(name="train_child")
def train_child(params: Params, name: str) -> Path:
    """Fine-tune the parent on one child's images, then let the result challenge the champion."""
    section, folder = params.train_child[name], artifact("train_child", name)
    parent = Path(params.train_parent.model)
    images = training_images(section)
    inputs = {"training": images, "parent": parent}
    labelled = artifact("prepare", params.invert.dataset)
    if section.match is not None:
        inputs["labelled"] = labelled
    device = choose_device(params.project.device)
    with recorded("train_child", name, section, inputs) as record:
        record.tag(parent_model=str(parent))
        with compute(params.project.num_threads):
            snapshots = fine_tune(
                name, parent, images, section, params.standing, folder, device, record,
                labelled=labelled, sets=labelled_sets(params, name), analyze=params.analyze,
            )  # fmt: skip
        register_challenger(name, folder)
        mark_finished(snapshots)
    return folder
