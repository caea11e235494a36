"""What a run had to adapt to is said by every process, and all of it stays with the record."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import mlflow
import pytest
import torch

from stylealign.checkpoints import load_model, save_model
from stylealign.models import Model, ModelConfig
from stylealign.params import StandingParams, TrainChildParams
from stylealign.recipe import Recipe
from stylealign.training import train
from stylealign.training.split import Split
from tasks import patience
from tasks.children import child_run
from tasks.followers import follow_training
from tasks.patience import PAUSE_SEC
from tasks.records import LiveRecord, Record
from tasks.training import Run
from tasks.watching import Watch
from tests.full_device import full_above

CONFIG = ModelConfig(
    resolution=32, z_dim=4, w_dim=4, num_mapping_layers=2, channels={4: 4, 8: 4, 16: 4, 32: 4},
    noise=False, mbstd_group_size=2,
)  # fmt: skip
STANDING = StandingParams(
    num_codes=8, num_looked_at=4, feature_resolution=32, tolerance=0.1, margin=0.02, seed=0
)
RECIPE = Recipe(
    total_kimg=0.032, tick_kimg=0.016, batch_size=16, min_sample_spread=0, min_logit_spread=0
)


@dataclass(frozen=True)
class Tags(Record):
    """A record of nothing but its tags: of each the last value, as MLflow has it."""

    tags: dict[str, str] = field(default_factory=dict[str, str])

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Not kept."""

    def figures(self, paths: Sequence[Path]) -> None:
        """Not kept."""

    def tag(self, **tags: str) -> None:
        """Put in place of what was there."""
        self.tags.update(tags)


@pytest.fixture
def run(tmp_path, prepare_cats, monkeypatch) -> Run:
    """A training of ten images in batches of 16, on a device that holds four of them."""
    monkeypatch.chdir(tmp_path)  # where its snapshots go
    torch.manual_seed(0)
    save_model(Model.new(CONFIG), tmp_path / "parent")
    images = prepare_cats(tmp_path / "cats", 10)
    section = TrainChildParams(dataset="cats", recipe=RECIPE)
    parent = load_model(tmp_path / "parent")
    run = child_run("cats", parent, images, section, STANDING, Split(), tmp_path / "people")

    run.training.D.register_forward_pre_hook(full_above(4))
    return run


NOTES = [
    "10 images are fewer than the batch of 16",
    "now worked through in parts of 8",
    "now worked through in parts of 4",
]


def test_a_process_that_computes_beside_the_first_says_what_it_had_to_adapt_to(run, capsys):
    follow_training(run, lambda: False)

    said = capsys.readouterr().err.splitlines()
    assert len(said) == 3
    assert all(line.startswith("process 0: ") for line in said)
    assert all(note in line for note, line in zip(NOTES, said, strict=True))


def test_every_note_of_a_run_stays_with_its_record(run, tmp_path):
    record, said = Tags("a run"), list[str]()
    live = LiveRecord(record, said.append)
    watch = Watch(run.training, tmp_path / "state.safetensors", live)

    for tick in train(run.training, run.batches):
        watch.follow(tick, said.append)
        run.training.notes.append(f"something at {tick.kimg:g}")

    kept = record.tags["adaptation"].splitlines()
    assert kept == said
    assert all(note in line for note, line in zip(NOTES, kept, strict=False))
    assert kept[-1] == "something at 0.016"


def test_pictures_are_drawn_in_portions_that_fit(run, tmp_path):
    seen: list[int] = []
    live = LiveRecord(Tags("a run"), print)
    watch = Watch(run.training, tmp_path / "state.safetensors", live)
    whole = watch.draw().read_bytes()
    run.training.G_ema.mapping.register_forward_pre_hook(full_above(3, seen))

    assert watch.draw().read_bytes() == whole
    assert seen == [8, 4, 2, 2, 2, 2]


def test_training_goes_on_where_mlflow_does_not_answer(run, tmp_path, monkeypatch):
    """Nothing listens at that port: what MLflow's own client raises then."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    mlflow.set_tracking_uri("http://127.0.0.1:9")
    now, said = [0.0], list[str]()
    monkeypatch.setattr(patience.time, "monotonic", lambda: now[0])
    live = LiveRecord(Record("a run"), said.append)
    told: list[str] = []
    monkeypatch.setattr(live.record.__class__, "tag", lambda *_, **tags: told.extend(tags))

    live.metrics({"loss": 1.0}, 4)
    live.tag(a="lost")
    now[0] += PAUSE_SEC
    live.tag(b="told")
    live.metrics({"loss": 1.0}, 8)

    assert told == ["b"]
    assert len(said) == 1
    assert said[0].startswith("MLflow does not take what it is told (")
