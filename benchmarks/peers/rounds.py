"""Interleaved timing: every contender once per round, so that a busy machine slows all alike."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import median

import torch
from torch import Tensor

from benchmarks.peers.workloads import Step

LARGEST_ERROR = {"float32": 1e-3, "bfloat16": 0.05}
"""Largest difference to the reference, root mean square over that of its values."""


@dataclass(frozen=True)
class Timing:
    """Seconds of one run."""

    cpu: float
    wall: float


@dataclass(frozen=True)
class Ratio:
    """How often one fits into another, over the rounds."""

    low: float
    middle: float
    high: float

    def __str__(self) -> str:
        return f"{self.middle:.2f} ({self.low:.2f}-{self.high:.2f})"


Timings = dict[str, list[Timing]]
"""By contender, one per round."""


def compare_outputs(steps: Mapping[str, Step]) -> dict[str, float]:
    """Run every step once and give its difference to the first, which also warms it up.

    Raises: RuntimeError if one computes something else than the first.
    """
    outputs: dict[str, Tensor] = {}
    for name, step in steps.items():
        torch.manual_seed(0)
        outputs[name] = step()
    reference = next(iter(outputs.values()))
    scale = reference.square().mean().sqrt()
    errors = {
        name: float((output - reference).square().mean().sqrt() / scale)
        for name, output in outputs.items()
    }
    for name, error in errors.items():
        limit = LARGEST_ERROR["bfloat16" if "bfloat16" in name else "float32"]
        if not error <= limit:
            message = f"{name} differs from the reference by {error:.2g}, more than {limit:g}"
            raise RuntimeError(message)
    return errors


def time_rounds(steps: Mapping[str, Step], num_rounds: int) -> Timings:
    """Time all steps, starting each round with another one."""
    timings: Timings = {name: [] for name in steps}
    names = list(steps)
    for index in range(num_rounds):
        shift = index % len(names)
        for name in names[shift:] + names[:shift]:
            cpu, wall = time.process_time(), time.perf_counter()
            steps[name]()
            timings[name].append(Timing(time.process_time() - cpu, time.perf_counter() - wall))
    return timings


def add_timings(terms: Iterable[tuple[float, Timings]]) -> Timings:
    """Weighted sum of several works of the same contenders, round by round."""
    total: Timings = {}
    for weight, timings in terms:
        for name, runs in timings.items():
            sums = total.get(name, [Timing(0.0, 0.0)] * len(runs))
            total[name] = [
                Timing(a.cpu + weight * b.cpu, a.wall + weight * b.wall)
                for a, b in zip(sums, runs, strict=True)
            ]
    return total


def ratio(slow: list[Timing], fast: list[Timing]) -> Ratio:
    """CPU time of one over that of the other, round by round."""
    values = [a.cpu / b.cpu for a, b in zip(slow, fast, strict=True)]
    return Ratio(min(values), median(values), max(values))
