"""Endless training batches in a reproducible order that can be taken up again."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import lru_cache
from threading import Thread
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
"""Decoded images held in memory at once: by each process where it is the whole set, and of a
larger one by all processes together, unless a shard alone is more than half of it."""


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


@dataclass(frozen=True)
class _Window:
    """Images that are decoded together, by sorted row."""

    rows: np.ndarray
    images: np.ndarray


_Place = tuple[int, int]
"""Numbers of a pass and of a window in it."""


class TrainingBatches:
    """Iterator over batches of one split, or of `only` some of its images, that never ends.

    Every pass draws each image once in an order of its own, which follows from seed and pass
    alone; so the state is the number of images drawn so far. With several ranks each takes every
    `num_ranks`-th image of a common order.

    A set that fits in `max_cached_bytes` is decoded once. A larger one is decoded in windows of
    whole shards, half as large, in a new order each pass, and shuffled inside each window. A
    thread decodes the next window while this one is drawn from; a rank decodes its own images.

    With `mirror` each image is x-flipped half of the time, and its labels as their schema says.
    Batches carry all labels, or those named. They are held decoded, and masks are large.

    Raises: DataError if the split holds no image, or `only` names one that the set does not have.
    """

    def __init__(
        self,
        dataset: ImageDataset,
        batch_size: int,
        *,
        seed: int,
        split: str = "train",
        only: Sequence[str] | None = None,
        labels: Sequence[str] | None = None,
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
        self.ids = ids
        if only is not None:
            self.ids = list(only)
        self._positions = dataset.positions(self.ids)
        names = dataset.schema if labels is None else labels
        self.schema = {name: dataset.schema[name] for name in names}
        self._labels = encode_labels(dataset.labels(split).loc[self.ids], self.schema)
        self._shards = dataset.shard_numbers()[self._positions]
        self._capacity = max(1, max_cached_bytes // (3 * dataset.resolution**2))
        self.content_hash = self._hash(is_all=only is None)
        self._num_drawn = 0
        self._plan = lru_cache(maxsize=2)(self._plan_pass)
        self._held: tuple[_Place, Future[_Window]] | None = None
        self._ahead: tuple[_Place, Future[_Window]] | None = None

    def __iter__(self) -> "TrainingBatches":
        return self

    def __next__(self) -> TrainingBatch:
        num_all = self.batch_size * self.num_ranks
        draws = np.arange(self._num_drawn, self._num_drawn + num_all)[self.rank :: self.num_ranks]
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
        self._num_drawn += num_all
        return self._batch(np.concatenate(rows), pixels, is_flipped)

    def state_dict(self) -> dict[str, int | str]:
        """What `load_state_dict` needs to draw on from here."""
        return {
            "num_drawn": self._num_drawn,
            "seed": self.seed,
            "content_hash": self.content_hash,
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

    def _hash(self, *, is_all: bool) -> str:
        """What the order follows from beside the seed: images, a choice of them, and windows."""
        parts = [self.dataset.content_hash]
        if not is_all:
            parts += self.ids
        if len(self.ids) > self._capacity:
            parts += map(str, self._shards.tolist())
        if len(parts) == 1:
            return parts[0]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def _batch(self, rows: np.ndarray, pixels: np.ndarray, flips: np.ndarray) -> TrainingBatch:
        chosen: EncodedLabels = {name: values[rows] for name, values in self._labels.items()}
        labels = flip_labels(chosen, self.schema, flips)
        return TrainingBatch(
            images=to_float(pixels),
            labels={name: torch.from_numpy(values) for name, values in labels.items()},
            ids=[self.ids[row] for row in rows],
        )

    def _plan_pass(self, number: int) -> _Epoch:
        rng = np.random.default_rng([self.seed, number])
        order, window = self._shuffle(rng)
        is_flipped = rng.random(len(order)) < 0.5
        return _Epoch(number, order, window, is_flipped & self.mirror)

    def _shuffle(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        num_images = len(self.ids)
        if num_images <= self._capacity:
            return rng.permutation(num_images), np.zeros(num_images, np.int64)
        orders = [rng.permutation(members) for members in self._windows(rng, self._capacity // 2)]
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
        for number in np.unique(epoch.window[places]):
            rows = epoch.order[places[epoch.window[places] == number]]
            window = self._window(epoch, int(number))
            pieces.append(window.images[np.searchsorted(window.rows, rows)])
        return pieces

    def _window(self, epoch: _Epoch, number: int) -> _Window:
        """What was decoded meanwhile, or is now; the next one of several is begun."""
        num_windows = int(epoch.window[-1]) + 1
        place = (epoch.number, number) if num_windows > 1 else (0, 0)  # the same in every pass
        if self._held is None or self._held[0] != place:
            self._held = None  # free it before the next one is whole
            self._held, self._ahead = self._ahead, None
            if self._held is None or self._held[0] != place:
                self._held = place, _in_background(lambda: self._decode(*place))
            try:
                self._held[1].result()  # before one more is begun: two are in memory, not three
            except BaseException:
                self._held = None  # whoever asks again has it read again
                raise
            if num_windows > 1:
                is_last = number == num_windows - 1
                after = (epoch.number + 1, 0) if is_last else (epoch.number, number + 1)
                self._ahead = after, _in_background(lambda: self._decode(*after))
        return self._held[1].result()

    def _decode(self, number: int, window: int) -> _Window:
        """Of a window its images of this rank, or all where it is the whole set."""
        epoch = self._plan(number)
        places = np.flatnonzero(epoch.window == window)
        if epoch.window[-1] > 0:
            draws = number * len(self.ids) + places
            places = places[draws % self.num_ranks == self.rank]
        rows = np.sort(epoch.order[places])
        return _Window(rows, self.dataset.images(self._positions[rows]))


def _in_background(work: Callable[[], _Window]) -> Future[_Window]:
    """Begin in a thread that no exit waits for; what goes wrong is raised where it is needed."""
    future: Future[_Window] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001 - raised again by `result`
            future.set_exception(error)

    Thread(target=run, daemon=True).start()
    return future
