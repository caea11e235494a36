"""A pickle reader that runs nothing: it knows plain data, and refuses every name not on its list.

It interprets the opcodes itself rather than steering Python's unpickler, so that a file can
reach neither an import, nor a call, nor an attribute. Its memory is bounded: a few times the
file's bytes, and some hundred for each step of a budget that all pickles in the file share.
"""

import io
import pickletools
import struct
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeAlias

from stylealign.errors import CheckpointError
from stylealign.files import describe_error

Builder: TypeAlias = Callable[[tuple[Any, ...]], object]
"""Makes plain data of a listed global's arguments."""

MAX_STEPS: Final = 200_000
"""A snapshot of 32 pixels takes 32,000; one of 1024, reckoned from it, 70,000."""
_OPCODES: Final = {opcode.code.encode("latin-1"): opcode for opcode in pickletools.opcodes}
_MAX_KEY_LENGTH: Final = 200
_MAX_KEY_BITS: Final = 64


def describe(value: object) -> str:
    """A short text for error messages; containers are not looked into: they may nest forever."""
    if isinstance(value, str):
        return repr(value[:80])
    is_short = value is None or isinstance(value, bool | float)
    if is_short or (isinstance(value, int) and value.bit_length() <= _MAX_KEY_BITS):
        return repr(value)
    return f"a {type(value).__name__}"


def check_keys(keys: Iterable[object]) -> None:
    """Refuse keys that are not flat and short: others take long to hash, or to tell apart."""
    for key in keys:
        if isinstance(key, str):
            is_fine = len(key) <= _MAX_KEY_LENGTH
        elif isinstance(key, int):
            is_fine = key.bit_length() <= _MAX_KEY_BITS
        else:
            is_fine = key is None or isinstance(key, float)
        if not is_fine:
            raise CheckpointError(f"{describe(key)} is used as a key, not allowed")


class Budget:
    """The steps that one file may take: its opcodes, and the entries that builders are given.

    Entries count too, as one opcode can hand a builder a long list that the file holds once.
    """

    def __init__(self) -> None:
        self.num_left = MAX_STEPS

    def spend(self, num_steps: int) -> None:
        """Take steps.

        Raises: CheckpointError once there are none left.
        """
        self.num_left -= num_steps
        if self.num_left < 0:
            raise CheckpointError(f"it has more than {MAX_STEPS} opcodes and entries of arguments")


class Global:
    """A listed name, met as data until REDUCE or NEWOBJ asks for what it stands for."""

    def __init__(self, name: str, build: Builder) -> None:
        self.name = name
        self.build = build


class Record:
    """An object of a listed class: the name of its class, and its state as plain data."""

    def __init__(self, class_name: str, state: dict[str, Any] | None = None) -> None:
        self.class_name = class_name
        self.state: dict[str, Any] = state or {}

    def set_state(self, state: object) -> None:
        """Take the state that a BUILD opcode brings: the dict itself, copies would add up.

        Raises: CheckpointError if it is not a dict, or a second one.
        """
        if not isinstance(state, dict):
            raise CheckpointError(f"the state of {self.class_name!r} is no dict")
        if self.state:
            raise CheckpointError(f"the state of {self.class_name!r} is set twice")
        self.state = state


