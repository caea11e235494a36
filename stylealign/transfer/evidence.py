"""Evidence: how far readings of an image speak for the label it was given."""

from typing import cast

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from stylealign.data.labels import LabelSchema, LabelSpec
from stylealign.errors import DataError

TRANSFERABLE_TYPES = ("class", "continuous")


def measure_evidence(
    given: pd.DataFrame, readings: pd.DataFrame, schema: LabelSchema
) -> pd.DataFrame:
    """Evidence for each given label, between 0 and 1: one column per label.

    Class: the probability that the reader gives to the given value, the rest being shared among
    the other values alike. Number: tolerance / (tolerance + error), so 1/2 at the tolerance.
    NaN where the label is missing.

    Raises: DataError if a label's type cannot be carried over, or a column is missing.
    """
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
    if spec.type == "class":
        return np.asarray(given.to_numpy() == read.to_numpy(), dtype=bool)
    error = np.abs(given.to_numpy(np.float64) - read.to_numpy(np.float64))
    return error <= tolerance_of(spec)


def tolerance_of(spec: LabelSpec) -> float:
    """The tolerance of a continuous label.

    Raises: DataError if the schema does not declare one.
    """
    if spec.tolerance is None or spec.tolerance <= 0:
        raise DataError("a continuous label needs a tolerance above 0 in the label schema")
    return spec.tolerance


def column_of(table: pd.DataFrame, name: str) -> pd.Series:
    """One column, which pandas' own types leave open."""
    return cast("pd.Series", table[name])


def is_missing(given: pd.Series) -> Bool[np.ndarray, " N"]:
    """Rows without a label."""
    return given.isna().to_numpy(dtype=bool)


def _evidence(
    given: pd.DataFrame, readings: pd.DataFrame, name: str, spec: LabelSpec
) -> Float[np.ndarray, " N"]:
    _check(given, readings, name, spec)
    if spec.type == "class":
        confidence = readings[f"confidence.{name}"].to_numpy(np.float64)
        others = max(len(spec.values) - 1, 1)
        agrees = is_right(column_of(given, name), column_of(readings, name), spec)
        evidence = np.where(agrees, confidence, (1 - confidence) / others)
    else:
        tolerance = tolerance_of(spec)
        error = given[name].to_numpy(np.float64) - readings[name].to_numpy(np.float64)
        evidence = tolerance / (tolerance + np.abs(error))
    return np.where(is_missing(column_of(given, name)), np.nan, evidence)


def _check(given: pd.DataFrame, readings: pd.DataFrame, name: str, spec: LabelSpec) -> None:
    if spec.type not in TRANSFERABLE_TYPES:
        message = f"label {name!r} is of type {spec.type!r}, expected {TRANSFERABLE_TYPES!r}"
        raise DataError(f"{message}; leave it out of the transfer")
    expected = [name] if spec.type == "continuous" else [name, f"confidence.{name}"]
    missing = [column for column in expected if column not in readings]
    if name not in given or missing:
        raise DataError(f"label {name!r}: columns {missing or [name]!r} are missing")
    if len(given) != len(readings):
        raise DataError(f"{len(given)} rows of labels and {len(readings)} readings, expected equal")
