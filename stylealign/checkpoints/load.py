"""One door for every kind of model file."""

from pathlib import Path

import torch

from stylealign.checkpoints.folder import load_folder
from stylealign.errors import CheckpointError
from stylealign.models import Model


def load_model(path: str | Path, device: str | torch.device = "cpu") -> Model:
    """Read a model folder.

    Raises: CheckpointError naming the file and the first thing that is wrong with it.
    """
    path = Path(path)
    if not path.exists():
        message = f"{str(path)!r} does not exist; expected a model folder or file"
        raise CheckpointError(message)
    if path.is_dir():
        return load_folder(path, device)
    message = f"{str(path)!r} is no model file; expected a folder"
    raise CheckpointError(message)