class PickleReader:
    """Reads one pickle from a stream of bytes into plain data.

    `builders` lists the globals by dotted name; `load_persistent` resolves persistent ids where
    the format has them; pickles of one file share a `budget`.

    Raises: CheckpointError naming `source` and the first global or opcode that is refused.
    """

    def __init__(
        self,
        stream: io.BytesIO,
        builders: Mapping[str, Builder],
        source: str,
        budget: Budget,
        load_persistent: Callable[[object], object] | None = None,
    ) -> None:
        self.stream, self.builders, self.source = stream, builders, source
        self.budget, self.load_persistent = budget, load_persistent
        self.stack: list[Any] = []
        self.marked: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def read(self) -> object:
        """The object that the pickle describes."""
        try:
            while (opcode := self.next_opcode()).name != "STOP":
                read = opcode.arg.reader if opcode.arg and opcode.name != "GLOBAL" else None
                argument = read(self.stream) if read else None
                _STEPS[opcode.name](self, argument)
            return self.stack.pop()
        except CheckpointError as error:
            message = f"refuse to read {self.source!r}: {error}"
            raise CheckpointError(message) from error
        except (ValueError, IndexError, KeyError, struct.error, OverflowError) as error:
            reason = f"{type(error).__name__}: {describe_error(error)}"
            message = f"{self.source!r} is truncated or no pickle: {reason}"
            raise CheckpointError(message) from error

    def next_opcode(self) -> pickletools.OpcodeInfo:
        """The next opcode; the arguments of those that are refused are not even decoded."""
        self.budget.spend(1)
        code = self.stream.read(1)
        opcode = _OPCODES.get(code)
        if opcode is None:
            raise ValueError(f"byte {code!r} is no opcode" if code else "the pickle has no end")
        if opcode.name not in _STEPS and opcode.name != "STOP":
            raise CheckpointError(f"it uses the pickle opcode {opcode.name}, not allowed")
        return opcode

    def pop_marked(self) -> list[Any]:
        """The items pushed since the last mark."""
        items = self.stack
        self.stack = self.marked.pop()
        return items

    def top(self, kind: type) -> Any:  # noqa: ANN401 - of the type that is asked for
        """The item on top of the stack, of the given type."""
        item = self.stack[-1]
        if not isinstance(item, kind):
            raise CheckpointError(f"expected a {kind.__name__}, found a {type(item).__name__}")
        return item

    def push_global(self, module: object, name: object) -> None:
        """Look a name up in the list."""
        if not (isinstance(module, str) and isinstance(name, str)):
            raise CheckpointError("a global's name is not a string")
        full_name = f"{module}.{name}"
        build = self.builders.get(full_name)
        if build is None:
            raise CheckpointError(f"it asks for the global {full_name[:200]!r}, not allowed")
        self.stack.append(Global(full_name, build))


def _push(reader: PickleReader, argument: object) -> None:
    reader.stack.append(argument)


def _push_constant(value: object) -> Callable[[PickleReader, object], None]:
    return lambda reader, _: reader.stack.append(value)


def _push_empty(kind: type) -> Callable[[PickleReader, object], None]:
    return lambda reader, _: reader.stack.append(kind())


def _mark(reader: PickleReader, _: object) -> None:
    reader.marked.append(reader.stack)
    reader.stack = []


def _pop(reader: PickleReader, _: object) -> None:
    reader.stack.pop()


def _pop_mark(reader: PickleReader, _: object) -> None:
    reader.pop_marked()


def _tuple_of(size: int) -> Callable[[PickleReader, object], None]:
    def step(reader: PickleReader, _: object) -> None:
        if len(reader.stack) < size:
            raise CheckpointError("a tuple lacks items")
        items = tuple(reader.stack[-size:])
        reader.stack[-size:] = [items]

    return step


def _tuple(reader: PickleReader, _: object) -> None:
    items = tuple(reader.pop_marked())
    reader.stack.append(items)


def _put(reader: PickleReader, index: int) -> None:
    reader.memo[index] = reader.stack[-1]


def _memoize(reader: PickleReader, _: object) -> None:
    reader.memo[len(reader.memo)] = reader.stack[-1]


def _get(reader: PickleReader, index: int) -> None:
    reader.stack.append(reader.memo[index])


def _append(reader: PickleReader, _: object) -> None:
    item = reader.stack.pop()
    reader.top(list).append(item)


def _append_all(reader: PickleReader, _: object) -> None:
    items = reader.pop_marked()
    reader.top(list).extend(items)


def _add_items(reader: PickleReader, _: object) -> None:
    items = reader.pop_marked()
    check_keys(items)
    reader.top(set).update(items)


