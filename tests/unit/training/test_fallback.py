"""Laws of stopping, keeping snapshots and falling back, on a real network of 8x8 images."""

import itertools
import re
import resource
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from stylealign.alignment.standing import Rule, Standing
from stylealign.errors import DataError, DivergenceError
from stylealign.models import Model, ModelConfig
from stylealign.recipe import Recipe
from stylealign.training import Training, train
from stylealign.training.loop import Tick
from stylealign.training.snapshot import SnapshotFiles, load_state
from tests.tiny import NoiseBatches

CONFIG = ModelConfig(
    resolution=8, z_dim=4, w_dim=4, num_mapping_layers=2, channels={4: 8, 8: 8}, noise=False
)

RULE = Rule(tolerance=0.1, margin=0.02)

EXPLOSIVE = {"g_lr": 1e8, "d_lr": 1e8, "rollback_lr_factor": 1e-11}
"""Rates that no run survives; those after one return are the usual ones."""


def new_training(**changes) -> Training:
    torch.manual_seed(0)
    numbers: dict[str, Any] = {
        "total_kimg": 0.064,
        "tick_kimg": 0.008,
        "snapshot_kimg": 0.016,
        "batch_size": 4,
    }
    return Training(Model.new(CONFIG), None, Recipe(**(numbers | changes)))


def finish(training: Training, snapshot: Path | None = None) -> list[Tick]:
    return list(train(training, NoiseBatches(), snapshot=snapshot))


def stop_at(training: Training, snapshot: Path, num_ticks: int) -> None:
    """Run until a stop that is wanted from the given tick on."""
    count = itertools.count(1)
    ticks = train(
        training, NoiseBatches(), snapshot=snapshot, should_stop=lambda: next(count) >= num_ticks
    )
    assert len(list(ticks)) == num_ticks


def kill_at(training: Training, snapshot: Path, num_ticks: int) -> None:
    """Run for some ticks and never go on."""
    assert len(
        list(itertools.islice(train(training, NoiseBatches(), snapshot=snapshot), num_ticks))
    )


def assert_equal(one: Training, other: Training) -> None:
    assert one.history == other.history
    assert one.rollbacks == other.rollbacks
    states = [training.state(NoiseBatches())[0] for training in (one, other)]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def with_poison(training: Training, at_nimg: int) -> Training:
    """Break one weight at a moment of the run, once per learning rate."""

    def poison(_module, _arguments):
        if training.nimg >= at_nimg and not training.rollbacks:
            with torch.no_grad():
                weight = training.G.get_parameter("synthesis.blocks.b8.conv1.weight")
                weight[0, 0, 0, 0] = float("nan")

    training.G.synthesis.register_forward_pre_hook(poison)
    return training


@pytest.mark.parametrize("num_ticks", [1, 3, 4])
def test_a_stopped_run_goes_on_to_the_same_bytes(num_ticks, tmp_path):
    undisturbed = new_training()
    finish(undisturbed)
    stop_at(new_training(), tmp_path / "run.st", num_ticks)

    resumed = new_training()
    ticks = finish(resumed, tmp_path / "run.st")

    assert len(ticks) == 8 - num_ticks
    assert_equal(resumed, undisturbed)


def test_a_diverging_run_goes_back_with_lower_rates_and_says_so():
    training = new_training(**EXPLOSIVE)

    ticks = finish(training)

    (event,) = training.rollbacks
    assert event["to_kimg"] == 0 < event["at_kimg"]
    assert (
        "back to 0.000 kimg with learning rates times 1e-11 (1 of at most 2)" in ticks[0].notes[0]
    )
    assert {row["rollbacks"] for row in training.history} == {1.0}
    assert training.g_optimizer.param_groups[0]["lr"] == pytest.approx(1e-3)
    assert [row["kimg"] for row in training.history] == [tick.kimg for tick in ticks]


def test_what_was_measured_at_snapshots_goes_back_and_on_with_the_run(tmp_path):
    def measured(training: Training, num_ticks: int) -> list[dict[str, Any]]:
        def note() -> None:
            training.measurements = [*training.measurements, {"kimg": training.kimg}]

        ticks = train(training, NoiseBatches(), snapshot=tmp_path / "run.st", on_snapshot=note)
        assert len(list(itertools.islice(ticks, num_ticks))) == num_ticks
        return training.measurements

    assert [one["kimg"] for one in measured(with_poison(new_training(), 44), 5)] == [0.016, 0.032]
    resumed = measured(with_poison(new_training(), 44), 5)

    assert [one["kimg"] for one in resumed] == [0.016, 0.032, 0.048, 0.064]


