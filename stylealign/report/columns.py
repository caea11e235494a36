"""Parts of a table as plain arrays and tables: pandas' own indexing has no certain type."""

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float64

Numbers = Float64[np.ndarray, " rows"]


def numbers(table: pd.DataFrame, name: str) -> Numbers:
    """A column of numbers; missing ones and null are NaN."""
    return np.asarray(table[name], dtype=np.float64)


def mean(values: Numbers) -> float:
    """Mean of the numbers that are there; NaN where there is none."""
    there = values[~np.isnan(values)]
    return float(there.mean()) if there.size else float("nan")


def flags(table: pd.DataFrame, name: str) -> Bool[np.ndarray, " rows"]:
    """A column of yes and no."""
    return np.asarray(table[name], dtype=np.bool_)


def select(table: pd.DataFrame, chosen: Bool[np.ndarray, " rows"]) -> pd.DataFrame:
    """The chosen rows, in their order."""
    return table.take(np.flatnonzero(chosen))
