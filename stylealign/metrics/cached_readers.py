"""Readers of a data set's labels, fitted once per data set, selection and settings."""

import contextlib
import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import torch
from jaxtyping import UInt8

from stylealign.data.dataset import ImageDataset
from stylealign.data.labels import LabelSchema
from stylealign.errors import CheckpointError
from stylealign.images import PixelBatch
from stylealign.metrics.readers import Reader, Recipe, fit_reader, load_reader

MAX_READERS: Final = 32
"""Newest readers that a cache keeps."""

CODE: Final = Path(__file__).with_name("readers")
"""What fits a reader: where it changes, other readers come of the same lessons."""

READ_AT_ONCE: Final = 64

MAX_READ_PX: Final = 128
"""Side from which on a training's readers see images shrunk: attributes are not in the pores."""

MAX_FITTED_BYTES: Final = 2**29
"""Decoded images that a training's reader is fitted on."""


@dataclass(frozen=True, kw_only=True)
class Lessons:
    """What a reader is fitted on, and how; equal lessons give equal readers on one machine."""

    dataset: ImageDataset
    ids: list[str]
    schema: LabelSchema
    num_steps: int
    seed: int
    max_px: int | None = None
    """Side from which on images are shrunk before they are read; None = never."""
    recipe: Recipe = field(default_factory=Recipe)

    @property
    def key(self) -> str:
        """A name that changes with all that decides the reader, to the last bit.

        Labels are part of the content of a data set, their order decides what is drawn first.
        """
        settings = [self.num_steps, self.seed, self.max_px, asdict(self.recipe), hash_code()]
        machine = [torch.__version__, torch.get_num_threads()]
        schema = [[name, spec.model_dump(mode="json")] for name, spec in self.schema.items()]
        parts = [self.dataset.content_hash, self.ids, schema, *settings, *machine]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]

    def learn(self, on_step: Callable[[int], None] | None = None) -> Reader:
        """Fit the reader.

        Raises: DataError if images and labels are too few, or cannot be read; DivergenceError if
            the loss is not finite.
        """
        labels = self.dataset.labels().loc[self.ids, list(self.schema)].reset_index(drop=True)
        return fit_reader(
            self._images(),
            labels,
            self.schema,
            seed=self.seed,
            num_steps=self.num_steps,
            recipe=self.recipe,
            groups=self.dataset.groups(self.ids),
            on_step=on_step,
        )

    def _images(self) -> UInt8[np.ndarray, "N _ _ 3"]:
        if self.max_px is None:
            return self.dataset.images(self.ids)
        batches = self.dataset.batches(self.ids, READ_AT_ONCE)
        return np.concatenate([shrink(batch, self.max_px) for batch in batches])


def cached_reader(
    lessons: Lessons, cache: Path, learn: Callable[[Lessons], Reader] = Lessons.learn
) -> Reader:
    """The reader that these lessons give, from the folder `cache` if it is there whole.

    It reads exactly as the one that `learn` gives, which is asked where it is missing or damaged.

    Raises: DataError or DivergenceError as `Lessons.learn`.
    """
    folder = cache / lessons.key
    with contextlib.suppress(CheckpointError):  # missing or damaged: fitted anew
        return load_reader(folder)
    reader = learn(lessons)
    with contextlib.suppress(OSError):  # what cannot be kept is fitted anew
        reader.save(folder)
        drop_oldest(cache)
    return reader


def drop_oldest(cache: Path) -> None:
    """Remove readers beyond the newest `MAX_READERS`."""
    folders = sorted(cache.iterdir(), key=lambda folder: folder.stat().st_mtime_ns)
    for old in folders[:-MAX_READERS]:
        shutil.rmtree(old, ignore_errors=True)


def most_fitted(dataset: ImageDataset) -> int:
    """How many images of a set a training's reader is fitted on at most."""
    return MAX_FITTED_BYTES // (3 * min(dataset.resolution, MAX_READ_PX) ** 2)


def shrink(images: PixelBatch, max_px: int) -> UInt8[np.ndarray, "N _ _ 3"]:
    """Images of at most `max_px` pixels a side, by the mean over whole blocks."""
    num, side = images.shape[:2]
    factor = max(side // max_px, 1)
    if factor == 1:
        return images
    blocks = images.reshape(num, side // factor, factor, side // factor, factor, 3)
    return blocks.mean((2, 4)).round().astype(np.uint8)


def hash_code() -> str:
    """Hash of the modules that fit readers."""
    code = hashlib.sha256()
    for path in sorted(CODE.glob("*.py")):
        code.update(path.read_bytes())
    return code.hexdigest()
