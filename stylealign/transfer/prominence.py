"""Prominence: how much of what a label changes in the parent's pixels is left in the child's."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
from jaxtyping import Float

from stylealign.data.labels import LabelSchema
from stylealign.errors import DataError
from stylealign.images import PixelBatch
from stylealign.metrics.accuracy import column_of
from stylealign.metrics.bootstrap import interval
from stylealign.transfer.evidence import as_variables, is_missing

MIN_PROMINENCE: Final = 0.1
"""A label of which surely less than this share is left is gone, whatever trace there is."""
GRID: Final = 16
"""Images are averaged down to so many cells a side: what moves by a cell's width still fits."""
MIN_ROWS: Final = 50
"""Fewer images prove nothing by what they do not show."""


@dataclass(frozen=True, kw_only=True)
class Prominence:
    """Shares of pixel variance that a label explains, and what is left of it in place."""

    parent: float
    child: float
    share: float
    """Of what it explains in the parent's cells, what it explains in the same cells of the child;
    more than it explained there does not count."""
    low: float
    high: float


def measure_prominence(
    parent: PixelBatch,
    child: PixelBatch,
    given: pd.DataFrame,
    schema: LabelSchema,
    *,
    rng: np.random.Generator,
    num_bootstrap: int = 50,
) -> dict[str, Prominence]:
    """Compare, per label, what it changes in the parent's images and in the child's of equal codes.

    Aligned models draw the same thing at the same place, so a label that comes through goes on
    changing the cells that it changed, by a comparable share of the variance. A label that the
    child has kept as a trace somewhere else, such as hair colour as the colour of eyes, is right
    by its code and wrong by its name: that is what readers and cycles cannot see.

    Variance is that of a linear regression on the label, less what chance explains. A label
    that explains nothing of the parent's pixels for sure is left out: of it this says nothing.

    Shapes: parent and child [N, H, H, 3] in the same order, given N rows.
    Raises: DataError if the numbers differ.
    """
    if not len(parent) == len(child) == len(given):
        lengths = (len(parent), len(child), len(given))
        raise DataError(f"{lengths!r} parent images, child images and labels, expected as many")
    cells = _Cells.of(parent), _Cells.of(child)
    found: dict[str, Prominence] = {}
    for name, spec in schema.items():
        rows = np.flatnonzero(~is_missing(column_of(given, name)))
        if len(rows) < MIN_ROWS:
            continue
        variables = as_variables(column_of(given.iloc[rows], name), spec)
        before, after = (domain.explained(rows, variables) for domain in cells)
        picks = rng.integers(0, len(rows), (num_bootstrap, len(rows)))
        again = [
            [domain.explained(rows[p], variables[p], noise=2) for domain in cells] for p in picks
        ]
        if interval(np.array([first.sum() for first, _ in again]))[0] <= 0:
            continue
        low, high = interval(np.array([_share(first, second) for first, second in again]))
        found[name] = Prominence(
            parent=float(before.sum()),
            child=float(after.sum()),
            share=_share(before, after),
            low=low,
            high=high,
        )
    return found


def faint_reason(prominence: Prominence) -> str:
    """Why a label does not count as carried over, in one sentence."""
    return (
        f"of the {prominence.parent:.2%} of pixel variance that the label explains in the parent's "
        f"images, a share of {prominence.share:.2f} [{prominence.low:.2f}, {prominence.high:.2f}] "
        f"is left at the same places of the child's, expected at least {MIN_PROMINENCE:g}: the "
        "child shows it elsewhere, as something else, or hardly at all"
    )


@dataclass(frozen=True)
class _Cells:
    """Images of one domain, averaged down and in one row each, in units of all their variance."""

    values: Float[np.ndarray, "N D"]

    @classmethod
    def of(cls, images: PixelBatch) -> "_Cells":
        num, side = len(images), images.shape[1]
        grid = np.gcd(side, GRID)
        shape = (num, grid, side // grid, grid, side // grid, images.shape[3])
        means = images.reshape(shape).mean(axis=(2, 4), dtype=np.float64).reshape(num, -1)
        return cls(means / max(np.sqrt(means.var(axis=0).sum()), 1e-9))

    def explained(
        self, rows: np.ndarray, variables: Float[np.ndarray, "N K"], *, noise: int = 1
    ) -> Float[np.ndarray, " D"]:
        """Variance of each value that the label explains, less `noise` times what chance does.

        Rows drawn with replacement carry the chance of the sample and that of the drawing.
        """
        values = self.values[rows] - self.values[rows].mean(axis=0)
        basis, scales, _ = np.linalg.svd(variables - variables.mean(axis=0), full_matrices=False)
        basis = basis[:, scales > 1e-6 * max(scales.max(), 1e-9)]
        by_chance = noise * basis.shape[1] * values.var(axis=0) / len(rows)
        return ((basis.T @ values) ** 2).sum(axis=0) / len(rows) - by_chance


def _share(before: Float[np.ndarray, " D"], after: Float[np.ndarray, " D"]) -> float:
    """What is left in place."""
    first, second = np.maximum(before, 0), np.maximum(after, 0)
    return float(np.minimum(first, second).sum() / max(first.sum(), 1e-12))
