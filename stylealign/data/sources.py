"""Where raw images come from: a folder, a zip, Parquet files, or the procedural renderer."""

import zipfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Final, Protocol, runtime_checkable

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from stylealign.data.folders import GRID_FILE, REJECTED_FILE, TRANSLATIONS_FILE
from stylealign.data.label_files import read_label_file
from stylealign.data.procedural import Domain, draw_attributes, render
from stylealign.data.tables import LABEL_PREFIX
from stylealign.errors import DataError
from stylealign.files import DAMAGED_ZIP
from stylealign.images import encode_png

IMAGE_SUFFIXES: Final = (
    ".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp",
)  # fmt: skip

MAX_FILE_BYTES: Final = 512 * 2**20
"""Larger files are refused before they are read."""

RENDER_CHUNK: Final = 256


@runtime_checkable
class Source(Protocol):
    """Raw images by id, with the label table that belongs to them."""

    name: str
    """What the lineage calls this source; holds no path of this machine."""
    labels: pd.DataFrame | None
    """Label table as it was found, indexed by id or file name; None where there is none."""

    @property
    def ids(self) -> list[str]:
        """Ids of all images in the order in which they are read fastest; ids may repeat."""
        ...

    def read(self, position: int) -> bytes:
        """Encoded image at this position of `ids`.

        Raises: DataError if it cannot be read.
        """
        ...


def open_source(
    path: str | Path, *, labels: str | Path | None = None, id_column: str | None = None
) -> "FolderSource | ZipSource | ParquetSource":
    """Open a folder, a zip, or a Parquet file or folder of images, and its label file.

    The id column of the label file is inferred where it is called `id`, `file`, `file_name`,
    `filename`, `image` or `path`. Labels may also be columns of the image Parquet itself.

    Raises: DataError if there is no such source, or it holds no image.
    """
    path = Path(path)
    table = read_label_file(labels, id_column=id_column) if labels is not None else None
    if not path.exists():
        raise DataError(f"no image source at {str(path)!r}; expected a folder, zip or Parquet file")
    tables = _image_tables(path, labels)
    source: FolderSource | ZipSource | ParquetSource
    if path.suffix.lower() == ".zip":
        source = ZipSource(path, table)
    elif tables:
        source = ParquetSource(path, tables, table, id_column=id_column)
    elif path.is_dir():
        source = FolderSource(path, table)
    else:
        message = f"{str(path)!r} is no image source; expected a folder, a zip or a Parquet file"
        raise DataError(message)
    if not source.ids:
        message = f"{str(path)!r} holds no image; expected files of {', '.join(IMAGE_SUFFIXES)}"
        raise DataError(message)
    return source


def is_image_name(name: str) -> bool:
    """Whether a file of this name is taken for an image; hidden files never are."""
    path = PurePosixPath(name)
    is_hidden = any(part.startswith(".") or part == "__MACOSX" for part in path.parts)
    return path.suffix.lower() in IMAGE_SUFFIXES and not is_hidden


def image_names(names: Collection[str]) -> set[str]:
    """Those of the files of a folder or zip that are its images.

    The picture that shows translated images side by side is none.
    """
    paths = {name: PurePosixPath(name) for name in names}
    records = [path for path in paths.values() if path.name == TRANSLATIONS_FILE]
    grids = {record.with_name(GRID_FILE) for record in records}
    return {name for name, path in paths.items() if is_image_name(name) and path not in grids}


class FolderSource:
    """All image files below a folder; the id of each is its path inside the folder."""

    def __init__(self, folder: Path, labels: pd.DataFrame | None = None) -> None:
        self.name = f"folder:{folder.name}"
        self.labels = labels
        self.folder = folder
        files = (path for path in folder.rglob("*") if not path.is_dir())
        names = [path.relative_to(folder).as_posix() for path in files]
        self.ids = sorted(image_names(names))

    def read(self, position: int) -> bytes:
        """Encoded image at this position of `ids`.

        Raises: DataError if it cannot be read, or is too large.
        """
        path = self.folder / self.ids[position]
        try:
            _refuse_large(path.stat().st_size)
            return path.read_bytes()
        except OSError as error:
            raise DataError(f"cannot read file: {error.strerror}") from error


class ZipSource:
    """All images of a zip, read in place: nothing is ever extracted.

    Raises: DataError if the file is no zip, or a member's name would lead out of a folder.
    """

    def __init__(self, path: Path, labels: pd.DataFrame | None = None) -> None:
        self.name = f"zip:{path.name}"
        self.labels = labels
        try:
            self.archive = zipfile.ZipFile(path)
            members = [member for member in self.archive.infolist() if not member.is_dir()]
        except DAMAGED_ZIP as error:
            raise DataError(f"cannot open zip {str(path)!r}: {error}") from error
        for member in members:
            _refuse_escape(member.filename, path)
        names = image_names([member.filename for member in members])
        images = [member for member in members if member.filename in names]
        self.members = sorted(images, key=lambda member: member.filename)
        self.ids = [member.filename for member in self.members]

    def read(self, position: int) -> bytes:
        """Encoded image at this position of `ids`.

        Raises: DataError if it cannot be read, or is too large.
        """
        member = self.members[position]
        _refuse_large(member.file_size)
        try:
            return self.archive.read(member)
        except DAMAGED_ZIP as error:
            raise DataError(f"cannot read zip member: {error}") from error


