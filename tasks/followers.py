"""The processes of one training that compute beside the first, and neither record nor write."""

from collections.abc import Callable

import torch
from rich.console import Console

from stylealign.checkpoints import load_model
from stylealign.errors import ParamsError
from stylealign.params import Params
from stylealign.training import train
from stylealign.training.split import Split
from tasks.children import child_run
from tasks.devices import choose_device
from tasks.interrupts import stop_on_interrupt
from tasks.layout import artifact, snapshot_folder, training_images
from tasks.parents import parent_run
from tasks.processes import joined_processes, own_device
from tasks.snapshots import settle_start
from tasks.training import Run


def follow_first(params: Params, stage: str, name: str) -> None:
    """Take this process's share of a training stage, to its end.

    Raises: ParamsError for a stage that does not train.
    """
    device = choose_device(params.project.device)
    torch.set_num_threads(params.project.num_threads)
    with joined_processes(own_device(device)) as split, stop_on_interrupt() as stop:
        run = own_run(params, stage, name, device, split)
        follow_training(run, stop)


def follow_training(run: Run, should_stop: Callable[[], bool]) -> None:
    """Train to the end; says with its number what this process had to adapt to."""
    settle_start(run.training, run.snapshot)
    training, console = run.training, Console(stderr=True, soft_wrap=True, highlight=False)
    for tick in train(training, run.batches, snapshot=run.snapshot, should_stop=should_stop):
        for note in tick.notes:
            console.print(f"process {training.split.rank}: {note}", markup=False)


def own_run(params: Params, stage: str, name: str, device: str, split: Split) -> Run:
    """The training of a stage, as the first process has it.

    Raises: ParamsError for a stage that does not train.
    """
    if stage == "train_parent":
        section = params.train_parent
        images = training_images(section)
        return parent_run(section, images, snapshot_folder(), device, split)
    if stage == "train_child":
        child = params.train_child[name]
        parent = load_model(params.train_parent.model, own_device(device))
        images = training_images(child)
        labelled = artifact("prepare", params.invert.dataset)
        return child_run(name, parent, images, child, params.standing, split, labelled)
    raise ParamsError(f"stage {stage!r} runs in one process; start it without torchrun")
