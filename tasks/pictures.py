"""Images of any folder, zip or Parquet, a few at a time at the size that a network takes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from stylealign.data.folders import write_rejected
from stylealign.data.sources import Source, open_source
from stylealign.errors import DataError
from stylealign.images import PixelBatch, crop_and_resize, decode
from stylealign.models.allocator import keep_freed_memory
from stylealign.models.device import choose_device

CHUNK: Final = 64
"""Images at once: a translation that is killed loses no more."""
Reject = tuple[str, str, str]
"""Id, path and reason of an image that cannot be used."""


@dataclass(frozen=True)
class Pictures:
    """Images of one source, and those that were met and could not be used."""

    source: Source
    resolution: int
    rejected: list[Reject] = field(default_factory=list[Reject])

    @property
    def ids(self) -> list[str]:
        """Ids of all images, each once."""
        return list(dict.fromkeys(self.source.ids))

    def batches(self, ids: Sequence[str], size: int) -> Iterator[tuple[list[str], PixelBatch]]:
        """Ids and pixels, `size` at a time; what cannot be decoded goes to `rejected`.

        Each image is cut to its largest centred square and resized.
        """
        places = {name: position for position, name in reversed([*enumerate(self.source.ids)])}
        for start in range(0, len(ids), size):
            chunk = {name: self._read(name, places[name]) for name in ids[start : start + size]}
            usable = {name: pixels for name, pixels in chunk.items() if pixels is not None}
            if usable:
                yield list(usable), np.stack(list(usable.values()))

    def write_rejected(self, folder: Path) -> None:
        """List what was left out, and why, in `rejected.parquet`."""
        columns = ["id", "path", "reason"]
        write_rejected(folder, pd.DataFrame(sorted(self.rejected), columns=columns, dtype=str))

    def _read(self, name: str, position: int) -> np.ndarray | None:
        try:
            return crop_and_resize(decode(self.source.read(position)), self.resolution)
        except DataError as error:
            self.rejected.append((name, name, f"corrupt image: {error}"))
            return None


def open_pictures(place: Path, resolution: int) -> Pictures:
    """The images of a folder, zip or Parquet.

    Raises: DataError if there is no such place, or it holds no image.
    """
    return Pictures(open_source(place), resolution)


def read_picture(path: Path, resolution: int) -> PixelBatch:
    """One image file as a batch of one.

    Raises: DataError if it cannot be read or decoded.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"image {str(path)!r} cannot be read: {error.strerror}") from None
    return crop_and_resize(decode(data), resolution)[None]


def require_outside(place: Path, out: Path) -> None:
    """Refuse to write among the images that are read, or in their place.

    Raises: DataError that names both.
    """
    if out.resolve().is_relative_to(place.resolve()):
        raise DataError(
            f"{str(out)!r} lies among the images {str(place)!r} and could replace them: "
            "write to another place"
        )


def require_folder(folder: Path) -> None:
    """Make a folder that can be written.

    Raises: DataError if that is not possible.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".probe"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise DataError(f"{str(folder)!r} cannot be written: {error.strerror}") from None


def find_device(wanted: str) -> str:
    """The device that a command computes on; `auto` = the first CUDA device, or the CPU.

    Raises: ParamsError if it is not there.
    """
    keep_freed_memory()
    return choose_device(wanted, "the device (--device, or project.device)")
