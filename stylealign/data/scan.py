"""The check of raw records: which images can be used, and why each other one cannot."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import pandas as pd

from stylealign.data.label_files import match_ids
from stylealign.data.labels import LabelSchema, check_labels
from stylealign.data.sources import Source
from stylealign.data.splits import perceptual_hash
from stylealign.errors import DataError
from stylealign.images import decode

Progress = Callable[[str, int, int], None]
"""Called with the name of the phase, the number done and the number of all."""

CHUNK: Final = 256
IMAGE_COLUMNS: Final = ("source_sha256", "phash", "source_width", "source_height")


@dataclass(frozen=True)
class ScanRules:
    """What makes a raw record unusable."""

    min_side: int
    """Shortest side of an image in pixels."""
    allow_unlabelled: bool
    """Whether an image without any label is kept."""
    drop_exact_duplicates: bool
    """Whether of several images with equal bytes only the one with the smallest id is kept."""


@dataclass(frozen=True)
class Scan:
    """Usable records, their labels, and what was left out."""

    records: pd.DataFrame
    """`id`, `position` in the source, and the columns of `IMAGE_COLUMNS`; sorted by id."""
    labels: pd.DataFrame
    """Checked labels, one row per record in the same order."""
    raw_labels: pd.DataFrame
    """All columns of the label table as they were found, in the same order."""
    rejected: pd.DataFrame
    """`id`, `path`, `reason`; sorted."""


def scan(
    source: Source,
    schema: LabelSchema,
    rules: ScanRules,
    *,
    known: pd.DataFrame,
    num_threads: int,
    progress: Progress,
) -> Scan:
    """Read every raw record once and sort the usable from the others.

    An image that `known` already lists under its id and hash is not decoded again.

    Raises: DataError if the label table does not fit the schema.
    """
    rejected: list[tuple[str, str, str]] = []
    positions = _unique_positions(source.ids, rejected)
    raw_labels = _match_labels(source, schema, positions, rejected)
    labels = check_labels(raw_labels, schema)
    is_bare = labels.isna().all(axis=1) if schema else pd.Series(True, index=labels.index)
    if schema and not rules.allow_unlabelled:
        bare = [name for name in labels.index[is_bare] if positions.pop(name, None) is not None]
        rejected.extend((name, name, "image without label") for name in bare)
    inspected = _inspect_all(source, positions, known, num_threads, progress)
    rows: list[tuple[object, ...]] = []
    for (image_id, position), result in zip(positions.items(), inspected, strict=True):
        reason = result if isinstance(result, str) else _refuse_small(result, rules.min_side)
        if reason is not None:
            rejected.append((image_id, image_id, reason))
        else:
            rows.append((image_id, position, *result))
    records = pd.DataFrame(rows, columns=["id", "position", *IMAGE_COLUMNS]).sort_values("id")
    if rules.drop_exact_duplicates:
        records = _drop_duplicates(records, rejected)
    ids = records["id"]
    table = pd.DataFrame(sorted(rejected), columns=["id", "path", "reason"], dtype=str)
    return Scan(records.reset_index(drop=True), labels.loc[ids], raw_labels.loc[ids], table)


def _unique_positions(ids: Sequence[str], rejected: list[tuple[str, str, str]]) -> dict[str, int]:
    positions: dict[str, int] = {}
    for position, image_id in enumerate(ids):
        shown = image_id.encode(errors="backslashreplace").decode()
        if shown != image_id:
            rejected.append((shown, shown, "unreadable name: it is no UTF-8; rename the file"))
        elif image_id in positions:
            rejected.append((image_id, image_id, "duplicate id: an earlier image has it"))
        else:
            positions[image_id] = position
    return positions


def _match_labels(
    source: Source,
    schema: LabelSchema,
    positions: dict[str, int],
    rejected: list[tuple[str, str, str]],
) -> pd.DataFrame:
    """Label table with one row per image; images whose labels are ambiguous are taken out."""
    if source.labels is None:
        if schema:
            message = f"the schema names labels {list(schema)!r} but {source.name!r} has no labels"
            raise DataError(message + "; name a label file, or leave the schema empty")
        return pd.DataFrame(index=pd.Index(list(positions), dtype=str))
    keys = [str(key) for key in source.labels.index]
    matches = match_ids(list(positions), keys)
    rejected.extend((key, "", "label without image") for key in keys if key not in matches)
    found = source.labels.loc[[key in matches for key in keys]]
    found = found.set_axis(pd.Index([matches[str(key)] for key in found.index], dtype=str))
    is_repeated = found.index.duplicated(keep="first")
    if not _came_with_images(source):
        for image_id in dict.fromkeys(found.index[is_repeated]):
            positions.pop(image_id)
            rejected.append((image_id, image_id, "duplicate id: several rows of the label table"))
    return found.loc[~is_repeated].reindex(list(positions))


def _came_with_images(source: Source) -> bool:
    """Whether labels are columns beside the images, so that row by row they belong together."""
    return source.labels is not None and source.labels.index.tolist() == source.ids


def _inspect_all(
    source: Source,
    positions: dict[str, int],
    known: pd.DataFrame,
    num_threads: int,
    progress: Progress,
) -> Iterator[tuple[str, str, int, int] | str]:
    """Hash, perceptual hash and size of each image, or the reason why it cannot be used."""
    columns = ["id", *IMAGE_COLUMNS]
    seen = {(name, sha256): rest for name, sha256, *rest in known[columns].values.tolist()}

    def inspect(item: tuple[str, bytes | str]) -> tuple[str, str, int, int] | str:
        image_id, data = item
        if isinstance(data, str):
            return data
        sha256 = hashlib.sha256(data).hexdigest()
        found = seen.get((image_id, sha256))
        if found is not None:
            return (sha256, *found)
        try:
            pixels = decode(data)
        except DataError as error:
            return f"corrupt image: {error}"
        return sha256, perceptual_hash(pixels), pixels.shape[1], pixels.shape[0]

    pairs = list(positions.items())
    with ThreadPoolExecutor(num_threads) as pool:
        for start in range(0, len(pairs), CHUNK):
            chunk = pairs[start : start + CHUNK]
            items = [(image_id, _read(source, position)) for image_id, position in chunk]
            yield from pool.map(inspect, items)
            progress("check", start + len(chunk), len(pairs))


def _read(source: Source, position: int) -> bytes | str:
    try:
        return source.read(position)
    except DataError as error:
        return f"corrupt image: {error}"


def _refuse_small(result: tuple[str, str, int, int], min_side: int) -> str | None:
    width, height = result[2:]
    if min(width, height) >= min_side:
        return None
    return f"too small: {width} x {height} pixels, expected sides of at least {min_side}"


def _drop_duplicates(records: pd.DataFrame, rejected: list[tuple[str, str, str]]) -> pd.DataFrame:
    first = records.groupby("source_sha256")["id"].transform("first")
    is_copy = records["id"] != first
    for image_id, original in zip(records.loc[is_copy, "id"], first[is_copy], strict=True):
        rejected.append((image_id, image_id, f"exact duplicate: of {original}"))
    return records.loc[~is_copy, :]
