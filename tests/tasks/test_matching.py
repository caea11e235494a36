"""A child is trained on those of its images that the parent draws the like of."""

import json
from pathlib import Path

import numpy as np
import pytest

from stylealign.checkpoints import load_model
from stylealign.checkpoints.beside import MATCHED_FILE
from stylealign.data.dataset import ImageDataset, open_dataset
from stylealign.errors import DataError, ParamsError
from stylealign.models import Model
from stylealign.params import MatchParams, StandingParams, TrainChildParams
from stylealign.recipe import Recipe
from stylealign.training.split import Split
from tasks import lessons, matching
from tasks.children import child_run
from tasks.matching import choose, match_images
from tasks.training import finish_training

PARENT = Path(__file__).parents[2] / "models" / "people32"
NUM_IMAGES = 600
PARAMS = MatchParams(labels=("yaw", "tone"), num_samples=400, reader_steps=150)
STANDING = StandingParams(num_codes=8, num_looked_at=4, feature_resolution=32)


@pytest.fixture(scope="module")
def people(tmp_path_factory, prepare_cats) -> Path:
    """Drawn people with their labels, as the parent was trained on."""
    return prepare_cats(tmp_path_factory.mktemp("people"), NUM_IMAGES, domain="people", seed=5)


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("readers")


@pytest.fixture(scope="module")
def parent() -> Model:
    return load_model(PARENT)


@pytest.fixture(scope="module")
def others(tmp_path_factory, prepare_cats) -> ImageDataset:
    """More people that no reader has seen."""
    folder = prepare_cats(tmp_path_factory.mktemp("others"), NUM_IMAGES, domain="people", seed=6)
    return open_dataset(folder)


@pytest.fixture
def said(monkeypatch, no_progress) -> list[str]:
    heard: list[str] = []
    monkeypatch.setattr(lessons, "progress", no_progress)
    monkeypatch.setattr(matching, "tell", heard.append)
    monkeypatch.setattr(matching, "warn", heard.append)
    return heard


def test_heads_that_the_parent_hardly_turns_so_far_are_left_out(
    people, others, parent, cache, said
):
    truth = others.labels()["yaw"]
    ids = truth.index[np.argsort(-truth.abs().to_numpy())[: NUM_IMAGES // 2]].tolist()
    choice = choose(PARAMS, parent, others, ids, people, cache)

    seen = choice.summary["labels"]["yaw"]
    turned = truth.loc[ids].abs()
    kept = turned.index.isin(choice.ids)
    assert matching.FEWEST <= len(choice.ids) == choice.summary["num_kept"] < 0.8 * len(ids)
    assert turned[kept].mean() < turned[~kept].mean() - 2
    assert seen["parent"] < seen["kept"] < seen["all"]
    assert said[-1].startswith(f"match keeps {choice.summary['num_kept']} of 300 images")


def test_images_of_the_parents_own_domain_nearly_all_stay(people, others, parent, cache, said):
    matched = match_images(PARAMS, parent, others, people, cache, Split())

    assert set(matched.ids) <= set(others.ids())
    assert len(matched.ids) > 0.85 * NUM_IMAGES
    assert list(matched.summary["labels"]) == ["yaw", "tone"]


def test_images_shown_from_both_sides_too_are_kept_if_the_parent_draws_either(
    people, others, parent, cache, said
):
    """Heads turned to one side alone: mirrored, half of what is shown looks the other way."""
    truth = others.labels()["yaw"]
    ids = truth.index[truth.to_numpy() > 0].tolist()

    plain, mirrored = (
        choose(PARAMS, parent, others, ids, people, cache, mirror=mirror)
        for mirror in (False, True)
    )

    shares = [choice.summary["num_kept"] / len(ids) for choice in (plain, mirrored)]
    spread = [choice.summary["labels"]["yaw"] for choice in (plain, mirrored)]
    assert shares[0] < 0.9 < shares[1]
    assert spread[1]["all"] > 1.5 * spread[0]["all"]
    assert spread[1]["all"] == pytest.approx(spread[1]["parent"], rel=0.2)


def test_a_choice_that_would_leave_too_few_keeps_all_and_says_it(
    people, others, parent, cache, said
):
    ids = others.ids()[:20]

    choice = choose(PARAMS, parent, others, ids, people, cache)

    assert choice.ids == ids
    assert "all are kept" in said[0]


def test_labels_that_a_reader_hardly_guesses_do_not_count(people, others, parent, tmp_path, said):
    params = MatchParams(labels=("eye_openness",), num_samples=400, reader_steps=2)

    choice = choose(params, parent, others, others.ids(), people, tmp_path)

    assert "leaves out eye_openness" in said[0]
    assert choice.ids == others.ids()
    assert choice.summary["labels"] == {}


@pytest.mark.parametrize(
    ("labels", "folder", "error", "message"),
    [
        (["beard"], None, ParamsError, "'beard' is not one of"),
        (["yaw"], Path("nowhere"), DataError, "stylealign run prepare nowhere"),
    ],
)
def test_what_cannot_be_read_is_named(
    people, others, parent, tmp_path, labels, folder, error, message
):
    params = MatchParams(labels=tuple(labels))

    with pytest.raises(error, match=message):
        match_images(params, parent, others, folder or people, tmp_path, Split())


def test_a_child_sees_the_chosen_images_alone_and_says_so_beside_its_weights(
    people, others, parent, tmp_path, monkeypatch, said
):
    monkeypatch.chdir(tmp_path)
    recipe = Recipe(total_kimg=1, batch_size=4, seed=0)
    plain = TrainChildParams(dataset="others", recipe=recipe)
    section = plain.model_copy(update={"match": PARAMS})
    images = Path(str(others.folder))

    run, unmatched = (
        child_run("cats", parent, images, one, STANDING, Split(), people)
        for one in (section, plain)
    )
    finish_training(run, tmp_path / "child", {})

    summary = json.loads((tmp_path / "child" / MATCHED_FILE).read_text())
    assert len(run.batches.ids) == summary["num_kept"] < summary["num_images"] == NUM_IMAGES
    assert len(unmatched.batches.ids) == NUM_IMAGES
    assert MATCHED_FILE not in unmatched.tables
    assert run.snapshot != unmatched.snapshot
    assert run.training.model.config.data_hash == others.content_hash


def test_a_conditional_child_is_not_matched():
    recipe = Recipe(total_kimg=1, batch_size=4, classes="tone")

    with pytest.raises(ValueError, match="leave one of the two out"):
        TrainChildParams(dataset="cats", recipe=recipe, match=MatchParams(labels=("yaw",)))
