"""Endless training batches in a reproducible order that can be taken up again."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from stylealign.data.dataset import ImageDataset
from stylealign.data.encoding import EncodedLabels, encode_labels, flip_labels
from stylealign.errors import DataError
from stylealign.tensors import to_float

MAX_CACHED_BYTES: Final = 2**30
"""Decoded images held in memory at once."""


@dataclass(frozen=True)
class TrainingBatch:
    """Images, their labels as `encode_labels` gives them, and their ids."""

    images: Float[Tensor, "N 3 H W"]
    labels: dict[str, Tensor]
    ids: list[str]


@dataclass(frozen=True)
class _Epoch:
    """Order in which one pass draws the images; `window` tells which are decoded together."""

    number: int
    order: np.ndarray
    window: np.ndarray
    is_flipped: np.ndarray


class TrainingBatches:
    """Iterator over batches of one split that never ends.

    Every pass draws each image once in an order of its own, which follows from seed and pass
    alone; so the state is the number of images drawn so far. A set that fits in
    `max_cached_bytes` is decoded once. A larger one is decoded in windows of whole shards, in a
    new order each pass, and shuffled inside each window. With several ranks each takes every
    `num_ranks`-th image of a common order.
    """

    def __init__(
        self,
        dataset: ImageDataset,
        batch_size: int,
        *,
        seed: int,
        split: str = "train",
        mirror: bool = False,
        rank: int = 0,
        num_ranks: int = 1,
        max_cached_bytes: int = MAX_CACHED_BYTES,
    ) -> None:
        ids = dataset.ids(split)
        if not ids:
            counts = dataset.manifest.counts
            raise DataError(f"split {split!r} of {str(dataset.folder)!r} is empty; it has {counts}")
        self.dataset = dataset
        self.batch_size = batch_size
        self.seed = seed
        self.mirror = mirror
        self.rank = rank
        self.num_ranks = num_ranks
        self.max_cached_bytes = max_cached_bytes
        self.ids = ids
        self._positions = dataset.positions(ids)
        self._labels = encode_labels(dataset.labels(split), dataset.schema)
        self._shards = dataset.shard_numbers()[self._positions]
        self._num_drawn = 0
        self._epoch: _Epoch | None = None
        self._cached: tuple[tuple[int, int], np.ndarray, np.ndarray] | None = None

    def __iter__(self) -> "TrainingBatches":
        return self

    def __next__(self) -> TrainingBatch:
        num_all = self.batch_size * self.num_ranks
        draws = np.arange(self._num_drawn, self._num_drawn + num_all)[self.rank :: self.num_ranks]
        self._num_drawn += num_all
        rows: list[np.ndarray] = []
        images: list[np.ndarray] = []
        flips: list[np.ndarray] = []
        for number in np.unique(draws // len(self.ids)):
            epoch = self._plan(int(number))
            places = draws[draws // len(self.ids) == number] % len(self.ids)
            rows.append(epoch.order[places])
            flips.append(epoch.is_flipped[places])
            images.extend(self._pixels(epoch, places))
        is_flipped = np.concatenate(flips)
        pixels = np.concatenate(images)
        pixels[is_flipped] = pixels[is_flipped, :, ::-1]
        return self._batch(np.concatenate(rows), pixels, is_flipped)

    def state_dict(self) -> dict[str, int | str]:
        """What `load_state_dict` needs to draw on from here."""
        return {
            "num_drawn": self._num_drawn,
            "seed": self.seed,
            "content_hash": self.dataset.content_hash,
        }

    def load_state_dict(self, state: Mapping[str, int | str]) -> None:
        """Draw on from where a state was taken.

        Raises: DataError if the state belongs to another data set or seed.
        """
        for name, own in self.state_dict().items():
            if name != "num_drawn" and state[name] != own:
                message = f"state of the batches has {name} {state[name]!r}, expected {own!r}"
                raise DataError(f"{message}: a run of other images cannot be gone on with")
        self._num_drawn = int(state["num_drawn"])

    def _batch(self, rows: np.ndarray, pixels: np.ndarray, flips: np.ndarray) -> TrainingBatch:
        chosen: EncodedLabels = {name: values[rows] for name, values in self._labels.items()}
        labels = flip_labels(chosen, self.dataset.schema, flips)
        return TrainingBatch(
            images=to_float(pixels),
            labels={name: torch.from_numpy(values) for name, values in labels.items()},
            ids=[self.ids[row] for row in rows],
        )

    def _plan(self, number: int) -> _Epoch:
        if self._epoch is None or self._epoch.number != number:
            rng = np.random.default_rng([self.seed, number])
            order, window = self._shuffle(rng)
            is_flipped = rng.random(len(order)) < 0.5
            self._epoch = _Epoch(number, order, window, is_flipped & self.mirror)
        return self._epoch

    def _shuffle(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        num_images = len(self.ids)
        capacity = max(1, self.max_cached_bytes // (3 * self.dataset.resolution**2))
        if num_images <= capacity:
            return rng.permutation(num_images), np.zeros(num_images, np.int64)
        orders = [rng.permutation(members) for members in self._windows(rng, capacity)]
        window = np.repeat(np.arange(len(orders)), [len(order) for order in orders])
        return np.concatenate(orders), window

    def _windows(self, rng: np.random.Generator, capacity: int) -> list[np.ndarray]:
        """Rows of whole shards, packed in a new order until a window is full."""
        windows: list[list[np.ndarray]] = [[]]
        for shard in rng.permutation(np.unique(self._shards)):
            members = np.flatnonzero(self._shards == shard)
            is_full = sum(map(len, windows[-1])) + len(members) > capacity
            if windows[-1] and is_full:
                windows.append([])
            windows[-1].append(members)
        return [np.concatenate(window) for window in windows]

    def _pixels(self, epoch: _Epoch, places: np.ndarray) -> list[np.ndarray]:
        pieces: list[np.ndarray] = []
        for window in np.unique(epoch.window[places]):
            rows = epoch.order[places[epoch.window[places] == window]]
            members, images = self._decoded(epoch, int(window))
            pieces.append(images[np.searchsorted(members, rows)])
        return pieces

    def _decoded(self, epoch: _Epoch, window: int) -> tuple[np.ndarray, np.ndarray]:
        """Sorted rows of a window and their images, decoded once while the window lasts."""
        is_only = epoch.window[-1] == 0
        key = (-1 if is_only else epoch.number, window)
        if self._cached is None or self._cached[0] != key:
            members = np.sort(epoch.order[epoch.window == window])
            self._cached = None  # free the old window before the new one is decoded
            self._cached = (key, members, self.dataset.images(self._positions[members]))
        return self._cached[1], self._cached[2]
