"""The type of activations, and whether a device computes in it."""

from typing import Final, Literal

import torch

Precision = Literal["float32", "bfloat16"]
"""Type of activations; codes, styles and images are float32 with either."""

ADVICE: Final = (
    "this processor has no instructions for bfloat16 and imitates it, many times slower than "
    "float32: set precision to float32"
)


def is_imitated(precision: Precision, device: torch.device) -> bool:
    """Whether a CPU has no kernels for this precision: on x86 they take AVX-512."""
    if precision == "float32" or device.type != "cpu":
        return False
    return not torch.ops.mkldnn._is_mkldnn_bf16_supported()