def _set_item(reader: PickleReader, _: object) -> None:
    value, key = reader.stack.pop(), reader.stack.pop()
    check_keys([key])
    reader.top(dict)[key] = value


def _set_items(reader: PickleReader, _: object) -> None:
    items = reader.pop_marked()
    check_keys(items[::2])
    reader.top(dict).update(zip(items[::2], items[1::2], strict=True))


def _global(reader: PickleReader, _: object) -> None:
    """Two lines, as Python's unpickler reads them: `pickletools` would look for escapes."""
    module, name = reader.stream.readline(), reader.stream.readline()
    if not name.endswith(b"\n"):
        raise ValueError("a global's name has no end")
    reader.push_global(module[:-1].decode(), name[:-1].decode())


def _stack_global(reader: PickleReader, _: object) -> None:
    name, module = reader.stack.pop(), reader.stack.pop()
    reader.push_global(module, name)


def _reduce(reader: PickleReader, _: object) -> None:
    """REDUCE and NEWOBJ: let the listed builder make data of the arguments."""
    arguments = reader.stack.pop()
    target = reader.top(Global)
    if not isinstance(arguments, tuple):
        raise CheckpointError(f"the arguments of {target.name!r} are no tuple")
    reader.budget.spend(len(arguments))
    reader.budget.spend(sum(len(entries) for entries in arguments if isinstance(entries, list)))
    reader.stack[-1] = target.build(arguments)


def _build(reader: PickleReader, _: object) -> None:
    """BUILD: plain records take their state; attributes of a dict are dropped."""
    state = reader.stack.pop()
    target = reader.stack[-1]
    if isinstance(target, Record):
        target.set_state(state)
    elif not (isinstance(target, dict) and isinstance(state, dict)):
        raise CheckpointError(f"it sets the state of a {type(target).__name__}, not allowed")


def _persistent_id(reader: PickleReader, _: object) -> None:
    if reader.load_persistent is None:
        raise CheckpointError("it uses persistent ids, not allowed here")
    reader.stack.append(reader.load_persistent(reader.stack.pop()))


def _ignore(reader: PickleReader, argument: object) -> None:
    """PROTO and FRAME say nothing about the data."""
    del reader, argument


_STEPS: Final[dict[str, Callable[[PickleReader, Any], None]]] = {
    "PROTO": _ignore, "FRAME": _ignore, "MARK": _mark, "POP": _pop, "POP_MARK": _pop_mark,
    "NONE": _push_constant(None), "NEWTRUE": _push_constant(True),
    "NEWFALSE": _push_constant(False), "BININT": _push, "BININT1": _push, "BININT2": _push,
    "LONG1": _push, "LONG4": _push, "BINFLOAT": _push, "BINUNICODE": _push,
    "SHORT_BINUNICODE": _push, "BINUNICODE8": _push, "BINBYTES": _push,
    "SHORT_BINBYTES": _push, "BINBYTES8": _push, "BYTEARRAY8": _push,
    "EMPTY_LIST": _push_empty(list),
    "EMPTY_DICT": _push_empty(dict), "EMPTY_SET": _push_empty(set),
    "EMPTY_TUPLE": _push_constant(()), "TUPLE1": _tuple_of(1), "TUPLE2": _tuple_of(2),
    "TUPLE3": _tuple_of(3), "TUPLE": _tuple, "APPEND": _append, "APPENDS": _append_all,
    "ADDITEMS": _add_items, "SETITEM": _set_item, "SETITEMS": _set_items, "BINPUT": _put,
    "LONG_BINPUT": _put, "MEMOIZE": _memoize, "BINGET": _get, "LONG_BINGET": _get,
    "GLOBAL": _global, "STACK_GLOBAL": _stack_global, "REDUCE": _reduce, "NEWOBJ": _reduce,
    "BUILD": _build, "BINPERSID": _persistent_id,
}  # fmt: skip
