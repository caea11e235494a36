"""Resumable training state on disk: safetensors for tensors, their metadata for numbers."""

import glob
import hashlib
import json
import math
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from stylealign.errors import CheckpointError, DataError
from stylealign.recipe import Recipe

FREE_FIELDS: Final = {
    "total_kimg", "tick_kimg", "snapshot_kimg", "keep_snapshots", "picture_ticks", "part_size",
    "max_rollbacks", "min_sample_spread", "min_logit_spread",
}  # fmt: skip
"""Fields of a recipe that may change between two sittings: how long, what is kept and shown and how
often, in what parts (the same to rounding), and when a run is given up."""
PARTIAL: Final = ".partial"
"""How the name of a snapshot ends while it is written."""


@dataclass(frozen=True)
class SnapshotFiles:
    """The snapshots of one run: `cats.safetensors` stands for `cats@000012.000.safetensors`, ….

    The number is the kimg. A run that was stopped leaves one that ends in `-stop`: it is where
    the run goes on, but never where it falls back to, so that stopping changes no result.
    """

    base: Path
    before: float = math.inf
    """Kimg from which on snapshots are not of this run: a longer one has left them."""

    @classmethod
    def of(cls, base: Path, recipe: Recipe) -> "SnapshotFiles":
        """Those of a run of this length: its last step may show up to a batch more."""
        return cls(base, before=recipe.total_kimg + recipe.batch_size / 1000)

    def at(self, kimg: float, *, is_stop: bool = False) -> Path:
        """Where the snapshot of so many kimg lies."""
        end = "-stop" if is_stop else ""
        return self.base.with_name(f"{self.base.stem}@{kimg:010.3f}{end}{self.base.suffix}")

    def all(self) -> list[Path]:
        """Those there are, oldest first; files that `at` does not name are none."""
        stem, suffix = re.escape(self.base.stem), re.escape(self.base.suffix)
        name = re.compile(rf"{stem}@\d+\.\d{{3}}(-stop)?{suffix}")
        found = self.base.parent.glob("*") if self.base.parent.is_dir() else ()
        own = [path for path in found if name.fullmatch(path.name)]
        own = [path for path in own if kimg_of(path) < self.before]
        return sorted(own, key=lambda path: (kimg_of(path), path.name))

    def regular(self) -> list[Path]:
        """Those that a run falls back to, oldest first."""
        return [path for path in self.all() if "-stop" not in path.name.rpartition("@")[2]]

    def newest_kimg(self, total: float) -> float:
        """Where a run up to `total` goes on, 0 at its start."""
        return max((kimg for path in self.all() if (kimg := kimg_of(path)) < total), default=0.0)

    def prune(self, keep: int, written: Path) -> None:
        """Remove what lies before the one just written but for the newest `keep`.

        Those that may be chosen yet from any of these stay, too. What lies behind is of a course
        that was left, damaged perhaps: it is written over, and counts for nothing.
        """
        past = [path for path in self.all() if kimg_of(path) <= kimg_of(written)]
        kept = {written, *[path for path in self.regular() if path in past][-keep:]}
        contenders = {kimg for path in kept for kimg in peek(path).get("contenders", [])}
        kept |= {self.at(kimg) for kimg in contenders}
        for path in past:
            if path not in kept:
                path.unlink()

    def drop_partial(self) -> None:
        """Remove what a kill left half-written."""
        for path in self.base.parent.glob(f"{glob.escape(self.base.stem)}@*{PARTIAL}"):
            path.unlink()

    def drop_after(self, kimg: float) -> None:
        """Remove those of a course that was given up."""
        for path in self.all():
            if kimg_of(path) > kimg:
                path.unlink()


def kimg_of(path: Path) -> float:
    """Thousands of images after which a snapshot was taken, by its name."""
    whole, _, rest = path.name.rpartition("@")[2].partition(".")
    return float(f"{whole}.{rest[:3]}")  # a base need not have a suffix, so no `stem`


def save_state(path: Path, tensors: dict[str, Tensor], numbers: dict[str, Any]) -> None:
    """Write both, whole or not at all: a kill or a full disk leaves earlier snapshots as they are.

    Raises: DataError if the file cannot be written, such as on a full disk.
    """
    temporary = path.with_suffix(PARTIAL)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        contiguous = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
        # one entry alone, as safetensors writes several in another order each time
        text = json.dumps({**numbers, "sha256": digest(contiguous, numbers)})
        save_file(contiguous, temporary, metadata={"numbers": text})
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


def peek(path: Path) -> dict[str, Any]:
    """The numbers of a snapshot without its tensors, unchecked; empty if they cannot be read."""
    try:
        with safe_open(path, framework="pt") as file:
            return dict(json.loads(file.metadata()["numbers"]))
    except (OSError, SafetensorError, ValueError, TypeError, KeyError, RecursionError):
        return {}


class DamagedSnapshotError(CheckpointError):
    """A snapshot that is not what was written; `what` leaves out what to do."""

    def __init__(self, path: Path, reason: str) -> None:
        self.what = f"{str(path)!r} is not a whole training snapshot ({reason})"
        advice = "delete it, then the run goes on from the one before, or from the start"
        super().__init__(f"{self.what}; {advice}")


def load_state(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `save_state` wrote.

    Raises: DamagedSnapshotError if the file is truncated or changed; CheckpointError if it cannot
        be read, or is of an earlier version.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
        tensors, numbers = load_file(path), json.loads(metadata["numbers"])
        is_whole = numbers.pop("sha256") == digest(tensors, numbers)
    except KeyError as error:
        raise outdated(path, error) from error
    except OSError as error:
        raise CheckpointError(f"snapshot {str(path)!r} cannot be read: {error}") from error
    except (SafetensorError, ValueError, TypeError, RecursionError) as error:
        raise DamagedSnapshotError(path, str(error)) from error
    if not is_whole:
        raise DamagedSnapshotError(path, "its sha256 is not that of what was written")
    return tensors, numbers


def outdated(path: Path, lack: KeyError) -> CheckpointError:
    """What is said of a snapshot in which something is not noted."""
    message = f"{str(path)!r} lacks {lack}, it is of another version; delete it to restart"
    return CheckpointError(message)


def digest(tensors: dict[str, Tensor], numbers: dict[str, Any]) -> str:
    """SHA-256 of a state: safetensors notices a file that is too short, but no changed bit.

    A changed weight is mostly a number like any other, so training would go on with it.
    """
    state = hashlib.sha256(json.dumps(numbers).encode())
    for name in sorted(tensors):
        state.update(name.encode())
        state.update(tensors[name].reshape(-1).numpy().data)
    return state.hexdigest()


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
