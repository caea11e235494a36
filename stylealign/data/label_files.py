"""Label tables from CSV, JSON-lines and Parquet files, and their match with image ids."""

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Final

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from stylealign.errors import DataError

ID_COLUMNS: Final = ("id", "file", "file_name", "filename", "image", "path")
"""Names under which the id column of a label file is found, in this order."""


def read_label_file(path: str | Path, *, id_column: str | None = None) -> pd.DataFrame:
    """Read a label file; the index holds its ids as text.

    Cells of a CSV stay text, so that `007` stays an id; `check_labels` gives them their types.

    Raises: DataError if the file cannot be read, or no column holds the ids.
    """
    try:
        table = _read_table(Path(path))
    except (OSError, ValueError, RecursionError, pa.ArrowException) as error:
        raise DataError(f"cannot read label file {str(path)!r}: {error}") from error
    columns = [str(column) for column in table.columns]
    candidates = [id_column] if id_column is not None else [*ID_COLUMNS]
    found = next((name for name in candidates if name in columns), None)
    if found is None:
        message = (
            f"label file {str(path)!r} has no id column {' or '.join(map(repr, candidates))}; "
            f"it has {columns!r}; name the column that holds the image ids"
        )
        raise DataError(message)
    keys = table.pop(found)
    table.index = pd.Index([str(key).strip() for key in keys], dtype=str)
    return table


def match_ids(ids: Sequence[str], keys: Sequence[str]) -> dict[str, str]:
    """Which image each key of a label table means: its id, its file name, or its stem.

    A name that several images share means none of them.

    Returns: {key: id} of the keys that mean an image.
    """
    by_name: dict[str, set[str]] = defaultdict(set)
    for image_id in set(ids):
        path = PurePosixPath(image_id)
        for name in {path.name, path.stem, str(path.with_suffix(""))} - {image_id}:
            by_name[name].add(image_id)
    known = set(ids)
    matches: dict[str, str] = {}
    for key in keys:
        name = key.replace("\\", "/").removeprefix("./")
        if name in known:
            matches[key] = name
        elif len(by_name.get(name, ())) == 1:
            (matches[key],) = by_name[name]
    return matches


def _read_table(path: Path) -> pd.DataFrame:
    match path.suffix.lower():
        case ".csv":
            return pd.read_csv(path, dtype=str, keep_default_na=False, na_values=[""])
        case ".jsonl" | ".ndjson":
            return pd.DataFrame(_read_lines(path))
        case ".parquet":
            table = pq.read_table(path, page_checksum_verification=True)
            return table.to_pandas(ignore_metadata=True)  # an index of pandas is a column too
        case suffix:
            raise ValueError(f"unknown suffix {suffix!r}; expected .csv, .jsonl or .parquet")


def _read_lines(path: Path) -> list[dict[str, object]]:
    lines = path.read_text(encoding="utf-8-sig").split("\n")  # strings may hold other separators
    rows = [json.loads(line) for line in lines if line.strip()]
    for row in rows:
        if not isinstance(row, dict):
            raise ValueError(f"a line holds {row!r}, expected an object")
    return rows
