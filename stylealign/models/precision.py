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
    """Whether a device has no instructions for this precision.

    On x86 these are AVX-512's, on CUDA those of compute capability 8.
    """
    if precision == "float32":
        return False
    if device.type == "cuda":
        return not torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and not torch.ops.mkldnn._is_mkldnn_bf16_supported()


def convolve_exactly() -> None:
    """Keep CUDA from rounding float32 to the 10 bits of TF32 before it convolves, as torch lets it.

    The short steps of a path length change an image by less than that.
    """
    torch.backends.cudnn.allow_tf32 = False
