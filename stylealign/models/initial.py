"""Initial values of weights, left out where a network is only laid out."""

import torch
from torch import Tensor


def standard_normal(*shape: int, divisor: float = 1.0) -> Tensor:
    """Normal numbers of torch's global generator; on the meta device, only their shape.

    There arithmetic has no result, yet costs the import of torch's tracing machinery.
    """
    if torch.get_default_device().type == "meta":
        return torch.empty(shape)
    return torch.randn(shape) / divisor
