"""Folders that are not on this machine, such as `s3://bucket/sets/cats`, read through fsspec."""

import io
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias, cast

from stylealign.errors import DataError

EXTRAS = {"s3": "s3fs", "s3a": "s3fs"}
"""Package that a protocol needs; it comes with our extra of the same name."""


@dataclass(frozen=True)
class RemotePath:
    """A file or folder in an object store, with the part of `Path` that reading needs."""

    url: str
    files: Any
    """The fsspec file system that holds it."""

    def __truediv__(self, name: str) -> "RemotePath":
        return RemotePath(f"{self.url.rstrip('/')}/{name}", self.files)

    def __str__(self) -> str:
        return self.url

    @property
    def name(self) -> str:
        """Last part."""
        return PurePosixPath(self.url).name

    def exists(self) -> bool:
        """Whether there is such a file.

        Raises: StoreError if the store cannot be asked.
        """
        try:
            return bool(self.files.exists(self.url))
        except (*store_failures(), ValueError) as error:
            raise StoreError(self, error) from error

    def open(self) -> io.IOBase:
        """The file, for reading the ranges that are needed.

        Raises: StoreError if it cannot be read.
        """
        try:
            return cast(io.IOBase, self.files.open(self.url, "rb"))
        except (*store_failures(), ValueError) as error:
            raise StoreError(self, error) from error

    def read_bytes(self) -> bytes:
        """The whole file.

        Raises: StoreError if it cannot be read.
        """
        try:
            return cast(bytes, self.files.cat_file(self.url))
        except (*store_failures(), ValueError) as error:
            raise StoreError(self, error) from error


Place: TypeAlias = Path | RemotePath


class StoreError(OSError):
    """A store did not give what it was asked for; says what to do about it."""

    def __init__(self, path: RemotePath, error: Exception) -> None:
        super().__init__(f"{path.url}: {error}{advise(error)}")


def find_place(where: Path | str) -> Place:
    """The folder or file that a path or a URL names.

    Credentials and the endpoint are those of the store's own tools, such as
    `AWS_ACCESS_KEY_ID` and `AWS_ENDPOINT_URL`.

    Raises: DataError if the URL's protocol is unknown or its package is not installed.
    """
    protocol, separator, _ = str(where).partition("://")
    if not separator:
        return Path(where)
    package = EXTRAS.get(protocol, "")
    if package and find_spec(package) is None:
        message = f"{str(where)!r} needs package {package!r}, which is not installed"
        raise DataError(f"{message}: pip install 'stylealign[{protocol[:2]}]'")
    try:
        files, _ = import_module("fsspec.core").url_to_fs(str(where))
    except (ImportError, ValueError) as error:
        raise DataError(f"{str(where)!r} cannot be read: {error}") from error
    return RemotePath(str(where), files)


def advise(error: Exception) -> str:
    """What to do about a store that did not answer; empty where its own words say it."""
    name = type(error).__name__
    if "Credential" in name or isinstance(error, PermissionError):
        return (
            "; give credentials that may read it, such as AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
        )
    if "Connect" in name or "Endpoint" in name or isinstance(error, TimeoutError):
        return "; check the network, and AWS_ENDPOINT_URL for a store that is not Amazon's"
    if isinstance(error, ValueError) and "endpoint" in str(error):
        return "; AWS_ENDPOINT_URL starts with http:// or https://"
    if isinstance(error, FileNotFoundError):
        return "; check bucket and folder"
    return ""


_CLIENT_ERRORS = (
    ("botocore.exceptions", "BotoCoreError"),
    ("botocore.exceptions", "ClientError"),
    ("aiohttp", "ClientError"),
)


def store_failures() -> tuple[type[Exception], ...]:
    """What reading from a store can raise: fsspec lets the client's own errors through."""
    known = [
        getattr(import_module(module), name)
        for module, name in _CLIENT_ERRORS
        if find_spec(module.partition(".")[0]) is not None
    ]
    return OSError, *known
