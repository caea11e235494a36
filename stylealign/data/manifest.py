"""The manifest beside the shards: what a folder holds and what it was made from."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stylealign.data.labels import LabelSchema
from stylealign.data.remote import Place
from stylealign.errors import DataError

MANIFEST_FILE: Final = "manifest.json"
FORMAT_VERSION: Final = 1


class ShardRecord(BaseModel):
    """One shard file as it was when the manifest was written."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str = Field(pattern=r"^[\w-][\w.-]*\.parquet$")
    """Its name in the manifest's own folder, which no path may leave."""
    key: str
    sha256: str
    split: str
    num_rows: int


class Manifest(BaseModel):
    """What a folder of shards holds; the same input gives the same manifest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: int = FORMAT_VERSION
    kind: Literal["prepared", "codes", "translated", "transferred"]
    domain: str | None = None
    resolution: int | None = Field(default=None, ge=1, le=16384)
    """Side of the square images in pixels; None where there are no images."""
    num_rows: int
    counts: dict[str, int]
    """Rows per split."""
    rejected: dict[str, int] = Field(default_factory=dict)
    """Left out rows per reason."""
    label_schema: LabelSchema = Field(default_factory=dict)
    content_hash: str
    """Hash over all rows, independent of how they are spread over shards."""
    fingerprint: str
    """Hash of everything but the rows that the shards were made with."""
    lineage: dict[str, Any] = Field(default_factory=dict)
    alignment: dict[str, Any] | None = None
    """Template that the images were aligned to, and the residuals."""
    shards: tuple[ShardRecord, ...]


def read_manifest(folder: Place) -> Manifest:
    """Read the manifest of a folder of shards.

    Raises: DataError if there is none, or it cannot be used.
    """
    path = folder / MANIFEST_FILE
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except OSError as error:
        message = f"no manifest at {str(path)!r} ({error}); expected a folder that a stage finished"
        raise DataError(message) from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise DataError(f"manifest {str(path)!r} is not usable: {place}: {first['msg']}") from error


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest, whole or not at all."""
    text = manifest.model_dump_json(indent=2) + "\n"
    write_whole(folder / MANIFEST_FILE, lambda path: path.write_text(text, encoding="utf-8"))


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file under a passing name, flush it to disk, then give it its name at once.

    A kill at any moment leaves the old file, or the new one, never a part.

    Raises: DataError if the folder cannot be written.
    """
    passing = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(passing)
        with passing.open("rb+") as file:
            os.fsync(file.fileno())
        passing.replace(path)
    except OSError as error:
        message = f"cannot write {str(path)!r}: {error.strerror or error}; check folder and space"
        raise DataError(message) from error


def file_sha256(path: Path) -> str:
    """Hash of a file's bytes, read piece by piece."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