def test_a_run_that_went_back_is_the_run_at_lower_rates():
    usual = new_training(g_lr=1e8 * 1e-11, d_lr=1e8 * 1e-11)
    finish(usual)

    training = new_training(**EXPLOSIVE)
    finish(training)

    expected = usual.state(NoiseBatches())[0]
    for name, value in training.state(NoiseBatches())[0].items():
        assert torch.allclose(value.float(), expected[name].float(), atol=1e-6), name


@pytest.mark.parametrize("name", ["run.st", "run"])
@pytest.mark.parametrize("disturb", [stop_at, kill_at])
@pytest.mark.parametrize("num_ticks", [1, 3, 5])
def test_a_run_that_fell_back_resumes_to_the_same_bytes(disturb, num_ticks, name, tmp_path):
    undisturbed = with_poison(new_training(), 28)
    finish(undisturbed)
    disturb(with_poison(new_training(), 28), tmp_path / name, num_ticks)

    resumed = with_poison(new_training(), 28)
    finish(resumed, tmp_path / name)

    (event,) = resumed.rollbacks
    assert (event["at_kimg"], event["to_kimg"]) == (0.032, 0.016)
    assert_equal(resumed, undisturbed)


def test_a_run_that_keeps_diverging_ends_with_kimg_and_figure():
    with pytest.raises(DivergenceError) as caught:
        finish(new_training(g_lr=1e8, d_lr=1e8, rollback_lr_factor=0.99))

    last, *before = str(caught.value).split("; before that ")
    assert re.search(r"became (nan|inf).* by 0\.008 kimg, after 2 of", last)
    assert len(before) == 2
    assert all(re.fullmatch(r".* became (nan|inf).* by 0\.008 kimg", reason) for reason in before)


def test_samples_that_are_all_alike_count_as_collapsed():
    training = new_training(freeze=("torgb",), max_rollbacks=0)
    with torch.no_grad():
        for name, parameter in training.G.named_parameters():
            if "torgb.weight" in name:
                parameter.zero_()

    with pytest.raises(DivergenceError, match="samples became alike: sample_spread 0 of"):
        finish(training)


def test_a_discriminator_that_tells_nothing_apart_counts_as_collapsed():
    training = new_training(d_lr=1e-30, max_rollbacks=0)
    with torch.no_grad():
        training.D.out.weight.zero_()

    with pytest.raises(DivergenceError, match=r"became constant: logit_spread \d.*e-\d+,"):
        finish(training)


def test_the_newest_snapshots_and_those_that_may_be_chosen_are_kept(tmp_path):
    training = new_training(keep_snapshots=2)

    def contend() -> None:
        training.contenders = [0.016]

    list(train(training, NoiseBatches(), snapshot=tmp_path / "run.st", on_snapshot=contend))

    names = [path.name for path in SnapshotFiles(tmp_path / "run.st").all()]
    assert names == [f"run@000000.{kimg}.st" for kimg in ("016", "048", "064")]


@pytest.mark.parametrize("num_snapshots", range(2, 9))
def test_from_each_kept_snapshot_a_run_can_go_on(num_snapshots, tmp_path):
    """Fidelity falls and likeness as well, by the real rule: contenders are given up all along."""
    base = tmp_path / "run.st"

    def new() -> tuple[Training, Callable[[], None]]:
        training = new_training(total_kimg=0.144, keep_snapshots=2)

        def measure() -> None:
            step = round(training.kimg / 0.016)
            standing = Standing(
                kimg=training.kimg, fidelity=100.0 - 6 * step, fidelity_name="fd", change=0.0,
                likeness=1 - step / 9, weight_distances={}, group_changes={},
            )  # fmt: skip
            training.measurements = [*training.measurements, asdict(standing)]
            taken = [Standing(**one) for one in training.measurements]
            training.contenders = [one.kimg for one in RULE.contenders(taken)]

        return training, measure

    training, measure = new()
    ticks = train(training, NoiseBatches(), snapshot=base, on_snapshot=measure)
    while next(ticks).kimg < 0.016 * num_snapshots:
        pass
    newest = SnapshotFiles(base).all()[-1]
    broken = bytearray(newest.read_bytes())
    broken[-1] ^= 1
    newest.write_bytes(broken)

    training, measure = new()
    tick = next(train(training, NoiseBatches(), snapshot=base, on_snapshot=measure))

    assert tick.kimg == pytest.approx(0.016 * (num_snapshots - 1) + 0.008)
    assert "is not a whole training snapshot" in tick.notes[0]
    assert len(tick.notes) == 1


