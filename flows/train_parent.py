"""Stage `train_parent`: images go in, a parent comes out; frozen where a checkpoint is given."""

from pathlib import Path

from prefect import flow

from stylealign.params import Params
from tasks.devices import choose_device, compute
from tasks.layout import snapshot_folder, training_images
from tasks.parents import train_from_scratch
from tasks.records import recorded
from tasks.snapshots import mark_finished


@flow(name="train_parent")
def train_parent(params: Params) -> Path:
    """Train the parent from scratch on its own domain."""
    section = params.train_parent
    images, device = training_images(section), choose_device(params.project.device)
    with recorded("train_parent", "", section, {"training": images}) as record:
        with compute(params.project.num_threads):
            snapshots = train_from_scratch(section, images, snapshot_folder(), device, record)
        mark_finished(snapshots)
    return Path(section.model)
