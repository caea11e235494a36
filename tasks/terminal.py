"""Bars with ETA for commands that a person runs by hand, without a Prefect server."""

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

SPEED_PERIOD_SEC = 3600.0
"""Over which the time left is estimated: a tick of training may take many minutes."""


class AmountColumn(ProgressColumn):
    """How much of how much, such as `0.192/2`: thousands of images are no whole numbers."""

    def render(self, task: Task) -> Text:
        """What stands beside the bar."""
        text = f"{amount(task.completed)}/{amount(task.total or 0)}"
        return Text(text, style="progress.download")


def amount(value: float) -> str:
    """A number with as many of three decimals as it needs."""
    return f"{value:.3f}".rstrip("0").rstrip(".")


def bar_columns(unit: str) -> tuple[ProgressColumn, ...]:
    """What a bar shows: how much of how much, the time it took and the time that is left."""
    return (
        TextColumn("{task.description}"),
        BarColumn(),
        AmountColumn(),
        TextColumn(unit),
        TimeElapsedColumn(),
        TextColumn("eta"),
        TimeRemainingColumn(),
    )


def terminal_progress(console: Console, unit: str) -> Progress:
    """Bars on a terminal, which are counted but not shown where there is none."""
    return Progress(
        *bar_columns(unit),
        console=console,
        disable=not sys.stderr.isatty(),
        speed_estimate_period=SPEED_PERIOD_SEC,
    )


@contextmanager
def terminal_bar(
    description: str, total: float, *, unit: str
) -> Generator[Callable[[float], object]]:
    """A bar from 0 to `total`; call what it yields with the amount that was done since."""
    console = Console(stderr=True)
    with terminal_progress(console, unit) as bars:
        bar = bars.add_task(description, total=total)
        yield lambda amount: bars.advance(bar, amount)
