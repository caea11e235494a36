"""Bars with ETA for commands that a person runs by hand, without a Prefect server."""

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


def bar_columns(unit: str) -> tuple[ProgressColumn, ...]:
    """What a bar shows: how much of how much, the time it took and the time that is left."""
    return (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeElapsedColumn(),
        TextColumn("eta"),
        TimeRemainingColumn(),
    )


@contextmanager
def terminal_bar(
    description: str, total: float, *, unit: str
) -> Generator[Callable[[float], object]]:
    """A bar from 0 to `total`; call what it yields with the amount that was done since."""
    console = Console(stderr=True)
    with Progress(*bar_columns(unit), console=console, disable=not sys.stderr.isatty()) as bars:
        bar = bars.add_task(description, total=total)
        yield lambda amount: bars.advance(bar, amount)
