"""glibc's allocator, told to keep large tensors instead of giving them back each step.

Every activation above 128 KiB is otherwise mapped and unmapped by the kernel, which zeroes
each page again: 20-45 % of the CPU time of a small network. glibc on Linux only; set
STYLEALIGN_KEEP_MEMORY=0 before the import to leave the allocator alone.
"""

import ctypes
import os
import sys

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_LARGEST = 2**31 - 1


def keep_freed_memory() -> bool:
    """Ask glibc to reuse freed memory of any size; returns whether it agreed."""
    if sys.platform != "linux" or os.environ.get("STYLEALIGN_KEEP_MEMORY") == "0":
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _LARGEST) and mallopt(_M_TRIM_THRESHOLD, _LARGEST))
