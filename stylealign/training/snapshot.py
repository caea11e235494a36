"""Resumable training state on disk: safetensors for tensors, their metadata for numbers."""

import json
import math
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from stylealign.errors import CheckpointError, DataError
from stylealign.recipe import Recipe

_NAME: Final = re.compile(r".*@\d+\.\d{3}(-stop)?")
FREE_FIELDS: Final = {"total_kimg", "keep_snapshots", "picture_ticks"}
"""Fields of a recipe that may change between two sittings: how long, and what is kept and shown."""


@dataclass(frozen=True)
class SnapshotFiles:
    """The snapshots of one run: `cats.safetensors` stands for `cats@000012.000.safetensors`, ….

    The number is the kimg. A run that was stopped leaves one that ends in `-stop`: it is where
    the run goes on, but never where it falls back to, so that stopping changes no result.
    """

    base: Path
    before: float = math.inf
    """Kimg from which on snapshots are not of this run: a longer one has left them."""

    def at(self, kimg: float, *, is_stop: bool = False) -> Path:
        """Where the snapshot of so many kimg lies."""
        end = "-stop" if is_stop else ""
        return self.base.with_name(f"{self.base.stem}@{kimg:010.3f}{end}{self.base.suffix}")

    def all(self) -> list[Path]:
        """Those there are, oldest first."""
        found = self.base.parent.glob(f"{self.base.stem}@*{self.base.suffix}")
        named = [path for path in found if _NAME.fullmatch(path.stem)]
        own = [path for path in named if kimg_of(path) < self.before]
        return sorted(own, key=lambda path: (kimg_of(path), path.name))

    def regular(self) -> list[Path]:
        """Those that a run falls back to, oldest first."""
        return [path for path in self.all() if not path.stem.endswith("-stop")]

    def prune(self, keep: int, contenders: Iterable[float]) -> None:
        """Remove all but the newest `keep` and those of these kimg, which may be chosen yet."""
        regular = self.regular()
        kept = {*regular[-keep:], *(self.at(kimg) for kimg in contenders)}
        for path in self.all():
            is_newest = path == self.all()[-1]
            if path not in kept and not is_newest:
                path.unlink()

    def drop_after(self, kimg: float) -> None:
        """Remove those of a course that was given up."""
        for path in self.all():
            if kimg_of(path) > kimg:
                path.unlink()


def kimg_of(path: Path) -> float:
    """Thousands of images after which a snapshot was taken, by its name."""
    return float(path.stem.rpartition("@")[2].removesuffix("-stop"))


def save_state(path: Path, tensors: dict[str, Tensor], numbers: dict[str, Any]) -> None:
    """Write both, whole or not at all: a kill or a full disk leaves earlier snapshots as they are.

    Raises: DataError if the file cannot be written, such as on a full disk.
    """
    temporary = path.with_suffix(".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        contiguous = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
        save_file(contiguous, temporary, metadata={"numbers": json.dumps(numbers)})
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except (OSError, SafetensorError) as error:
        size = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
        message = (
            f"snapshot {str(path)!r} of {size / 1e6:.1f} MB cannot be written: {error}; make room "
            "(or lower keep_snapshots) and run again, it goes on from the snapshot before"
        )
        raise DataError(message) from error
    finally:
        temporary.unlink(missing_ok=True)


def load_state(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `save_state` wrote.

    Raises: CheckpointError if the file is truncated or not a training snapshot.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
        return load_file(path), json.loads(metadata["numbers"])
    except (SafetensorError, KeyError, ValueError, TypeError, RecursionError, OSError) as error:
        message = (
            f"{str(path)!r} is not a whole training snapshot ({error}); delete it, then the run "
            "goes on from the one before, or from the start"
        )
        raise CheckpointError(message) from error


def recipe_changes(saved: dict[str, Any], recipe: Recipe) -> list[str]:
    """Fields that differ, other than those that may."""
    now = recipe.model_dump(mode="json", exclude=FREE_FIELDS)
    return sorted(name for name in now if saved.get(name) != now[name])


def optimizer_tensors(optimizer: torch.optim.Optimizer, prefix: str) -> dict[str, Tensor]:
    """The moments and step counts of an optimiser, by parameter index."""
    return {
        f"{prefix}.{index}.{name}": value
        for index, state in optimizer.state_dict()["state"].items()
        for name, value in state.items()
    }


def restore_optimizer(
    optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor], prefix: str
) -> None:
    """Put the moments back where `optimizer_tensors` took them from."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith(f"{prefix}."):
            _, index, field = name.split(".")
            state.setdefault(int(index), {})[field] = value.clone()
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
