"""Readers look at a child while it trains, and the child is the one that nobody read."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stylealign.alignment import measure_agreement
from stylealign.checkpoints import load_model, save_model
from stylealign.checkpoints.beside import STANDINGS_FILE
from stylealign.data.dataset import open_dataset
from stylealign.data.labels import LabelSchema
from stylealign.metrics import cached_readers
from stylealign.metrics import coverage as limits
from stylealign.metrics.coverage import measure_coverage
from stylealign.models import Model, ModelConfig
from stylealign.params import AnalyzeParams, StandingParams, TrainChildParams
from stylealign.recipe import Recipe
from stylealign.standings import Standings
from stylealign.training import train
from stylealign.training.split import Split
from tasks import lessons, readings
from tasks.children import child_run
from tasks.layout import LabelledSets, feature_folder
from tasks.readers import domain_reader
from tasks.readings import ChildReadings, Seen
from tasks.samples import draw_samples
from tasks.training import Run, finish_training
from tests.full_device import full_above

CONFIG = ModelConfig(
    resolution=32, z_dim=4, w_dim=4, num_mapping_layers=2, channels={4: 8, 8: 8, 16: 8, 32: 8},
    noise=False,
)  # fmt: skip
RECIPE = Recipe(
    total_kimg=0.024, tick_kimg=0.004, snapshot_kimg=0.008, batch_size=4, keep_snapshots=3,
    g_lr=0.003, d_lr=0.003, ema_kimg=0.002, min_sample_spread=0, min_logit_spread=0,
)  # fmt: skip
STANDING = StandingParams(
    num_codes=8, num_looked_at=4, feature_resolution=32, tolerance=1e6, margin=0.0, seed=0
)
ANALYZE = AnalyzeParams(
    num_samples=70, labels=("yaw", "glasses", "tone"), reader_steps=4, num_reset_samples=1,
    direction_distance=1.0, num_bootstrap=1, batch_size=50, seed=3,
)  # fmt: skip
CHILD = Path("artifacts/train_child/cats")
CACHE = Path("readers")
"""Readers of one test alone; others share theirs."""


class Course:
    """A child's training in a project folder of its own, with what measures and reads it."""

    def __init__(self, run: Run, standings: Standings, read: ChildReadings, said: list[str]):
        self.run, self.standings, self.read, self.said = run, standings, read, said
        self.seen: dict[float, Seen | None] = {}

    def follow(self, num_ticks: int | None = None) -> None:
        """Train to the end, or until it is killed; as the stage does it."""

        def measure() -> None:
            self.standings.measure()
            self.seen[self.run.training.kimg] = self.read.measure()

        run = self.run
        ticks = train(run.training, run.batches, snapshot=run.snapshot, on_snapshot=measure)
        for _ in itertools.islice(ticks, num_ticks):
            pass

    def snapshots(self) -> dict[str, bytes]:
        """Every snapshot on disk."""
        folder = self.run.snapshot.parent
        return {path.name: path.read_bytes() for path in folder.iterdir()}

    def end(self) -> dict[str, bytes]:
        """Save the child, as the stage does; every file of it."""
        kept = self.standings.keep(self.run.snapshot)
        finish_training(self.run, CHILD, {STANDINGS_FILE: self.standings.summary(kept)})
        return {path.name: path.read_bytes() for path in CHILD.iterdir()}


Begin = Callable[..., Course]


@pytest.fixture(scope="module")
def made(tmp_path_factory, prepare_cats) -> Path:
    """A parent, twelve images to train a child on, and labelled sets of both domains."""
    folder = tmp_path_factory.mktemp("made")
    prepare_cats(folder / "cats", 12)
    prepare_cats(folder / "cats_oracle", 70, seed=1, val=0.4)
    prepare_cats(folder / "people", 70, seed=2, val=0.4, domain="people")
    torch.manual_seed(1)
    save_model(Model.new(CONFIG), folder / "parent")
    return folder


@pytest.fixture
def sets(made) -> LabelledSets:
    return LabelledSets(parent=made / "people", child=made / "cats_oracle")


@pytest.fixture
def begin(made, tmp_path, monkeypatch, no_progress) -> Begin:
    """Start a training whose readers, of four steps, read hardly anything: every label counts."""
    monkeypatch.setattr(limits, "MIN_SKILL", -100.0)
    monkeypatch.setattr(lessons, "progress", no_progress)

    def new(
        sets: LabelledSets | None,
        place: str = "project",
        config: ModelConfig = CONFIG,
        recipe: dict[str, Any] | None = None,
        cache: Path = made / "readers",
        **changes: Any,
    ) -> Course:
        (tmp_path / place).mkdir(exist_ok=True)
        monkeypatch.chdir(tmp_path / place)
        section = TrainChildParams(dataset="cats", recipe=RECIPE.model_copy(update=recipe or {}))
        source = made / "parent"
        if config != CONFIG:
            torch.manual_seed(1)
            source = tmp_path / "parent"
            save_model(Model.new(config), source)
        parent = load_model(source)
        run = child_run("cats", parent, made / "cats", section, STANDING, Split(), made / "people")
        dataset = run.batches.dataset
        standings = Standings(run.training, parent, dataset, STANDING, features=feature_folder())
        params, said = ANALYZE.model_copy(update=changes), list[str]()
        read = ChildReadings(run.training, parent, sets, params, cache, said.append)
        return Course(run, standings, read, said)

    return new


