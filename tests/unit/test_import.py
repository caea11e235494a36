"""What importing must never do: compile, wake a GPU, or wait for torch where only pictures move."""

import subprocess
import sys

IMPORT_EVERYTHING = """
import importlib, os, pkgutil, sys

COMPILERS = {"nvcc", "cc", "gcc", "g++", "c++", "clang", "clang++", "ninja", "cl", "cl.exe", "sh"}
STARTS = {"subprocess.Popen", "os.posix_spawn", "os.exec", "os.system"}
started = []


def watch(event, args):
    if event in STARTS:
        started.append(os.path.basename(os.fsdecode(args[0]).split()[0]))


sys.addaudithook(watch)

import stylealign

for module in pkgutil.walk_packages(stylealign.__path__, "stylealign."):
    importlib.import_module(module.name)

import torch

assert not COMPILERS.intersection(started), started
assert "torch.utils.cpp_extension" not in sys.modules
assert not torch.cuda.is_initialized()
print(len([name for name in sys.modules if name.startswith("stylealign.")]))
"""


def test_importing_every_module_starts_no_compiler_and_touches_no_cuda_device():
    command = [sys.executable, "-c", IMPORT_EVERYTHING]

    result = subprocess.run(command, capture_output=True, text=True, check=False)

    assert result.returncode == 0, result.stderr
    assert int(result.stdout) > 50  # it did import them


def test_preparing_images_does_without_torch():
    command = "import sys, stylealign.data.prepare; sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", command], check=False).returncode == 0
