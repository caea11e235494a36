"""The peers' own modules, imported from their checkouts as a user on a CPU would have to."""

import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace

from torch.utils import cpp_extension

NVLABS = "stylegan2-ada-pytorch"
ROSINALITY = "stylegan2-pytorch"


def import_nvlabs(peers: Path) -> ModuleType:
    """`training.networks` of NVlabs/stylegan2-ada-pytorch; on a CPU it takes its `ref` operators.

    Raises: FileNotFoundError if the checkout is not there.
    """
    return _import_from(peers / NVLABS, "training/networks.py", "training.networks")


def import_rosinality(peers: Path) -> ModuleType:
    """`model` of rosinality/stylegan2-pytorch, which takes its native operators on a CPU.

    Its `op` package compiles CUDA code when it is imported, which fails where there is no nvcc.
    What the compiler would return is only called on CUDA tensors, so the compiler is kept from
    starting and nothing else is touched.

    Raises: FileNotFoundError if the checkout is not there.
    """
    compile_, cpp_extension.load = cpp_extension.load, _compile_nothing
    try:
        return _import_from(peers / ROSINALITY, "model.py", "model")
    finally:
        cpp_extension.load = compile_


def _compile_nothing(*args: object, **options: object) -> SimpleNamespace:
    del args, options
    return SimpleNamespace()


def _import_from(folder: Path, file: str, module: str) -> ModuleType:
    if not (folder / file).is_file():
        message = f"{str(folder / file)!r} is missing; clone the peer's repository to {folder}"
        raise FileNotFoundError(message)
    sys.path.insert(0, str(folder))
    try:
        return import_module(module)
    finally:
        sys.path.remove(str(folder))
