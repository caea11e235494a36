"""Named tensors of a foreign file, from which widths and depths are read before any is loaded."""

import math
import re
from collections.abc import Iterator, Mapping
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from stylealign.errors import CheckpointError


@runtime_checkable
class Stored(Protocol):
    """A tensor of known shape that is not loaded yet."""

    @property
    def size(self) -> tuple[int, ...]:
        """The shape."""
        ...

    def load(self) -> Tensor:
        """The numbers in float32."""
        ...


class Allowance:
    """Numbers that all networks of a file may hold together: as many as it has bytes.

    Tensors may share what the file stores, and each becomes memory of its own.
    """

    def __init__(self, num_bytes: int) -> None:
        self._num_left = num_bytes

    def take(self, tensors: Mapping[str, Stored], source: str) -> None:
        """Count what a network holds.

        Raises: CheckpointError naming the file if that is too much.
        """
        self._num_left -= sum(math.prod(tensor.size) for tensor in tensors.values())
        if self._num_left < 0:
            message = f"{source!r} describes more numbers than it has bytes"
            raise CheckpointError(message)


class TensorTable:
    """Stored tensors of a network by name.

    Raises: CheckpointError naming the file and the tensor that is missing, or if its tensors are
        more than the file's allowance.
    """

    def __init__(self, tensors: Mapping[str, Stored], source: str, allowance: Allowance) -> None:
        self.tensors, self.source = tensors, source
        allowance.take(tensors, source)

    def __contains__(self, name: str) -> bool:
        """Whether there is a tensor of that name."""
        return name in self.tensors

    def names(self) -> Iterator[str]:
        """Names in the file's order."""
        return iter(self.tensors)

    def load(self, name: str) -> Tensor:
        """One tensor in float32."""
        self.size(name)
        return self.tensors[name].load()

    def size(self, name: str, axis: int = 0) -> int:
        """Length of one axis; 1 where the tensor has fewer."""
        if name not in self.tensors:
            message = f"{self.source!r} lacks tensor {name!r}"
            raise CheckpointError(message)
        size = self.tensors[name].size
        return size[axis] if -len(size) <= axis < len(size) else 1

    def width_unless(self, name: str, usual: object) -> int | None:
        """Length of a weight's first axis; None where it is the usual one, which goes unsaid."""
        width = self.size(name)
        return None if width == usual else width

    def count(self, pattern: str) -> int:
        """Number of names that match."""
        return sum(re.fullmatch(pattern, name) is not None for name in self.tensors)

    def resolutions(self, pattern: str) -> list[int]:
        """Ascending numbers that the pattern's group finds in names."""
        matches = (re.fullmatch(pattern, name) for name in self.tensors)
        return sorted({int(match[1]) for match in matches if match and len(match[1]) < 6})

    def check_filter(self, name: str) -> None:
        """Refuse a resampling filter other than ours, [1, 3, 3, 1] up to a factor."""
        if not self._is_binomial(name):
            message = f"{self.source!r}: filter {name!r} is not [1, 3, 3, 1], not supported"
            raise CheckpointError(message)

    def _is_binomial(self, name: str) -> bool:
        # An empty filter can be of gigantic width, which its sum would have.
        if self.tensors[name].size not in ((4,), (4, 4)):
            return False
        taps = self.load(name)
        binomial = taps.new_tensor([1, 3, 3, 1]) / 8
        expected = torch.outer(binomial, binomial) if taps.ndim == 2 else binomial
        return bool((taps / taps.sum() - expected).abs().max() <= 1e-5)
