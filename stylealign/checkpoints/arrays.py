"""Arrays of foreign files: descriptions first, checked numbers only when they are asked for."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from stylealign.checkpoints.unpickle import Builder, Global, Record, describe
from stylealign.errors import CheckpointError

STORAGE_TYPES: Final[dict[str, torch.dtype]] = {
    "torch.FloatStorage": torch.float32,
    "torch.DoubleStorage": torch.float64,
    "torch.HalfStorage": torch.float16,
    "torch.BFloat16Storage": torch.bfloat16,
    "torch.LongStorage": torch.int64,
    "torch.IntStorage": torch.int32,
    "torch.ShortStorage": torch.int16,
    "torch.CharStorage": torch.int8,
    "torch.ByteStorage": torch.uint8,
    "torch.BoolStorage": torch.bool,
}

_MAX_DIMENSIONS = 8
_MAX_SIZE = 2**40
_MAX_ELEMENTS = 2**62
_NUMPY_CODES = frozenset({
    "b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8",
})  # fmt: skip
_BYTE_ORDERS = ("<", ">", "=", "|")


@dataclass
class Storage:
    """Flat numbers of a torch file; `data` may arrive after the tensors that lie in it."""

    dtype: torch.dtype
    num_elements: int
    data: bytes | memoryview = b""
    _flat: Tensor | None = field(default=None, repr=False)
    _is_given: bool = False

    @property
    def num_bytes(self) -> int:
        """Bytes that the numbers take."""
        return self.num_elements * self.dtype.itemsize

    def give(self, tensor: Tensor) -> Tensor:
        """The tensor with memory of its own; the first that is all of the numbers keeps theirs.

        Networks of a file may share storages, as G and G_ema that are one object do; trained on,
        they must not.
        """
        flat = self.flat()
        if tensor.untyped_storage().data_ptr() != flat.untyped_storage().data_ptr():
            return tensor
        if self._is_given or tensor.numel() != flat.numel():
            return tensor.clone()
        self._is_given = True
        return tensor

    def flat(self) -> Tensor:
        """The numbers as a tensor [num_elements].

        Raises: CheckpointError if the bytes are not as many as promised.
        """
        if self._flat is None:
            if len(self.data) != self.num_bytes:
                message = f"a storage holds {len(self.data)} bytes, not {self.num_bytes}"
                raise CheckpointError(message)
            buffer = bytearray(self.data)
            empty = torch.empty(0, dtype=self.dtype)
            self._flat = torch.frombuffer(buffer, dtype=self.dtype) if buffer else empty
        return self._flat


@dataclass(frozen=True)
class StoredTensor:
    """A view of a storage whose bounds were checked."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def num_elements(self) -> int:
        """Product of the sizes."""
        return math.prod(self.size)

    def load(self) -> Tensor:
        """The tensor in float32, in memory that no other shares."""
        view = torch.as_strided(self.storage.flat(), self.size, self.stride, self.offset)
        return self.storage.give(view.float().contiguous())


class NumpyType(Record):
    """A numeric dtype on its way through REDUCE and BUILD."""

    def __init__(self, arguments: tuple[Any, ...]) -> None:
        super().__init__("numpy.dtype")
        code = arguments[0] if arguments else None
        if isinstance(code, str) and code[:1] in _BYTE_ORDERS:
            code = code[1:]
        if not isinstance(code, str) or code not in _NUMPY_CODES:
            raise CheckpointError(f"numpy arrays of type {describe(code)} are not allowed")
        self.dtype = np.dtype(code)

    def set_state(self, state: object) -> None:
        """Take the byte order, the only part of the state that numbers have."""
        order = state[1] if isinstance(state, tuple) and len(state) > 1 else None
        if order not in _BYTE_ORDERS:
            raise CheckpointError("the state of a numpy dtype has no byte order")
        self.dtype = self.dtype.newbyteorder(order)


class NumpyArray(Record):
    """An array of numbers on its way through REDUCE and BUILD."""

    def __init__(self, _: tuple[Any, ...]) -> None:
        super().__init__("numpy.ndarray")
        self.array = np.empty(0, np.float32)

    def set_state(self, state: object) -> None:
        """Take shape, type, order and bytes.

        Raises: CheckpointError if they do not fit together.
        """
        if not isinstance(state, tuple) or len(state) != 5:
            raise CheckpointError("the state of a numpy array is no 5-tuple")
        _, shape, dtype, is_fortran, data = state
        if not isinstance(dtype, NumpyType) or not isinstance(data, bytes | bytearray):
            raise CheckpointError("a numpy array does not hold plain numbers")
        if count_elements(shape) * dtype.dtype.itemsize != len(data):
            raise CheckpointError(f"a numpy array of shape {shape} has {len(data)} bytes")
        order = "F" if is_fortran is True else "C"
        self.array = np.frombuffer(data, dtype.dtype).reshape(shape, order=order)

    def load(self) -> Tensor:
        """The numbers in float32, in memory of their own."""
        with np.errstate(over="ignore"):  # infinite weights are refused by name later
            return torch.from_numpy(np.array(self.array, np.float32, order="C"))