def as_analyzed(made: Path, child: Model, sets: LabelledSets) -> dict[str, float]:
    """What the function of stage `analyze` finds, with readers of its own."""
    pair = tuple(domain_reader(one, ANALYZE, made / "readers") for one in (sets.parent, sets.child))
    schema = {name: open_dataset(sets.parent).schema[name] for name in ANALYZE.labels}
    ceilings = (dict.fromkeys(schema, 1.0), dict.fromkeys(schema, 1.0))
    found = measure_agreement(
        load_model(made / "parent"), child, (pair[0], pair[1]), ceilings, schema,
        num_samples=ANALYZE.num_samples, num_bootstrap=1, batch_size=ANALYZE.batch_size,
        seed=ANALYZE.seed,
    )  # fmt: skip
    return {name: one.agreement for name, one in found.items()}


def test_agreement_is_what_analyze_finds_in_the_child_before_and_after(begin, made, sets):
    course = begin(sets)
    before, untrained = course.read.measure(), as_analyzed(made, load_model(made / "parent"), sets)

    course.follow()
    course.end()

    after = course.seen[load_model(CHILD).config.kimg]
    trained = as_analyzed(made, load_model(CHILD), sets)
    assert before and after
    assert before.agreement == pytest.approx(untrained, abs=1e-4)
    assert after.agreement == pytest.approx(trained, abs=1e-4)
    assert before.agreement != pytest.approx(after.agreement, abs=1e-2)
    assert course.seen.keys() == {0.008, 0.016, 0.024}
    assert course.said == []


def test_coverage_is_of_its_samples_against_images_that_its_reader_never_saw(begin, made, sets):
    course, dataset = begin(sets, num_samples=50), open_dataset(sets.child)

    seen = course.read.measure()

    reader = domain_reader(sets.child, ANALYZE, made / "readers")
    unseen = dataset.images(dataset.ids("val"))
    drawn = draw_samples(course.run.training.model, 50, ANALYZE.seed)
    expected = measure_coverage(reader.predict(drawn), reader.predict(unseen), reader.schema)
    assert seen
    assert len(unseen) == len(dataset) - len(dataset.ids("train"))
    assert seen.coverage.spread == pytest.approx(expected.spread, abs=1e-3)
    assert seen.coverage.prevalence_gap == pytest.approx(expected.prevalence_gap, abs=1e-3)


def test_figures_have_their_names_and_fit_one_line(begin, sets):
    seen = begin(sets).read.measure()

    assert seen
    labels = set(ANALYZE.labels)
    kinds = ("agreement", "coverage")
    assert seen.figures().keys() == {f"{kind}.{label}" for kind in kinds for label in labels}
    said = str(Seen({"yaw": 0.987}, limits.Coverage({"yaw": 0.5}, {"tone": 0.123})))
    assert said == "agreement yaw 0.99; coverage yaw 0.50, tone 12.3 points off"


def test_the_child_and_its_snapshots_are_those_that_nobody_read(begin, sets):
    read = begin(sets)
    read.follow()
    with_readers = read.snapshots(), read.end()
    unread = begin(None, "alone")
    unread.follow()

    without = unread.snapshots(), unread.end()

    assert len(read.seen) == len(without[0]) == 3
    assert None not in read.seen.values()
    assert with_readers == without


@pytest.mark.parametrize("num_ticks", [1, 5])
def test_a_killed_training_goes_on_to_the_same_figures_and_bytes(begin, sets, num_ticks):
    undisturbed = begin(sets, "undisturbed")
    undisturbed.follow()
    expected = undisturbed.end()
    killed = begin(sets, "killed")
    killed.follow(num_ticks)

    resumed = begin(sets, "killed")
    resumed.follow()

    assert resumed.seen
    assert {**killed.seen, **resumed.seen} == undisturbed.seen
    assert resumed.end() == expected


def test_analyze_takes_the_readers_of_the_training(begin, sets, monkeypatch):
    begin(sets, cache=CACHE)

    def fit(*_: object, **__: object):
        raise AssertionError("this reader is there already")

    monkeypatch.setattr(cached_readers, "fit_reader", fit)

    found = [domain_reader(one, ANALYZE, CACHE) for one in (sets.parent, sets.child)]

    assert len([*CACHE.iterdir()]) == 2
    assert [list(reader.schema) for reader in found] == [list(ANALYZE.labels)] * 2


def test_a_child_without_labelled_sets_is_trained_in_silence(begin):
    course = begin(None, cache=CACHE)

    assert course.read.measure() is None
    assert course.said == []
    assert not CACHE.exists()


