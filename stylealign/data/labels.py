"""What a label is, and the check of a label table against that."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator, model_validator

from stylealign.errors import DataError

LabelType = Literal["class", "multilabel", "continuous", "ordinal", "keypoints", "boxes", "mask"]

NAMED: Final = ("class", "multilabel", "ordinal", "keypoints", "mask")
"""Types whose `values` name what a label can be: classes, points, or the levels of a mask."""

NEGATABLE: Final = ("continuous", "ordinal")
SWAPPABLE: Final = ("class", "multilabel", "keypoints", "mask")


class LabelSpec(BaseModel):
    """What one label means: its type, its values, and what a mirror does to it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: LabelType
    values: tuple[str, ...] = ()
    """Classes, ordered levels, names of the points, or names of the grey levels of a mask."""
    unit: str | None = None
    """Unit of a number; for keypoints and boxes `px` of the source image, or `relative`."""
    mirror: Literal["invariant", "negate", "swap"] = "invariant"
    """What an x-flip does to the value; the geometry of points, boxes and masks always follows."""
    swaps: tuple[tuple[str, str], ...] = ()
    """Pairs of `values` that an x-flip exchanges; two values are a pair by themselves."""
    tolerance: float | None = None
    """Largest error of a continuous label that still counts as right."""

    @field_validator("values", mode="before")
    @classmethod
    def _values_as_text(cls, values: Sequence[object] | None) -> tuple[str, ...]:
        return tuple(as_text(value) for value in values or ())

    @model_validator(mode="after")
    def _fits_its_type(self) -> "LabelSpec":
        if self.type in NAMED and not self.values:
            raise ValueError(f"a label of type {self.type!r} needs values")
        if len(set(self.values)) != len(self.values):
            raise ValueError(f"values {self.values!r} repeat")
        if self.mirror == "negate" and self.type not in NEGATABLE:
            raise ValueError(f"mirror 'negate' needs a type of {NEGATABLE!r}, got {self.type!r}")
        if self.mirror == "swap" and self.type not in SWAPPABLE:
            raise ValueError(f"mirror 'swap' needs a type of {SWAPPABLE!r}, got {self.type!r}")
        if self.mirror == "swap" and not self.swap_pairs():
            raise ValueError("mirror 'swap' needs swaps: the pairs of values that it exchanges")
        unknown = {value for pair in self.swaps for value in pair} - set(self.values)
        if unknown:
            raise ValueError(f"swaps name unknown values {sorted(unknown)!r}")
        if self.type in ("keypoints", "boxes") and self.unit not in ("px", "relative"):
            raise ValueError(f"unit of {self.type} is 'px' or 'relative', got {self.unit!r}")
        return self

    def swap_pairs(self) -> tuple[tuple[str, str], ...]:
        """Pairs of values that an x-flip exchanges."""
        if self.swaps or len(self.values) != 2:
            return self.swaps
        return ((self.values[0], self.values[1]),)


LabelSchema = dict[str, LabelSpec]


def parse_schema(raw: Mapping[str, Mapping[str, object]]) -> LabelSchema:
    """Read a label schema from plain values, as they stand in params.yaml.

    Raises: DataError naming the label and what is wrong with it.
    """
    schema: LabelSchema = {}
    for name, fields in raw.items():
        try:
            schema[name] = LabelSpec.model_validate(dict(fields))
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"])
            place = f"label {name!r}, {field}" if field else f"label {name!r}"
            raise DataError(f"label schema is not usable: {place}: {first['msg']}") from error
    return schema


def as_text(value: object) -> str:
    """One spelling for a value, whatever file format it came from: `1`, `1.0` and `"1"` agree."""
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value).strip()


def check_labels(table: pd.DataFrame, schema: LabelSchema) -> pd.DataFrame:
    """Label table with exactly the columns of the schema, each in its own Python type.

    The index of `table` holds the ids. A missing cell stays missing. Keypoints may stand in one
    column, as flat list or JSON, or in columns `<point>_x` and `<point>_y`.

    Raises: DataError naming the column, what was expected, and the first bad row and value.
    """
    columns = {name: _check_column(table, name, spec) for name, spec in schema.items()}
    return pd.DataFrame(columns, index=table.index)


