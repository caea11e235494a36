"""Which gradients a backward pass asks a function of ours for."""

from typing import Any

import torch


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
