"""The two containers of `torch.save`, and NVIDIA's pickles, read into plain data."""

import argparse
import io
import re
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from stylealign.checkpoints.arrays import (
    NUMPY_BUILDERS,
    TORCH_BUILDERS,
    Storage,
    storage_of,
)
from stylealign.checkpoints.plain import PLAIN_BUILDERS, Bytes
from stylealign.checkpoints.unpickle import Budget, Builder, PickleReader, Record
from stylealign.errors import CheckpointError
from stylealign.files import DAMAGED_ZIP, describe_error

TORCH_MAGIC: Final = 0x1950A86A20F9469CFC6C
"""First pickle of a file in torch's old format, and of every storage inside NVIDIA's pickles."""
LEGACY_MAGIC: Final = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
"""The magic number as every pickle of protocol 2 and above has it, behind protocol and frame."""
_LEGACY_START: Final = re.compile(rb"\x80.(?:\x95.{8})?" + re.escape(LEGACY_MAGIC), re.DOTALL)
ZIP_START: Final = b"PK\x03\x04"
_ZIP_ENTRY: Final = b"PK\x01\x02"
_MAX_ENTRIES: Final = 50_000
"""A file of 1024 pixels has 1,000; reading a million names takes longer than refusing them."""


def read_snapshot(data: bytes, source: str) -> object:
    """A pickle of NVIDIA's, PyTorch era or TensorFlow era, as plain data.

    Objects become records: `Record.class_name` and `Record.state`; tensors `StoredTensor`.

    Raises: CheckpointError naming the file and what is refused.
    """
    budget = Budget()
    encoded, inside = Bytes(len(data)), Bytes(len(data))

    def load_from_bytes(arguments: tuple[Any, ...]) -> Storage:
        stored = inside.take(arguments[0] if len(arguments) == 1 else None)
        storage = _read_legacy(stored, f"{source}: storage", budget)
        if not isinstance(storage, Storage):
            raise CheckpointError("inner bytes hold no storage")
        return storage

    builders = {
        **_BUILDERS,
        "_codecs.encode": encoded.encode,
        "torch.storage._load_from_bytes": load_from_bytes,
        "dnnlib.tflib.network.Network": lambda _: Record("Network"),
    }
    return PickleReader(io.BytesIO(data), builders, source, budget).read()


def is_legacy(data: bytes) -> bool:
    """Whether a file is one of `torch.save` in the old format, of any protocol since 2."""
    return _LEGACY_START.match(data) is not None


def read_torch_file(data: bytes, source: str) -> object:
    """A file of `torch.save`, old or new container, as plain data.

    Raises: CheckpointError naming the file and what is refused.
    """
    read = _read_zip if data.startswith(ZIP_START) else _read_legacy
    try:
        return read(data, source, Budget())
    except CheckpointError:
        raise
    except DAMAGED_ZIP as error:
        message = f"{source!r} is truncated or damaged: {describe_error(error)}"
        raise CheckpointError(message) from error


class PersistentObject(Record):
    """What NVIDIA's persistence made: a network, or a module of one."""


def _persistent_object(arguments: tuple[Any, ...]) -> PersistentObject:
    """NVIDIA's `_reconstruct_persistent_obj(meta)`; the source text in `meta` is dropped."""
    meta = arguments[0] if len(arguments) == 1 else None
    if not isinstance(meta, dict) or not isinstance(meta.get("state"), dict):
        raise CheckpointError("a persistent object has no state")
    class_name = meta.get("class_name")
    if not isinstance(class_name, str):
        raise CheckpointError("the class name of a persistent object is no text")
    return PersistentObject(class_name[:100], meta["state"])


_BUILDERS: Final[Mapping[str, Builder]] = {
    **PLAIN_BUILDERS,
    **NUMPY_BUILDERS,
    **TORCH_BUILDERS,
    "torch_utils.persistence._reconstruct_persistent_obj": _persistent_object,
    f"{argparse.__name__}.Namespace": lambda _: Record("Namespace"),
}


