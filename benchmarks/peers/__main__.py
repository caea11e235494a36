"""Time our networks against the peers', same weights, same process, same allocator setting."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console

from benchmarks.peers.contenders import build_contenders, model_config, new_model
from benchmarks.peers.memory import measure_peaks
from benchmarks.peers.rounds import Timings, add_timings, compare_outputs, time_rounds
from benchmarks.peers.tables import (
    HEADER,
    describe_machine,
    markdown_table,
    rich_table,
    table_rows,
    timing_records,
)
from benchmarks.peers.workloads import TRAINING, WORKLOADS, draw_inputs
from stylealign.models.allocator import keep_freed_memory

BATCHES = {64: 4, 256: 2, 1024: 1}
"""Images per step at each size: a step takes seconds on one thread."""
REMEMBERED = ("forward", "inversion step")
"""Works whose peak memory is measured too."""


def main(
    peers: Annotated[
        Path,
        typer.Option(help="Folder with checkouts stylegan2-ada-pytorch and stylegan2-pytorch."),
    ],
    sizes: Annotated[str, typer.Option(help="Image sizes, by commas.")] = "64,256,1024",
    rounds: Annotated[int, typer.Option(help="Runs of each contender.", min=1)] = 5,
    out: Annotated[Path, typer.Option(help="Results, one file per size.")] = Path("build/bench"),
    training: Annotated[bool, typer.Option(help="Measure training iterations too.")] = True,
    memory: Annotated[bool, typer.Option(help="Measure peak memory too.")] = True,
    threads: int = 1,
) -> None:
    """Measure every size, write `<size>.json` each, and a table of all that `out` holds."""
    chosen = [int(size) for size in sizes.split(",")]
    unknown = [size for size in chosen if size not in BATCHES]
    if unknown:
        raise typer.BadParameter(f"size {unknown[0]} is not among {sorted(BATCHES)}")
    keep_freed_memory()
    torch.set_num_threads(threads)
    console = Console()
    out.mkdir(parents=True, exist_ok=True)
    for size in chosen:
        with console.status(f"{size} pixels"):
            record = {
                "machine": describe_machine(threads),
                "timings": measure_size(
                    peers, size, BATCHES[size], rounds, console.log, with_training=training
                ),
                "peak_bytes": measure_memory(peers, size, BATCHES[size], rounds) if memory else {},
            }
        (out / f"{size}.json").write_text(json.dumps(record, indent=1) + "\n")
    results = [json.loads(path.read_text()) for path in sorted(out.glob("*.json"), key=_pixels)]
    rows = table_rows([row for result in results for row in result["timings"]])
    console.print(rich_table(rows))
    (out / "table.md").write_text(markdown_table(HEADER, rows))


def measure_size(
    peers: Path,
    size: int,
    batch: int,
    rounds: int,
    report: Callable[[str], Any],
    *,
    with_training: bool,
) -> list[dict[str, Any]]:
    """Timings of every work and contender at one size."""
    model = new_model(model_config(size))
    contenders = list(build_contenders(peers, model))
    inputs = draw_inputs(batch, size)
    measured: dict[str, tuple[Timings, dict[str, float]]] = {}
    for name, prepare in WORKLOADS.items():
        if name in TRAINING and not with_training:
            continue
        entrants = [c for c in contenders if c.is_trainable or name not in TRAINING]
        steps = {contender.name: prepare(contender, inputs) for contender in entrants}
        errors = compare_outputs(steps)
        measured[name] = time_rounds(steps, rounds), errors
        report(f"{size} pixels: {name} of {len(steps)} contenders")
    if with_training:
        terms = [(weight, measured[name][0]) for name, weight in TRAINING.items()]
        measured["training iteration"] = add_timings(terms), {}
    return [
        row
        for name, (timings, errors) in measured.items()
        for row in timing_records(size, batch, name, timings, errors)
    ]


def measure_memory(peers: Path, size: int, batch: int, rounds: int) -> dict[str, dict[str, int]]:
    """Peak bytes by work and contender."""
    model = new_model(model_config(64))
    names = [contender.name for contender in build_contenders(peers, model)]
    return {work: measure_peaks(peers, size, batch, work, names, rounds) for work in REMEMBERED}


def _pixels(path: Path) -> int:
    return int(path.stem)


if __name__ == "__main__":
    typer.run(main)
