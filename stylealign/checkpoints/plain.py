"""Dicts, sets and bytes of foreign pickles, where a call makes them instead of an opcode."""

from collections.abc import Mapping
from typing import Any, Final

from stylealign.checkpoints.unpickle import Builder, check_keys
from stylealign.errors import CheckpointError


def new_dict(arguments: tuple[Any, ...]) -> dict[str, Any]:
    """An OrderedDict or EasyDict: empty, or from a list of pairs as old pickles have it."""
    if not arguments:
        return {}
    (pairs,) = arguments
    if not isinstance(pairs, list) or not all(
        isinstance(pair, list | tuple) and len(pair) == 2 and isinstance(pair[0], str)
        for pair in pairs
    ):
        raise CheckpointError("a dict is made of something else than pairs")
    check_keys(key for key, _ in pairs)
    return dict(pairs)


def new_set(arguments: tuple[Any, ...]) -> set[object]:
    """A set of a list: below protocol 4, Python's default before 3.8, sets have no opcodes."""
    entries = arguments[0] if len(arguments) == 1 else None
    if not isinstance(entries, list):
        raise CheckpointError("a set is made of something else than a list")
    check_keys(entries)
    return set(entries)


class Bytes:
    """Bytes inside a file, all together no more than the file has: it may name some many times."""

    def __init__(self, num_bytes: int) -> None:
        self.num_left = num_bytes

    def take(self, data: object) -> bytes:
        """Count bytes.

        Raises: CheckpointError if these are none, or more than are left.
        """
        if not isinstance(data, bytes):
            raise CheckpointError(f"expected bytes, found a {type(data).__name__}")
        self.num_left -= len(data)
        if self.num_left < 0:
            raise CheckpointError("the bytes in it are more than the file has")
        return data

    def encode(self, arguments: tuple[Any, ...]) -> bytes:
        """The bytes of `_codecs.encode(text, "latin1")`: below protocol 3 they have no opcode."""
        text, encoding = arguments if len(arguments) == 2 else (None, None)
        if not isinstance(text, str) or encoding != "latin1":
            raise CheckpointError("bytes are made of something else than text")
        return self.take(text.encode("latin-1"))


PLAIN_BUILDERS: Final[Mapping[str, Builder]] = {
    "builtins.set": new_set,
    "__builtin__.set": new_set,
    "collections.OrderedDict": new_dict,
    "dnnlib.util.EasyDict": new_dict,
}
