"""Work on many images in portions that fit into memory."""

from collections.abc import Callable
from typing import TypeVar

import torch

from stylealign.errors import ParamsError

Result = TypeVar("Result")


class Portions:
    """How many images are worked on at once where nothing is learned from them.

    A portion that the memory of the device does not hold is halved, and so are all after it.
    """

    def __init__(self, size: int = 64) -> None:
        self.size = size

    def map(self, num: int, work: Callable[[slice], Result], *, unit: int = 1) -> list[Result]:
        """Results for rows 0 to `num`, portion by portion; a row stands for `unit` images.

        Raises: ParamsError if memory runs out with a single row.
        """
        results: list[Result] = []
        start = 0
        while start < num:
            rows = slice(start, min(start + max(self.size // unit, 1), num))
            try:
                results.append(work(rows))
                start = rows.stop
                continue
            except torch.OutOfMemoryError:
                pass  # only behind this block is what was computed let go of
            self._halve(rows.stop - rows.start, unit)
        return results

    def _halve(self, num_rows: int, unit: int) -> None:
        if num_rows == 1:
            message = (
                f"out of memory with {unit} images at once, though nothing is learned from them: "
                "lower the resolution, or use a device with more memory"
            )
            raise ParamsError(message)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        self.size = num_rows // 2 * unit
