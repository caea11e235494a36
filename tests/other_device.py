"""A second device on a machine that has none: what must not be mixed with the CPU's, is not.

Tensors on it are wrappers of tensors of the CPU that say they lie elsewhere. Whatever a GPU would
refuse is refused: two devices in one operation, numpy's view of what the CPU does not hold, the
CPU's random numbers drawn there. Speed, memory, kernels and rounding of a GPU are not imitated.
"""

# pyright: reportPrivateUsage=false, reportAssignmentType=false
# pyright: reportIncompatibleVariableOverride=false
# What imitates a device has to reach under torch's public names.

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map_only

OTHER = "meta"
"""The one name of a device, beside the CPU's, that every build of torch takes."""

_aten = torch.ops.aten
_MAY_MIX = {
    _aten.copy_.default,
    _aten._to_copy.default,
    _aten.index.Tensor,
    _aten.index_put.default,
    _aten.index_put_.default,
}
"""What a GPU does with tensors of both: copies, and places that are named by the CPU."""


_READS = {
    _aten._local_scalar_dense.default,
    _aten.equal.default,
    _aten.masked_select.default,
    _aten.nonzero.default,
}
"""What ends only when a GPU has computed all that was asked of it, as its numbers are read."""

waits: list[str] = []
"""Everything so far for which a GPU would have been waited for: reads, and copies from or to it."""


class OtherTensor(Tensor):
    """A tensor on the other device."""

    def __new__(cls, held: Tensor) -> "OtherTensor":
        """A wrapper of the form of what it holds."""
        return Tensor._make_wrapper_subclass(
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=torch.device(OTHER),
        )

    def __init__(self, held: Tensor) -> None:
        self.held = held

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        new: Tensor = OtherTensor(self.held.detach().clone())
        if isinstance(self, nn.Parameter):
            new = nn.Parameter(new)
        memo[id(self)] = new.requires_grad_(self.requires_grad)
        return new

    def tolist(self) -> Any:
        """As a GPU's tensor, copied."""
        waits.append("tolist")
        return self.held.tolist()

    def numpy(self, **_: object) -> np.ndarray:
        """Refuse, as a GPU's tensor does."""
        raise TypeError(f"cannot convert a tensor of device {OTHER} to numpy: copy it first")

    @property
    def is_meta(self) -> bool:
        """It has its numbers, whatever the device is called."""
        return False

    @property
    def is_cuda(self) -> bool:
        """What is done for GPUs alone is done here, too."""
        return True


class OtherDevice(TorchDispatchMode):
    """While it is entered, tensors can be made on the other device, and moved to it."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    if func is _aten._has_compatible_shallow_copy_type.default:
        return type(args[0]) is type(args[1])
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    others = [tensor for tensor in tensors if isinstance(tensor, OtherTensor)]
    strays = [t for t in tensors if not isinstance(t, OtherTensor) and t.dim() > 0]
    if others and strays and func not in _MAY_MIX:
        raise RuntimeError(f"tensors of two devices in {func}: {[t.shape for t in tensors]}")
    device = kwargs.get("device")
    if device is not None:
        is_other = torch.device(device).type == OTHER
        kwargs = kwargs | {"device": torch.device("cpu")}
    else:
        is_other = isinstance(args[0], OtherTensor) if func in _MAY_MIX else bool(others)
    if is_other and kwargs.get("generator") is not None:
        raise RuntimeError(f"{func} on device {OTHER} with a generator of the CPU")
    if _waits(func, args, others, is_other=is_other):
        waits.append(str(func))
    held_args, held_kwargs = tree_map_only(OtherTensor, lambda t: t.held, (args, kwargs))
    out = func(*held_args, **held_kwargs)
    if not is_other:
        return out
    out = tree_map_only(Tensor, OtherTensor, out)
    return return_and_correct_aliasing(func, args, kwargs, out) if others else out


def _waits(func: Any, args: Any, others: Sequence[Tensor], *, is_other: bool) -> bool:
    if func in {_aten.copy_.default, _aten._to_copy.default}:
        source = args[1] if func is _aten.copy_.default else args[0]
        return isinstance(source, OtherTensor) != is_other
    if func in _MAY_MIX:  # which count the places that a mask names
        return bool(others) and any(
            leaf.dtype == torch.bool for leaf in tree_leaves(args[1]) if isinstance(leaf, Tensor)
        )
    return bool(others) and func in _READS


def pretend(patch: Callable[[Any, str, Any], None] = setattr) -> None:
    """Let what takes no part in dispatch know the device, in all threads that start from now on.

    `patch(owner, name, value)` is `setattr`, or that of a test which undoes it.
    """
    tensor, as_tensor, is_autocast_enabled = (
        torch.tensor,
        torch.as_tensor,
        torch.is_autocast_enabled,
    )
    run = threading.Thread.run

    def moved(made: Tensor, device: Any) -> Tensor:
        return made if device is None else made.to(device)

    def tensor_there(data: Any, *, device: Any = None, **settings: Any) -> Tensor:
        if device is None:
            return tensor(data, **settings)
        return tensor(data, device="cpu", **settings).to(device)

    def run_there(thread: threading.Thread) -> None:
        with OtherDevice():
            run(thread)

    patch(torch, "tensor", tensor_there)
    patch(
        torch,
        "as_tensor",
        lambda data, dtype=None, device=None: moved(as_tensor(data, dtype=dtype), device),
    )
    patch(
        Tensor,
        "new_tensor",
        lambda own, data, *, dtype=None: tensor(data, dtype=dtype or own.dtype).to(own.device),
    )
    patch(
        torch,
        "is_autocast_enabled",
        lambda *kind: kind != (OTHER,) and is_autocast_enabled(*kind),
    )
    patch(threading.Thread, "run", run_there)
