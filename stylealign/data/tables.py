"""Rows of an image data set as Arrow tables that other readers know how to show."""

import json
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any, Final

import pandas as pd
import pyarrow as pa

from stylealign.data.labels import LabelSchema, LabelSpec

LABEL_PREFIX: Final = "label."
CONFIDENCE_PREFIX: Final = "confidence."
"""Of the probability that the label of the same name is right, or is what a reader says."""
IMAGE_TYPE: Final[Any] = pa.struct([("bytes", pa.binary()), ("path", pa.string())])

_ARROW_TYPES: Final[dict[str, Any]] = {
    "class": pa.string(),
    "ordinal": pa.string(),
    "multilabel": pa.list_(pa.string()),
    "continuous": pa.float64(),
    "keypoints": pa.list_(pa.float64()),
    "boxes": pa.list_(pa.list_(pa.float64())),
    "mask": IMAGE_TYPE,
}


def image_table(frame: pd.DataFrame, images: Sequence[bytes], schema: LabelSchema) -> pa.Table:
    """Table of one shard: `id`, `image`, and all other columns of the frame.

    The image column is the struct `{bytes, path}` with the schema metadata that makes the
    `datasets` library read it as `Image`. Label columns are named `label.<name>`.
    """
    ids = frame["id"].tolist()
    columns: dict[str, pa.Array] = {"id": pa.array(ids, pa.string())}
    columns["image"] = image_array(images, ids)
    specs = {f"{LABEL_PREFIX}{name}": spec for name, spec in schema.items()}
    for name in frame.columns.drop("id"):
        cells = frame[name].tolist()
        columns[name] = _label_array(cells, specs[name], ids) if name in specs else _array(cells)
    image_columns = [name for name, array in columns.items() if array.type == IMAGE_TYPE]
    features = {name: {"_type": "Image"} for name in image_columns}
    metadata = json.dumps({"info": {"features": features}})
    return pa.table(columns).replace_schema_metadata({"huggingface": metadata})


def image_array(images: Sequence[bytes | None], ids: Sequence[str]) -> pa.Array:
    """Encoded images as the struct column `{bytes, path}`."""
    cells = [
        None if data is None else {"bytes": data, "path": f"{_stem(name)}.png"}
        for data, name in zip(images, ids, strict=True)
    ]
    return pa.array(cells, IMAGE_TYPE)


def plain_frame(table: pa.Table) -> pd.DataFrame:
    """Table as a frame whose cells are plain Python values: lists stay lists."""
    columns = {
        field.name: table.column(field.name).to_pylist()
        if pa.types.is_nested(field.type)
        else table.column(field.name).to_pandas()
        for field in table.schema
    }
    return pd.DataFrame(columns)


def label_frame(frame: pd.DataFrame, schema: LabelSchema) -> pd.DataFrame:
    """Labels of a data set's table under their own names, indexed by id."""
    labels = pd.DataFrame(index=pd.Index(frame["id"], name="id"))
    for name, spec in schema.items():
        cells = frame[f"{LABEL_PREFIX}{name}"].tolist()
        if spec.type == "mask":
            cells = [cell["bytes"] if isinstance(cell, dict) else None for cell in cells]
        dtype = "float64" if spec.type == "continuous" else "object"
        labels[name] = pd.Series(cells, index=labels.index, dtype=dtype)
    return labels


def _label_array(cells: list[Any], spec: LabelSpec, ids: Sequence[str]) -> pa.Array:
    cells = [None if _is_null(cell) else cell for cell in cells]
    if spec.type == "mask":
        return image_array(cells, ids)
    return pa.array(cells, _ARROW_TYPES[spec.type])


def _array(cells: list[Any]) -> pa.Array:
    array = pa.array(cells, from_pandas=True)
    return array.cast(pa.string()) if pa.types.is_null(array.type) else array


def _is_null(cell: object) -> bool:
    return cell is None or (isinstance(cell, float) and cell != cell)


def _stem(image_id: str) -> str:
    return PurePosixPath(image_id).name.rsplit(".", 1)[0]
