"""What a stage has to tell: to the log of its run, and to whoever sits at the terminal."""

import logging
from contextlib import suppress

from prefect.exceptions import MissingContextError
from prefect.logging import get_run_logger
from rich.console import Console


def tell(text: str) -> None:
    """Say how something went."""
    _say(logging.INFO, text)


def warn(text: str) -> None:
    """Say what somebody should know who reads the results, such as what was adapted."""
    _say(logging.WARNING, text)


def _say(level: int, text: str) -> None:
    with suppress(MissingContextError):  # outside a run the terminal alone hears it
        get_run_logger().log(level, "%s", text)
    # the log of the run stays with the server: on the console it would bring tracebacks with it
    Console(stderr=True, soft_wrap=True).print(text, markup=False, highlight=False, emoji=False)
