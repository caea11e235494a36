"""Weights of published networks, read from a file that the user names by path and sha256."""

import hashlib
import pickle
import struct
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from stylealign.errors import CheckpointError

Network = TypeVar("Network", bound=nn.Module)

_COUNTER: Final = "num_batches_tracked"
"""Only training reads it, and published files have it or not."""

_UNREADABLE: Final = (
    SafetensorError, pickle.UnpicklingError, struct.error, RuntimeError, ValueError, LookupError,
    TypeError, AttributeError, EOFError, OSError,
)  # fmt: skip
"""What both readers raise for files of another kind, or damaged ones."""


@dataclass(frozen=True, kw_only=True)
class WeightsFile:
    """A state dict on disk: `.safetensors`, or what `torch.save` wrote."""

    path: str | Path
    sha256: str
    """Hash of the file that is meant: any other file is refused."""


def load_published(build: Callable[[], Network], file: WeightsFile) -> Network:
    """Build a frozen network around the weights in a file; no code of the file is run.

    Raises: CheckpointError if the file is missing, has another hash, is a program (TorchScript)
        or no state dict, or its tensors are not those of the network; it names the first.
    """
    # the first caller may be in inference mode; others need gradients later
    with torch.inference_mode(mode=False):
        with torch.device("meta"):
            network = build()
        tensors = _checked(_read(file), network, str(file.path))
        network.load_state_dict(tensors, assign=True)
    return network.eval().requires_grad_(requires_grad=False)


def _read(file: WeightsFile) -> dict[str, Tensor]:
    path, source = Path(file.path), str(file.path)
    try:
        with path.open("rb") as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        message = f"weights {source!r} cannot be read: {error.strerror}"
        raise CheckpointError(f"{message}; download them, nothing is fetched for you") from None
    if sha256 != file.sha256.lower():
        message = f"weights {source!r} have sha256 {sha256!r}, expected {file.sha256!r}"
        raise CheckpointError(f"{message}; correct the one that is wrong")
    if _is_program(path):
        message = f"weights {source!r} are TorchScript, a program, and are not run"
        raise CheckpointError(f"{message}; give the state dict of the same network instead")
    try:
        if path.suffix == ".safetensors":
            tensors: object = load_file(path)
        else:
            tensors = torch.load(path, map_location="cpu", weights_only=True)
    except _UNREADABLE as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        message = f"weights {source!r} are no state dict that can be read without running it"
        raise CheckpointError(f"{message}: {reason}") from None
    if not isinstance(tensors, Mapping):
        message = f"weights {source!r} hold {type(tensors).__name__!r}, expected tensors by name"
        raise CheckpointError(message)
    return {str(name): tensor for name, tensor in tensors.items()}


def _is_program(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any("/code/" in f"/{name}" for name in archive.namelist())


def _checked(tensors: Mapping[str, object], network: nn.Module, source: str) -> dict[str, Tensor]:
    """Refuse tensors that are missing, unknown, of another shape or type, or not finite."""
    expected, checked = network.state_dict(), dict[str, Tensor]()
    for name, target in expected.items():
        if name.endswith(_COUNTER):
            checked[name] = torch.zeros((), dtype=torch.long)
            continue
        tensor, shape = tensors.get(name), list(target.shape)
        if not isinstance(tensor, Tensor):
            raise CheckpointError(f"{source!r} lacks tensor {name!r} of shape {shape}")
        if list(tensor.shape) != shape or tensor.dtype != torch.float32:
            found = f"shape {list(tensor.shape)} and type {tensor.dtype}"
            message = f"{source!r}: tensor {name!r} has {found}, expected {shape}, torch.float32"
            raise CheckpointError(message)
        if not tensor.isfinite().all():
            raise CheckpointError(f"{source!r}: tensor {name!r} holds NaN or infinite weights")
        checked[name] = tensor
    for name in tensors:
        if name not in expected:
            raise CheckpointError(f"{source!r} holds unknown tensor {name!r}")
    return checked