def check_sizes(sizes: object) -> None:
    """Refuse what is no tuple of a few non-negative integers."""
    if not isinstance(sizes, tuple) or len(sizes) > _MAX_DIMENSIONS:
        message = f"sizes or strides are {describe(sizes)}, not up to {_MAX_DIMENSIONS} integers"
        raise CheckpointError(message)
    for size in sizes:
        if type(size) is not int or not 0 <= size < _MAX_SIZE:
            raise CheckpointError(f"{describe(size)} is no size, stride, offset or count")


def count_elements(sizes: tuple[int, ...]) -> int:
    """Product of sizes; refuses those that overflow, though another one be zero."""
    check_sizes(sizes)
    if math.prod(size for size in sizes if size) > _MAX_ELEMENTS:
        raise CheckpointError(f"sizes {sizes} are too large together")
    return math.prod(sizes)


def numpy_scalar(arguments: tuple[Any, ...]) -> int | float | bool:
    """The Python number of `numpy.core.multiarray.scalar(dtype, bytes)`."""
    dtype, data = arguments if len(arguments) == 2 else (None, None)
    if not isinstance(dtype, NumpyType) or not isinstance(data, bytes):
        raise CheckpointError("a numpy scalar is no plain number")
    if len(data) != dtype.dtype.itemsize:
        raise CheckpointError(f"a numpy scalar has {len(data)} bytes")
    return np.frombuffer(data, dtype.dtype)[0].item()


def numpy_from_buffer(arguments: tuple[Any, ...]) -> NumpyArray:
    """The array of `numpy.core.numeric._frombuffer(bytes, dtype, shape, order)`: protocol 5."""
    data, dtype, shape, order = arguments if len(arguments) == 4 else (None,) * 4
    array = NumpyArray(())
    array.set_state((1, shape, dtype, order == "F", data))
    return array


def rebuild_tensor(arguments: tuple[Any, ...]) -> StoredTensor:
    """What `torch._utils._rebuild_tensor_v2` describes, if it lies inside its storage."""
    if len(arguments) < 4 or not isinstance(arguments[0], Storage):
        raise CheckpointError("a tensor has no storage")
    storage, offset, size, stride = arguments[:4]
    check_sizes((offset,))
    count = count_elements(size)
    check_sizes(stride)
    if len(size) != len(stride):
        raise CheckpointError(f"a tensor has {len(size)} sizes and {len(stride)} strides")
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if count and (count > storage.num_elements or last >= storage.num_elements):
        raise CheckpointError(
            f"a tensor of sizes {size} and strides {stride} leaves its storage of "
            f"{storage.num_elements} elements"
        )
    return StoredTensor(storage, offset, size, stride)


def rebuild_parameter(arguments: tuple[Any, ...]) -> StoredTensor:
    """The tensor of `torch._utils._rebuild_parameter`."""
    if not arguments or not isinstance(arguments[0], StoredTensor):
        raise CheckpointError("a parameter has no tensor")
    return arguments[0]


def storage_of(persistent_id: object) -> tuple[str, Storage]:
    """Key and description of the storage that a torch file's persistent id asks for."""
    if not isinstance(persistent_id, tuple) or len(persistent_id) < 5:
        raise CheckpointError("a persistent id names no storage")
    kind, storage_type, key, _, count = persistent_id[:5]
    is_named = isinstance(storage_type, Global) and storage_type.name in STORAGE_TYPES
    if kind != "storage" or not is_named or not isinstance(key, str):
        raise CheckpointError("a persistent id names no storage")
    check_sizes((count,))
    return key, Storage(STORAGE_TYPES[storage_type.name], count)


def _refuse_call(_: tuple[Any, ...]) -> object:
    raise CheckpointError("a storage class is called")


TORCH_BUILDERS: Final[Mapping[str, Builder]] = {
    "torch._utils._rebuild_tensor_v2": rebuild_tensor,
    "torch._utils._rebuild_parameter": rebuild_parameter,
    **dict.fromkeys(STORAGE_TYPES, _refuse_call),
}

NUMPY_BUILDERS: Final[Mapping[str, Builder]] = {
    f"{module}.{name}": build
    for module, name, build in (
        ("numpy.core.multiarray", "_reconstruct", NumpyArray),
        ("numpy._core.multiarray", "_reconstruct", NumpyArray),
        ("numpy.core.multiarray", "scalar", numpy_scalar),
        ("numpy._core.multiarray", "scalar", numpy_scalar),
        ("numpy.core.numeric", "_frombuffer", numpy_from_buffer),
        ("numpy._core.numeric", "_frombuffer", numpy_from_buffer),
        ("numpy", "dtype", NumpyType),
        ("numpy", "ndarray", _refuse_call),
    )
}
