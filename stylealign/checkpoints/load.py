"""One door for every kind of model file."""

from pathlib import Path
from typing import Literal, TypeAlias

import torch

from stylealign.checkpoints.containers import (
    ZIP_START,
    PersistentObject,
    is_legacy,
    read_snapshot,
    read_torch_file,
)
from stylealign.checkpoints.folder import CONFIG_FILE, WEIGHTS_FILE, load_folder
from stylealign.checkpoints.nvidia import import_nvidia
from stylealign.checkpoints.rosinality import import_rosinality
from stylealign.checkpoints.tensorflow import import_tensorflow
from stylealign.checkpoints.weights import NETWORKS, compute_model_id
from stylealign.errors import CheckpointError
from stylealign.files import is_folder, read_file
from stylealign.models import Model
from stylealign.models.device import require_device

Format: TypeAlias = Literal["stylealign", "nvidia", "tensorflow", "rosinality"]

_PICKLE_START = b"\x80"


def load_model(path: str | Path, device: str | torch.device = "cpu") -> Model:
    """Read a model of any format, told by its content; float32 whatever it was stored in.

    Its id is the hash of its weights, whether a file names it or not, so that it can have
    children and codes.

    Knows our folders, NVIDIA's networks of the PyTorch and TensorFlow era, pickled alone or by
    torch, and rosinality's `.pt`. Nothing of a file is imported or run.

    Raises: CheckpointError naming the file and the first thing that is wrong with it; ParamsError
        if the device is not there.
    """
    return read_model(Path(path), device)[0]


def read_model(path: Path, device: str | torch.device = "cpu") -> tuple[Model, Format]:
    """The model as `load_model` gives it, and the format that it was found in."""
    require_device(device)
    model, file_format = (
        (load_folder(path, device), "stylealign") if is_folder(path) else _import_file(path)
    )
    if not model.config.id:
        model_id = compute_model_id(model.generator)
        model.config = model.config.model_copy(update={"id": model_id})
    return model.to(device), file_format


def _import_file(path: Path) -> tuple[Model, Format]:
    source = str(path)
    data = read_file(path, starts=(ZIP_START, _PICKLE_START))
    content: object = None
    if data.startswith(ZIP_START) or is_legacy(data):
        _check_extension(path, (".pt", ".pth"), "an archive like those of torch.save")
        content = read_torch_file(data, source)
    elif data.startswith(_PICKLE_START):
        _check_extension(path, (".pkl", ".pickle"), "a pickle")
        content = read_snapshot(data, source)
    if isinstance(content, PersistentObject):  # as those save it who have tuned a generator alone
        content = {"G_ema": content}
    if isinstance(content, tuple):
        return import_tensorflow(content, source, len(data)), "tensorflow"
    if isinstance(content, dict) and not content.keys().isdisjoint(NETWORKS):
        return import_nvidia(content, source, len(data)), "nvidia"
    if isinstance(content, dict):
        return import_rosinality(content, source, len(data)), "rosinality"
    if path.name in (WEIGHTS_FILE, CONFIG_FILE):
        message = f"{source!r} is part of a model folder: give the folder, {str(path.parent)!r}"
        raise CheckpointError(message)
    message = (
        f"{source!r} is no model file; expected a model folder, an NVIDIA .pkl or a rosinality .pt"
    )
    raise CheckpointError(message)


def _check_extension(path: Path, extensions: tuple[str, ...], content: str) -> None:
    if path.suffix.lower() not in extensions:
        message = (
            f"{str(path)!r} holds {content} but is named {path.suffix!r}; "
            f"if it is a model, rename it to {extensions[0]!r}"
        )
        raise CheckpointError(message)
