"""Raw images and labels become a checked, square, resized data set in stable shards."""

import hashlib
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa

from stylealign.data.align import Template
from stylealign.data.folders import (
    REJECTED_FILE,
    count_reasons,
    finish_folder,
    write_rejected,
)
from stylealign.data.framing import Framing, frame_records, template_record
from stylealign.data.labels import LabelSchema
from stylealign.data.manifest import Manifest
from stylealign.data.scan import CHUNK, IMAGE_COLUMNS, Progress, Scan, ScanRules, scan
from stylealign.data.shards import fingerprint, known_rows, plan_shards, write_shard
from stylealign.data.sources import Source
from stylealign.data.splits import SPLITS, assign_splits, check_fractions, near_duplicate_groups
from stylealign.data.tables import LABEL_PREFIX, image_table
from stylealign.errors import DataError
from stylealign.images import decode, encode_png

ENGINE_VERSION: Final = 2
"""Raised whenever this stage would give other bytes for the same input."""


def no_progress(_phase: str, _num_done: int, _num_all: int) -> None:
    """Progress that nobody watches."""


def prepare(
    source: Source,
    folder: str | Path,
    *,
    resolution: int,
    schema: LabelSchema,
    fractions: Mapping[str, float],
    seed: int,
    shard_size: int,
    max_rejected_fraction: float,
    min_side: int | None = None,
    allow_unlabelled: bool = True,
    drop_exact_duplicates: bool = True,
    near_duplicate_bits: int = 12,
    group_column: str | None = None,
    split_column: str | None = None,
    template: Template | None = None,
    domain: str | None = None,
    licence: str | None = None,
    num_threads: int = 1,
    progress: Progress = no_progress,
) -> Manifest:
    """Check, frame and resize the images of a source, and write them in stable shards.

    Existing shards of the folder whose rows have not changed are kept as they are. The split of
    an image follows its group: the group column, or else its near-duplicates, that is images
    whose perceptual hashes differ in at most `near_duplicate_bits` of 256 bits. `min_side` is
    the resolution unless given.

    Raises: DataError if nothing usable is left, more than `max_rejected_fraction` is not usable,
            labels do not fit their schema, or the folder cannot be written.
    """
    check_fractions(fractions)
    folder = Path(folder)
    made_by = _fingerprint(resolution, schema, template)
    known = known_rows(folder, ["id", *IMAGE_COLUMNS], fingerprint=made_by)
    side = resolution if min_side is None else min_side
    rules = ScanRules(side, allow_unlabelled, drop_exact_duplicates)
    found = scan(source, schema, rules, known=known, num_threads=num_threads, progress=progress)
    found, framing = frame_records(found, schema, template)
    write_rejected(folder, found.rejected)
    _refuse_too_few(found, folder, max_rejected_fraction)

    rows = found.records.assign(group=_groups(found, group_column, near_duplicate_bits))
    rows["split"] = _splits(found, rows["group"].tolist(), split_column, fractions, seed)
    rows = _with_labels(rows, found, framing)
    plan = plan_shards(folder, rows, fingerprint=made_by, shard_size=shard_size)

    # draw and write shard by shard: a kill loses one shard at most
    by_id, num_done = rows.set_index("id", drop=False), 0
    with ThreadPoolExecutor(num_threads) as pool:
        for shard in plan.todo:
            chosen = by_id.loc[list(shard.ids)]
            write_shard(folder, shard, _draw_table(source, chosen, framing, resolution, pool))
            num_done += len(shard.ids)
            progress("write", num_done, plan.num_todo)
    return finish_folder(
        plan,
        kind="prepared",
        lineage={"source": source.name, "engine": ENGINE_VERSION},
        domain=domain,
        resolution=resolution,
        label_schema=framing.schema,
        alignment=framing.record(),
        rejected=found.rejected,
        licence=licence,
    )


def _fingerprint(resolution: int, schema: LabelSchema, template: Template | None) -> str:
    return fingerprint(
        engine=ENGINE_VERSION,
        resolution=resolution,
        schema={name: spec.model_dump(mode="json") for name, spec in schema.items()},
        template=template_record(template),
    )


