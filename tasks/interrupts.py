"""Ctrl-C while a model trains: once to finish the tick and save, twice to stop at once.

SIGTERM, which a cluster sends before it takes a machine away, asks for the same.
"""

import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType
from typing import Final

from rich.console import Console

SIGNALS: Final = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}


@contextmanager
def stop_on_interrupt() -> Generator[Callable[[], bool]]:
    """Whether a signal has asked to stop; the second of its kind does what is usual."""
    is_wanted = False
    if threading.current_thread() is not threading.main_thread():
        yield lambda: is_wanted
        return

    def ask(number: int, _frame: FrameType | None) -> None:
        nonlocal is_wanted
        is_wanted = True
        kind = signal.Signals(number)
        # ignored as by a shell that started this in the background
        is_ignored = kind is signal.SIGINT and usual[kind] == signal.SIG_IGN
        signal.signal(kind, signal.default_int_handler if is_ignored else usual[kind])
        message = f"stopping after this tick, then saving; {SIGNALS[kind]} again stops at once"
        Console(stderr=True).print(message, highlight=False)

    usual = {kind: signal.signal(kind, ask) for kind in SIGNALS}
    try:
        yield lambda: is_wanted
    finally:
        for kind, handler in usual.items():
            signal.signal(kind, handler)
