"""How far a stage is, on a terminal and where there is none."""

import io
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pandas as pd
import pytest
from prefect.futures import PrefectConcurrentFuture
from prefect.states import Completed
from rich.console import Console

from stylealign.data.shards import plan_shards
from tasks import progress
from tasks.terminal import amount, terminal_progress


@pytest.fixture
def clock(monkeypatch) -> list[float]:
    """Seconds that pass only when a test says so."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(progress, "update_progress_artifact", lambda *_: None)
    return now


def new_bar(clock: list[float], total: float) -> tuple[progress.Bar, io.StringIO]:
    written = io.StringIO()
    bars = terminal_progress(Console(file=written), "kimg")
    bars.get_time = lambda: clock[0]
    task = bars.add_task("train cats", total=total)
    bar = progress.Bar(bars, task, UUID(int=0), total, "kimg", updated=0.0, said=0.0)
    return bar, written


def test_the_time_left_is_known_after_the_first_tick_however_long_ticks_take(clock):
    bar, _ = new_bar(clock, 12.0)
    bar.reach(2.0)  # where an earlier sitting ended

    shown = []
    for kimg in (4.0, 6.0):
        clock[0] += 400
        bar.reach(kimg)
        shown.append(bar.progress.tasks[0].time_remaining)

    assert shown == [1600, 1200]


def test_a_run_that_falls_back_goes_on_at_the_speed_it_had(clock):
    bar, _ = new_bar(clock, 12.0)
    bar.reach(0.0)

    for kimg in (2.0, 4.0, 0.0):
        clock[0] += 400
        bar.reach(kimg)
    clock[0] += 400
    bar.reach(2.0)

    (shown,) = bar.progress.tasks
    assert shown.completed == 2.0
    assert shown.time_remaining == pytest.approx(10.0 * 1600 / 6.0, abs=1)  # 6 kimg in 1600 s


def test_without_a_terminal_lines_say_now_and_then_how_far_it_is(clock):
    bar, written = new_bar(clock, 2.0)
    bar.reach(0.0)

    for kimg in (0.25, 0.5, 0.75, 1.0, 1.5, 2.0):  # the end has a line of its own
        clock[0] += 20
        bar.reach(kimg)

    assert written.getvalue().splitlines() == [
        "train cats: 0.5 of 2 kimg, 0:02:00 left",
        "train cats: 1 of 2 kimg, 0:01:20 left",
    ]


def test_the_last_line_says_every_image_of_a_large_set(clock, monkeypatch, capsys):
    monkeypatch.setattr(progress, "create_progress_artifact", lambda *_, **__: UUID(int=0))

    with progress.progress("invert", 1234567, unit="images") as bar:
        bar.advance(1234567)

    assert "invert: 1234567 images in" in capsys.readouterr().err


def test_images_of_an_earlier_run_are_counted_and_told_apart(clock, monkeypatch, capsys):
    monkeypatch.setattr(progress, "create_progress_artifact", lambda *_, **__: UUID(int=0))
    rows = pd.DataFrame({"id": list("abcde"), "sha256": list("12345")})
    plan = plan_shards(Path("nowhere"), rows, fingerprint="", shard_size=2)
    resumed = replace(plan, todo=plan.todo[1:])
    made: list[Any] = []
    for shard in resumed.todo:
        wrapped: Future[Any] = Future()
        wrapped.set_result(Completed(data=len(shard.ids)))
        made.append(PrefectConcurrentFuture(uuid4(), wrapped))

    progress.follow_shards("invert", made, resumed)

    said = capsys.readouterr().err
    assert said == "invert: 5 images in 0.0 s, 2 of them kept from an earlier run\n"


@pytest.mark.parametrize(
    ("value", "text"), [(0.064, "0.064"), (12, "12"), (0, "0"), (1e7, "10000000")]
)
def test_amounts_have_as_many_decimals_as_they_need(value, text):
    assert amount(value) == text


def test_work_goes_on_without_a_prefect_server_which_is_asked_less_often_then(clock, monkeypatch):
    asked: list[float] = []

    def gone(*_) -> None:
        asked.append(clock[0])
        clock[0] += 20  # a client that tries for a while
        raise httpx.ConnectError("All connection attempts failed")

    bar, _ = new_bar(clock, 1000.0)
    monkeypatch.setattr(progress, "update_progress_artifact", gone)
    for done in range(1, 301):
        clock[0] += 1
        bar.reach(float(done))

    assert bar.done == 300
    first, again = asked
    assert first == progress.ARTIFACT_INTERVAL_SEC
    assert 0 <= again - (first + 20 + 10 * 20) < progress.ARTIFACT_INTERVAL_SEC