def test_a_stop_leaves_one_more_snapshot_that_the_next_one_replaces(tmp_path):
    files = SnapshotFiles(tmp_path / "run.st")
    stop_at(new_training(keep_snapshots=1), tmp_path / "run.st", 3)
    stopped = [path.name for path in files.all()]

    finish(new_training(keep_snapshots=1), tmp_path / "run.st")

    assert stopped == ["run@000000.016.st", "run@000000.024-stop.st"]
    assert [path.name for path in files.all()] == ["run@000000.064.st"]


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_a_stop_before_a_damaged_newer_snapshot_is_kept_and_gone_on_from(keep, tmp_path):
    base = tmp_path / "run.st"
    training = new_training(keep_snapshots=keep)

    def contend() -> None:
        training.contenders = [0.016]

    ticks = train(training, NoiseBatches(), snapshot=base, on_snapshot=contend)
    assert next(tick for tick in ticks if tick.kimg == 0.032)
    (newest,) = (path for path in SnapshotFiles(base).all() if "032" in path.name)
    newest.write_bytes(newest.read_bytes()[:-1])
    stop_at(new_training(keep_snapshots=keep), base, 1)

    resumed = next(train(new_training(keep_snapshots=keep), NoiseBatches(), snapshot=base))

    names = [path.name for path in SnapshotFiles(base).all()]
    assert "run@000000.016.st" in names
    assert resumed.kimg == 0.032


def test_a_stop_where_a_damaged_snapshot_lies_is_kept_beside_it(tmp_path):
    finish(undisturbed := new_training())
    base = tmp_path / "run.st"
    kill_at(new_training(), base, 5)
    damaged = SnapshotFiles(base).at(0.032)
    damaged.write_bytes(damaged.read_bytes()[:-1])

    stop_at(new_training(snapshot_kimg=0.064), base, 2)  # from 0.016 on
    assert SnapshotFiles(base).at(0.032, is_stop=True).exists()

    resumed = new_training()
    assert len(finish(resumed, base)) == 4
    assert_equal(resumed, undisturbed)


def test_what_a_kill_left_half_written_is_removed(tmp_path):
    base = tmp_path / "run[1].st"
    kill_at(new_training(), base, 3)
    partial = SnapshotFiles(base).at(0.016, is_stop=True).with_suffix(".partial")
    other = tmp_path / "run1@000000.016.partial"
    for path in (partial, other):
        path.write_bytes(b"half")

    finish(new_training(), base)

    assert not partial.exists()
    assert other.exists()


def test_a_moment_that_became_infinite_counts_as_divergence():
    """Steps of its weight would be nothing from then on, and every number finite."""
    training = new_training(max_rollbacks=0)
    training.D.register_forward_pre_hook(lambda *_: _explode(training))

    with pytest.raises(DivergenceError, match=r"tensor D\.optimizer\.0\.exp_avg_sq became not"):
        finish(training)


def _explode(training: Training) -> None:
    for state in training.d_optimizer.state.values():
        state["exp_avg_sq"].fill_(float("inf"))


def test_a_full_disk_ends_the_run_and_leaves_the_snapshot_before_whole(tmp_path):
    undisturbed = new_training()
    finish(undisturbed)
    kill_at(new_training(), tmp_path / "run.st", 2)
    (whole,) = SnapshotFiles(tmp_path / "run.st").all()
    before = whole.read_bytes()

    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, usual[1]))
    try:
        with pytest.raises(DataError, match=r"cannot be written: .*; make room"):
            finish(new_training(), tmp_path / "run.st")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)

    assert [path.name for path in tmp_path.iterdir()] == [whole.name]
    assert whole.read_bytes() == before
    resumed = new_training()
    finish(resumed, tmp_path / "run.st")
    assert_equal(resumed, undisturbed)


def test_a_fallback_is_written_at_once(tmp_path):
    kill_at(with_poison(new_training(), 28), tmp_path / "run.st", 3)

    ticks = train(with_poison(new_training(), 28), NoiseBatches(), snapshot=tmp_path / "run.st")
    assert next(ticks).kimg == 0.024
    assert next(ticks).kimg == 0.024

    _, numbers = load_state(SnapshotFiles(tmp_path / "run.st").all()[-1])
    assert numbers["nimg"] == 16
    assert "became nan" in numbers["rollbacks"][0]["reason"]
