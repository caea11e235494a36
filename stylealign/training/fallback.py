"""Where a run goes on after a stop, and where it falls back to when it diverges."""

from pathlib import Path
from typing import Any

from torch import Tensor

from stylealign.errors import DivergenceError
from stylealign.training.snapshot import DamagedSnapshotError, SnapshotFiles, kimg_of
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
            self.files = SnapshotFiles.of(Path(snapshot), training.recipe)
        self._good: State = training.state(batches)
        self._on_disk: float | None = None
        """Kimg of the newest state that is known to lie there whole."""
        self._damaged: list[DamagedSnapshotError] = []
        self._incomplete: list[str] = []
        if self.files is not None:
            self._resume(self.files)

    def keep(self) -> None:
        """Take the present state for good: at a regular snapshot."""
        self._good = self.training.state(self.batches)
        self._write()

    def stop(self) -> None:
        """Write the present state, if it is on no regular snapshot yet."""
        if self._on_disk != self.training.kimg:
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
            before = [f"{event['reason']} by {event['at_kimg']:.3f} kimg" for event in past]
            raise DivergenceError("; before that ".join([message, *before]))
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
        """Take the newest good state and go on from it, or from where a later stop left the run.

        A damaged file is passed over, and lies there until the run writes another in its place.

        Raises: DamagedSnapshotError if all that there is is damaged.
        """
        if self.training.split.rank == 0:
            files.drop_partial()
        regular = files.regular()
        good = next((path for path in reversed(regular) if self._load(files, path)), None)
        if good is not None:
            self._good = self.training.state(self.batches)
        since = 0.0 if good is None else kimg_of(good)
        stops = [path for path in files.all() if path not in regular and kimg_of(path) > since]
        is_behind = any(self._load(files, path) for path in reversed(stops))
        if not is_behind:
            self.training.restore(*self._good, self.batches)
        if self._damaged and good is None and not is_behind:
            raise self._damaged[0]
        where = f"the run goes on from {self.training.kimg:.3f} kimg"
        passed_over = [*(error.what for error in self._damaged), *self._incomplete]
        self.training.notes.extend(f"{what}: {where}" for what in passed_over)
        self.training.split.require_same(self.training.nimg, self.training.G.w_avg.device)

    def _load(self, files: SnapshotFiles, path: Path) -> bool:
        """Whether the file is whole, and all is there that its state needs.

        A run that went further may have given up contenders of a shorter one.
        """
        try:
            self.training.load(path, self.batches)
        except DamagedSnapshotError as error:
            self._damaged.append(error)
            return False
        lacks = [kimg for kimg in self.training.contenders if not files.at(kimg).exists()]
        if lacks:
            what = (
                f"{str(path)!r} may yet choose the snapshot of {lacks[0]:.3f} kimg, which is gone"
            )
            self._incomplete.append(what)
        else:
            self._on_disk = self.training.kimg
        return not lacks

    def _write(self, *, is_stop: bool = False) -> None:
        training, files = self.training, self.files
        if files is None or training.split.rank:
            return
        written = files.at(training.kimg, is_stop=is_stop)
        training.save(written, self.batches)
        self._on_disk = training.kimg
        files.prune(training.recipe.keep_snapshots, written)
