"""Ctrl-C once asks, twice interrupts, SIGTERM asks as well; real signals to this process."""

import os
import signal
import threading
from collections.abc import Generator

import pytest

from tasks.interrupts import stop_on_interrupt


@pytest.fixture(autouse=True)
def usual_handler() -> Generator[None]:
    """Python's own handler; a process that was started in the background ignores the signal."""
    inherited = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, inherited)


def test_the_first_interrupt_asks_to_stop_and_says_what_happens(capsys):
    with stop_on_interrupt() as is_wanted:
        before = is_wanted()
        os.kill(os.getpid(), signal.SIGINT)
        after = is_wanted()

    assert (before, after) == (False, True)
    assert "stopping after this tick" in capsys.readouterr().err


@pytest.mark.parametrize("before", [signal.default_int_handler, signal.SIG_IGN])
def test_the_second_interrupt_stops_at_once(before):
    signal.signal(signal.SIGINT, before)
    with stop_on_interrupt() as is_wanted:
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)

        assert is_wanted()


def test_a_cluster_that_takes_the_machine_away_asks_to_stop(capsys):
    with stop_on_interrupt() as is_wanted:
        os.kill(os.getpid(), signal.SIGTERM)
        after, next_one = is_wanted(), signal.getsignal(signal.SIGTERM)

    assert after
    assert "SIGTERM again stops at once" in capsys.readouterr().err
    assert next_one == signal.SIG_DFL


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_the_usual_handler_is_back_afterwards(kind):
    usual = signal.getsignal(kind)

    with stop_on_interrupt():
        held = signal.getsignal(kind)

    assert held is not usual
    assert signal.getsignal(kind) is usual


def test_a_thread_that_cannot_hear_signals_trains_on():
    heard: list[bool] = []

    def train() -> None:
        with stop_on_interrupt() as is_wanted:
            heard.append(is_wanted())

    worker = threading.Thread(target=train)
    worker.start()
    worker.join()

    assert heard == [False]
