"""One training in several processes, as `torchrun` starts them."""

import os
from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta

import torch
from torch import distributed

from stylealign.training.split import Split

WAIT = timedelta(hours=2)
"""How long the others wait for the first process, which fits readers and measures alone."""


def rank() -> int:
    """This process's number; 0 records, writes and shows, the others only compute."""
    return int(os.environ.get("RANK", "0"))


def num_ranks() -> int:
    """How many processes `torchrun` started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def own_device(device: str) -> str:
    """The device of this process: on a machine with several GPUs each process has its own."""
    if device == "cuda" and num_ranks() > 1:
        return f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    return device


@contextmanager
def joined_processes(device: str) -> Generator[Split]:
    """This process among all of its training, connected with the others while the block lasts."""
    if num_ranks() == 1:
        yield Split()
        return
    if device.startswith("cuda"):
        torch.cuda.set_device(device)
    backend = "nccl" if device.startswith("cuda") else "gloo"
    distributed.init_process_group(backend, timeout=WAIT)
    try:
        yield Split(rank(), num_ranks())
    finally:
        distributed.destroy_process_group()
