"""What torch leaves to functions of one's own: which gradients are asked for, and in what type."""

from typing import Any, TypeVar, cast

import torch
from torch.amp import custom_bwd, custom_fwd
from torch.autograd import Function

Kind = TypeVar("Kind", bound=type[Function])


def asked_of(ctx: Any) -> tuple[bool, ...]:  # noqa: ANN401 - torch's
    """Whether the pass that runs now asks for the gradient of each tensor that went in.

    `ctx.needs_input_grad` tells what any pass may ask for. A penalty on the gradient of an image
    asks for that alone first, and gradients of kernels would be made in vain.
    """
    return tuple(node is not None and _is_executed(node) for node, _ in ctx.next_functions)


def _is_executed(node: Any) -> bool:  # noqa: ANN401
    try:
        # Nothing public tells.
        return torch._C._will_engine_execute_node(node)  # pyright: ignore[reportPrivateUsage]
    except RuntimeError:
        return True  # a leaf that autograd.grad is asked for is none that it can tell of


def autocast_as_forward(kind: Kind) -> Kind:
    """Run the backward pass of a function under the autocast of its forward pass on the CPU.

    torch's own operators do so by the types that they have kept; products of matrices in a
    backward pass of ours would be cast by whatever stands around that.
    """
    given = cast(Any, kind)
    given.forward = staticmethod(custom_fwd(given.forward, device_type="cpu"))
    given.backward = staticmethod(custom_bwd(given.backward, device_type="cpu"))
    return kind
