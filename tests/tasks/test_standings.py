"""A child is measured while it trains, and the one that the rule takes is saved."""

import itertools
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from stylealign.alignment import FixedCodes
from stylealign.checkpoints import load_model, save_model
from stylealign.checkpoints.beside import STANDINGS_FILE
from stylealign.data.batches import TrainingBatches
from stylealign.data.dataset import open_dataset
from stylealign.errors import CheckpointError, DataError
from stylealign.metrics.features import collect_features, load_extractor
from stylealign.models import Model, ModelConfig
from stylealign.params import StandingParams, TrainChildParams
from stylealign.recipe import Recipe
from stylealign.standings import Standings
from stylealign.training import Training, train
from stylealign.training.snapshot import SnapshotFiles
from stylealign.training.split import Split
from tasks.children import child_run
from tasks.layout import feature_folder
from tasks.training import Run, finish_training
from tests.full_device import full_above

CONFIG = ModelConfig(
    resolution=32, z_dim=4, w_dim=4, num_mapping_layers=2, channels={4: 8, 8: 8, 16: 8, 32: 8},
    noise=False,
)  # fmt: skip
RECIPE = Recipe(
    total_kimg=0.048, tick_kimg=0.004, snapshot_kimg=0.008, batch_size=4, keep_snapshots=1,
    g_lr=0.003, d_lr=0.003, ema_kimg=0.002, min_sample_spread=0, min_logit_spread=0,
)  # fmt: skip
LIKENESS_ALONE = StandingParams(
    num_codes=8, num_looked_at=4, feature_resolution=32, tolerance=1e6, margin=0.0, seed=0
)
"""Any fidelity will do, so the rule takes the snapshot that is most like its parent."""
CHILD = Path("artifacts/train_child/cats")

Begun = tuple[Run, Standings]


@pytest.fixture(scope="module")
def made(tmp_path_factory, prepare_cats) -> Path:
    """A parent, and twelve prepared images of another domain."""
    folder = tmp_path_factory.mktemp("made")
    prepare_cats(folder / "cats", 12)
    torch.manual_seed(0)
    save_model(Model.new(CONFIG), folder / "parent")
    return folder


@pytest.fixture
def begin(made, tmp_path, monkeypatch) -> Callable[..., Begun]:
    """A child's training in a project folder of its own, with what measures it."""

    def new(
        place: str = "project",
        choose: str = "rule",
        config: ModelConfig = CONFIG,
        recipe: Recipe = RECIPE,
        **changes,
    ) -> Begun:
        (tmp_path / place).mkdir(exist_ok=True)
        monkeypatch.chdir(tmp_path / place)
        section = TrainChildParams.model_validate(
            {"dataset": "cats", "recipe": recipe, "choose": choose}
        )
        params = LIKENESS_ALONE.model_copy(update=changes)
        source = made / "parent"
        if config != CONFIG:
            torch.manual_seed(0)
            source = tmp_path / "parent"
            save_model(Model.new(config), source)
        parent = load_model(source)
        run = child_run("cats", parent, made / "cats", section, params, Split(), made / "people")
        dataset = run.batches.dataset
        standings = Standings(
            run.training, parent, dataset, params, choose=section.choose, features=feature_folder()
        )
        return run, standings

    return new


def follow(run: Run, standings: Standings, num_ticks: int | None = None) -> dict[float, Tensor]:
    """Train to the end, or until it is killed; weights of the child at each snapshot."""
    seen: dict[float, Tensor] = {}

    def measure() -> None:
        seen[standings.measure().kimg] = flat(run.training.model)

    ticks = train(run.training, run.batches, snapshot=run.snapshot, on_snapshot=measure)
    for _ in itertools.islice(ticks, num_ticks):
        pass
    return seen


def end(run: Run, standings: Standings) -> dict[str, bytes]:
    """Save the child, as the stage does; every file of it."""
    kept = standings.keep(run.snapshot)
    finish_training(run, CHILD, {STANDINGS_FILE: standings.summary(kept)})
    return {path.name: path.read_bytes() for path in CHILD.iterdir()}


def flat(model: Model) -> Tensor:
    assert model.discriminator and model.raw_generator
    networks = (model.generator, model.raw_generator, model.discriminator)
    return torch.cat([p.detach().flatten() for network in networks for p in network.parameters()])


def test_the_most_alike_snapshot_becomes_the_child_with_all_its_networks(begin):
    run, standings = begin()
    seen = follow(run, standings)

    files = end(run, standings)

    table = json.loads(files[STANDINGS_FILE])
    most_alike = max(table["standings"], key=lambda row: row["likeness"])["kimg"]
    assert table["kept_kimg"] == most_alike < RECIPE.total_kimg
    assert load_model(CHILD).config.kimg == most_alike
    assert torch.equal(flat(load_model(CHILD)), seen[most_alike])
    assert json.loads(files["history.json"])[-1]["kimg"] == RECIPE.total_kimg


def test_a_choice_without_a_measured_snapshot_says_what_is_missing(begin):
    run, standings = begin(choose="last")
    list(train(run.training, run.batches, snapshot=run.snapshot))

    with pytest.raises(DataError, match=r"pass on_snapshot=standings\.measure to train"):
        standings.keep(run.snapshot)


def test_a_child_is_held_against_the_images_that_it_is_trained_on(begin, made):
    run, _ = begin()
    parent, dataset = load_model(made / "parent"), run.batches.dataset
    params = LIKENESS_ALONE.model_copy(update={"num_codes": 100})
    ids = dataset.ids()[:5]

    some, all_of_them = (
        Standings(run.training, parent, dataset, params, ids=chosen).measure()
        for chosen in (ids, None)
    )
    alone = dataset.images(ids)
    features = collect_features([alone], load_extractor("lite2", resolution=32))
    codes = FixedCodes(parent, features, load_extractor("lite2", resolution=32),
                       num_codes=100, num_looked_at=4)  # fmt: skip

    expected = codes.measure(run.training.model, 0.0).fidelity
    assert some.fidelity == pytest.approx(expected, rel=1e-5)
    assert all_of_them.fidelity != pytest.approx(expected, rel=1e-2)


