"""How far a stage has come: a bar with ETA in the terminal, and a Prefect progress artifact."""

import sys
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

import httpx
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.futures import PrefectFuture, as_completed
from rich.console import Console
from rich.progress import Progress, TaskID

from stylealign.data.shards import ShardPlan
from tasks.patience import Patience
from tasks.terminal import amount, terminal_progress

ARTIFACT_INTERVAL_SEC = 2.0
LINE_INTERVAL_SEC = 30.0
"""From one line to the next where there is no terminal to show a bar on."""


@dataclass
class Bar:
    """One bar: call `advance` with what was done since the last call."""

    progress: Progress
    task: TaskID
    artifact: UUID
    total: float
    unit: str
    done: float = 0.0
    kept: float = 0.0
    updated: float = field(default_factory=time.monotonic)
    said: float = field(default_factory=time.monotonic)
    phase: str = ""
    patience: Patience = field(default_factory=lambda: Patience((httpx.HTTPError,)))

    def advance(self, amount: float = 1.0) -> None:
        """Move the bar; the artifact follows every two seconds and at the end.

        Without a terminal a line says now and then how far it is.
        """
        self.done += amount
        if amount < 0:
            self.progress.update(self.task, advance=amount)  # `advance` would take it for a speed
        else:
            self.progress.advance(self.task, amount)
        now = time.monotonic()
        if now - self.updated >= ARTIFACT_INTERVAL_SEC or self.done >= self.total:
            self._show(min(100.0, 100.0 * self.done / max(self.total, 1e-9)))
        is_due = now - self.said >= LINE_INTERVAL_SEC and self.done < self.total
        if self.progress.disable and is_due:
            self.said = now
            self._say()

    def _show(self, percent: float) -> None:
        """Tell Prefect; work goes on where its server is gone."""
        self.updated = time.monotonic()
        self.patience.tell(lambda: update_progress_artifact(self.artifact, percent))

    def _say(self) -> None:
        shown = self.progress.tasks[0]
        seconds = shown.time_remaining
        left = "" if seconds is None else f", {timedelta(seconds=round(seconds))} left"
        far = f"{amount(self.done)} of {amount(self.total)} {self.unit}{left}"
        self.progress.console.print(f"{shown.description}: {far}", markup=False, soft_wrap=True)

    def reach(self, done: float) -> None:
        """Move the bar to what is done by now."""
        self.advance(done - self.done)

    def keep(self, amount: float) -> None:
        """Begin behind what is there from an earlier run."""
        self.kept = amount
        self.reach(amount)

    def describe(self, text: str) -> None:
        """Say beside the bar what is going on."""
        self.progress.update(self.task, description=text)

    def follow(self, phase: str, num_done: int, num_all: int) -> None:
        """Follow a callback that names its phase; each phase starts the bar anew."""
        if phase != self.phase:
            self.phase, self.done = phase, 0.0
            self.progress.reset(self.task, total=num_all)
        self.total = num_all
        self.advance(num_done - self.done)


@contextmanager
def progress(description: str, total: float, *, unit: str) -> Generator[Bar]:
    """A bar from 0 to `total`; without a terminal, lines, the last of which says what was done."""
    console = Console(stderr=True)
    key = "".join(letter if letter.isalnum() else "-" for letter in description.lower())
    artifact = create_progress_artifact(0.0, key=key, description=f"{description}, {unit}")
    started = time.monotonic()
    with terminal_progress(console, unit) as bars:
        bar = Bar(bars, bars.add_task(description, total=total), UUID(str(artifact)), total, unit)
        yield bar
    if not sys.stderr.isatty():
        seconds = time.monotonic() - started
        kept = f", {amount(bar.kept)} of them kept from an earlier run" if bar.kept else ""
        console.print(f"{description}: {amount(bar.done)} {unit} in {seconds:.1f} s{kept}")


def follow_shards(description: str, shards: Sequence[PrefectFuture[int]], plan: ShardPlan) -> None:
    """Move a bar over all images of a plan as its shards end; the first failure raises.

    Each task returns the number of its images; those of kept shards are there from the start.
    """
    with progress(description, plan.num_rows, unit="images") as bar:
        bar.keep(plan.num_rows - plan.num_todo)
        for future in as_completed(list(shards)):
            bar.advance(future.result())
