"""Data sets in the forms that other training code reads: image folder and WebDataset."""

import io
import json
import tarfile
from collections.abc import Iterator
from functools import partial
from itertools import count, islice
from pathlib import Path
from typing import Any

from stylealign.data.cards import HUB_SPLITS
from stylealign.data.dataset import IMAGE_COLUMN, ImageDataset
from stylealign.data.manifest import write_whole
from stylealign.data.shards import read_shard
from stylealign.files import require_new


def export_imagefolder(dataset: ImageDataset, folder: str | Path) -> int:
    """Write one PNG per image and one `metadata.jsonl` per split, as `imagefolder` reads them.

    Returns: the number of images.
    Raises: DataError if the folder is not new or empty, or cannot be written.
    """
    require_new(Path(folder))
    num_images = 0
    for split in dataset.manifest.counts:
        place = Path(folder) / HUB_SPLITS.get(split, split)
        lines: list[str] = []
        for number, (record, png) in enumerate(_samples(dataset, split)):
            name = f"{number:08d}.png"
            write_whole(place / name, partial(Path.write_bytes, data=png))
            lines.append(json.dumps({"file_name": name, **record}))
        text = "\n".join(lines) + "\n"
        write_whole(place / "metadata.jsonl", partial(Path.write_text, data=text))
        num_images += len(lines)
    return num_images


def export_webdataset(dataset: ImageDataset, folder: str | Path, *, shard_size: int) -> list[Path]:
    """Write tar files of `<key>.png` and `<key>.json` pairs; equal data give equal bytes.

    Returns: the tar files.
    Raises: DataError if the folder is not new or empty, or cannot be written.
    """
    require_new(Path(folder))
    paths: list[Path] = []
    for split in dataset.manifest.counts:
        samples = _samples(dataset, split)
        for number in count():
            chunk = list(islice(samples, shard_size))
            if not chunk:
                break
            path = Path(folder) / f"{split}-{number:06d}.tar"
            write_whole(path, partial(_write_tar, samples=chunk, start=number * shard_size))
            paths.append(path)
    return paths


def _samples(dataset: ImageDataset, split: str) -> Iterator[tuple[dict[str, Any], bytes]]:
    """Record and encoded image of each row of a split, shard by shard."""
    for record in dataset.manifest.shards:
        if record.split != split:
            continue
        table = read_shard(dataset.folder / record.file)
        images = table.column(IMAGE_COLUMN)
        rest = table.drop_columns([IMAGE_COLUMN])
        for row in range(table.num_rows):
            cells = rest.slice(row, 1).to_pylist()[0]
            plain = {name: cell for name, cell in cells.items() if not _is_mask(cell)}
            yield plain, images[row]["bytes"].as_py()


def _is_mask(cell: object) -> bool:
    return isinstance(cell, dict)


def _write_tar(path: Path, samples: list[tuple[dict[str, Any], bytes]], start: int) -> None:
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        for number, (record, png) in enumerate(samples, start):
            text = json.dumps(record, sort_keys=True).encode()
            for suffix, data in (("json", text), ("png", png)):
                member = tarfile.TarInfo(f"{number:08d}.{suffix}")
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
