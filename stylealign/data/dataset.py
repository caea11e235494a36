"""A finished image data set: its table, its labels and its images by id or position."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from stylealign.data.labels import LabelSchema
from stylealign.data.manifest import Manifest, read_manifest
from stylealign.data.remote import Place, find_place
from stylealign.data.shards import read_shard, shard_columns
from stylealign.data.tables import label_frame, plain_frame
from stylealign.errors import DataError
from stylealign.images import PixelBatch, decode

IMAGE_COLUMN = "image"


@dataclass(frozen=True)
class ImageDataset:
    """Rows of a prepared, translated or transferred folder, always sorted by id.

    Positions count in that order, so they do not depend on how rows are spread over shards.
    """

    folder: Place
    manifest: Manifest

    @property
    def schema(self) -> LabelSchema:
        """Label schema: what each `label.<name>` column means."""
        return self.manifest.label_schema

    @property
    def resolution(self) -> int:
        """Side of the square images in pixels.

        Raises: DataError if the folder holds no images, but codes.
        """
        if self.manifest.resolution is None:
            raise DataError(f"{str(self.folder)!r} holds {self.manifest.kind}, not images")
        return self.manifest.resolution

    @property
    def content_hash(self) -> str:
        """Hash over all rows and all that made them."""
        return self.manifest.content_hash

    def __len__(self) -> int:
        return self.manifest.num_rows

    def table(self, split: str | None = None) -> pd.DataFrame:
        """All columns but the images, sorted by id; of one split where it is named."""
        table = self._rows.drop(columns=["shard", "row"])
        if split is None:
            return table.copy()
        return table.loc[table["split"] == split, :].reset_index(drop=True)

    def labels(self, split: str | None = None) -> pd.DataFrame:
        """Labels under their own names, indexed by id."""
        return label_frame(self.table(split), self.schema)

    def ids(self, split: str | None = None) -> list[str]:
        """Ids, sorted."""
        return self.table(split)["id"].tolist()

    def groups(self, ids: Sequence[str]) -> list[str]:
        """Group of each of these ids: images of one are never separated. An id alone is its own.

        Raises: DataError naming the first id that is not in the set.
        """
        rows = self._rows.iloc[self.positions(ids)]
        return rows["group" if "group" in rows else "id"].tolist()

    def positions(self, ids: Sequence[str]) -> np.ndarray:
        """Positions of these ids.

        Raises: DataError naming the first id that is not in the set.
        """
        places = self._index.get_indexer(pd.Index(ids, dtype=self._index.dtype))
        if (places < 0).any():
            unknown = ids[int(np.argmax(places < 0))]
            raise DataError(f"id {unknown!r} is not in the data set {str(self.folder)!r}")
        return places

    def shard_numbers(self) -> np.ndarray:
        """Number of the shard that holds each position."""
        return self._rows["shard"].to_numpy()

    def images(
        self, ids_or_positions: Sequence[str] | Sequence[int] | np.ndarray | None = None
    ) -> PixelBatch:
        """Decoded images in the order asked for; all of them where nothing is asked for.

        Shapes: returns [N, resolution, resolution, 3].
        Raises: DataError if an id is unknown or a shard is damaged.
        """
        return self._decode(self._as_positions(ids_or_positions), self._column)

    def batches(self, ids: Sequence[str], batch_size: int) -> Iterator[PixelBatch]:
        """Decoded images in the order asked for, a few at a time.

        Of what is not decoded two shards are held, so that neighbours are read from disk once.

        Shapes: yields [B, resolution, resolution, 3].
        Raises: DataError if an id is unknown or a shard is damaged.
        """
        positions, column_of = self.positions(ids), lru_cache(maxsize=2)(self._column)
        for start in range(0, len(positions), batch_size):
            yield self._decode(positions[start : start + batch_size], column_of)

    def image_hashes(self, ids: Sequence[str]) -> list[str]:
        """SHA-256 of each encoded image: what changes when anything that is seen of it does.

        Raises: DataError if an id is unknown or a shard is damaged.
        """
        hashes = {
            place: hashlib.sha256(data).hexdigest()
            for place, data in self._encoded(self.positions(ids), self._column)
        }
        return [hashes[place] for place in range(len(ids))]

    def _decode(
        self, positions: np.ndarray, column_of: Callable[[int], pa.ChunkedArray]
    ) -> PixelBatch:
        side = self.resolution
        images = np.empty((len(positions), side, side, 3), np.uint8)
        for place, data in self._encoded(positions, column_of):
            pixels = decode(data)
            if pixels.shape != (side, side, 3):
                message = f"an image of data set {str(self.folder)!r} is of {pixels.shape[:2]}"
                raise DataError(f"{message} pixels, expected {side}; run its stage again")
            images[place] = pixels
        return images

    def _encoded(
        self, positions: np.ndarray, column_of: Callable[[int], pa.ChunkedArray]
    ) -> Iterator[tuple[int, bytes]]:
        """Place among those asked for and file of each image, shard by shard."""
        rows = self._rows.iloc[positions]
        shards, numbers = rows["shard"].to_numpy(), rows["row"].to_numpy()
        for shard in np.unique(shards):
            column = column_of(int(shard))
            for place in np.flatnonzero(shards == shard).tolist():
                yield place, column[int(numbers[place])]["bytes"].as_py()

    def _column(self, shard: int) -> pa.ChunkedArray:
        path = self.folder / self.manifest.shards[shard].file
        return read_shard(path, [IMAGE_COLUMN], is_fetched=True).column(IMAGE_COLUMN)

    def _as_positions(
        self, ids_or_positions: Sequence[str] | Sequence[int] | np.ndarray | None
    ) -> np.ndarray:
        if ids_or_positions is None:
            return np.arange(len(self))
        asked = list(ids_or_positions)
        if asked and isinstance(asked[0], str):
            return self.positions([str(name) for name in asked])
        return np.array(asked, dtype=np.int64)

    @cached_property
    def _rows(self) -> pd.DataFrame:
        frames: list[pd.DataFrame] = []
        for number, record in enumerate(self.manifest.shards):
            path = self.folder / record.file
            names = [name for name in shard_columns(path) if name != IMAGE_COLUMN]
            frame = plain_frame(read_shard(path, names))
            if len(frame) != record.num_rows:
                what = f"shard {str(path)!r} has {len(frame)} rows, not {record.num_rows}"
                raise DataError(f"{what}: copy the whole set again, or run its stage")
            frames.append(frame.assign(shard=number, row=np.arange(len(frame))))
        rows = pd.concat(frames).sort_values("id").reset_index(drop=True)
        repeated = rows.loc[rows["id"].duplicated(), "id"]
        if len(repeated):
            message = f"id {repeated.iloc[0]!r} is twice in the shards of {str(self.folder)!r}"
            raise DataError(f"{message}: copy the whole set again, or run its stage")
        return rows

    @cached_property
    def _index(self) -> pd.Index:
        return pd.Index(self._rows["id"])


def open_dataset(folder: Path | str) -> ImageDataset:
    """Open a finished data set, in a folder or at a URL such as `s3://bucket/sets/cats`.

    Raises: DataError if the manifest is missing, or a shard it lists is.
    """
    path = find_place(folder)
    manifest = read_manifest(path)
    missing = [record.file for record in manifest.shards if not (path / record.file).exists()]
    if missing:
        message = f"data set {str(path)!r} lacks {len(missing)} shards, first {missing[0]!r}"
        raise DataError(message + "; run its stage again")
    return ImageDataset(path, manifest)
