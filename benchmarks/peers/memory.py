"""Peak memory of one step, each time in a fresh process."""

import ctypes
import multiprocessing
import statistics
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch

from benchmarks.peers.contenders import build_contenders, model_config, new_model
from benchmarks.peers.workloads import WORKLOADS, draw_inputs


def measure_peaks(
    peers: Path, resolution: int, batch: int, workload: str, names: list[str], rounds: int
) -> dict[str, int]:
    """Bytes that a step needs at its peak beyond what was there before, by contender.

    The median of so many rounds: one and the same step may take 140 MiB or 175.

    Raises: OSError where the system does not tell (it is Linux that does).
    """
    context = multiprocessing.get_context("spawn")
    peaks: dict[str, list[int]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            with ProcessPoolExecutor(1, mp_context=context) as pool:
                arguments = (peers, resolution, batch, workload, name)
                peaks[name].append(pool.submit(_peak_of_step, *arguments).result())
    return {name: int(statistics.median(measured)) for name, measured in peaks.items()}


def _peak_of_step(peers: Path, resolution: int, batch: int, workload: str, name: str) -> int:
    torch.set_num_threads(1)
    model = new_model(model_config(resolution))
    contender = next(c for c in build_contenders(peers, model) if c.name == name)
    step = WORKLOADS[workload](contender, draw_inputs(batch, resolution))
    step()  # loads libraries and compiles kernels, which stay
    # Memory that was freed but kept would hide what the step takes.
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = _status("VmRSS")
    step()
    return _status("VmHWM") - before


def _status(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    message = f"/proc/self/status has no {field}"
    raise OSError(message)
