"""Evidence: how far readings of an image speak for the label it was given."""

from typing import Final

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from stylealign.data.labels import LabelSchema, LabelSpec
from stylealign.data.tables import CONFIDENCE_PREFIX
from stylealign.errors import DataError
from stylealign.metrics.accuracy import as_numbers, column_of, require_comparable

SAME_LEVEL: Final = 0.5
"""Tolerance of an ordinal label that declares none, in levels: only the same level is right."""


def require_transferable(schema: LabelSchema) -> None:
    """Refuse labels that nobody could judge, before hours of work go into them.

    Raises: DataError naming the label, and what is wrong with it.
    """
    require_comparable(schema)
    for name, spec in schema.items():
        if spec.type == "continuous" and not (spec.tolerance and spec.tolerance > 0):
            raise DataError(
                f"label {name!r} is continuous and has a tolerance of {spec.tolerance!r}, expected "
                "one above 0 in the label schema: the largest error that still counts as right"
            )


def measure_evidence(
    given: pd.DataFrame, readings: pd.DataFrame, schema: LabelSchema
) -> pd.DataFrame:
    """Evidence for each given label, between 0 and 1: one column per label.

    Class: the probability that the reader gives to the given value, the rest being shared among
    the other values alike. Number or level: tolerance / (tolerance + error), so 1/2 at the
    tolerance. Multi-label: the share of values on which label and reading agree. NaN where the
    label is missing.

    Raises: DataError if a label cannot be carried over, or a column is missing.
    """
    require_transferable(schema)
    return pd.DataFrame({
        name: _evidence(given, readings, name, spec) for name, spec in schema.items()
    })  # fmt: skip


def measure_rightness(
    given: pd.DataFrame, readings: pd.DataFrame, schema: LabelSchema
) -> pd.DataFrame:
    """Whether readings say what the label says: the same value, or a number within tolerance."""
    columns = {
        name: is_right(column_of(given, name), column_of(readings, name), spec)
        for name, spec in schema.items()
    }
    return pd.DataFrame(columns)


def is_right(given: pd.Series, read: pd.Series, spec: LabelSpec) -> Bool[np.ndarray, " N"]:
    """Whether two columns agree row by row; a missing label agrees with nothing."""
    first, second = as_numbers(given, spec), as_numbers(read, spec)
    if spec.type in ("continuous", "ordinal"):
        agrees = np.abs(first - second) <= tolerance_of(spec)  # false for NaN
    else:
        agrees = first == second
    return np.asarray(agrees.all(axis=1))


def chance_of(given: pd.Series, spec: LabelSpec) -> Float[np.ndarray, " N"]:
    """Probability that each label is right of a random row of the set."""
    own = as_numbers(given, spec)
    known = own[np.isfinite(own).all(axis=1)]
    if spec.type in ("continuous", "ordinal"):
        numbers, tolerance = np.sort(known[:, 0]), tolerance_of(spec)
        first = np.searchsorted(numbers, own[:, 0] - tolerance, side="left")
        last = np.searchsorted(numbers, own[:, 0] + tolerance, side="right")
        return (last - first) / max(len(numbers), 1)
    values, counts = np.unique(known, axis=0, return_counts=True)
    is_value = (own[:, None] == values).all(axis=2)
    return is_value @ (counts / max(len(known), 1))


def as_variables(column: pd.Series, spec: LabelSpec) -> Float[np.ndarray, "N K"]:
    """A label as columns of comparable size: one per class or value, numbers standardised."""
    numbers = as_numbers(column, spec)
    if spec.type == "class":
        return (numbers == np.arange(len(spec.values))).astype(np.float64)
    if spec.type == "multilabel":
        return numbers
    return (numbers - numbers.mean()) / max(float(numbers.std()), 1e-9)


def tolerance_of(spec: LabelSpec) -> float:
    """The largest error of a number or level that counts as right.

    Raises: DataError if a continuous label's schema does not declare one.
    """
    if spec.type == "ordinal":
        return spec.tolerance or SAME_LEVEL
    if spec.tolerance is None or spec.tolerance <= 0:
        raise DataError("a continuous label needs a tolerance above 0 in the label schema")
    return spec.tolerance


def is_missing(given: pd.Series) -> Bool[np.ndarray, " N"]:
    """Rows without a label."""
    return given.isna().to_numpy(dtype=bool)


def _evidence(
    given: pd.DataFrame, readings: pd.DataFrame, name: str, spec: LabelSpec
) -> Float[np.ndarray, " N"]:
    _check(given, readings, name, spec)
    label, read = column_of(given, name), column_of(readings, name)
    if spec.type == "class":
        confidence = readings[f"{CONFIDENCE_PREFIX}{name}"].to_numpy(np.float64)
        others = max(len(spec.values) - 1, 1)
        evidence = np.where(is_right(label, read, spec), confidence, (1 - confidence) / others)
    elif spec.type == "multilabel":
        evidence = (as_numbers(label, spec) == as_numbers(read, spec)).mean(axis=1)
    else:
        error = np.abs(as_numbers(label, spec) - as_numbers(read, spec))[:, 0]
        evidence = tolerance_of(spec) / (tolerance_of(spec) + error)
    return np.where(is_missing(label), np.nan, evidence)


def _check(given: pd.DataFrame, readings: pd.DataFrame, name: str, spec: LabelSpec) -> None:
    expected = [name, f"{CONFIDENCE_PREFIX}{name}"] if spec.type == "class" else [name]
    missing = [column for column in expected if column not in readings]
    if name not in given or missing:
        raise DataError(f"label {name!r}: columns {missing or [name]!r} are missing")
    if len(given) != len(readings):
        raise DataError(f"{len(given)} rows of labels and {len(readings)} readings, expected equal")
