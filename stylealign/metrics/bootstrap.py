"""Paired resampling of test images and seeds, and the intervals that follow."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Float

from stylealign.errors import DataError

LEVEL: Final = 0.95
MAX_SILENT: Final = 0.05
"""Share of resamples that may have no value; where more have none there is no interval."""


@dataclass(frozen=True, kw_only=True)
class Resamples:
    """How often each image and each seed counts, the same for everything that is compared."""

    image_counts: Float[np.ndarray, "B N"]
    seed_shares: Float[np.ndarray, "B S"]

    def mean_over_seeds(self, scores: Float[np.ndarray, "S B"]) -> Float[np.ndarray, " B"]:
        """Average the scores of the seeds that each resample drew.

        Shapes: scores [S, B]; returns [B].
        """
        return (self.seed_shares * scores.T).sum(1)


def draw_resamples(
    num_images: int, num_seeds: int, *, num_resamples: int, rng: np.random.Generator
) -> Resamples:
    """Draw images and seeds with replacement.

    Raises: DataError if there is no image, seed or resample.
    """
    if min(num_images, num_seeds, num_resamples) < 1:
        sizes = (num_images, num_seeds, num_resamples)
        raise DataError(f"images, seeds and resamples are {sizes!r}, expected at least 1 of each")
    images = rng.multinomial(num_images, np.full(num_images, 1 / num_images), num_resamples)
    seeds = rng.multinomial(num_seeds, np.full(num_seeds, 1 / num_seeds), num_resamples)
    return Resamples(
        image_counts=images.astype(np.float64), seed_shares=seeds.astype(np.float64) / num_seeds
    )


def interval(values: Float[np.ndarray, " B"]) -> tuple[float, float]:
    """Return the central 95 % of resampled values; of those that are none (NaN) a few may be.

    Where more than `MAX_SILENT` have no value both ends are NaN.

    Source: Efron and Tibshirani, 1993, chapter 13 (percentile interval).
    """
    has_value = ~np.isnan(values)
    if has_value.mean() < 1.0 - MAX_SILENT:
        return np.nan, np.nan
    tail = (1.0 - LEVEL) / 2.0
    low, high = np.quantile(values[has_value], [tail, 1.0 - tail])
    return float(low), float(high)


def bootstrap(
    statistic: Callable[..., float],
    *columns: np.ndarray,
    num_resamples: int = 1000,
    rng: np.random.Generator,
) -> tuple[float, float]:
    """Return the 95 % interval of a statistic of paired columns, such as a correlation.

    Raises: DataError if the columns differ in length or are empty.
    """
    lengths = {len(column) for column in columns}
    if len(lengths) != 1 or 0 in lengths:
        raise DataError(f"columns have {sorted(lengths)!r} values, expected equal and at least 1")
    values = np.empty(num_resamples)
    for number in range(num_resamples):
        picks = rng.integers(0, len(columns[0]), len(columns[0]))
        values[number] = statistic(*(column[picks] for column in columns))
    return interval(values)
