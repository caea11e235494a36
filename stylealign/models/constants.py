"""What layers make of their weights alone, made once while these do not change."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor
from torch.nn import Parameter

Make = Callable[[Tensor], Tensor]


class KeptConstants:
    """While it is at hand, what `made_of` makes of a constant weight is kept for the next time.

    Constants are parameters without a gradient, and must not change. It may be at hand again, and
    in several threads; it lets go of all with itself.
    """

    def __init__(self) -> None:
        self._made: dict[tuple[int, Make], tuple[Tensor, Tensor]] = {}

    @contextmanager
    def at_hand(self) -> Generator[None]:
        """Keep, and give what is kept, inside."""
        token = _kept.set(self)
        try:
            yield
        finally:
            _kept.reset(token)

    def get(self, weight: Tensor, make: Make) -> Tensor:
        """Made now, or before."""
        key = id(weight), make
        if key not in self._made:
            with torch.inference_mode(mode=False), torch.no_grad():  # fit for any use later
                self._made[key] = weight, make(weight)  # with the weight, whose id stays its own
        return self._made[key][1]


_kept: ContextVar[KeptConstants | None] = ContextVar("kept", default=None)


def is_kept(weight: Tensor) -> bool:
    """Whether what is made of this weight is kept."""
    if torch.compiler.is_compiling():  # which cannot trace what belongs to a context
        return False
    is_constant = isinstance(weight, Parameter) and not weight.requires_grad
    return is_constant and _kept.get() is not None


def made_of(weight: Tensor, make: Make) -> Tensor:
    """`make(weight)`, from before where it is kept."""
    kept = _kept.get() if is_kept(weight) else None
    return make(weight) if kept is None else kept.get(weight, make)
