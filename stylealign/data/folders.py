"""Closing a folder of shards: numbered files, rejects, data card and, last, the manifest."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal

import pandas as pd
import pyarrow as pa

from stylealign.data.cards import data_card
from stylealign.data.labels import LabelSchema
from stylealign.data.manifest import Manifest, ShardRecord, write_manifest, write_whole
from stylealign.data.shards import ShardPlan, finish_shards, write_parquet

REJECTED_FILE: Final = "rejected.parquet"
CARD_FILE: Final = "README.md"
TRANSLATIONS_FILE: Final = "translations.jsonl"
"""What lies in a folder of images that were translated one by one: how each came out."""
GRID_FILE: Final = "side-by-side.png"
"""The picture beside it that shows some of them; no image of the set."""


def finish_folder(
    plan: ShardPlan,
    *,
    kind: Literal["prepared", "codes", "translated", "transferred"],
    lineage: Mapping[str, object],
    domain: str | None = None,
    resolution: int | None = None,
    label_schema: LabelSchema | None = None,
    alignment: Mapping[str, object] | None = None,
    rejected: pd.DataFrame | None = None,
    name: str | None = None,
    licence: str | None = None,
) -> Manifest:
    """Give all shards of a plan their final names and describe the folder.

    `rejected` has columns `id`, `path`, `reason`; what stands before the first colon of a reason
    is its kind, by which the manifest counts.

    Raises: DataError if a planned shard was not written, or the folder cannot be written.
    """
    left_out = rejected if rejected is not None else _NO_REJECTS
    shards = finish_shards(plan)
    manifest = Manifest(
        kind=kind,
        domain=domain,
        resolution=resolution,
        num_rows=sum(shard.num_rows for shard in shards),
        counts=_count_rows(shards),
        rejected=count_reasons(left_out),
        label_schema=label_schema or {},
        content_hash=plan.content_hash,
        fingerprint=plan.fingerprint,
        lineage=dict(lineage),
        alignment=dict(alignment) if alignment is not None else None,
        shards=shards,
    )
    card = data_card(manifest, name=name or plan.folder.name, licence=licence)
    write_rejected(plan.folder, left_out)
    write_whole(plan.folder / CARD_FILE, lambda path: path.write_text(card, encoding="utf-8"))
    write_manifest(plan.folder, manifest)
    return manifest


def write_rejected(folder: Path, rejected: pd.DataFrame) -> None:
    """Write the list of what was left out and why.

    Raises: DataError if the folder cannot be written.
    """
    columns = {name: pa.array(rejected[name].tolist(), pa.string()) for name in _NO_REJECTS.columns}
    table = pa.table(columns)
    write_whole(folder / REJECTED_FILE, lambda path: write_parquet(table, path))


def count_reasons(rejected: pd.DataFrame) -> dict[str, int]:
    """Left out records per kind of reason."""
    kinds = [str(reason).split(":", 1)[0] for reason in rejected["reason"]]
    return {kind: kinds.count(kind) for kind in sorted(set(kinds))}


def _count_rows(shards: tuple[ShardRecord, ...]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for shard in shards:
        counts[shard.split] = counts.get(shard.split, 0) + shard.num_rows
    return counts


_NO_REJECTS: Final = pd.DataFrame(columns=["id", "path", "reason"])
