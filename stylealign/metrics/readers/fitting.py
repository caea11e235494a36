"""Fitting a reader on labelled images."""

import copy
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import pandas as pd
import torch
from jaxtyping import UInt8
from torch import Tensor

from stylealign.data.encoding import EncodedLabels, encode_labels
from stylealign.data.labels import LabelSchema
from stylealign.data.splits import divide_groups
from stylealign.errors import DataError, DivergenceError
from stylealign.images import PixelBatch
from stylealign.metrics.accuracy import score_labels
from stylealign.metrics.readers.augmentation import Augmentation, select_labels
from stylealign.metrics.readers.network import ReaderNetwork
from stylealign.metrics.readers.reader import Reader
from stylealign.metrics.readers.targets import label_loss, plan_targets
from stylealign.tensors import to_float

AnyPixels = UInt8[np.ndarray, "_ _ _ 3"]
"""A batch of another length than the images it stands beside."""

MIN_IMAGES: Final = 20

_NUM_CANDIDATES: Final = 4
_WARM_UP: Final = 0.1


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a reader is fitted; the arms of a comparison share one."""

    batch_size: int = 64
    learning_rate: float = 4e-3
    weight_decay: float = 0.05
    width: int = 24
    """Channels of the first layer; the time taken grows with the square."""
    val_fraction: float = 0.1
    """Share of the images kept out to choose among the last states, where none are given."""
    augmentation: Augmentation = field(default_factory=Augmentation)
    coral_weight: float = 0.0
    """Weight of the distance between feature covariances of labelled and target images."""


def fit_reader(
    images: PixelBatch,
    labels: pd.DataFrame,
    schema: LabelSchema,
    *,
    seed: int,
    num_steps: int,
    recipe: Recipe | None = None,
    groups: Sequence[Hashable] = (),
    validation: tuple[AnyPixels, pd.DataFrame] | None = None,
    target_images: AnyPixels | None = None,
    on_step: Callable[[int], None] | None = None,
) -> Reader:
    """Fit a small network that reads all labels of a schema at once.

    AdamW with warm-up and cosine decay; among states late in training the one with the lowest
    loss on the validation split of its own domain is kept. Equal seeds give equal readers on one
    machine. Labels may be missing in some rows. Images of one of the `groups` are on one side of
    the split, unless there is no other group. Unlabelled images of a target domain are used
    only by a recipe with a CORAL weight.

    Shapes: images [N, H, H, 3], labels N rows with a column per label of the schema.
    Raises: DataError if images and labels do not fit, are too few, or cannot be read;
            DivergenceError if the loss is not finite.
    Source: Sun and Saenko, arXiv:1607.01719, eq. 1 (deep CORAL).
    """
    recipe = recipe or Recipe()
    _check(images, labels, target_images, recipe)
    order = np.random.default_rng(seed).permutation(len(images))
    if validation is None:
        num_val = max(round(recipe.val_fraction * len(images)), 1)
        parts = divide_groups(groups or range(len(images)), num_val, seed=seed)
        val_rows, order = sorted(parts, key=len)
        validation = images[val_rows], labels.iloc[val_rows]
    train_labels = encode_labels(labels.iloc[order], schema)
    targets = plan_targets(train_labels, schema)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        network = ReaderNetwork(
            resolution=images.shape[1],
            num_outputs=max(target.stop for target in targets.values()),
            width=recipe.width,
        )
    reader = Reader(
        network=network,
        schema=schema,
        targets=targets,
        resolution=images.shape[1],
        width=recipe.width,
        val_scores={},
    )
    batches = _Batches(images[order], train_labels, schema, target_images, recipe, seed)
    _descend(reader, batches, validation, num_steps, recipe, on_step)
    val_scores = score_labels(validation[1], reader.predict(validation[0]), schema)
    reader.val_scores.update(val_scores)
    return reader


class _Batches:
    """Endless augmented batches in an order set by the seed, each image once per pass."""

    def __init__(
        self,
        images: PixelBatch,
        labels: EncodedLabels,
        schema: LabelSchema,
        target_images: AnyPixels | None,
        recipe: Recipe,
        seed: int,
    ) -> None:
        self._images, self._labels, self._schema = images, labels, schema
        self._target_images = target_images if recipe.coral_weight > 0 else None
        self._recipe = recipe
        self._rng = torch.Generator().manual_seed(seed)
        self._size = min(recipe.batch_size, len(images))
        self._order = np.empty(0, np.int64)

    def draw(self) -> tuple[Tensor, EncodedLabels, Tensor | None]:
        """Return images, their labels, and images of the target domain where they are used."""
        if len(self._order) < self._size:
            self._order = torch.randperm(len(self._images), generator=self._rng).numpy()
        rows, self._order = self._order[: self._size], self._order[self._size :]
        images, labels = self._recipe.augmentation.apply(
            to_float(self._images[rows]), select_labels(self._labels, rows), self._schema, self._rng
        )
        if self._target_images is None:
            return images, labels, None
        picks = torch.randint(len(self._target_images), (self._size,), generator=self._rng).numpy()
        target, _ = self._recipe.augmentation.apply(
            to_float(self._target_images[picks]), {}, {}, self._rng
        )
        return images, labels, target


def _descend(
    reader: Reader,
    batches: _Batches,
    validation: tuple[AnyPixels, pd.DataFrame],
    num_steps: int,
    recipe: Recipe,
    on_step: Callable[[int], None] | None,
) -> None:
    """Train in place and leave the network in its best late state."""
    network = reader.network
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: _rate(s, num_steps))
    candidates = {num_steps - i * max(num_steps // 20, 1) for i in range(_NUM_CANDIDATES)}
    best_loss, best_state = float("inf"), copy.deepcopy(network.state_dict())
    for step in range(1, num_steps + 1):
        network.train()
        loss = _training_loss(reader, batches.draw(), recipe.coral_weight)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step in candidates:
            val_loss = _validation_loss(reader, validation)
            if val_loss < best_loss:
                best_loss, best_state = val_loss, copy.deepcopy(network.state_dict())
        if on_step is not None:
            on_step(step)
    if best_loss == float("inf"):
        message = f"loss of the reader is not finite after {num_steps} steps"
        raise DivergenceError(f"{message}; lower its learning rate of {recipe.learning_rate!r}")
    network.load_state_dict(best_state)
    network.eval()


def _training_loss(
    reader: Reader, batch: tuple[Tensor, EncodedLabels, Tensor | None], coral_weight: float
) -> Tensor:
    images, labels, target_images = batch
    if target_images is None:
        outputs, _ = reader.network(images)
        return label_loss(outputs, labels, reader.targets, reader.schema)
    # one pass over both domains, so that batch norm treats them alike
    outputs, features = reader.network(torch.cat([images, target_images]))
    source, target = features[: len(images)], features[len(images) :]
    loss = label_loss(outputs[: len(images)], labels, reader.targets, reader.schema)
    return loss + coral_weight * coral_distance(source, target)


def coral_distance(source: Tensor, target: Tensor) -> Tensor:
    """Measure the squared distance of two feature covariances, divided by 4 F².

    Shapes: source [N, F], target [M, F]; returns a scalar.
    Source: Sun and Saenko, arXiv:1607.01719, eq. 1 and 2.
    """
    difference = torch.cov(source.T) - torch.cov(target.T)
    return difference.square().sum() / (4.0 * source.shape[1] ** 2)


def _validation_loss(reader: Reader, validation: tuple[AnyPixels, pd.DataFrame]) -> float:
    labels = encode_labels(validation[1], reader.schema)
    outputs = reader.outputs(validation[0])
    loss = label_loss(outputs, labels, reader.targets, reader.schema)
    return float(loss) if torch.isfinite(loss) else float("inf")


def _rate(step: int, num_steps: int) -> float:
    progress = step / max(num_steps, 1)
    warm_up = min(progress / _WARM_UP, 1.0)
    return warm_up * 0.5 * (1.0 + np.cos(np.pi * progress)) + 1e-3


def _check(
    images: PixelBatch,
    labels: pd.DataFrame,
    target_images: AnyPixels | None,
    recipe: Recipe,
) -> None:
    if len(images) != len(labels):
        lengths = (len(images), len(labels))
        raise DataError(f"there are {lengths!r} images and rows of labels, expected equally many")
    if len(images) < MIN_IMAGES:
        message = f"a reader needs at least {MIN_IMAGES} labelled images"
        raise DataError(f"{message}, got {len(images)}")
    if images.shape[1] != images.shape[2]:
        raise DataError(f"images are {images.shape[1:3]!r}, expected square ones")
    if recipe.coral_weight > 0 and (target_images is None or len(target_images) == 0):
        raise DataError("a recipe with a CORAL weight needs unlabelled images of the target domain")
