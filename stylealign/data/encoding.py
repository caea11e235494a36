"""Labels as arrays for learning, back again, and under an x-flip."""

from collections.abc import Mapping
from typing import Final

import numpy as np
import pandas as pd

from stylealign.data.labels import LabelSchema, LabelSpec
from stylealign.images import decode_mask, encode_png

MISSING_CLASS: Final = -1
"""Index that stands for a missing class; missing numbers are NaN."""

MISSING_LEVEL: Final = 255
"""Grey level of every pixel of a missing mask."""

EncodedLabels = dict[str, np.ndarray]


def encode_labels(table: pd.DataFrame, schema: LabelSchema) -> EncodedLabels:
    """Turn a checked label table into one array per label.

    Shapes: class, ordinal int64 [N]; multilabel float32 [N, num_values]; continuous float32 [N];
            keypoints float32 [N, P, 2]; boxes float32 [N, B, 4], padded by NaN;
            mask uint8 [N, H, W].
    Units:  keypoints and boxes as fractions of the image side, as prepared data sets hold them.
    """
    return {name: _encode_column(table.loc[:, name], spec) for name, spec in schema.items()}


def decode_labels(encoded: Mapping[str, np.ndarray], schema: LabelSchema) -> pd.DataFrame:
    """Turn arrays of `encode_labels` back into a label table."""
    columns = {name: _decode_column(encoded[name], spec) for name, spec in schema.items()}
    return pd.DataFrame(columns)


def flip_labels(
    encoded: Mapping[str, np.ndarray], schema: LabelSchema, is_flipped: np.ndarray
) -> EncodedLabels:
    """Labels of the images after those marked were mirrored left to right.

    Flipping twice gives the labels back.

    Shapes: encoded as `encode_labels` gives it; is_flipped bool [N].
    """
    flipped: EncodedLabels = {}
    for name, spec in schema.items():
        values = encoded[name]
        marked = is_flipped.reshape(-1, *[1] * (values.ndim - 1))
        flipped[name] = np.where(marked, _mirror(values, spec), values)
    return flipped


def _encode_column(column: pd.Series, spec: LabelSpec) -> np.ndarray:
    cells = column.tolist()
    num_values = len(spec.values)
    match spec.type:
        case "continuous":
            return column.to_numpy(dtype=np.float32, na_value=np.nan)
        case "class" | "ordinal":
            index = {value: position for position, value in enumerate(spec.values)}
            return np.array([index.get(cell, MISSING_CLASS) for cell in cells], dtype=np.int64)
        case "multilabel":
            rows = [_membership(cell, spec) for cell in cells]
            return np.array(rows, dtype=np.float32).reshape(len(cells), num_values)
        case "keypoints":
            rows = [[np.nan] * 2 * num_values if _is_null(cell) else cell for cell in cells]
            return np.array(rows, dtype=np.float32).reshape(len(cells), num_values, 2)
        case "boxes":
            return _pad_boxes([[] if _is_null(cell) else list(cell) for cell in cells])
        case "mask":
            return _stack_masks(cells)


def _decode_column(values: np.ndarray, spec: LabelSpec) -> pd.Series:
    match spec.type:
        case "continuous":
            return pd.Series(values.astype(np.float64))
        case "class" | "ordinal":
            cells = [spec.values[index] if index >= 0 else None for index in values.tolist()]
        case "multilabel":
            cells = [
                None
                if np.isnan(row).any()
                else [name for name, is_set in zip(spec.values, row > 0.5, strict=True) if is_set]
                for row in values
            ]
        case "keypoints":
            cells = [
                None if np.isnan(row).any() else row.ravel().astype(np.float64).tolist()
                for row in values
            ]
        case "boxes":
            cells = [row[~np.isnan(row[:, 0])].astype(np.float64).tolist() for row in values]
        case "mask":
            cells = [encode_png(mask) for mask in values]
    return pd.Series(cells, dtype="object")


def _mirror(values: np.ndarray, spec: LabelSpec) -> np.ndarray:
    if spec.mirror == "negate":
        return -values if spec.type == "continuous" else _reverse_levels(values, spec)
    partner = _partners(spec)
    match spec.type:
        case "class":
            return np.where(values >= 0, partner[values], values)
        case "multilabel":
            return values[:, partner]
        case "keypoints":
            mirrored = values[:, partner].copy()
            mirrored[..., 0] = 1.0 - mirrored[..., 0]
            return mirrored
        case "boxes":
            left, top, right, bottom = np.moveaxis(values, -1, 0)
            return np.stack([1.0 - right, top, 1.0 - left, bottom], axis=-1)
        case "mask":
            levels = np.arange(256, dtype=np.uint8)
            levels[: len(partner)] = partner
            return levels[values[:, :, ::-1]]
        case _:
            return values


def _partners(spec: LabelSpec) -> np.ndarray:
    """Position of the value that takes each value's place in the mirror."""
    partner = np.arange(max(len(spec.values), 1))
    if spec.mirror == "swap":
        for first, second in spec.swap_pairs():
            left, right = spec.values.index(first), spec.values.index(second)
            partner[left], partner[right] = right, left
    return partner


def _reverse_levels(values: np.ndarray, spec: LabelSpec) -> np.ndarray:
    return np.where(values >= 0, len(spec.values) - 1 - values, values)


def _membership(cell: object, spec: LabelSpec) -> list[float]:
    if _is_null(cell):
        return [np.nan] * len(spec.values)
    given = set(cell)  # pyright: ignore[reportArgumentType, reportUnknownVariableType]
    return [float(value in given) for value in spec.values]


def _pad_boxes(rows: list[list[object]]) -> np.ndarray:
    num_boxes = max((len(row) for row in rows), default=0)
    padded = np.full((len(rows), num_boxes, 4), np.nan, dtype=np.float32)
    for position, row in enumerate(rows):
        if row:
            padded[position, : len(row)] = np.array([list(box) for box in row], np.float32)  # pyright: ignore[reportArgumentType]
    return padded


def _stack_masks(cells: list[object]) -> np.ndarray:
    masks = [decode_mask(cell) if isinstance(cell, bytes) else None for cell in cells]
    shape = next((mask.shape for mask in masks if mask is not None), (0, 0))
    empty = np.full(shape, MISSING_LEVEL, np.uint8)
    return np.stack([empty if mask is None else mask for mask in masks])


def _is_null(cell: object) -> bool:
    return cell is None or isinstance(cell, float)
