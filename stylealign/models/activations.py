"""Bias, activation, gain and clamp in one step, for every activation that the reference has."""

import math
from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F

from stylealign.models.operators import LRELU_GAIN, LRELU_SLOPE

Activation = Callable[[Tensor, float], Tensor]
"""Of activations and `alpha`, which only the leaky ReLU reads: its slope below zero."""

_ACTIVATIONS: Final[dict[str, tuple[Activation, float]]] = {
    "linear": (lambda x, _: x, 1.0),
    "relu": (lambda x, _: torch.relu(x), math.sqrt(2)),
    "lrelu": (lambda x, alpha: F.leaky_relu(x, alpha), LRELU_GAIN),
    "tanh": (lambda x, _: torch.tanh(x), 1.0),
    "sigmoid": (lambda x, _: torch.sigmoid(x), 1.0),
    "elu": (lambda x, _: F.elu(x), 1.0),
    "selu": (lambda x, _: F.selu(x), 1.0),
    "softplus": (lambda x, _: F.softplus(x), 1.0),
    "swish": (lambda x, _: F.silu(x), math.sqrt(2)),
}
"""Functions, with the gain that keeps the variance of what passes through."""


def bias_act(
    x: Tensor,
    b: Tensor | None = None,
    *,
    dim: int = 1,
    act: str = "linear",
    alpha: int | float | None = None,
    gain: int | float | None = None,
    clamp: int | float | None = None,
) -> Tensor:
    """Add a bias along one axis, activate, scale, and bound to [-clamp, clamp].

    Differentiable as often as the activation is.

    Shapes: x any, b [x.shape[dim]] -> as x.
    Raises: ValueError for an activation that is not known or a negative clamp.
    """
    if act not in _ACTIVATIONS or (clamp is not None and clamp < 0):
        message = f"expected act of {list(_ACTIVATIONS)} and clamp >= 0, got {act!r} and {clamp!r}"
        raise ValueError(message)
    function, usual_gain = _ACTIVATIONS[act]
    if b is not None:
        x = x + b.reshape([-1 if axis == dim else 1 for axis in range(x.ndim)])
    x = function(x, LRELU_SLOPE if alpha is None else float(alpha))
    gain = usual_gain if gain is None else gain
    x = x if gain == 1 else x * gain
    return x if clamp is None else x.clamp(-clamp, clamp)
