"""The data card: README.md of a data set, for people and for the Hugging Face hub."""

import json
from collections.abc import Sequence
from typing import Final

from stylealign.data.labels import LabelSchema
from stylealign.data.manifest import Manifest
from stylealign.data.tables import LABEL_PREFIX

HUB_SPLITS: Final = {"train": "train", "val": "validation", "test": "test"}

_KINDS: Final = {
    "prepared": "checked, square, resized images",
    "translated": "images translated from another domain",
    "transferred": "images of a child domain with labels transferred from its parent",
    "codes": "latent codes",
}


def data_card(manifest: Manifest, *, name: str, licence: str | None) -> str:
    """Text of the card: front matter that names the files of each split, then what is inside."""
    sections = [
        _front_matter(manifest, name, licence),
        f"# {name}",
        f"{manifest.num_rows} rows: {_KINDS[manifest.kind]}{_size(manifest)}.",
        _table("Splits", ("split", "rows"), sorted(manifest.counts.items())),
        _label_table(manifest.label_schema),
        _table("Left out", ("reason", "records"), sorted(manifest.rejected.items())),
        _record("Alignment", manifest.alignment),
        _record("Lineage", manifest.lineage),
        "## Reading it\n\n"
        "```python\nfrom datasets import load_dataset\n\ndataset = load_dataset(FOLDER)\n```\n\n"
        "`manifest.json` holds the label schema, the shards and their SHA-256.",
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _front_matter(manifest: Manifest, name: str, licence: str | None) -> str:
    lines = ["---", f"pretty_name: {json.dumps(name)}"]
    if licence is not None:
        lines.append(f"license: {json.dumps(licence.lower())}")
    lines += ["configs:", "- config_name: default", "  data_files:"]
    for split in sorted(manifest.counts):
        hub_split = HUB_SPLITS.get(split, split)
        lines += [f"  - split: {hub_split}", f"    path: {split}-*.parquet"]
    return "\n".join([*lines, "---"])


def _size(manifest: Manifest) -> str:
    if manifest.resolution is None:
        return ""
    return f", {manifest.resolution} x {manifest.resolution} pixels"


def _label_table(schema: LabelSchema) -> str:
    rows = [
        (
            f"{LABEL_PREFIX}{name}",
            spec.type,
            ", ".join(spec.values) or (spec.unit or ""),
            spec.mirror,
        )
        for name, spec in schema.items()
    ]
    return _table("Labels", ("column", "type", "values or unit", "mirror"), rows)


def _table(title: str, head: tuple[str, ...], rows: Sequence[tuple[object, ...]]) -> str:
    if not rows:
        return ""
    lines = [head, ("---",) * len(head), *rows]
    text = "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)
    return f"## {title}\n\n{text}"


def _record(title: str, record: object) -> str:
    if not record:
        return ""
    return f"## {title}\n\n```json\n{json.dumps(record, indent=2, sort_keys=True)}\n```"