def _refuse_too_few(found: Scan, folder: Path, max_rejected_fraction: float) -> None:
    num_rejected = len(found.rejected)
    num_all = len(found.records) + num_rejected
    if num_all == 0:
        raise DataError("the source holds no image; expected at least 1")
    reasons = f"{count_reasons(found.rejected)!r}, listed in {str(folder / REJECTED_FILE)!r}"
    if len(found.records) == 0:
        raise DataError(f"none of {num_all} records can be used: {reasons}")
    if num_rejected > max_rejected_fraction * num_all:
        raise DataError(
            f"{num_rejected} of {num_all} records cannot be used, more than the fraction "
            f"{max_rejected_fraction:g} allowed: {reasons}; mend them or raise the limit"
        )


def _groups(found: Scan, column: str | None, near_duplicate_bits: int) -> list[str]:
    ids = found.records["id"].tolist()
    if column is not None:
        cells = _raw_column(found, column)
        return [name if pd.isna(cell) else str(cell) for name, cell in zip(ids, cells, strict=True)]
    hashes = found.records["phash"].tolist()
    groups = near_duplicate_groups(ids, hashes, max_bits=near_duplicate_bits)
    return [groups[name] for name in ids]


def _splits(
    found: Scan,
    groups: list[str],
    column: str | None,
    fractions: Mapping[str, float],
    seed: int,
) -> list[str]:
    drawn = assign_splits(groups, fractions, seed=seed)
    if column is None:
        return drawn
    cells = ["" if pd.isna(cell) else str(cell).strip() for cell in _raw_column(found, column)]
    for image_id, split in zip(found.records["id"], cells, strict=True):
        if split not in ("", *SPLITS):
            message = f"split column {column!r} holds {split!r} for id {image_id!r}; expected one "
            raise DataError(message + f"of {list(SPLITS)!r}, or nothing to have one drawn")
    of_group = {group: split for group, split in zip(groups, cells, strict=True) if split}
    rest = [of_group.get(group, split) for group, split in zip(groups, drawn, strict=True)]
    return [split or other for split, other in zip(cells, rest, strict=True)]


def _raw_column(found: Scan, column: str) -> list[Any]:
    if column not in found.raw_labels.columns:
        known = [str(name) for name in found.raw_labels.columns]
        raise DataError(f"column {column!r} is not in the label table, which has {known!r}")
    return found.raw_labels[column].tolist()


def _with_labels(rows: pd.DataFrame, found: Scan, framing: Framing) -> pd.DataFrame:
    """Rows with their labels, and the hash of all that a row is made from."""
    columns: dict[str, list[Any]] = {
        f"{LABEL_PREFIX}{name}": found.labels[name].tolist() for name in framing.schema
    }
    if framing.template is not None:
        columns = {"residual": [framing.residuals[name] for name in rows["id"]], **columns}
    full = rows.assign(
        **{name: pd.Series(cells, dtype="object") for name, cells in columns.items()}
    )
    records = full.drop(columns="position").to_dict("records")
    return full.assign(sha256=[_row_sha256(record) for record in records])


def _row_sha256(record: Mapping[Any, Any]) -> str:
    text = json.dumps(record, sort_keys=True, default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: object) -> object:
    if isinstance(value, bytes):
        return hashlib.sha256(value).hexdigest()
    return value.item() if isinstance(value, np.generic) else str(value)


def _draw_table(
    source: Source,
    rows: pd.DataFrame,
    framing: Framing,
    resolution: int,
    pool: ThreadPoolExecutor,
) -> pa.Table:
    """Table of one shard; raw images are read in the order of the source, a few at a time."""

    def draw(item: tuple[str, bytes]) -> bytes:
        image_id, data = item
        return encode_png(framing.draw(image_id, decode(data), resolution))

    images: dict[str, bytes] = {}
    in_order = sorted(zip(rows["position"].tolist(), rows["id"].tolist(), strict=True))
    for start in range(0, len(in_order), CHUNK):
        chunk = in_order[start : start + CHUNK]
        items = [(image_id, source.read(position)) for position, image_id in chunk]
        ids = [image_id for image_id, _ in items]
        images.update(zip(ids, pool.map(draw, items), strict=True))
    frame = rows.drop(columns=["position", "sha256"])
    sizes = list(zip(rows["source_width"].tolist(), rows["source_height"].tolist(), strict=True))
    for name in framing.schema:
        column = f"{LABEL_PREFIX}{name}"
        cells = zip(rows["id"], rows[column].tolist(), sizes, strict=True)
        moved = [
            framing.move_label(image_id, name, cell, size, resolution)
            for image_id, cell, size in cells
        ]
        frame[column] = pd.Series(moved, index=frame.index, dtype="object")
    return image_table(frame, [images[name] for name in rows["id"]], framing.schema)
