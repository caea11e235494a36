"""Our own format: a folder with `model.safetensors` and `config.json`."""

import hashlib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from stylealign.checkpoints.weights import (
    build_model,
    check_config,
    check_shape,
    compute_model_id,
    shapes_of,
)
from stylealign.errors import CheckpointError, DataError
from stylealign.files import MAX_BYTES, check_file, check_holes, describe_error, read_file
from stylealign.models import Model, ModelConfig

WEIGHTS_FILE = "model.safetensors"
CONFIG_FILE = "config.json"
FORMAT = "stylealign-1"
_PREVIOUS_FILE = f".{WEIGHTS_FILE}.previous"
"""The old weights while new ones take their place."""
_STALE_SEC = 3600
"""A save that has changed nothing for so long was killed."""
_MAX_CONFIG_BYTES = 4 << 20
"""Shares of as many classes as are allowed take half of it."""
_MAX_HEADER_BYTES = 1 << 20
"""Names and shapes of a weights file; the largest of ours take 60 kB."""


def save_model(model: Model, folder: str | Path) -> ModelConfig:
    """Write a model folder, whole or not at all, and give the model its id.

    A model without ancestors becomes its own root. Files that the folder already holds beside
    the model are kept. Killed at any moment, it leaves the model that was there before.

    Returns the config as written, which is then the model's own.

    Raises: DataError if the folder cannot be written, such as on a full disk.
    """
    folder = Path(folder)
    model_id = compute_model_id(model.generator)
    root_id = model.config.root_id or model_id
    model.config = model.config.model_copy(update={"id": model_id, "root_id": root_id})
    made = [parent for parent in folder.parents if not parent.exists()]
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        prefix = f".{_shortened(folder.name)}.saving-"
        temporary = Path(tempfile.mkdtemp(prefix=prefix, dir=folder.parent))
        try:
            _remove_stale(temporary, prefix)
            _write_files(model, temporary)
            _publish(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except (OSError, SafetensorError) as error:
        with suppress(OSError):  # of a file where a folder should be, or not empty any more
            for parent in made:
                parent.rmdir()
        message = f"model folder {str(folder)!r} cannot be written: {describe_error(error)}"
        raise DataError(f"{message}; make room, or choose another place") from error
    return model.config


def load_folder(folder: Path, device: str | torch.device = "cpu") -> Model:
    """Read what `save_model` wrote.

    Raises: CheckpointError naming the folder and what is missing, changed or out of bounds.
    """
    config, sha256, is_as_saved = read_config(folder)
    source = str(folder / WEIGHTS_FILE)
    try:
        weights = _weights_of(folder, config, sha256)
        tensors = _read_tensors(weights, config, str(device))
        is_whole = _hash_file(weights) == sha256
    except CheckpointError:
        raise
    except OSError as error:
        message = f"{source!r} cannot be read: {describe_error(error)}"
        raise CheckpointError(message) from error
    except (SafetensorError, ValueError) as error:
        message = f"{source!r} is truncated or no safetensors file: {describe_error(error)}"
        raise CheckpointError(message) from error
    if not is_whole:
        message = f"{source!r} was changed since it was saved: its sha256 is not {sha256[:64]!r}"
        raise CheckpointError(message)
    model = build_model(config, tensors, source)
    record = str(folder / CONFIG_FILE)
    if config.id not in ("", compute_model_id(model.generator)):
        raise CheckpointError(f"{record!r}: field 'id' is not that of the weights")
    if not is_as_saved:
        message = f"{record!r} was changed since it was saved: its config_sha256 is another"
        raise CheckpointError(f"{message}; if you edited it yourself, delete that field")
    return model.to(device)


def _weights_of(folder: Path, config: ModelConfig, sha256: str) -> Path:
    """The weights that a config means: those before, where a save was killed between its moves."""
    previous, weights = folder / _PREVIOUS_FILE, folder / WEIGHTS_FILE
    if previous.is_file() and _is_of(previous, config) and _hash_file(previous) == sha256:
        return previous
    if not weights.is_file():
        message = (
            f"{str(weights)!r} is missing; a model folder holds {WEIGHTS_FILE} and {CONFIG_FILE}"
        )
        raise CheckpointError(message)
    return weights


def _is_of(path: Path, config: ModelConfig) -> bool:
    """Whether a file may hold the weights of a config, by its size."""
    with suppress(CheckpointError):
        check_file(path, _max_bytes(shapes_of(config)))
        check_holes(path)
        return True
    return False


def _max_bytes(shapes: Mapping[str, tuple[int, ...]]) -> int:
    """What a file of tensors of these shapes takes at most."""
    num_numbers = sum(math.prod(shape) for shape in shapes.values())
    return min(4 * num_numbers + 2 * _MAX_HEADER_BYTES, MAX_BYTES)


def _read_tensors(path: Path, config: ModelConfig, device: str) -> dict[str, Tensor]:
    """All tensors of a file, each in memory of its own.

    The file is opened for each anew, so that its pages are let go and no weight exists twice;
    that is why its header must be short, and what it lists the weights of the config's networks.
    """

    def read(name: str) -> Tensor:
        with safe_open(path, "pt", device=device) as file:
            return file.get_tensor(name).clone()

    expected = shapes_of(config)
    check_file(path, _max_bytes(expected))
    check_holes(path)
    with path.open("rb") as file:
        num_bytes = int.from_bytes(file.read(8), "little")
    if num_bytes > _MAX_HEADER_BYTES:
        message = f"{str(path)!r} is truncated, or its header longer than {_MAX_HEADER_BYTES} bytes"
        raise CheckpointError(message)
    with safe_open(path, "pt") as file:
        names = list(file.keys())
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in names}
    for name, shape in shapes.items():
        if name not in expected:
            message = f"{str(path)!r} holds unknown tensor {name[:100]!r}"
            raise CheckpointError(message)
        check_shape(shape, expected[name], str(path), name)
    return {name: read(name) for name in shapes}


