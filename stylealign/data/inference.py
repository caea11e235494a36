"""A first label schema, read off a label table, for its owner to check."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import pandas as pd

from stylealign.data.labels import as_text
from stylealign.data.splits import SPLITS

MAX_CLASSES: Final = 20
"""Columns of text with more distinct values are names or notes, not classes."""

MAX_NUMBERED_CLASSES: Final = 10
"""Whole numbers with at most so many distinct values are taken for classes."""

TOLERANCE: Final = 0.25
"""Share of a number's standard deviation that still counts as right."""

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_ODD_UNDER_MIRROR: Final = re.compile(r"(^|[_-])(yaw|roll)($|[_-])")


@dataclass(frozen=True)
class InferredSchema:
    """What a label table seems to hold."""

    labels: dict[str, dict[str, object]] = field(default_factory=dict[str, dict[str, object]])
    """Per label the fields of a `LabelSpec`, as they stand in params.yaml."""
    left_out: dict[str, str] = field(default_factory=dict[str, str])
    """Why a column is no label."""
    split_column: str | None = None
    """Column that already deals the rows to splits."""


def infer_schema(table: pd.DataFrame) -> InferredSchema:
    """Guess type, values and tolerance of every column of a label table.

    Numbers become continuous with a quarter of their deviation as tolerance, few distinct values
    a class. No table can tell what a mirror does to a label: every label is invariant but those
    called yaw or roll, whose sign turns.
    """
    labels: dict[str, dict[str, object]] = {}
    left_out: dict[str, str] = {}
    split_column: str | None = None
    for column in map(str, table.columns):
        cells = [cell for cell in table[column].tolist() if _is_known(cell)]
        if column == "split" and cells and set(map(as_text, cells)) <= set(SPLITS):
            split_column = column
            continue
        found = _infer_label(column, cells)
        if isinstance(found, str):
            left_out[column] = found
        else:
            labels[column] = found
    return InferredSchema(labels, left_out, split_column)


def _infer_label(column: str, cells: Sequence[object]) -> dict[str, object] | str:
    if not _NAME.fullmatch(column):
        near = re.sub(r"[^a-z0-9_-]+", "_", column.lower()).strip("_-") or "label"
        return f"its name has letters that a label cannot have; rename it to {near!r}"
    if not cells:
        return "it is empty"
    if any(isinstance(cell, list | tuple | dict | bytes | np.ndarray) for cell in cells):
        return "lists, boxes, points and masks need a type that only you know"
    values = sorted({as_text(cell) for cell in cells})
    if len(values) == 1:
        return f"it always says {values[0]!r}"
    numbers = _as_numbers(cells)
    if numbers is not None and not _is_numbered_class(numbers):
        return _continuous(column, numbers)
    if len(values) > MAX_CLASSES:
        return f"it is text with {len(values)} different values"
    if numbers is not None:
        values.sort(key=float)
    return {"type": "class", "values": values, "mirror": "invariant"}


def _continuous(column: str, numbers: np.ndarray) -> dict[str, object]:
    tolerance = float(f"{TOLERANCE * numbers.std():.2g}")
    mirror = "negate" if _ODD_UNDER_MIRROR.search(column) else "invariant"
    return {"type": "continuous", "mirror": mirror, "tolerance": tolerance}


def _is_numbered_class(numbers: np.ndarray) -> bool:
    are_whole = bool((numbers == numbers.round()).all())
    return are_whole and len(np.unique(numbers)) <= MAX_NUMBERED_CLASSES


def _as_numbers(cells: Sequence[object]) -> np.ndarray | None:
    """The cells as numbers, if all of them are."""
    try:
        numbers = np.array([float(str(cell)) for cell in cells])
    except ValueError:
        return None
    return numbers if np.isfinite(numbers).all() else None


def _is_known(cell: object) -> bool:
    if cell is None or cell is pd.NA or (isinstance(cell, str) and not cell.strip()):
        return False
    return not (isinstance(cell, float) and np.isnan(cell))
