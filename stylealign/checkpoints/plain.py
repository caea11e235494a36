"""Plain data of foreign pickles that a call makes instead of an opcode; what of it goes unread."""

from collections.abc import Mapping
from typing import Any, Final

from stylealign.checkpoints.unpickle import Builder, Record, check_keys
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


def new_default_dict(_: tuple[Any, ...]) -> dict[str, Any]:
    """A defaultdict, without what makes its defaults."""
    return {}


def new_size(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """The tuple of a `torch.Size`."""
    sizes = arguments[0] if len(arguments) == 1 else None
    if not isinstance(sizes, tuple):
        raise CheckpointError("a torch.Size is made of something else than a tuple")
    return sizes


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


def _unread(name: str) -> Builder:
    """Stands for an object that no model is made of: the name of its class is all that is kept."""
    return lambda _: Record(name)


def _refuse_call(_: tuple[Any, ...]) -> object:
    raise CheckpointError("a type is called")


_UNREAD: Final = (
    "torch.device",
    *(
        f"{module}.{name}"
        for module in ("pathlib", "pathlib._local")
        for name in ("PosixPath", "PurePosixPath", "WindowsPath", "PureWindowsPath")
    ),
)
"""Objects of the arguments that a training was started with."""
_TYPES: Final = tuple(
    f"{module}.{name}"
    for module, names in (
        ("torch", (
            "float16", "bfloat16", "float32", "float64", "int8", "int16", "int32", "int64",
            "uint8", "bool", "complex64", "complex128",
        )),
        ("builtins", ("list", "dict", "int", "float", "str", "bool", "tuple")),
        ("__builtin__", ("list", "dict", "int", "float", "str", "unicode", "bool", "tuple")),
    )
    for name in names
)  # fmt: skip
"""Types that stand for themselves, as numbers' in arguments and makers of defaults."""

PLAIN_BUILDERS: Final[Mapping[str, Builder]] = {
    "builtins.set": new_set,
    "__builtin__.set": new_set,
    "collections.OrderedDict": new_dict,
    "collections.defaultdict": new_default_dict,
    "torch.Size": new_size,
    **{name: _unread(name) for name in _UNREAD},
    **dict.fromkeys(_TYPES, _refuse_call),
    "dnnlib.util.EasyDict": new_dict,
}
