"""The second witness: whether real images of the child vary in what the cycle reads."""

from typing import Final, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float

from stylealign.data.labels import LabelSchema, LabelSpec
from stylealign.metrics.bootstrap import bootstrap
from stylealign.transfer.evidence import as_numbers, column_of

MIN_WITNESSES: Final = 50
"""Fewer real images prove nothing by what they do not show."""
MIN_SPREAD: Final = 0.5
"""A label is unseen if real images surely show less than this share of the drawn spread.

Half, set before any child was judged by it.
"""


class Spread(NamedTuple):
    """How far readings of real images spread, as a share of the spread of drawn ones."""

    share: float
    high: float
    """Upper end of the 95 % interval over the real images."""


def measure_spread(
    drawn: pd.DataFrame,
    real: pd.DataFrame,
    schema: LabelSchema,
    *,
    rng: np.random.Generator,
    num_bootstrap: int = 200,
) -> dict[str, Spread]:
    """Share of each label's spread that real images show, with the upper end of its interval.

    A child can draw a trace of a label that its domain does not have: the cycle finds the trace
    and calls the label kept. Real images know nothing of the codes, so where the domain has no
    such attribute, their readings stay in one place. Only the spread is compared, never the
    place, for prevalences may differ between domains. What this cannot see: where the child draws
    the label as another attribute of its domain, that attribute varies in real images too.

    `drawn` and `real` are readings of the child's drawings and of real images, led back alike.
    Empty with fewer than `MIN_WITNESSES` real images.
    """
    if len(real) < MIN_WITNESSES:
        return {}
    shares: dict[str, Spread] = {}
    for name, spec in schema.items():
        ceiling = spread(column_of(drawn, name), spec)
        seen = as_variables(column_of(real, name), spec)

        def share_of(rows: np.ndarray, seen: np.ndarray = seen, ceiling: float = ceiling) -> float:
            return _spread(seen[rows]) / ceiling if ceiling > 0 else 1.0

        rows = np.arange(len(real))
        _, high = bootstrap(share_of, rows, num_resamples=num_bootstrap, rng=rng)
        shares[name] = Spread(share_of(rows), high)
    return shares


def spread(column: pd.Series, spec: LabelSpec) -> float:
    """Standard deviation of numbers and levels; of classes the root of their Gini impurity."""
    return _spread(as_variables(column, spec))


def as_variables(column: pd.Series, spec: LabelSpec) -> Float[np.ndarray, "N K"]:
    """The label as numbers whose variances add up: a class as membership of each value.

    Shapes: [N, num_values] of a class or multi-label, else [N, 1].
    """
    numbers = as_numbers(column, spec)
    if spec.type != "class":
        return numbers
    return (numbers == np.arange(len(spec.values))).astype(np.float64)


def _spread(numbers: Float[np.ndarray, "N K"]) -> float:
    return float(np.sqrt(np.var(numbers, axis=0).sum()))
