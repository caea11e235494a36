"""glibc's allocator, told to keep large tensors instead of giving them back each step.

Large activations are otherwise given back to the kernel and mapped anew, which zeroes each page
again: 20-45 % of the CPU time of a small network. glibc on Linux only; whoever computes calls
`keep_freed_memory` once per process, and STYLEALIGN_KEEP_MEMORY=0, read at that call, forbids it.
"""

import ctypes
import os
import sys

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_LARGEST = 2**31 - 1
_LARGEST_MAPPED_FORMERLY = 2**25
"""Half a heap: older glibc refuses a larger M_MMAP_THRESHOLD."""


def keep_freed_memory() -> bool:
    """Ask glibc to reuse freed memory of any size, or of up to 32 MiB; whether it agreed."""
    if sys.platform != "linux" or os.environ.get("STYLEALIGN_KEEP_MEMORY") == "0":
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    is_mapping_less = any(
        mallopt(_M_MMAP_THRESHOLD, size) for size in (_LARGEST, _LARGEST_MAPPED_FORMERLY)
    )
    is_trimming_less = mallopt(_M_TRIM_THRESHOLD, _LARGEST)
    return bool(is_mapping_less and is_trimming_less)
