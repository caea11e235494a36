"""Where a run goes on after a stop, and where it falls back to when it diverges."""

from pathlib import Path
from typing import Any

from torch import Tensor

from stylealign.errors import DivergenceError
from stylealign.training.snapshot import SnapshotFiles
from stylealign.training.state import Batches, Training

State = tuple[dict[str, Tensor], dict[str, Any]]


class Fallback:
    """The last good state of a run, in memory, and its snapshots on disk, if it writes any.

    A fallback goes to the last regular snapshot (every `snapshot_kimg`) or the start, never to
    one that a stop left, so it does not matter to the result when a run was stopped or killed.
    The first process writes; all read, so several nodes need one file system.
    """

    def __init__(self, training: Training, batches: Batches, snapshot: str | Path | None) -> None:
        self.training = training
        self.batches = batches
        self.files = None
        if snapshot is not None:
            # The last step may show the discriminator up to a batch more than asked for.
            recipe = training.recipe
            end = recipe.total_kimg + recipe.batch_size / 1000
            self.files = SnapshotFiles(Path(snapshot), before=end)
        self._good: State = training.state(batches)
        if self.files is not None:
            self._resume(self.files)

    def keep(self) -> None:
        """Take the present state for good: at a regular snapshot."""
        self._good = self.training.state(self.batches)
        self._write()

    def stop(self) -> None:
        """Write the present state, if it is on no regular snapshot yet."""
        files = self.files
        if files is not None and not files.at(self.training.kimg).exists():
            self._write(is_stop=True)

    def fall_back(self, reason: str) -> None:
        """Go back to the last good state with lower learning rates.

        Raises: DivergenceError if the run has already fallen back as often as it may.
        """
        training = self.training
        past, limit = training.rollbacks, training.recipe.max_rollbacks
        if len(past) >= limit:
            message = (
                f"{reason} by {training.kimg:.3f} kimg, after {len(past)} of at most {limit} "
                "returns to a good state with lower rates: lower g_lr and d_lr, or raise r1_gamma"
            )
            raise DivergenceError(message)
        event = {"at_kimg": training.kimg, "reason": reason}
        training.restore(*self._good, self.batches)
        training.rollbacks = [*past, event | {"to_kimg": training.kimg}]
        training.set_rates()
        training.notes.append(
            f"{reason} by {event['at_kimg']:.3f} kimg: back to {training.kimg:.3f} kimg with "
            f"learning rates times {training.rate_factor:g} ({len(past) + 1} of at most {limit})"
        )
        if self.files is not None and training.split.rank == 0:
            self.files.drop_after(training.kimg)
        self.keep()

    def _resume(self, files: SnapshotFiles) -> None:
        """Take the newest good state and go on from it, or from where a later stop left the run."""
        regular, found = files.regular(), files.all()
        while regular and not self._load(files, regular[-1]):
            regular.pop()
        if regular:
            self._good = self.training.state(self.batches)
        is_behind = bool(found) and found[-1] not in regular
        if not (is_behind and self._load(files, found[-1])):
            self.training.restore(*self._good, self.batches)

    def _load(self, files: SnapshotFiles, path: Path) -> bool:
        """Whether all is there that the state needs: a longer run may have given up contenders."""
        self.training.load(path, self.batches)
        return all(files.at(kimg).exists() for kimg in self.training.contenders)

    def _write(self, *, is_stop: bool = False) -> None:
        training, files = self.training, self.files
        if files is None or training.split.rank:
            return
        training.save(files.at(training.kimg, is_stop=is_stop), self.batches)
        files.prune(training.recipe.keep_snapshots, training.contenders)
