"""Stable shards: a change of some rows rewrites only the shards that hold them.

A shard's key is the hash of its rows and of everything that made them. A shard whose key can be
recomputed from today's rows is kept; the rows that no kept shard covers go, sorted by id, into
new shards. So a killed run goes on where it stopped and ends in the same bytes, and 1 % new rows
cost 1 % of the work.
"""

import hashlib
import io
import json
import re
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from stylealign.data.manifest import (
    MANIFEST_FILE,
    ShardRecord,
    file_sha256,
    read_manifest,
    write_whole,
)
from stylealign.data.remote import Place, StoreError, store_failures
from stylealign.errors import DataError

FOOTER: Final = b"stylealign"
FILE_NAME: Final = re.compile(
    r"(?P<split>[a-z]+)-(?:(?P<index>\d{5})-of-\d{5}|(?P<key>[0-9a-f]{16}))\.parquet"
)
ROW_GROUP_ROWS: Final = 256


@dataclass(frozen=True)
class Shard:
    """Rows that go into one file, and the key that stands for them."""

    key: str
    fingerprint: str
    split: str
    ids: tuple[str, ...]

    @property
    def file(self) -> str:
        """Name of the file until all shards are finished."""
        return f"{self.split}-{self.key[:16]}.parquet"


@dataclass(frozen=True)
class ShardPlan:
    """What a folder of shards has and what it still needs."""

    folder: Path
    fingerprint: str
    content_hash: str
    kept: tuple[Path, ...]
    """Files that stay as they are, in the order that they will have."""
    todo: tuple[Shard, ...]
    num_rows: int
    """All rows: of kept shards, and of those to be made."""

    @property
    def num_todo(self) -> int:
        """Rows that no kept shard covers."""
        return sum(len(shard.ids) for shard in self.todo)


def fingerprint(**parts: object) -> str:
    """Hash of all that makes rows but the rows: params, model ids, engine version."""
    return _digest(parts)


def plan_shards(
    folder: Path, rows: pd.DataFrame, *, fingerprint: str, shard_size: int
) -> ShardPlan:
    """Decide which shards of a folder are still valid and which rows need new ones.

    `rows` has columns `id` and `sha256` (of everything that a row is made from) and, where the
    set has splits, `split`; shards never mix splits.

    Raises: DataError if an id repeats.
    """
    if rows["id"].duplicated().any():
        repeated = rows.loc[rows["id"].duplicated(), "id"].iloc[0]
        raise DataError(f"id {repeated!r} repeats; every row needs its own id")
    splits = rows["split"] if "split" in rows.columns else pd.Series("train", index=rows.index)
    hashes = dict(zip(rows["id"], zip(splits, rows["sha256"], strict=True), strict=True))
    kept: list[Path] = []
    covered: set[str] = set()
    for path in _existing(folder):
        ids = _valid_ids(path, hashes, fingerprint)
        if ids and covered.isdisjoint(ids):
            kept.append(path)
            covered.update(ids)
    todo: list[Shard] = []
    for split in sorted(set(splits)):
        left = sorted(name for name in hashes if hashes[name][0] == split and name not in covered)
        chunks = (left[start : start + shard_size] for start in range(0, len(left), shard_size))
        todo.extend(_shard(chunk, hashes, split, fingerprint) for chunk in chunks)
    content = _digest([fingerprint, sorted([name, *hashes[name]] for name in hashes)])
    return ShardPlan(folder, fingerprint, content, tuple(kept), tuple(todo), len(hashes))


def write_shard(folder: Path, shard: Shard, table: pa.Table) -> Path:
    """Write one planned shard, whole or not at all; equal tables give equal bytes.

    Raises: DataError if the rows are not those planned, or the folder cannot be written.
    """
    if table.column("id").to_pylist() != list(shard.ids):
        raise DataError(f"table of shard {shard.key[:16]} does not hold the planned rows in order")
    footer = json.dumps({"fingerprint": shard.fingerprint, "key": shard.key}).encode()
    stamped = table.replace_schema_metadata({**(table.schema.metadata or {}), FOOTER: footer})
    path = folder / shard.file
    write_whole(path, lambda passing: write_parquet(stamped, passing))
    return path


def write_parquet(table: pa.Table, path: Path) -> None:
    """Write a table with page checksums and fixed settings."""
    pq.write_table(
        table,
        path,
        compression="zstd",
        row_group_size=ROW_GROUP_ROWS,
        use_dictionary=False,
        write_page_checksum=True,
    )


def read_shard(
    path: Place, columns: Sequence[str] | None = None, *, is_fetched: bool = False
) -> pa.Table:
    """Read one shard, or some of its columns, and verify the checksums of all that is read.

    Row group by row group: Arrow holds no more than 2 GB of images in one piece.
    Of a store the ranges are read that are needed, or at first the whole file where it
    `is_fetched`. Only then may it happen in a thread that the end of the process cuts off: Arrow
    would call the store's client in a Python that is gone.

    Raises: DataError naming the file if it is missing or damaged.
    """
    names = list(columns) if columns is not None else None
    with _reading(path):
        source = _open(path, is_fetched=is_fetched)
        with pq.ParquetFile(source, page_checksum_verification=True) as file:
            groups = [
                file.read_row_group(number, columns=names, use_threads=False)
                for number in range(file.num_row_groups)
            ]
            return pa.concat_tables(groups) if groups else file.read(columns=names)


def shard_columns(path: Place) -> list[str]:
    """Names of the columns of a shard.

    Raises: DataError naming the file if it is missing or damaged.
    """
    with _reading(path):
        if isinstance(path, Path):
            return list(pq.read_schema(path).names)
        with path.open() as file:
            return list(pq.read_schema(file).names)


