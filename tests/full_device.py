"""A device whose memory is full, imitated where only few images at once should fit."""

from collections.abc import Callable
from typing import Any

import torch


def full_above(limit: int, seen: list[int] | None = None) -> Callable[[object, Any], None]:
    """A hook before a network that raises what a full GPU raises for more images than `limit`.

    `seen` receives how many images the network was given, each time.
    """

    def check(_module: object, arguments: Any) -> None:
        num = len(arguments[0])
        if seen is not None:
            seen.append(num)
        if num > limit:
            raise torch.OutOfMemoryError("CUDA out of memory")

    return check