class _TorchFile:
    """What the pickles of one file of `torch.save` share."""

    def __init__(self, num_bytes: int, source: str, budget: Budget) -> None:
        self.source, self.budget, self.inside = source, budget, Bytes(num_bytes)
        self.storages: dict[str, Storage] = {}

    def read(self, stream: io.BytesIO) -> object:
        """The next pickle."""
        builders = {**_BUILDERS, "_codecs.encode": self.inside.encode}
        return PickleReader(stream, builders, self.source, self.budget, self.find_storage).read()

    def find_storage(self, persistent_id: object) -> Storage:
        """The storage of an id, the same for all tensors that lie in it."""
        key, storage = storage_of(persistent_id)
        return self.storages.setdefault(key, storage)


def _read_legacy(data: bytes, source: str, budget: Budget) -> object:
    """Five pickles in a row, magic number, version, machine, object, keys; then raw storages."""
    stream, file = io.BytesIO(data), _TorchFile(len(data), source, budget)
    magic, _, machine, result, keys = (file.read(stream) for _ in range(5))
    if magic != TORCH_MAGIC or not isinstance(keys, list):
        message = f"{source!r} does not start as a file of torch.save does"
        raise CheckpointError(message)
    if not isinstance(machine, dict) or machine.get("little_endian") is not True:
        message = f"{source!r} was written on a big-endian machine"
        raise CheckpointError(message)
    view, position = memoryview(data), stream.tell()
    listed: set[str] = set()
    for key in keys:
        storage = file.storages.get(key) if isinstance(key, str) else None
        if storage is None or position + 8 > len(data):
            message = f"{source!r} is truncated or lists an unknown storage"
            raise CheckpointError(message)
        (count,) = struct.unpack_from("<q", data, position)
        end = position + 8 + storage.num_bytes
        if count != storage.num_elements or end > len(data):
            message = f"{source!r} is truncated: a storage of {count} elements is not all there"
            raise CheckpointError(message)
        storage.data, position = view[position + 8 : end], end
        listed.add(key)
    absent = next((key for key in file.storages if key not in listed), None)
    if absent is not None:
        message = f"{source!r} lacks the storage {absent[:100]!r}"
        raise CheckpointError(message)
    return result


def _read_zip(data: bytes, source: str, budget: Budget) -> object:
    if data.count(_ZIP_ENTRY) > _MAX_ENTRIES:
        message = f"{source!r} has more than {_MAX_ENTRIES} entries"
        raise CheckpointError(message)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = archive.infolist()
        _check_entries(entries, len(data), source)
        root = next((e.filename for e in entries if Path(e.filename).name == "data.pkl"), None)
        if root is None:
            message = f"{source!r} is a zip archive without 'data.pkl', not a file of torch.save"
            raise CheckpointError(message)
        names = set(archive.namelist())
        order = root.removesuffix("data.pkl") + "byteorder"
        if order in names and archive.read(order) != b"little":
            message = f"{source!r}: its byte order {order[:100]!r} is not 'little', not supported"
            raise CheckpointError(message)
        file = _TorchFile(len(data), source, budget)
        result = file.read(io.BytesIO(archive.read(root)))
        for key, storage in file.storages.items():
            name = root.removesuffix("data.pkl") + f"data/{key}"
            if name not in names:
                message = f"{source!r} lacks the storage {name[:100]!r}"
                raise CheckpointError(message)
            storage.data = archive.read(name)
            if len(storage.data) != storage.num_bytes:
                message = f"{source!r}: storage {name[:100]!r} is not of {storage.num_bytes} bytes"
                raise CheckpointError(message)
    return result


def _check_entries(entries: list[zipfile.ZipInfo], num_bytes: int, source: str) -> None:
    """Refuse entries that are compressed, or that say they are more than the file."""
    for entry in entries:
        if entry.compress_type != zipfile.ZIP_STORED:
            message = f"{source!r}: entry {entry.filename[:100]!r} is compressed, not allowed"
            raise CheckpointError(message)
    if sum(entry.file_size for entry in entries) > num_bytes:
        message = f"{source!r}: its entries are larger than the file"
        raise CheckpointError(message)
