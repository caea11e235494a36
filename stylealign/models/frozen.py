"""Gradients of what goes in alone: a network is held fixed while it is differentiated."""

from collections.abc import Generator
from contextlib import contextmanager

import torch
from torch import nn

from stylealign.models.constants import KeptConstants


@contextmanager
def frozen(network: nn.Module) -> Generator[None]:
    """Take no gradient of the network's weights inside, which halves the backward pass.

    Gradients are recorded inside even if the caller has switched them off; which parameters
    required a gradient before is restored afterwards. What layers make of their weights
    alone is made once: transformed kernels of wide layers take four times the memory of these.
    Not for one network in several threads at once: who leaves first frees it for all.
    """
    parameters = [p for p in network.parameters() if p.requires_grad]
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        with torch.inference_mode(mode=False), torch.enable_grad(), KeptConstants().at_hand():
            yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)
