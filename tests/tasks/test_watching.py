"""Numbers and pictures of a training lie where its course was, however often it was disturbed."""

import resource
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch

from stylealign.errors import DataError
from stylealign.models import Model, ModelConfig
from stylealign.recipe import Recipe
from stylealign.training import Tick, Training, train
from tasks.records import LiveRecord, Record
from tasks.watching import Watch
from tests.tiny import NoiseBatches

CONFIG = ModelConfig(
    resolution=8, z_dim=4, w_dim=4, num_mapping_layers=2, channels={4: 8, 8: 8}, noise=False
)
RECIPE = Recipe(
    total_kimg=0.064, tick_kimg=0.008, snapshot_kimg=0.024, batch_size=4, picture_ticks=2
)


@dataclass(frozen=True)
class Steps(Record):
    """A record of nothing but the steps of its numbers."""

    steps: list[int] = field(default_factory=list[int])

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:  # noqa: ARG002
        """Note the step."""
        self.steps.append(step)

    def figures(self, paths: Sequence[Path]) -> None:
        """Not kept."""

    def tag(self, **tags: str) -> None:
        """Not kept."""


def new_training(*, breaks_at: int | None = None) -> Training:
    """A training, of which one weight breaks at a moment, before the first return."""
    torch.manual_seed(0)
    training = Training(Model.new(CONFIG), None, RECIPE)

    def break_weight(_module, _arguments):
        if breaks_at is not None and training.nimg >= breaks_at and not training.rollbacks:
            with torch.no_grad():
                training.G.get_parameter("synthesis.blocks.b8.conv1.weight").fill_(torch.nan)

    training.G.synthesis.register_forward_pre_hook(break_weight)
    return training


def follow(training: Training, snapshot: Path, num_ticks: int = 99) -> list[str]:
    """Watch some ticks of a run; returns the names of the pictures that lie there then."""
    watch = Watch(training, snapshot, LiveRecord(Steps("a run"), print))
    for number, tick in enumerate(train(training, NoiseBatches(), snapshot=snapshot), start=1):
        watch.follow(tick, print)
        if number == num_ticks:
            break
    return sorted(path.name for path in watch.folder.iterdir())


def killed(snapshot: Path) -> None:
    """A run that ends after four ticks, one behind its snapshot."""
    follow(new_training(), snapshot, 4)


def undisturbed(_snapshot: Path) -> None:
    """No run."""


@pytest.mark.parametrize(("before", "breaks_at"), [(undisturbed, 36), (killed, None), (killed, 44)])
def test_a_run_that_was_disturbed_ends_in_the_pictures_of_one_that_was_not(
    before: Callable[[Path], None], breaks_at: int | None, tmp_path: Path
):
    expected = follow(new_training(), tmp_path / "undisturbed.st")
    before(tmp_path / "run.st")

    training = new_training(breaks_at=breaks_at)
    pictures = follow(training, tmp_path / "run.st")

    assert len(training.rollbacks) == (breaks_at is not None)
    assert pictures == expected
    assert len(pictures) == 5  # of 0.008, 0.024, 0.040 and 0.056 kimg, and of the end


def test_numbers_of_a_tick_are_at_the_images_that_were_shown_by_then(tmp_path):
    record, training = Steps("a run"), new_training()
    watch = Watch(training, tmp_path / "run.st", LiveRecord(record, print))

    shown = [16_000, 16_016, 16_048]  # 16.016 * 1000 is a little less than 16016
    for training.nimg in shown:
        watch.follow(Tick(training.kimg, 20.0, 1.0, {"g": 0.0}, {}), print)

    assert record.steps == shown


def test_a_picture_that_the_disk_does_not_hold_spoils_no_film(tmp_path):
    training = new_training()
    watch = Watch(training, tmp_path / "run.st", LiveRecord(Steps("a run"), print))
    drawn = watch.draw()
    training.nimg = 8

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(DataError, match=r"cannot write .*samples-000000\.008"):
            watch.draw()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    assert [*watch.folder.glob("*.png")] == [drawn]
    watch.finish()
