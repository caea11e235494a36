"""Small networks of our own, readers and encoders: how they are kept, built and moved."""

import hashlib
import json
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from stylealign.errors import CheckpointError
from stylealign.files import describe_error, read_file

Network = TypeVar("Network", bound=nn.Module)

_MAX_RECORD_BYTES: Final = 1 << 20
_DAMAGED: Final = (
    KeyError, TypeError, AttributeError, ValueError, OverflowError, RecursionError, RuntimeError,
    SafetensorError,
)  # fmt: skip
"""What records and weights raise that are not as they were written."""


@dataclass(frozen=True)
class NetworkFolder:
    """The files in which networks of a kind are kept, and how messages call such a network."""

    kind: str
    weights_file: str
    record_file: str

    def save(self, folder: Path, network: nn.Module, record: dict[str, Any]) -> None:
        """Write weights and record; equal ones give equal bytes."""
        folder.mkdir(parents=True, exist_ok=True)
        state = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
        weights = safetensors.torch.save(state)
        (folder / self.weights_file).write_bytes(weights)
        record = {**record, "weights_sha256": hashlib.sha256(weights).hexdigest()}
        (folder / self.record_file).write_text(json.dumps(record, indent=2) + "\n")

    @contextmanager
    def open(self, folder: Path) -> Generator[tuple[dict[str, Any], dict[str, Tensor]]]:
        """The record and the tensors, from which the network is to be built inside.

        Raises: CheckpointError naming the folder if a file is missing, damaged or does not fit the
            other, or turns out inside not to be what was written.
        """
        try:
            text = read_file(folder / self.record_file, _MAX_RECORD_BYTES)
            weights = read_file(folder / self.weights_file)
        except CheckpointError as error:
            raise CheckpointError(f"cannot open {self.kind} {str(folder)!r}: {error}") from error
        try:
            record = json.loads(text)
            if hashlib.sha256(weights).hexdigest() != record["weights_sha256"]:
                message = f"{self.weights_file} in {str(folder)!r} was changed since it was saved"
                message += f", its sha256 is not that of {self.record_file}"
                raise CheckpointError(f"{message}; fit the {self.kind} again")
            yield record, safetensors.torch.load(weights)
        except CheckpointError:
            raise
        except _DAMAGED as error:
            message = f"{self.kind} {str(folder)!r} is damaged: {describe_error(error)}"
            raise CheckpointError(f"{message}; fit it again") from error


def build_with(tensors: Mapping[str, Tensor], build: Callable[[], Network]) -> Network:
    """The network with these weights, which are checked before memory is taken for it.

    Raises: ValueError naming the first tensor that is missing, of another shape or type, or not
        finite.
    """
    with torch.device("meta"):
        expected = build().state_dict()
    for name, target in expected.items():
        tensor, shape = tensors.get(name), list(target.shape)
        if tensor is None or list(tensor.shape) != shape or tensor.dtype != target.dtype:
            raise ValueError(f"it has no tensor {name!r} of shape {shape} and {target.dtype}")
        if not tensor.isfinite().all():
            raise ValueError(f"tensor {name!r} holds NaN or infinite weights")
    network = build()
    network.load_state_dict(tensors)
    return network.eval()


def on_device(network: Network, device: torch.device) -> Network:
    """The network, moved to a device; its weights stay fit for gradients in inference mode, too."""
    with torch.inference_mode(mode=False):
        return network.to(device)
