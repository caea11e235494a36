"""What a long stage tells others who may not answer: it works on without them."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

PAUSE_SEC: Final = 60.0
"""Least time until one that has not answered is told something again."""
PAUSE_FACTOR: Final = 10.0
"""Pause for this many times as long as the attempt took: clients try for minutes."""


@dataclass
class Patience:
    """Tells something until it fails, then only now and then; what is told meanwhile is lost."""

    failures: tuple[type[Exception], ...]
    """What is raised where nobody answers; anything else is an error like any other."""
    say: Callable[[str], object] | None = None
    """Hears the first failure."""
    again_at: float | None = None
    """When it is tried again, by `time.monotonic`; None = it has always answered."""

    def tell(self, action: Callable[[], object]) -> None:
        """Do it, unless the last attempt failed a short while ago."""
        started = time.monotonic()
        if self.again_at is not None and started < self.again_at:
            return
        try:
            action()
        except self.failures as error:
            if self.again_at is None and self.say is not None:
                self.say(f"{type(error).__name__}: {error}")
            now = time.monotonic()
            self.again_at = now + max(PAUSE_SEC, PAUSE_FACTOR * (now - started))
