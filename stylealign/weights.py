"""Weights that our own small networks, readers and encoders, find in a file."""

from collections.abc import Mapping
from typing import Final

from safetensors import SafetensorError
from torch import Tensor, nn

DAMAGED: Final = (
    KeyError, TypeError, AttributeError, ValueError, OverflowError, RecursionError, RuntimeError,
    SafetensorError,
)  # fmt: skip
"""What records and weights raise that are not as they were written."""


def check_weights(tensors: Mapping[str, Tensor], network: nn.Module) -> None:
    """Refuse weights that a network does not have, before memory is taken for it.

    The network may be laid out on the meta device, where it takes none.

    Raises: ValueError naming the first tensor that is missing, of another shape or type, or not
        finite.
    """
    for name, target in network.state_dict().items():
        tensor, shape = tensors.get(name), list(target.shape)
        if tensor is None or list(tensor.shape) != shape or tensor.dtype != target.dtype:
            raise ValueError(f"it has no tensor {name!r} of shape {shape} and {target.dtype}")
        if not tensor.isfinite().all():
            raise ValueError(f"tensor {name!r} holds NaN or infinite weights")