def _check_column(table: pd.DataFrame, name: str, spec: LabelSpec) -> pd.Series:
    parse = _PARSERS[spec.type]
    parsed: list[object] = []
    for row, (key, value) in enumerate(zip(table.index, _cells(table, name, spec), strict=True)):
        try:
            parsed.append(None if _is_missing(value) else parse(value, spec))
        except (ValueError, TypeError, RecursionError) as error:
            message = (
                f"label column {name!r} holds {value!r} in row {row} (id {key!r}); expected "
                f"{_expected(spec)}; correct the value or the type in the label schema"
            )
            raise DataError(message) from error
    dtype = "float64" if spec.type == "continuous" else "object"
    return pd.Series(parsed, index=table.index, dtype=dtype, name=name)


def _cells(table: pd.DataFrame, name: str, spec: LabelSpec) -> list[object]:
    if name in table.columns:
        return table[name].tolist()
    point_columns = [f"{point}_{axis}" for point in spec.values for axis in "xy"]
    if spec.type == "keypoints" and set(point_columns) <= set(table.columns):
        rows = table[point_columns].to_numpy().tolist()
        return [None if all(map(_is_missing, row)) else row for row in rows]
    known = [str(column) for column in table.columns]
    raise DataError(
        f"label column {name!r} is not in the label table, which has {known!r}; "
        "correct the name in the label schema or the head of the table"
    )


def _is_missing(value: object) -> bool:
    if value is None or value is pd.NA or (isinstance(value, str) and not value.strip()):
        return True
    return isinstance(value, float) and math.isnan(value)


def _expected(spec: LabelSpec) -> str:
    return {
        "class": f"one of {list(spec.values)!r} (class)",
        "ordinal": f"one of {list(spec.values)!r} (ordinal)",
        "multilabel": f"a list, or text joined by '|', of {list(spec.values)!r} (multilabel)",
        "continuous": "a finite number (continuous)",
        "keypoints": f"x and y of the {len(spec.values)} points {list(spec.values)!r} (keypoints)",
        "boxes": "a list of boxes [left, top, right, bottom] (boxes)",
        "mask": "the bytes of a grey PNG, as a Parquet table can hold them (mask)",
    }[spec.type]


def _parse_class(value: object, spec: LabelSpec) -> str:
    text = as_text(value)
    if text not in spec.values:
        raise ValueError(text)
    return text


def _parse_multilabel(value: object, spec: LabelSpec) -> list[str]:
    is_json = isinstance(value, str) and value.lstrip().startswith("[")
    parts = value.split("|") if isinstance(value, str) and not is_json else _as_list(value)
    given = {as_text(part) for part in parts if part != ""}
    if not given <= set(spec.values):
        raise ValueError(given)
    return [known for known in spec.values if known in given]


def _parse_continuous(value: object, _spec: LabelSpec) -> float:
    if isinstance(value, bool | np.bool_) or not isinstance(value, str | int | float | np.number):
        raise TypeError(value)
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(number)
    return number


def _parse_keypoints(value: object, spec: LabelSpec) -> list[float]:
    numbers = np.asarray(_as_list(value), dtype=np.float64).ravel()
    if numbers.size != 2 * len(spec.values) or not np.isfinite(numbers).all():
        raise ValueError(numbers)
    return numbers.tolist()


def _parse_boxes(value: object, _spec: LabelSpec) -> list[list[float]]:
    boxes = np.asarray(
        [np.asarray(box, dtype=np.float64) for box in _as_list(value)], dtype=np.float64
    ).reshape(-1, 4)
    if not np.isfinite(boxes).all() or (boxes[:, 2:] < boxes[:, :2]).any():
        raise ValueError(boxes)
    return boxes.tolist()


def _parse_mask(value: object, _spec: LabelSpec) -> bytes:
    if isinstance(value, Mapping):
        value = value["bytes"]  # the struct of an `Image` column
    if not isinstance(value, bytes):
        raise TypeError(value)
    return value


def _as_list(value: object) -> list[object]:
    if isinstance(value, str):
        value = json.loads(value)
    if not isinstance(value, list | tuple | np.ndarray):
        raise TypeError(value)
    return list(value)


_PARSERS: Final[dict[str, Callable[[object, LabelSpec], object]]] = {
    "class": _parse_class,
    "multilabel": _parse_multilabel,
    "continuous": _parse_continuous,
    "ordinal": _parse_class,
    "keypoints": _parse_keypoints,
    "boxes": _parse_boxes,
    "mask": _parse_mask,
}
