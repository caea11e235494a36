"""Features of real images, computed once per data set, extractor and selection."""

import contextlib
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from jaxtyping import Float32
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from stylealign.data.dataset import ImageDataset
from stylealign.metrics.features import Extractor, collect_features

MAX_FILES: Final = 32
"""Newest files that a cache keeps."""

BATCH_SIZE: Final = 64
"""Images that are decoded at once."""


def cached_features(
    dataset: ImageDataset,
    ids: Sequence[str],
    extractor: Extractor,
    cache: Path,
    *,
    device: str = "cpu",
) -> Float32[np.ndarray, "N F"]:
    """Features of these images of a data set, from the folder `cache` if they are there whole.

    The file's name is a hash of all that decides the numbers: content of the data set, ids,
    extractor, and what the last bits depend on (device, threads, version of torch). A file that
    is missing or damaged is made anew.

    Shapes: returns [N, F].
    Raises: DataError if an id is unknown or a shard is damaged.
    """
    settings = [torch.__version__, device, torch.get_num_threads()]
    key = json.dumps([dataset.content_hash, list(ids), extractor.hash, *settings])
    path = cache / f"{hashlib.sha256(key.encode()).hexdigest()}.safetensors"
    found = _read(path)
    if found is not None:
        return found
    batches = dataset.batches(ids, BATCH_SIZE)
    features = collect_features(batches, extractor, device=device)
    with contextlib.suppress(OSError, SafetensorError):  # what cannot be kept is made anew
        _write(path, features)
    return features


def _read(path: Path) -> np.ndarray | None:
    """The features in a file; None if it is missing, truncated, or any bit of it was changed."""
    try:
        with safe_open(path, framework="np") as file:
            features, metadata = file.get_tensor("features"), file.metadata() or {}
    except (OSError, SafetensorError):
        return None
    return features if metadata.get("sha256") == _sha256(features) else None


def _write(path: Path, features: np.ndarray) -> None:
    """Write features, whole or not at all, and drop the oldest files beyond `MAX_FILES`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".partial")
    try:
        save_file({"features": features}, temporary, metadata={"sha256": _sha256(features)})
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    files = sorted(path.parent.glob("*.safetensors"), key=lambda file: file.stat().st_mtime_ns)
    for old in files[:-MAX_FILES]:
        old.unlink(missing_ok=True)


def _sha256(features: np.ndarray) -> str:
    return hashlib.sha256(features.tobytes()).hexdigest()
