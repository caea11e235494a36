"""What layers make of their weights alone, made once while these do not change."""

from collections.abc import Callable
from contextvars import ContextVar, Token

import torch
from torch import Tensor
from torch.nn import Parameter

Make = Callable[[Tensor], Tensor]


class KeptConstants:
    """While it is entered, what `made_of` makes of a constant weight is kept for the next time.

    Constants are parameters without a gradient, and must not change. It may be entered again, and
    lets go of all with itself.
    """

    def __init__(self) -> None:
        self._made: dict[tuple[int, Make], tuple[Tensor, Tensor]] = {}
        self._tokens: list[Token[KeptConstants | None]] = []

    def __enter__(self) -> None:
        self._tokens.append(_kept.set(self))

    def __exit__(self, *_: object) -> None:
        _kept.reset(self._tokens.pop())

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
    is_constant = isinstance(weight, Parameter) and not weight.requires_grad
    return is_constant and _kept.get() is not None


def made_of(weight: Tensor, make: Make) -> Tensor:
    """`make(weight)`, from before where it is kept."""
    if torch.compiler.is_compiling():  # which cannot trace what belongs to a context
        return make(weight)
    kept = _kept.get()
    return make(weight) if kept is None or not is_kept(weight) else kept.get(weight, make)
