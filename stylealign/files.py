"""The door for files of strangers: only regular ones, and only so large.

What they make other libraries say is quoted without control characters, and not at length. Ours are
written to places that hold nothing yet.
"""

import os
import stat
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Final

from stylealign.errors import CheckpointError, DataError

MAX_BYTES: Final = 4 << 30
"""Published files, with the state of their optimisers, take less than a quarter of it."""
_MAX_SPARSE_BYTES: Final = 64 << 20
DAMAGED_ZIP: Final = (
    zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, struct.error, NotImplementedError,
    EOFError, IndexError, OSError, OverflowError, RuntimeError, ValueError,
)  # fmt: skip
"""What Python's reader raises for archives with wrong offsets, names, flags or checksums, and for
encrypted members."""


def is_folder(path: Path) -> bool:
    """Whether there is a folder; what cannot be looked at is none, and reading it says why."""
    try:
        return path.is_dir()
    except OSError:
        return False


def check_file(path: Path, max_bytes: int = MAX_BYTES) -> int:
    """The size of a file, which is not opened: opening a pipe would wait for ever.

    Raises: CheckpointError naming the file if it is missing, no regular file, or too large.
    """
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        message = f"{str(path)!r} cannot be read ({error})"
        raise CheckpointError(message) from error
    if not stat.S_ISREG(status.st_mode):
        message = f"{str(path)!r} is a folder, device or pipe; expected a regular file"
        raise CheckpointError(message)
    if status.st_size > max_bytes:
        message = f"{str(path)!r} is larger than {max_bytes} bytes, not allowed"
        raise CheckpointError(message)
    return status.st_size


def check_holes(path: Path) -> None:
    """Refuse a large file that takes hardly any place on its disk: memory it would take in full.

    File systems that count late say less than there is, so that a hole has to be seen, too.

    Raises: CheckpointError naming the file.
    """
    with path.open("rb", buffering=0) as file:
        status = os.fstat(file.fileno())
        num_stored = getattr(status, "st_blocks", 0) * 512
        is_suspect = status.st_size > _MAX_SPARSE_BYTES and 8 * num_stored < status.st_size
        if is_suspect and hasattr(os, "SEEK_HOLE"):
            is_suspect = file.seek(0, os.SEEK_HOLE) < status.st_size
    if is_suspect:
        message = (
            f"{str(path)!r} is mostly holes: of {status.st_size} bytes only {num_stored} are "
            "on the disk, not allowed"
        )
        raise CheckpointError(message)


def read_file(path: Path, max_bytes: int = MAX_BYTES, starts: tuple[bytes, ...] = ()) -> bytes:
    """The bytes of a file; no more than the first few if it begins with none of `starts`.

    Raises: CheckpointError as `check_file` does.
    """
    num_bytes = check_file(path, max_bytes)
    num_first = max(map(len, starts), default=0)
    try:
        with path.open("rb") as file:
            first = file.read(min(num_first, num_bytes))
            if starts and not first.startswith(starts):
                return first
            check_holes(path)
            file.seek(0)
            return file.read(num_bytes)
    except OSError as error:
        message = f"{str(path)!r} cannot be read ({error})"
        raise CheckpointError(message) from error


def describe_error(error: Exception) -> str:
    """The start of another library's message, control characters that it quotes escaped."""
    start = str(error)[:200]
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in start)


def require_new(folder: Path) -> None:
    """Refuse a place to write to that is taken; links and `..` are followed.

    Raises: DataError if it is a file, or a folder that holds something or cannot be looked into.
    """
    try:
        place = folder.resolve()
        is_file = place.exists() and not place.is_dir()
        is_taken = place.is_dir() and any(place.iterdir())
    except (OSError, RuntimeError) as error:  # a RuntimeError is a loop of links
        raise DataError(
            f"{str(folder)!r} cannot be looked into ({error}): choose another"
        ) from None
    if is_file:
        raise DataError(f"{str(folder)!r} is a file, not a folder: choose a new folder")
    if is_taken:
        raise DataError(f"{str(folder)!r} is not empty: choose a new folder")
