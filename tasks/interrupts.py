"""Ctrl-C while a model trains: once to finish the tick and save, twice to stop at once."""

import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType

from rich.console import Console


@contextmanager
def stop_on_interrupt() -> Generator[Callable[[], bool]]:
    """Whether Ctrl-C was pressed since; the second one interrupts as usual."""
    is_wanted = False
    if threading.current_thread() is not threading.main_thread():
        yield lambda: is_wanted
        return

    def ask(_signal: int, _frame: FrameType | None) -> None:
        nonlocal is_wanted
        is_wanted = True
        is_ignored = usual == signal.SIG_IGN  # as by a shell that started this in the background
        signal.signal(signal.SIGINT, signal.default_int_handler if is_ignored else usual)
        message = "stopping after this tick, then saving; Ctrl-C again stops at once"
        Console(stderr=True).print(message, highlight=False)

    usual = signal.signal(signal.SIGINT, ask)
    try:
        yield lambda: is_wanted
    finally:
        signal.signal(signal.SIGINT, usual)
