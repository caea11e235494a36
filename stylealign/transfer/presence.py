"""Presence: whether real child images show a label, or only the images that the child draws."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Final

import numpy as np
import pandas as pd
from jaxtyping import Float

from stylealign.data.labels import LabelSchema
from stylealign.data.splits import divide_groups
from stylealign.images import PixelBatch
from stylealign.metrics.accuracy import agreement, column_of
from stylealign.metrics.bootstrap import interval
from stylealign.metrics.readers import Reader, fit_reader
from stylealign.transfer.evidence import as_variables

MIN_PRESENT: Final = 0.5
"""Share of readers' agreement on drawn images that must surely be left on real ones.

Half; labels that are there keep nearly all (`docs/pipeline.md`).
"""
MIN_WITNESSES: Final = 50
"""Fewer real images prove nothing by what they do not show."""
ROWS_PER_COLUMN: Final = 8
"""Fewer rows than this per column explain nothing: a regression would fit noise."""

Pair = tuple[pd.DataFrame, pd.DataFrame]
"""What two readers say of the same images."""


@dataclass(frozen=True, kw_only=True)
class Presence:
    """How far two readers of one label agree on drawn and on real child images.

    Agreements are correlations of what the labels read more firmly on real images leave over.
    """

    drawn: float
    real: float
    share: float
    """Of the agreement on drawn images, what is left on real ones; 0 where there was none."""
    low: float
    high: float


def fit_readers(
    images: PixelBatch,
    labels: pd.DataFrame,
    schema: LabelSchema,
    *,
    num_steps: int,
    seed: int,
    groups: Sequence[Hashable] = (),
) -> tuple[Reader, Reader]:
    """Fit two readers on halves of the transferred images that share no image and no group.

    Shapes: images [N, H, H, 3], labels N rows.
    Raises: DataError if a half has too few images or a label without values.
    """
    each = groups or range(len(images))

    def fit(rows: np.ndarray, seed: int) -> Reader:
        known = labels.iloc[rows].reset_index(drop=True)
        own = [each[row] for row in rows]
        return fit_reader(images[rows], known, schema, seed=seed, num_steps=num_steps, groups=own)

    halves = divide_groups(each, -(-len(images) // 2), seed=seed)
    first, second = (np.sort(half) for half in halves)
    return fit(first, seed), fit(second, seed + 1)


def read_with(readers: tuple[Reader, Reader], images: PixelBatch) -> Pair:
    """What both readers say of images."""
    return readers[0].predict(images), readers[1].predict(images)


def measure_presence(
    drawn: Pair,
    real: Pair,
    schema: LabelSchema,
    *,
    rng: np.random.Generator,
    num_bootstrap: int = 200,
) -> dict[str, Presence]:
    """Compare, per label, how far two readers agree on drawn and on unlabelled real images.

    Readers that learned one thing from different images go on agreeing where that thing is to be
    seen, and how far they agree tells how often they are right. Where the child shows a label by
    something that its real domain does not have, they are left without it on real images: they
    say one value everywhere, or different ones, or they take a clue from a label that is there (a
    dark coat for dark hair). So the labels that are read most firmly on real images come first,
    and of each further one only that counts which those before it do not explain.

    It cannot see that a real property of the domain goes by the wrong name: where the child
    shows hair colour as a colour of eyes that real images have too, readers agree on it.

    Empty with fewer than `MIN_WITNESSES` real images.

    Source: after Jiang et al., arXiv:2106.13799 (agreement of readers estimates their accuracy).
    """
    if len(real[0]) < MIN_WITNESSES:
        return {}
    firmness = {
        name: agreement(column_of(real[0], name), column_of(real[1], name), spec)
        for name, spec in schema.items()
    }
    order = sorted(schema, key=lambda name: -firmness[name])
    found: dict[str, Presence] = {}
    for place, name in enumerate(order):
        on_drawn, on_real = (
            _Residuals(
                _unexplained(pair[0], name, order[:place], schema),
                _unexplained(pair[1], name, order[:place], schema),
            )
            for pair in (drawn, real)
        )
        shares = [
            _share(on_drawn.resampled(rng), on_real.resampled(rng)) for _ in range(num_bootstrap)
        ]
        low, high = interval(np.array(shares))
        share = _share(on_drawn.agreement(), on_real.agreement())
        found[name] = Presence(
            drawn=on_drawn.agreement(), real=on_real.agreement(), share=share, low=low, high=high
        )
    return {name: found[name] for name in schema}


def absent_reason(presence: Presence) -> str:
    """Why a label does not count as present, in one sentence."""
    return (
        f"two readers of the transferred images agree {presence.drawn:.2f} on images that the "
        f"child draws and {presence.real:.2f} on real ones, a share of {presence.share:.2f} "
        f"[{presence.low:.2f}, {presence.high:.2f}], expected at least {MIN_PRESENT:g} (other "
        "labels taken out): what they learned of the label is not seen in real images"
    )


@dataclass(frozen=True)
class _Residuals:
    """What two readers say of a label beyond what other labels explain."""

    first: Float[np.ndarray, "N K"]
    second: Float[np.ndarray, "N K"]

    def agreement(self, rows: np.ndarray | slice = slice(None)) -> float:
        """Correlation over all columns; 0 where one reader says nothing."""
        first, second = self.first[rows], self.second[rows]
        norm = np.linalg.norm(first) * np.linalg.norm(second)
        return float((first * second).sum() / norm) if norm > 1e-9 else 0.0

    def resampled(self, rng: np.random.Generator) -> float:
        """The same of rows drawn with replacement."""
        return self.agreement(rng.integers(0, len(self.first), len(self.first)))


def _unexplained(
    table: pd.DataFrame, name: str, others: Sequence[str], schema: LabelSchema
) -> Float[np.ndarray, "N K"]:
    """A reader's values of one label, less their regression on its values of the others."""
    values = as_variables(column_of(table, name), schema[name])
    known = [as_variables(column_of(table, other), schema[other]) for other in others]
    basis = _basis(np.concatenate(known, axis=1) if known else values[:, :0])
    return values - basis @ np.linalg.lstsq(basis, values, rcond=None)[0]


def _basis(columns: Float[np.ndarray, "N K"]) -> Float[np.ndarray, "N B"]:
    """A constant, the columns and their products; less of them where rows are few."""
    constant = np.ones((len(columns), 1))
    pairs = combinations_with_replacement(range(columns.shape[1]), 2)
    products = [columns[:, [i]] * columns[:, [j]] for i, j in pairs]
    for basis in ([constant, columns, *products], [constant, columns]):
        if sum(part.shape[1] for part in basis) * ROWS_PER_COLUMN <= len(columns):
            return np.concatenate(basis, axis=1)
    return constant


def _share(drawn: float, real: float) -> float:
    return max(real, 0.0) / drawn if drawn > 0 else 0.0
