"""Freed memory is kept where glibc can be told so, and left alone where it must not be."""

import ctypes
import os
import subprocess
import sys

import pytest

from stylealign.models import allocator
from stylealign.models.allocator import keep_freed_memory

TRIM, MMAP = -1, -3
COUNT_FAULTS = """
import resource, runpy, sys

if runpy.run_path(sys.argv[1])["keep_freed_memory"]():
    print("kept")
for _ in range(2):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(3):
        blocks = [bytearray(8 << 20) for _ in range(8)]
        del blocks
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


class Libc:
    """A glibc that refuses a mapping threshold above its largest."""

    def __init__(self, largest: int) -> None:
        self.largest = largest
        self.settings: dict[int, int] = {}

    def mallopt(self, parameter: int, value: int) -> int:
        """Whether the setting is taken."""
        if parameter == MMAP and value > self.largest:
            return 0
        self.settings[parameter] = value
        return 1


@pytest.fixture
def install(monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("STYLEALIGN_KEEP_MEMORY", raising=False)

    def installed(largest: int) -> Libc:
        libc = Libc(largest)
        monkeypatch.setattr(ctypes, "CDLL", lambda _: libc)
        return libc

    return installed


@pytest.mark.parametrize(
    ("largest", "mapped"), [(2**31, 2**31 - 1), (2**25, 2**25)], ids=["new", "old"]
)
def test_both_thresholds_are_as_high_as_this_glibc_allows(install, largest, mapped):
    libc = install(largest)

    assert keep_freed_memory()

    assert libc.settings == {MMAP: mapped, TRIM: 2**31 - 1}


def test_trimming_is_held_back_even_where_mapping_is_not(install):
    libc = install(0)

    assert not keep_freed_memory()

    assert libc.settings == {TRIM: 2**31 - 1}


def test_the_variable_leaves_the_allocator_alone(install, monkeypatch):
    libc = install(2**31)
    monkeypatch.setenv("STYLEALIGN_KEEP_MEMORY", "0")

    assert not keep_freed_memory()

    assert libc.settings == {}


def faults(keep: str) -> list[str]:
    """What a fresh process prints: whether memory is kept, and how many pages it met anew."""
    done = subprocess.run(
        [sys.executable, "-c", COUNT_FAULTS, allocator.__file__],
        capture_output=True, text=True, check=True,
        env=os.environ | {"STYLEALIGN_KEEP_MEMORY": keep},
    )  # fmt: skip
    return done.stdout.split()


def test_freed_memory_is_met_again_without_new_pages():
    *words, num_kept = faults("1")
    if words != ["kept"]:
        pytest.skip("this system has no glibc to tell")
    *unkept, num_given_back = faults("0")

    assert unkept == []
    assert int(num_kept) < 0.1 * int(num_given_back)
