"""A parent is held against its data while it trains, and the run is the one nobody measured."""

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stylealign.checkpoints.beside import COVERAGE_FILE
from stylealign.data.dataset import open_dataset
from stylealign.errors import ParamsError
from stylealign.metrics import cached_readers
from stylealign.metrics import coverage as limits
from stylealign.params import CoverageParams, TrainParentParams
from stylealign.training import train
from stylealign.training.split import Split
from tasks import coverage as module
from tasks import lessons
from tasks.coverage import DataCoverage
from tasks.parents import parent_run
from tasks.training import Run, finish_training

NUM_IMAGES = 60
PARENT = Path("artifacts/train_parent")
SECTION: dict[str, Any] = {
    "model": str(PARENT),
    "dataset": "cats",
    "architecture": {
        "z_dim": 4, "w_dim": 4, "num_mapping_layers": 2, "channels": {4: 8, 8: 8, 16: 8, 32: 8},
        "noise": False,
    },
    "recipe": {
        "total_kimg": 0.032, "tick_kimg": 0.004, "snapshot_kimg": 0.008, "batch_size": 4,
        "g_lr": 0.003, "d_lr": 0.003, "ema_kimg": 0.002,
        "min_sample_spread": 0, "min_logit_spread": 0,
    },
    "coverage": {"num_samples": 30, "reader_steps": 4},
}  # fmt: skip

Begun = tuple[Run, DataCoverage]


@pytest.fixture(scope="module")
def images(tmp_path_factory, prepare_cats) -> Path:
    """Prepared, labelled images."""
    return prepare_cats(tmp_path_factory.mktemp("cats"), NUM_IMAGES)


@pytest.fixture
def begin(images, tmp_path, monkeypatch, no_progress) -> Callable[..., Begun]:
    """A parent's training in a project folder of its own, with what measures it.

    A reader of four steps reads hardly anything: every label counts here.
    """
    monkeypatch.setattr(limits, "MIN_SKILL", -100.0)
    monkeypatch.setattr(lessons, "progress", no_progress)

    def new(place: str = "project", **changes) -> Begun:
        (tmp_path / place).mkdir(exist_ok=True)
        monkeypatch.chdir(tmp_path / place)
        params = TrainParentParams.model_validate(SECTION | changes)
        run = parent_run(params, images, Path("snapshots"), "cpu", Split())
        dataset = run.batches.dataset
        return run, DataCoverage(run.training, dataset, params.coverage, Path("readers"))

    return new


def follow(run: Run, coverage: DataCoverage, num_ticks: int | None = None) -> None:
    """Train to the end, or until it is killed."""

    def measure() -> None:
        coverage.measure()

    ticks = train(run.training, run.batches, snapshot=run.snapshot, on_snapshot=measure)
    for _ in itertools.islice(ticks, num_ticks):
        pass


def end(run: Run, coverage: DataCoverage) -> dict[str, bytes]:
    """Save the parent, as the stage does; every file of it."""
    finish_training(run, PARENT, coverage.tables())
    return {path.name: path.read_bytes() for path in PARENT.iterdir()}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            {"channels": {4: 4, 8: 4, 16: 4}},
            "lacks .*resolution 32; the images of 'cats' have 32 pixels",
        ),
        ({"channels": {4: 4, 8: 4, 16: 4, 32: 0}}, "field 'channels.32': .*greater than"),
        ({"num_mapping_layers": 100}, "field 'num_mapping_layers': "),
    ],
)
def test_an_architecture_that_makes_no_model_is_refused_by_field(change, reason, begin):
    architecture = SECTION["architecture"] | change

    with pytest.raises(ParamsError, match=rf"'train_parent.architecture': .*{reason}"):
        begin(architecture=architecture)


def test_every_snapshot_has_a_figure_of_every_label(begin, images):
    run, coverage = begin()
    follow(run, coverage)

    table = json.loads(end(run, coverage)[COVERAGE_FILE])

    schema = open_dataset(images).schema
    kinds = {"spread": "continuous", "prevalence_gap": "class"}
    assert [row["kimg"] for row in table["snapshots"]] == [0.008, 0.016, 0.024, 0.032]
    for kind, label_type in kinds.items():
        names = {name for name, spec in schema.items() if spec.type == label_type}
        assert all(row[kind].keys() == names for row in table["snapshots"])
    assert table["reader_scores"].keys() == schema.keys()
    assert table["settings"] == {"num_samples": 30, "reader_steps": 4, "seed": 0}
    assert (table["min_spread"], table["max_prevalence_gap"]) == (0.9, 0.05)