class Record(NamedTuple):
    """What a model folder's config file says."""

    config: ModelConfig
    weights_sha256: str
    is_as_saved: bool
    """Whether no field was changed; files that were written before this was noted say nothing."""


def read_config(folder: Path) -> Record:
    """The checked config of a model folder.

    Raises: CheckpointError naming the file and its first offending field.
    """
    path = folder / CONFIG_FILE
    try:
        data = read_file(path, _MAX_CONFIG_BYTES)
    except CheckpointError as error:
        raise CheckpointError(f"{str(folder)!r} is no model folder: {error}") from error
    try:
        record = json.loads(data.decode("utf-8"), object_pairs_hook=_without_twins)
    except (ValueError, RecursionError) as error:
        message = f"{str(path)!r} is not valid JSON: {error}"
        raise CheckpointError(message) from error
    return _check_config(record, str(path))


def _without_twins(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """A dict of pairs; of two with one key another reader might take the other."""
    record: dict[str, object] = {}
    for key, value in pairs:
        if key in record:
            message = f"key {key[:100]!r} stands in it twice"
            raise ValueError(message)
        record[key] = value
    return record


def _check_config(record: object, source: str) -> Record:
    if not isinstance(record, dict) or record.pop("format", None) != FORMAT:
        message = f"{source!r}: field 'format' must be {FORMAT!r}"
        raise CheckpointError(message)
    own = record.pop("config_sha256", None)
    is_as_saved = own is None or own == _hash_of(record)
    sha256 = record.pop("weights_sha256", None)
    if not isinstance(sha256, str):
        message = f"{source!r}: field 'weights_sha256' is missing"
        raise CheckpointError(message)
    return Record(check_config(record, source), sha256, is_as_saved)


def _hash_of(record: Mapping[str, object]) -> str:
    """sha256 over fields, in whatever order and spacing they are written."""
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def _write_files(model: Model, folder: Path) -> None:
    weights = folder / WEIGHTS_FILE
    save_file(_named_tensors(model), weights)
    fields = model.config.model_dump(mode="json") | {"weights_sha256": _hash_file(weights)}
    record = {"format": FORMAT, **fields, "config_sha256": _hash_of(fields)}
    (folder / CONFIG_FILE).write_text(json.dumps(record, indent=2) + "\n")
    shutil.copymode(folder / CONFIG_FILE, weights)  # safetensors lets nobody else read its files
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())


def _publish(temporary: Path, folder: Path) -> None:
    """Move the finished folder, or its files into a folder that exists, to where they belong."""
    temporary.chmod(0o755)
    if not folder.exists():
        temporary.rename(folder)
        return
    # Until the config is the new one, the old one finds the old weights: by their hash.
    if _has_own_weights(folder):
        (folder / WEIGHTS_FILE).replace(folder / _PREVIOUS_FILE)
    for name in (WEIGHTS_FILE, CONFIG_FILE):
        (temporary / name).replace(folder / name)
    (folder / _PREVIOUS_FILE).unlink(missing_ok=True)


def _has_own_weights(folder: Path) -> bool:
    """Whether a folder's config means the weights beside it, and no previous ones."""
    try:
        config, sha256, _ = read_config(folder)
        return _weights_of(folder, config, sha256) == folder / WEIGHTS_FILE
    except CheckpointError:
        return False


def _shortened(name: str) -> str:
    """The start of a folder's name, with room for an ending in the 255 bytes that one may have."""
    return os.fsencode(name)[:100].decode(errors="ignore")


def _remove_stale(temporary: Path, prefix: str) -> None:
    """Remove what saves to the same place left that were killed; the new one tells the time."""
    names = {WEIGHTS_FILE, CONFIG_FILE}
    with suppress(OSError):
        limit = temporary.stat().st_mtime - _STALE_SEC
        for folder in temporary.parent.iterdir():
            if not folder.name.startswith(prefix) or folder.is_symlink():
                continue
            files = list(folder.iterdir())
            is_ours = {file.name for file in files} <= names
            if is_ours and max(path.stat().st_mtime for path in (folder, *files)) < limit:
                shutil.rmtree(folder, ignore_errors=True)


def _named_tensors(model: Model) -> dict[str, Tensor]:
    networks = {"G_ema": model.generator, "G": model.raw_generator, "D": model.discriminator}
    return {
        f"{prefix}.{name}": tensor.detach().cpu().contiguous()
        for prefix, network in networks.items()
        if network is not None
        for name, tensor in network.state_dict().items()
    }


def _hash_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
