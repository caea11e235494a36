"""What a training stage refuses or adapts to before it starts, on real images and networks."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from stylealign.checkpoints import load_model, save_model
from stylealign.data.dataset import open_dataset
from stylealign.errors import CheckpointError, DataError, ParamsError
from stylealign.models import Model, ModelConfig
from stylealign.models.precision import ADVICE, is_imitated
from stylealign.params import StandingParams, TrainChildParams
from stylealign.recipe import Recipe
from stylealign.training import train
from stylealign.training.snapshot import SnapshotFiles
from stylealign.training.split import Split
from tasks.children import child_run
from tasks.parents import snapshots_of
from tasks.snapshots import PICTURES, mark_finished, mark_of, note_other_runs, settle_start
from tasks.training import Run

CONFIG = ModelConfig(
    resolution=32, z_dim=4, w_dim=4, num_mapping_layers=2, channels={4: 4, 8: 4, 16: 4, 32: 4},
    noise=False,
)  # fmt: skip
STANDING = StandingParams(
    num_codes=8, num_looked_at=4, feature_resolution=32, tolerance=0.1, margin=0.02, seed=0
)


@pytest.fixture(scope="module")
def images(tmp_path_factory, prepare_cats) -> Path:
    """Ten prepared images of 32 pixels."""
    return prepare_cats(tmp_path_factory.mktemp("cats"), 10)


def start(images: Path, folder: Path, config: ModelConfig = CONFIG, **changes) -> Run:
    """A child of a new parent, ready to train."""
    torch.manual_seed(0)
    model = Model.new(config)
    if changes.pop("without_discriminator", False):
        model.discriminator = None
    save_model(model, folder / "parent")
    numbers: dict[str, Any] = {"total_kimg": 1, "batch_size": 4}
    section = TrainChildParams(dataset="cats", recipe=Recipe(**(numbers | changes)))
    parent = load_model(folder / "parent")
    return child_run("cats", parent, images, section, STANDING, Split(), folder / "people")


def test_a_run_with_enough_images_has_nothing_to_say(images, tmp_path):
    run = start(images, tmp_path)

    assert run.training.notes == []
    assert len(next(run.batches).images) == 4
    assert run.training.model.config.data_hash == open_dataset(images).content_hash


def test_only_what_a_result_depends_on_changes_where_its_snapshots_lie(images, tmp_path):
    where = start(images, tmp_path).snapshot

    longer = start(images, tmp_path, total_kimg=3, tick_kimg=0.5, part_size=4, max_rollbacks=5)
    assert longer.snapshot == where
    assert start(images, tmp_path, g_lr=0.5).snapshot != where


def test_a_run_that_starts_anew_beside_snapshots_says_what_is_different(
    images, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    begun = start(images, tmp_path)
    begun.training.nimg = 12_000
    begun.training.save(SnapshotFiles(begun.snapshot).at(12.0), begun.batches)

    again = start(images, tmp_path)
    slower, fewer = start(images, tmp_path, g_lr=1e-4), start(images, tmp_path, seed=3, d_lr=1e-4)
    other = replace(begun, snapshot=begun.snapshot.with_name(f"cats-{'0' * 16}.safetensors"))
    note_other_runs(other.training, other.snapshot)

    assert again.training.notes == []
    assert "the snapshot of 12 kimg that lies there has other g_lr;" in slower.training.notes[0]
    assert "has other d_lr, seed;" in fewer.training.notes[0]
    assert "has other images, start or settings;" in other.training.notes[-1]


def test_a_run_that_starts_anew_takes_no_other_file_for_a_snapshot(images, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    begun = start(images, tmp_path)
    begun.training.nimg = 12_000
    place = SnapshotFiles(begun.snapshot).at(12.0)
    begun.training.save(place, begun.batches)
    place.with_name(f"{place.stem} (copy){place.suffix}").touch()
    place.with_name(f"{begun.snapshot.stem}@before{place.suffix}").touch()

    (note,) = start(images, tmp_path, g_lr=1e-4).training.notes

    assert "the snapshot of 12 kimg that lies there has other g_lr;" in note


def test_fewer_images_than_the_batch_are_trained_on_and_said(images, tmp_path):
    run = start(images, tmp_path, batch_size=16)

    notes = next(train(run.training, run.batches)).notes

    assert "10 images are fewer than the batch of 16" in notes[0]


def test_who_trains_in_a_precision_that_the_processor_imitates_is_told(images, tmp_path):
    run = start(images, tmp_path, precision="bfloat16")

    assert run.training.notes == [ADVICE] * is_imitated("bfloat16", torch.device("cpu"))


def test_a_batch_below_the_stddev_group_is_one_group(images, tmp_path):
    run = start(images, tmp_path, batch_size=2)

    assert run.training.mbstd_group == 2


def test_a_batch_of_broken_groups_is_refused_with_one_that_fits(images, tmp_path):
    with pytest.raises(ParamsError, match="such as 4"):
        start(images, tmp_path, batch_size=6)


def test_images_of_another_resolution_are_refused_with_both(images, tmp_path):
    widths = {4: 4, 8: 4, 16: 4}
    config = CONFIG.model_copy(update={"resolution": 16, "channels": widths})

    with pytest.raises(DataError, match="images of 32 pixels, the parent draws 16"):
        start(images, tmp_path, config)


def test_a_parent_of_other_channels_is_refused_with_both(images, tmp_path):
    config = CONFIG.model_copy(update={"img_channels": 1})

    with pytest.raises(DataError, match="images have 3 channels, the parent draws 1"):
        start(images, tmp_path, config)


def test_a_parent_without_discriminator_is_refused(images, tmp_path):
    with pytest.raises(CheckpointError, match="no discriminator"):
        start(images, tmp_path, without_discriminator=True)


def train_on(images: Path, folder: Path, **changes) -> Run:
    """Train a child to its end, or on from what lies there; three snapshots in 24 images."""
    numbers: dict[str, Any] = {"total_kimg": 0.024, "snapshot_kimg": 0.008, "tick_kimg": 0.008}
    run = start(images, folder, min_sample_spread=0, min_logit_spread=0, **(numbers | changes))
    settle_start(run.training, run.snapshot)
    for _ in train(run.training, run.batches, snapshot=run.snapshot):
        pass
    return run


def weights(run: Run) -> dict[str, bytes]:
    model = run.training.model.generator.state_dict()
    return {name: value.numpy().tobytes() for name, value in model.items()}


def lying(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_finished_run_that_is_made_longer_goes_on_to_the_bytes_of_one_in_one_go(
    images, tmp_path, monkeypatch
):
    for name in ("in_one_go", "in_two"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "in_one_go")
    straight = train_on(images, tmp_path / "in_one_go", total_kimg=0.048)
    monkeypatch.chdir(tmp_path / "in_two")
    first = train_on(images, tmp_path / "in_two")
    pictures = first.snapshot.with_suffix(PICTURES)
    pictures.mkdir()
    mark_finished.fn(first.files)

    longer = start(images, tmp_path / "in_two", total_kimg=0.048)
    settle_start(longer.training, longer.snapshot)
    assert longer.training.notes == ["was finished at 0.024 kimg and goes on to 0.048"]
    second = train_on(images, tmp_path / "in_two", total_kimg=0.048)  # as after a kill

    assert pictures.is_dir()
    assert weights(second) == weights(straight)
    assert second.training.history == straight.training.history
    assert len(second.training.history) == 6


def test_a_finished_run_whose_snapshots_were_deleted_is_computed_anew(
    images, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    finished = train_on(images, tmp_path)
    mark_finished.fn(finished.files)
    for path in finished.files.all():
        path.unlink()

    again = train_on(images, tmp_path, total_kimg=0.032)

    assert [tick["kimg"] for tick in again.training.history] == [0.008, 0.016, 0.024, 0.032]


@pytest.mark.parametrize("total_kimg", [0.024, 0.016])
def test_a_finished_run_that_is_not_made_longer_is_computed_anew(
    images, tmp_path, monkeypatch, total_kimg
):
    monkeypatch.chdir(tmp_path)
    finished = train_on(images, tmp_path)
    finished.snapshot.with_suffix(PICTURES).mkdir()
    mark_finished.fn(finished.files)

    again = start(images, tmp_path, total_kimg=total_kimg, tick_kimg=0.008)
    settle_start(again.training, again.snapshot)

    assert again.training.notes == []
    assert lying(again.snapshot.parent) == set()
    assert next(train(again.training, again.batches, snapshot=again.snapshot)).kimg == 0.008


def test_a_run_that_was_killed_before_all_was_done_trains_nothing_again(
    images, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    end = train_on(images, tmp_path)

    again = start(images, tmp_path, total_kimg=0.024)
    settle_start(again.training, again.snapshot)

    assert list(train(again.training, again.batches, snapshot=again.snapshot)) == []
    assert weights(again) == weights(end)


def test_a_finished_run_of_another_recipe_is_named_where_a_longer_one_is_asked_for(
    images, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    mark_finished.fn(train_on(images, tmp_path).files)

    same, longer = (
        start(images, tmp_path, total_kimg=total, g_lr=1e-4) for total in (0.024, 0.048)
    )

    assert same.training.notes == []
    assert "the snapshot of 0.024 kimg that lies there has other g_lr" in longer.training.notes[0]


def test_what_a_longer_run_needs_stays_and_all_else_of_the_finished_model_goes(
    images, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    mark_finished.fn(train_on(images, tmp_path, seed=1).files)  # of an earlier recipe
    longer = train_on(images, tmp_path, total_kimg=0.032, keep_snapshots=4)  # then shortened
    run = start(images, tmp_path, total_kimg=0.024)
    run.training.contenders = [0.008]
    run.training.nimg = 24
    run.training.save(run.files.at(0.024), run.batches)
    stem, folder = run.snapshot.stem, longer.snapshot.parent
    left = [f"{stem}@000000.032-stop.partial", f"cats-{'0' * 16}@000001.000.safetensors"]
    others = ["cats-wild-", f"{snapshots_of('cats')}-"]
    kept = {f"{name}{'0' * 16}@000001.000.safetensors" for name in others}
    for name in (*left, *kept):
        (folder / name).touch()
    for name in (f"cats-{'0' * 16}", stem):
        (folder / f"{name}{PICTURES}").mkdir()

    mark_finished.fn(run.files)

    own = {f"{stem}@000000.{kimg}.safetensors" for kimg in ("008", "024")}
    assert lying(folder) == kept | own | {f"{stem}{PICTURES}", mark_of(run.snapshot).name}