class ParquetSource:
    """Images in a column of Parquet files: bytes, or the `Image` struct of Hugging Face.

    Rows are read one row group at a time. Other columns serve as labels where no label file is
    given; the prefix `label.` of prepared data sets is taken off.

    Raises: DataError if there is no image column, or none of ids that was named for the Parquet
        alone, or files disagree.
    """

    def __init__(
        self,
        path: Path,
        tables: Sequence[Path],
        labels: pd.DataFrame | None = None,
        *,
        id_column: str | None = None,
    ) -> None:
        self.name = f"parquet:{path.name}"
        try:
            self.files = [pq.ParquetFile(file, page_checksum_verification=True) for file in tables]
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"cannot open Parquet of {str(path)!r}: {error}") from error
        self.image_column = _find_image_column(self.files[0].schema_arrow, path)
        self.groups = [(file, group) for file in self.files for group in range(file.num_row_groups)]
        self.rows = [
            (index, row)
            for index, (file, group) in enumerate(self.groups)
            for row in range(file.metadata.row_group(group).num_rows)
        ]
        table = self._read_other_columns(path)
        key = next((name for name in (id_column, "id") if name in table.columns), None)
        if labels is None and id_column not in (None, key):
            message = f"Parquet of {str(path)!r} has no column {id_column!r}; it has "
            raise DataError(message + repr(table.columns.tolist()))
        if key is None:
            self.ids = [f"{path.stem}-{position:08d}" for position in range(len(self.rows))]
        else:
            self.ids = [str(value) for value in table.pop(key)]
        table.index = pd.Index(self.ids, dtype=str)
        unprefixed = table.rename(columns=_without_prefix)
        self.labels: pd.DataFrame | None = labels if labels is not None else unprefixed
        self._loaded: tuple[int, list[object]] = (-1, [])

    def read(self, position: int) -> bytes:
        """Encoded image at this position of `ids`; neighbours are read together.

        Raises: DataError if it cannot be read, or the cell holds no bytes.
        """
        group, row = self.rows[position]
        if self._loaded[0] != group:
            file, number = self.groups[group]
            try:
                table = file.read_row_group(number, columns=[self.image_column])
            except (OSError, pa.ArrowException) as error:
                raise DataError(f"cannot read row group {number}: {error}") from error
            self._loaded = (group, table.column(self.image_column).to_pylist())
        cell = self._loaded[1][row]
        data = cell.get("bytes") if isinstance(cell, Mapping) else cell
        if not isinstance(data, bytes):
            raise DataError("cannot decode image: the cell holds no bytes")
        return data

    def _read_other_columns(self, path: Path) -> pd.DataFrame:
        names = [name for name in self.files[0].schema_arrow.names if name != self.image_column]
        try:
            tables = [file.read(columns=names) for file in self.files]
            return pa.concat_tables(tables).to_pandas(ignore_metadata=True)
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"Parquet files of {str(path)!r} do not agree: {error}") from error


class ProceduralSource:
    """Images drawn by the procedural renderer, chunk by chunk, with their true labels."""

    def __init__(
        self,
        domain: Domain,
        num_images: int,
        *,
        seed: int,
        resolution: int,
        prevalence: Mapping[str, Mapping[str, float]] | None = None,
    ) -> None:
        self.name = f"procedural:{domain}"
        self.domain: Domain = domain
        self.resolution = resolution
        self.attributes = draw_attributes(domain, num_images, seed=seed, prevalence=prevalence)
        self.ids = [f"{domain}-{seed}-{position:06d}" for position in range(num_images)]
        self.labels: pd.DataFrame | None = self.attributes.set_axis(pd.Index(self.ids, dtype=str))
        self._loaded: tuple[int, list[bytes]] = (-1, [])

    def read(self, position: int) -> bytes:
        """Encoded image at this position of `ids`; a chunk is drawn at once."""
        chunk, row = divmod(position, RENDER_CHUNK)
        if self._loaded[0] != chunk:
            rows = self.attributes.iloc[chunk * RENDER_CHUNK : (chunk + 1) * RENDER_CHUNK]
            images = render(self.domain, rows, self.resolution)
            self._loaded = (chunk, [encode_png(image) for image in images])
        return self._loaded[1][row]


def _image_tables(path: Path, labels: str | Path | None) -> list[Path]:
    """The Parquet file, or those of a folder that are neither labels nor our own rejects."""
    if not path.is_dir():
        return [path] if path.suffix.lower() == ".parquet" else []
    other = None if labels is None else Path(labels).resolve()
    tables = (table for table in path.glob("*.parquet") if table.name != REJECTED_FILE)
    return sorted(table for table in tables if table.resolve() != other)


def _refuse_escape(member: str, path: Path) -> None:
    parts = PurePosixPath(member.replace("\\", "/")).parts
    is_absolute = bool(parts) and (parts[0] == "/" or parts[0].endswith(":"))
    if is_absolute or ".." in parts:
        message = (
            f"zip {str(path)!r} holds a member {member!r} whose path leads out of its folder; "
            "the zip is refused, pack it again with relative paths"
        )
        raise DataError(message)


def _refuse_large(num_bytes: int) -> None:
    if num_bytes > MAX_FILE_BYTES:
        message = f"image is too large: {num_bytes} bytes, expected at most {MAX_FILE_BYTES}"
        raise DataError(message)


def _find_image_column(schema: pa.Schema, path: Path) -> str:
    if "image" in schema.names:
        return "image"
    binary = [field.name for field in schema if pa.types.is_binary(field.type)]
    if len(binary) != 1:
        message = f"Parquet of {str(path)!r} has no column 'image'; it has {schema.names!r}"
        raise DataError(message)
    return binary[0]


def _without_prefix(column: str) -> str:
    return column.removeprefix(LABEL_PREFIX)