def test_figures_of_other_settings_are_not_compared_with_these(begin, made):
    run, standings = begin()
    follow(run, standings, num_ticks=4)
    other = LIKENESS_ALONE.model_copy(update={"num_codes": 6})

    later = Standings(run.training, load_model(made / "parent"), run.batches.dataset, other)
    later.measure()

    assert [one.fidelity_name for one in later.all] == ["fd_lite2_6"]
    assert [one.kimg for one in standings.all] == [0.008, 0.016]


def test_every_snapshot_has_all_its_figures(begin):
    run, standings = begin()
    follow(run, standings)

    table = json.loads(end(run, standings)[STANDINGS_FILE])

    names = {"kimg", "fd_lite2_8", "likeness", "change", "weight_distance.affine"}
    assert [row["kimg"] for row in table["standings"]] == [
        pytest.approx(0.008 * number) for number in range(1, 7)
    ]
    assert all(names | {"group_change.conv.b32"} <= row.keys() for row in table["standings"])
    assert table["choose"] == "rule"
    assert table["settings"]["tolerance"] == 1e6


@pytest.mark.parametrize("num_ticks", [1, 5, 8, 12])
def test_a_killed_training_ends_in_the_bytes_of_an_undisturbed_one(begin, num_ticks):
    undisturbed = begin("undisturbed")
    follow(*undisturbed)
    expected = end(*undisturbed)
    killed, measuring = begin("killed")
    follow(killed, measuring, num_ticks)

    resumed = begin("killed")
    follow(*resumed)

    assert end(*resumed) == expected
    assert expected.keys() == {
        "model.safetensors", "config.json", "history.json", "standings.json",
    }  # fmt: skip


def test_a_child_trained_without_the_pipeline_is_the_same(begin, made):
    course = begin()
    follow(*course)
    files = end(*course)

    parent, dataset = load_model(made / "parent"), open_dataset(made / "cats")
    child = parent.new_child("cats", data_hash=dataset.content_hash)
    training = Training(child, parent.generator, RECIPE)
    batches = TrainingBatches(dataset, RECIPE.batch_size, seed=RECIPE.seed)
    standings = Standings(training, parent, dataset, LIKENESS_ALONE)
    for _ in train(training, batches, snapshot="run.safetensors", on_snapshot=standings.measure):
        pass
    standings.keep("run.safetensors")

    save_model(child, "child")
    own = {path.name: path.read_bytes() for path in Path("child").iterdir()}
    assert own == {name: files[name] for name in own}


def test_a_training_that_keeps_the_last_is_the_one_that_nobody_measured(begin):
    run, standings = begin(choose="last")
    follow(run, standings)
    alone, _ = begin("alone", choose="last")
    for _ in train(alone.training, alone.batches):
        pass

    table = json.loads(end(run, standings)[STANDINGS_FILE])

    assert torch.equal(flat(load_model(CHILD)), flat(alone.training.model))
    assert run.training.history == alone.training.history
    assert table["kept_kimg"] == run.training.model.config.kimg == RECIPE.total_kimg


def test_only_the_newest_and_what_may_be_chosen_lies_on_disk(begin):
    run, standings = begin()

    follow(run, standings)

    kimg = {0.048, *run.training.contenders}
    files = SnapshotFiles(run.snapshot)
    assert len(run.training.contenders) < 5
    assert set(files.all()) == {files.at(one) for one in kimg}


def test_other_settings_of_the_rule_start_a_course_of_their_own(begin):
    assert begin()[0].snapshot != begin(tolerance=0.2)[0].snapshot
    assert begin()[0].snapshot == begin()[0].snapshot


def test_a_child_on_a_device_that_holds_two_images_is_measured_and_kept(begin):
    config = CONFIG.model_copy(update={"mbstd_group_size": 2})
    run, standings = begin(config=config)
    for network in (run.training.G, run.training.G_ema, standings.codes.parent.generator):
        network.mapping.register_forward_pre_hook(full_above(2))

    follow(run, standings)

    table = json.loads(end(run, standings)[STANDINGS_FILE])
    assert len(table["standings"]) == 6
    assert run.training.portions.size == run.training.split.num_parts == 2


def test_a_conditional_child_is_measured_in_the_classes_of_the_real_images(begin):
    config = CONFIG.model_copy(update={"c_dim": 3})
    recipe = RECIPE.model_copy(update={"classes": "tone", "total_kimg": 0.008})

    run, standings = begin(config=config, recipe=recipe, num_codes=24)
    follow(run, standings)
    end(run, standings)

    tones = run.batches.dataset.labels("train")["tone"].tolist()
    counts = [tones.count(tone) for tone in ("light", "medium", "dark")]
    assert standings.codes.c is not None
    assert standings.codes.c.sum(dim=0).tolist() == [2.0 * count for count in counts]
    assert load_model(CHILD).config.class_shares == pytest.approx([x / 12 for x in counts])


def test_a_chosen_snapshot_that_was_deleted_is_named(begin):
    run, standings = begin()
    follow(run, standings)
    chosen = SnapshotFiles(run.snapshot).all()[0]
    chosen.unlink()

    with pytest.raises(CheckpointError, match=chosen.name):
        standings.keep(run.snapshot)


def test_too_few_codes_are_refused_before_the_first_step(begin):
    with pytest.raises(DataError, match="too few to compare"):
        begin(num_codes=2)