def test_the_parent_is_the_one_that_nobody_measured(begin):
    run, coverage = begin()
    follow(run, coverage)
    measured = end(run, coverage)
    alone, nothing = begin("alone", coverage=None)
    follow(alone, nothing)

    unmeasured = end(alone, nothing)

    assert unmeasured.keys() == measured.keys() - {COVERAGE_FILE}
    assert all(unmeasured[name] == measured[name] for name in unmeasured)


@pytest.mark.parametrize("num_ticks", [1, 5])
def test_a_killed_training_ends_in_the_same_figures_and_bytes(begin, num_ticks):
    undisturbed = begin("undisturbed")
    follow(*undisturbed)
    expected = end(*undisturbed)
    follow(*begin("killed"), num_ticks=num_ticks)

    resumed = begin("killed")
    follow(*resumed)

    assert end(*resumed) == expected


def test_figures_of_other_settings_are_left_out_and_the_finished_parent_is_measured(begin):
    follow(*begin(), num_ticks=3)
    other = {"num_samples": 20, "reader_steps": 4, "seed": 1}

    resumed, coverage = begin(coverage=other)
    follow(resumed, coverage)
    again, later = begin(coverage=other | {"seed": 2})
    follow(again, later)
    later.catch_up()

    first, second = (
        json.loads(end(*one)[COVERAGE_FILE]) for one in ((resumed, coverage), (again, later))
    )
    assert resumed.snapshot == again.snapshot
    assert [row["kimg"] for row in first["snapshots"]] == [0.016, 0.024, 0.032]
    assert first["settings"] == other
    assert [row["kimg"] for row in second["snapshots"]] == [0.032]
    assert second["settings"]["seed"] == 2


def test_a_reader_is_fitted_once_and_anew_where_it_is_damaged(begin, monkeypatch):
    fits: list[Any] = []
    fit = cached_readers.fit_reader
    monkeypatch.setattr(
        cached_readers, "fit_reader", lambda *a, **k: fits.append(k) or fit(*a, **k)
    )

    first, again = begin()[1], begin()[1]
    (folder,) = Path("readers").iterdir()
    (folder / "reader.safetensors").write_bytes(b"broken")
    repaired = begin()[1]

    assert len(fits) == 2
    assert first.scores == again.scores == repaired.scores


def test_the_fit_of_the_reader_is_seen(begin, images, monkeypatch, no_progress):
    shown: list[tuple[Any, ...]] = []

    def bar(description: str, total: float, **settings):
        shown.append((description, total))
        return no_progress(description, total, **settings)

    run, _ = begin()
    monkeypatch.setattr(lessons, "progress", bar)

    DataCoverage(run.training, run.batches.dataset, CoverageParams(reader_steps=6), Path("others"))

    assert shown == [(f"reader of {images.name}", 6)]


def test_a_parent_that_draws_its_data_covers_it(begin, monkeypatch):
    run, coverage = begin()
    dataset = run.batches.dataset
    _, unseen = module.divide(dataset, CoverageParams(num_samples=30))
    monkeypatch.setattr(module, "iterate_samples", lambda *_, **__: dataset.batches(unseen, 64))

    figures = coverage.measure()

    assert set(figures.spread.values()) == {1.0}
    assert set(figures.prevalence_gap.values()) == {0.0}
    assert coverage.complaint == ""


def test_a_parent_that_draws_one_image_is_told_so(begin, monkeypatch):
    run, coverage = begin()
    one = run.batches.dataset.ids()[:1]
    monkeypatch.setattr(
        module, "iterate_samples", lambda *_, **__: run.batches.dataset.batches(one, 1)
    )

    coverage.measure()

    assert "yaw (0.00 of the data's spread)" in coverage.complaint
    assert coverage.complaint.endswith("a child cannot inherit what its parent does not draw")


def test_a_mirrored_training_is_held_against_images_of_both_sides(begin):
    plain = begin()[1]
    mirrored = begin("mirrored", recipe=SECTION["recipe"] | {"mirror": True})[1]

    assert len(mirrored.real) == 2 * len(plain.real)
    assert mirrored.scores == plain.scores


def test_without_a_label_that_can_be_read_nothing_is_measured(begin, monkeypatch):
    monkeypatch.setattr(limits, "MIN_SKILL", 1.1)

    run, coverage = begin()
    follow(run, coverage)

    assert coverage.measure().figures() == {}
    assert coverage.tables() == {}
    assert run.training.measurements == []


def test_too_few_images_for_a_reader_are_no_error(begin, tmp_path, prepare_cats):
    dataset = open_dataset(prepare_cats(tmp_path / "few", 12))
    run, _ = begin()

    coverage = DataCoverage(run.training, dataset, CoverageParams(), tmp_path / "readers")

    assert coverage.tables() == {}
    assert not (tmp_path / "readers").exists()
