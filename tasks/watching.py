"""What is seen of a training while it runs: numbers per tick, pictures at fixed codes, a film."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import torch

from stylealign.data.manifest import write_whole
from stylealign.images import decode, encode_animation, encode_png, image_grid
from stylealign.models import Generator
from stylealign.tensors import to_uint8
from stylealign.training import Tick, Training
from tasks.records import LiveRecord
from tasks.snapshots import PICTURES

NUM_COLUMNS = 8
FRAME_MS = 250
MEGABYTE = 1e6
MAX_TAG_CHARS = 5000
"""MLflow takes up to 8000."""


class Watch:
    """Follows one training: its MLflow run, and its pictures.

    A picture has the parent's drawings above the child's of the same codes. They lie beside the
    snapshots, so that the film of a resumed run is whole. Which ticks have one follows from their
    place in the course and its end alone: a run that was stopped ends in the film of one that was
    not, one that was made longer has its former end in the film, too, and one that fell back draws
    anew what it had drawn of the course given up.
    """

    def __init__(self, training: Training, snapshot: Path, record: LiveRecord) -> None:
        self.training = training
        self.record = record
        self.folder = snapshot.with_suffix(PICTURES)
        self.notes: list[str] = []
        rng = torch.Generator().manual_seed(training.recipe.seed)
        device = training.G_ema.w_avg.device
        self._z = torch.randn(NUM_COLUMNS, training.model.config.z_dim, generator=rng).to(device)
        classes = training.classes
        self._c = None if classes is None else classes.draw(NUM_COLUMNS, rng).to(device)

    def follow(self, tick: Tick, say: Callable[[str], object]) -> None:
        """Log a tick at the image it ended with, and draw a picture where one is due."""
        numbers = {f"loss.{name}": value for name, value in tick.losses.items()}
        numbers |= {f"health.{name}": value for name, value in tick.figures.items()}
        numbers |= {"images_per_sec": tick.images_per_sec} | measure_memory()
        self.record.metrics(numbers, self.training.nimg)
        for note in tick.notes:
            say(note)
        if tick.notes:
            self.notes += tick.notes
            self.record.tag(adaptation="\n".join(self.notes)[-MAX_TAG_CHARS:])
        is_last = tick.kimg >= tick.total_kimg
        place = len(self.training.history) - 1  # goes back with the run, and on with it
        if place % self.training.recipe.picture_ticks == 0 or is_last:
            self.draw()

    @torch.no_grad()
    def draw(self) -> Path:
        """Keep a picture of this moment.

        Raises: DataError if it cannot be written, such as on a full disk.
        """
        rows = [network for network in (self.training.parent, self.training.G_ema) if network]
        images = torch.cat([self._row(network) for network in rows])
        path, png = self._picture(), encode_png(image_grid(to_uint8(images.cpu()), NUM_COLUMNS))
        write_whole(path, lambda part: part.write_bytes(png))  # the film reads it in the end
        self.record.figures([path])
        return path

    def finish(self) -> None:
        """Make the film of all pictures up to here."""
        own = [path for path in self.folder.glob("*.png") if path <= self._picture()]
        frames = [decode(path.read_bytes()) for path in sorted(own)]
        if len(frames) > 1:
            film = self.folder / "training.webp"
            film.write_bytes(encode_animation(np.stack(frames), "WEBP", frame_ms=FRAME_MS))
            self.record.figures([film])

    def _picture(self) -> Path:
        """Where the picture of this moment lies; names are in the order of their kimg."""
        return self.folder / f"samples-{self.training.kimg:010.3f}-kimg.png"

    def _row(self, generator: Generator) -> torch.Tensor:
        def drawn(rows: slice) -> torch.Tensor:
            return generator(self._z[rows], None if self._c is None else self._c[rows])

        images = torch.cat(self.training.portions.map(NUM_COLUMNS, drawn))
        return images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images[:, :3]


def measure_memory() -> dict[str, float]:
    """Memory of this process now, and of the GPU at its peak so far, in megabytes."""
    numbers = {"memory.resident_mb": psutil.Process().memory_info().rss / MEGABYTE}
    if torch.cuda.is_available():
        numbers["memory.cuda_peak_mb"] = torch.cuda.max_memory_allocated() / MEGABYTE
    return numbers
