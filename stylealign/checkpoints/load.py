"""One door for every kind of model file."""

from pathlib import Path

import torch

from stylealign.checkpoints.containers import (
    LEGACY_START,
    ZIP_START,
    read_snapshot,
    read_torch_file,
)
from stylealign.checkpoints.folder import load_folder
from stylealign.checkpoints.nvidia import import_nvidia
from stylealign.errors import CheckpointError
from stylealign.models import Model


def load_model(path: str | Path, device: str | torch.device = "cpu") -> Model:
    """Read a model of any format, told by its content; float32 whatever it was stored in.

    Knows our folders, NVIDIA's `.pkl` of the PyTorch and TensorFlow era, and rosinality's `.pt`.
    Nothing of a file is imported or run.

    Raises: CheckpointError naming the file and the first thing that is wrong with it.
    """
    path = Path(path)
    if path.is_dir():
        return load_folder(path, device)
    source = str(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        message = f"{source!r} cannot be read ({error}); expected a model folder or file"
        raise CheckpointError(message) from error
    o = read_snapshot(data, source)
    return import_nvidia(o, source, len(data))
