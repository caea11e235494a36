"""Agreement at equal z: whether parent and child draw the same attributes from the same code."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol, runtime_checkable

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from stylealign.checkpoints import require_related
from stylealign.data.labels import LabelSchema
from stylealign.errors import DataError
from stylealign.images import PixelBatch
from stylealign.metrics.accuracy import (
    agreement,
    agreement_of_numbers,
    as_numbers,
    column_of,
    require_comparable,
)
from stylealign.metrics.bootstrap import bootstrap
from stylealign.models import Generator, Model
from stylealign.models.classes import draw_classes
from stylealign.models.latents import Labels
from stylealign.tensors import to_uint8


@runtime_checkable
class LabelReader(Protocol):
    """What reads labels from images, such as `metrics.readers.Reader`."""

    def predict(self, images: PixelBatch) -> pd.DataFrame:
        """One column per label, and `confidence.<label>` for classes."""
        ...


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Agreement of two readers on drawings of the same codes, beside what each can reach.

    Units: that of `metrics.accuracy.agreement`, in [-1, 1].
    """

    agreement: float
    low: float
    high: float
    parent_ceiling: float
    child_ceiling: float


def measure_agreement(
    parent: Model,
    child: Model,
    readers: tuple[LabelReader, LabelReader],
    ceilings: tuple[dict[str, float], dict[str, float]],
    schema: LabelSchema,
    *,
    num_samples: int = 2000,
    num_bootstrap: int = 1000,
    batch_size: int = 64,
    seed: int = 0,
    force: bool = False,
) -> dict[str, Agreement]:
    """Draw the same z with both models at psi 1 and compare what their readers find.

    `readers` and `ceilings` are those of the parent's and of the child's domain, each fitted and
    measured on true labels; `schema` holds the labels that both know. A conditional model draws
    classes at random, the same for both.

    Raises: LineageError if the models are not related, unless `force` asks for a control;
        DataError if labels of a type cannot be compared.
    """
    require_related(parent, child, force=force)
    require_comparable(schema)
    drawings = draw_pairs(parent, child, num_samples, batch_size=batch_size, seed=seed)
    parts = [[reader.predict(images) for reader, images in zip(readers, pair, strict=True)]
             for pair in drawings]  # fmt: skip
    first, second = (pd.concat(part, ignore_index=True) for part in zip(*parts, strict=True))
    rng = np.random.default_rng(seed)
    agreed = compare_readings(first, second, schema)
    results: dict[str, Agreement] = {}
    for name, spec in schema.items():
        columns = [as_numbers(column_of(read, name), spec) for read in (first, second)]
        statistic = partial(agreement_of_numbers, spec=spec)
        low, high = bootstrap(statistic, *columns, num_resamples=num_bootstrap, rng=rng)
        results[name] = Agreement(
            agreement=agreed[name], low=low, high=high,
            parent_ceiling=ceilings[0][name], child_ceiling=ceilings[1][name],
        )  # fmt: skip
    return results


def compare_readings(
    first: pd.DataFrame, second: pd.DataFrame, schema: LabelSchema
) -> dict[str, float]:
    """Agreement of two readers label by label.

    Shapes: one row per code, the same codes in both; one column per label of the schema.
    Raises: DataError if a reader gives no value.
    """
    for readings in (first, second):
        _require_values(readings, schema)
    return _compare(first, second, schema)


def measure_ceiling(
    reader: LabelReader, images: PixelBatch, labels: pd.DataFrame, schema: LabelSchema
) -> dict[str, float]:
    """Agreement of a reader with true labels of images that it was not fitted on.

    Shapes: images [N, R, R, 3], labels N rows with one column per label of the schema.
    Raises: DataError if the reader gives no value.
    """
    readings = reader.predict(images)
    _require_values(readings, schema)
    return _compare(labels, readings, schema)


def _compare(first: pd.DataFrame, second: pd.DataFrame, schema: LabelSchema) -> dict[str, float]:
    return {
        name: agreement(column_of(first, name), column_of(second, name), spec)
        for name, spec in schema.items()
    }


def _require_values(readings: pd.DataFrame, schema: LabelSchema) -> None:
    for name in schema:
        num = int(readings[name].isna().to_numpy().sum())
        if num:
            message = f"a reader gives no value of {name!r} for {num} of {len(readings)} images"
            raise DataError(f"{message}: its weights or the images are not finite")


def draw_pairs(
    parent: Model, child: Model, num: int, *, batch_size: int, seed: int
) -> Iterator[tuple[PixelBatch, PixelBatch]]:
    """Yield batches of what both models draw from the same z, of classes as the child saw them."""
    shares = child.config.class_shares
    for z, c in draw_codes(parent.generator, num, shares, batch_size=batch_size, seed=seed):
        with torch.no_grad():
            images = parent.generator(z, c), child.generator(z, c)
        yield to_uint8(images[0]), to_uint8(images[1])


def draw_codes(
    generator: Generator, num: int, shares: Sequence[float] = (), *, batch_size: int, seed: int
) -> Iterator[tuple[Tensor, Labels | None]]:
    """Yield batches of z and, where a model knows any, of classes: uniformly or by `shares`.

    Shapes: z [B, z_dim], c [B, c_dim], on the generator's device.
    """
    rng = torch.Generator().manual_seed(seed)
    for first in range(0, num, batch_size):
        size = min(batch_size, num - first)
        z = torch.randn(size, generator.mapping.network.z_dim, generator=rng).to(generator.w_avg)
        yield z, draw_classes(generator, size, rng, shares)
