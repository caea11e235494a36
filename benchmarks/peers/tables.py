"""What was measured, as a record, a table on the terminal and one in Markdown."""

import datetime
import platform
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.table import Table

from benchmarks.peers.contenders import OURS
from benchmarks.peers.rounds import Timings, ratio

HEADER = ("pixels", "batch", "work", "network", "CPU s", "wall s", "to float32", "to bfloat16")


def describe_machine(num_threads: int) -> dict[str, Any]:
    """Processor, versions and date: a ratio means little without them."""
    return {
        "processor": _processor(),
        "threads": num_threads,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }


def timing_records(
    pixels: int, batch: int, workload: str, timings: Timings, errors: dict[str, float]
) -> Iterable[dict[str, Any]]:
    """One record per contender: medians, every round, and ratios to ours of either precision."""
    for name, runs in timings.items():
        middle = sorted(run.cpu for run in runs)[len(runs) // 2]
        record: dict[str, Any] = {
            "pixels": pixels,
            "batch": batch,
            "work": workload,
            "network": name,
            "cpu_sec": middle,
            "wall_sec": sorted(run.wall for run in runs)[len(runs) // 2],
            "rounds": [[run.cpu, run.wall] for run in runs],
        }
        if name in errors:
            record["error"] = errors[name]
        for precision in ("float32", "bfloat16"):
            fast = timings.get(f"{OURS} {precision}")
            if fast is not None:
                record[f"to_{precision}"] = str(ratio(runs, fast))
        yield record


def table_rows(records: Sequence[dict[str, Any]]) -> list[tuple[str, ...]]:
    """Cells of the table, in the order of `HEADER`."""
    return [
        (
            str(record["pixels"]),
            str(record["batch"]),
            record["work"],
            record["network"],
            f"{record['cpu_sec']:.3g}",
            f"{record['wall_sec']:.3g}",
            record.get("to_float32", ""),
            record.get("to_bfloat16", ""),
        )
        for record in records
    ]


def rich_table(rows: Sequence[tuple[str, ...]]) -> Table:
    """The table for a terminal."""
    table = Table(*HEADER, title="time over ours: median (lowest-highest) of the rounds")
    for row in rows:
        table.add_row(*row, style="bold" if row[3].startswith(OURS) else None)
    return table


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """The table for a document."""
    lines = ["| " + " | ".join(row) + " |" for row in (header, ["---"] * len(header), *rows)]
    return "\n".join(lines) + "\n"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()