def test_sets_that_are_not_prepared_are_named_with_what_to_do(begin, sets, tmp_path):
    no_oracle = replace(sets, child=tmp_path / "cats_oracle")

    child_alone = begin(no_oracle, cache=CACHE)
    both = begin(replace(no_oracle, parent=tmp_path / "people"), cache=CACHE)

    assert child_alone.read.measure() is both.read.measure() is None
    assert len(child_alone.said) == len(both.said) == 1
    assert "run `stylealign run prepare cats_oracle` before the training" in child_alone.said[0]
    assert "`stylealign run prepare people` and `stylealign run prepare cats" in both.said[0]
    assert not CACHE.exists()


def test_whatever_is_wrong_with_the_labelled_images_ends_no_training(
    begin, made, sets, tmp_path, prepare_cats
):
    prepare_cats(tmp_path / "few", 30, val=0.2)
    prepare_cats(tmp_path / "fine", 70, val=0.4, resolution=64)
    broken = prepare_cats(tmp_path / "broken", 70, val=0.4)
    next(broken.glob("train-*.parquet")).write_bytes(b"broken")
    cases = {
        "'hair_color' is not one of": begin(sets, labels=("yaw", "hair_color")),
        "has 0 images outside of its split": begin(replace(sets, child=made / "cats")),
        "has 6 images outside of its split": begin(replace(sets, child=tmp_path / "few")),
        "of 64 pixels, the child draws 32": begin(replace(sets, child=tmp_path / "fine")),
        "is damaged or missing": begin(replace(sets, child=broken)),
    }

    for reason, course in cases.items():
        assert course.read.measure() is None
        assert len(course.said) == 1
        assert reason in course.said[0]
        assert course.said[0].startswith("agreement and coverage of this child are not measured")


def test_more_images_than_a_training_has_room_for_are_left_to_analyze(begin, sets, monkeypatch):
    num = max(len(open_dataset(one).ids("train")) for one in (sets.parent, sets.child))
    monkeypatch.setattr(readings, "MAX_HELD_BYTES", 3 * num * 32 * 32)
    fitting = begin(sets)
    monkeypatch.setattr(readings, "MAX_HELD_BYTES", 3 * num * 32 * 32 - 1)

    refused = begin(sets)

    assert fitting.said == []
    assert "`analyze` has these figures" in refused.said[0]


def test_a_training_goes_on_where_no_label_can_be_read(begin, sets, monkeypatch):
    monkeypatch.setattr(limits, "MIN_SKILL", 1.1)

    course = begin(sets)
    course.follow()

    assert course.run.training.kimg == RECIPE.total_kimg
    assert set(course.seen.values()) == {None}
    assert len(course.said) == 1
    assert "a reader hardly guesses any of ['yaw', 'glasses', 'tone']" in course.said[0]


def test_a_label_that_one_reader_hardly_guesses_is_left_out_and_named(begin, sets, monkeypatch):
    asked: list[LabelSchema] = []

    def only_yaw_of_people(_scores: object, schema: LabelSchema, _truth: object) -> LabelSchema:
        asked.append(schema)  # people come first
        return {"yaw": schema["yaw"]} if len(asked) == 1 else schema

    monkeypatch.setattr(readings, "choose_readable", only_yaw_of_people)

    course = begin(sets)

    seen = course.read.measure()
    assert seen
    assert seen.agreement.keys() == {"yaw"}
    assert seen.figures().keys() >= {"coverage.yaw", "coverage.glasses", "coverage.tone"}
    assert len(course.said) == 1
    assert course.said[0].startswith("no agreement on glasses, tone: ")


def test_what_goes_wrong_at_a_snapshot_is_said_and_ends_no_training(begin, sets):
    course = begin(sets)
    assert course.read.pair
    course.read.pair.of_parent.loc[0, "yaw"] = np.nan

    course.follow()

    assert set(course.seen.values()) == {None}
    assert ["no value of 'yaw' for 1 of" in said for said in course.said] == [True] * 3


def test_a_mirrored_training_is_held_against_images_of_both_sides(begin, sets):
    plain, mirrored = begin(sets), begin(sets, "mirrored", recipe={"mirror": True})

    assert plain.read.pair and mirrored.read.pair
    both, one = mirrored.read.pair.own, plain.read.pair.own
    num = len(one.unseen)
    assert len(both.unseen) == 2 * num
    assert both.unseen[:num].equals(one.unseen)
    assert not both.unseen[num:].reset_index(drop=True).equals(one.unseen)


def test_a_conditional_child_is_read_in_the_classes_that_it_is_shown(begin, sets):
    config = CONFIG.model_copy(update={"c_dim": 3})

    course = begin(sets, config=config, recipe={"classes": "tone"}, num_samples=400)

    assert course.read.pair and course.run.training.classes
    assert course.read.pair.c is not None
    shares = course.run.training.classes.shares
    assert course.read.pair.c.mean(0).tolist() == pytest.approx(shares.tolist(), abs=0.08)
    assert course.read.measure()


def test_a_child_on_a_device_that_holds_two_images_is_read_the_same(begin, sets):
    course = begin(sets)
    expected = course.read.measure()
    course.run.training.G_ema.mapping.register_forward_pre_hook(full_above(2))

    seen = course.read.measure()

    assert seen and expected
    assert course.run.training.portions.size == 2
    assert seen.figures() == pytest.approx(expected.figures(), abs=1e-3)