def _open(path: Place, *, is_fetched: bool) -> Path | pa.BufferReader | io.IOBase:
    if isinstance(path, Path):
        return path
    return pa.BufferReader(path.read_bytes()) if is_fetched else path.open()


@contextmanager
def _reading(path: Place) -> Generator[None]:
    """Say of a shard that it is damaged or, in a store, that this did not give it.

    pyarrow raises OSError itself, and no kind of it, where a checksum is wrong.
    """
    try:
        yield
    except (*store_failures(), pa.ArrowException) as error:
        is_damaged = type(error) is OSError or isinstance(error, pa.ArrowException)
        if isinstance(path, Path) or is_damaged:
            message = f"shard {str(path)!r} is damaged or missing: {error}; remove it and run the "
            message += "stage that makes it anew, `stylealign run prepare NAME` for prepared images"
            if not isinstance(path, Path):
                message += ", and copy it to the store again"
        else:
            told = error if isinstance(error, StoreError) else StoreError(path, error)
            message = f"shard cannot be read: {told}; run again once the store answers"
        raise DataError(message) from error


def known_rows(folder: Path, columns: Sequence[str], *, fingerprint: str) -> pd.DataFrame:
    """Columns of all rows that shards of this fingerprint already hold, whether still valid."""
    tables = [
        read_shard(path, columns)
        for path in _existing(folder)
        if _footer(path).get("fingerprint") == fingerprint
    ]
    if not tables:
        return pd.DataFrame(columns=list(columns))
    return pa.concat_tables(tables).to_pandas()


def finish_shards(plan: ShardPlan) -> tuple[ShardRecord, ...]:
    """Remove what is stale, number all shards of each split, and describe them.

    Raises: DataError if a planned shard was not written.
    """
    new = [plan.folder / shard.file for shard in plan.todo]
    missing = [path.name for path in new if not path.exists()]
    if missing:
        raise DataError(f"{len(missing)} of {len(new)} shards were not written, first {missing[0]}")
    files = sorted([*plan.kept, *new], key=_order)
    for path in set(plan.folder.glob("*.parquet")) - set(files):
        if FILE_NAME.fullmatch(path.name):
            path.unlink()
    for path in plan.folder.glob(".*.part"):
        path.unlink()
    by_split: dict[str, list[Path]] = {}
    for path in files:
        by_split.setdefault(_split_of(path), []).append(path)
    records: list[ShardRecord] = []
    for split, paths in sorted(by_split.items()):
        for index, path in enumerate(paths):
            final = path.with_name(f"{split}-{index:05d}-of-{len(paths):05d}.parquet")
            path.replace(final)
            records.append(_record(final, split))
    return tuple(records)


def _existing(folder: Path) -> list[Path]:
    """Readable shards in their order, without those that differ from the manifest.

    It is asked by key: a run that was killed before its manifest may have renamed them already.
    """
    has_manifest = (folder / MANIFEST_FILE).exists()
    records = read_manifest(folder).shards if has_manifest else ()
    expected = {record.key: record.sha256 for record in records}
    found: list[Path] = []
    for path in folder.glob("*.parquet"):
        footer = _footer(path)
        if FILE_NAME.fullmatch(path.name) is None or not footer:
            continue
        sha256 = expected.get(footer.get("key", ""))
        if sha256 is None or file_sha256(path) == sha256:
            found.append(path)
    return sorted(found, key=_order)


def _order(path: Path) -> tuple[str, bool, str]:
    """Numbered shards keep their order; those of an unfinished run follow by first id."""
    match = FILE_NAME.fullmatch(path.name)
    if match is None:
        raise DataError(f"{str(path)!r} is not the name of a shard")
    is_new = match["index"] is None
    return match["split"], is_new, _first_id(path) if is_new else match["index"]


def _valid_ids(
    path: Path, hashes: dict[str, tuple[str, str]], fingerprint: str
) -> tuple[str, ...] | None:
    """Ids of a shard if its key follows from today's rows, else None."""
    ids = read_shard(path, ["id"]).column("id").to_pylist()
    if not set(ids) <= hashes.keys():
        return None
    shard = _shard(ids, hashes, _split_of(path), fingerprint)
    is_valid = _footer(path).get("key") == shard.key
    return shard.ids if is_valid else None


def _shard(
    ids: Sequence[str], hashes: dict[str, tuple[str, str]], split: str, fingerprint: str
) -> Shard:
    key = _digest([fingerprint, split, [[name, *hashes[name]] for name in ids]])
    return Shard(key, fingerprint, split, tuple(ids))


def _footer(path: Path) -> dict[str, str]:
    """What `write_shard` put into the footer; empty for a broken or foreign file."""
    try:
        metadata = pq.read_schema(path).metadata or {}
        footer = json.loads(metadata.get(FOOTER, b"{}"))
    except (OSError, pa.ArrowException, ValueError, RecursionError):
        return {}
    return footer if isinstance(footer, dict) else {}


def _first_id(path: Path) -> str:
    return str(read_shard(path, ["id"]).column("id")[0])


def _split_of(path: Path) -> str:
    return path.name.split("-", 1)[0]


def _record(path: Path, split: str) -> ShardRecord:
    return ShardRecord(
        file=path.name,
        key=_footer(path)["key"],
        sha256=file_sha256(path),
        split=split,
        num_rows=pq.read_metadata(path).num_rows,
    )


def _digest(value: object) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
