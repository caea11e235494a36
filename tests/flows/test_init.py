"""`stylealign init` on own images: params that load, a graph that DVC reads, a clean git."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from flows.doctor import check_database
from flows.init import ProjectPlan, create_project, next_steps, starting_params
from flows.own_data import OwnData, read_own_data
from flows.run import require_version
from flows.starting_params import TRAINED_PARENT, merge
from flows.starting_recipe import parent_block, recipe_block
from stylealign.checkpoints import load_model, save_model
from stylealign.data.procedural import draw_attributes, render
from stylealign.errors import CheckpointError, DataError, ParamsError, StyleAlignError
from stylealign.images import encode_png
from stylealign.models import Model, ModelConfig
from stylealign.params import load_params

from .conftest import ROOT, dvc, git, stylealign, tiny_parent

LABELS = ["yaw", "glasses"]


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch):
    """What `enter_project` sets is put back, and git needs no user of this machine."""
    for name in ("PREFECT_HOME", "PREFECT_PROFILES_PATH", "MLFLOW_TRACKING_URI", "PATH"):
        monkeypatch.setenv(name, os.environ.get(name, ""))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("DVC_NO_ANALYTICS", "true")


@pytest.fixture(scope="module")
def raw(tmp_path_factory) -> Path:
    """Images and label tables as a user has them."""
    folder = tmp_path_factory.mktemp("raw")
    for name, domain, seed in (("faces", "people", 1), ("cats", "cats", 2), ("seen", "cats", 3)):
        table = draw_attributes(domain, 24, seed=seed)
        (folder / name).mkdir()
        for row, image in enumerate(render(domain, table, 32)):
            (folder / name / f"{row}.png").write_bytes(encode_png(image))
        files = [f"{row}.png" for row in range(len(table))]
        table[LABELS].assign(file=files).to_csv(folder / f"{name}.csv", index=False)
    return folder


def own_data(raw: Path, **changes) -> OwnData:
    """The options of `init` for these images."""
    options: dict[str, Any] = {
        "images": raw / "faces",
        "labels": raw / "faces.csv",
        "children": [f"cats={raw / 'cats'}"],
        "oracles": [],
        "tests": [f"cats={raw / 'seen'},{raw / 'seen.csv'}"],
        "licences": ["faces=CC0"],
    }
    return read_own_data(**options | changes)


@pytest.fixture(scope="module")
def made(raw, tmp_path_factory) -> Path:
    """A project on these images, its parent to be trained."""
    folder = tmp_path_factory.mktemp("made") / "project"
    create_project(folder, ProjectPlan(own_data(raw), resolution=32))
    return folder


def test_the_params_load_and_hold_what_the_table_says(made):
    params = load_params(made / "params.yaml")

    assert params.prepare["faces"].label_schema["yaw"]["mirror"] == "negate"
    assert params.transfer.labels == tuple(LABELS) == params.evaluate.labels
    assert params.train_parent.architecture is not None
    assert params.evaluate.children["cats"].oracle is None
    assert params.prepare["cats"].label_schema == {}
    assert params.prepare["cats_test"].split.test == 1


def test_children_and_codes_get_more_time_than_in_the_demo(made):
    own, demo = load_params(made / "params.yaml"), load_params(Path("params.yaml"))
    child, hurried = (next(iter(one.train_child.values())).recipe for one in (own, demo))

    assert child.total_kimg > hurried.total_kimg
    assert child.d_warmup_kimg > hurried.d_warmup_kimg
    assert child.feature_weight > hurried.feature_weight  # and is held more firmly meanwhile
    assert own.invert.num_steps > demo.invert.num_steps
    assert len(own.evaluate.seeds) >= 5  # what intervals are asked to rest on


def test_dvc_watches_the_originals_and_trains_the_parent(made):
    graph = yaml.safe_load((made / "dvc.yaml").read_text())["stages"]

    stale = json.loads(dvc(made, "status", "--json"))

    assert "frozen" not in graph["train_parent"]
    assert {"prepare@faces", "prepare@cats", "train_parent", "evaluate", "report"} <= set(stale)
    assert (made / "data/raw/faces.dvc").exists()


def test_everything_is_committed_but_the_images(made):
    assert git(made, "status", "--porcelain") == ""
    assert not [name for name in git(made, "ls-files").splitlines() if name.endswith(".png")]


def test_doctor_finds_nothing_to_mend_in_it(made):
    examined = stylealign(made, "doctor")

    assert examined.returncode == 0, examined.stdout
    assert "trains it" in examined.stdout


def test_doctor_says_how_to_mend_a_parent_that_is_missing(made, tmp_path):
    tree = yaml.safe_load((made / "params.yaml").read_text())
    del tree["train_parent"]["recipe"], tree["train_parent"]["architecture"]
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(tree))

    examined = stylealign(tmp_path, "doctor")

    assert examined.returncode == 2
    assert "put a checkpoint there" in " ".join(examined.stdout.split())


def test_doctor_looks_at_the_store_itself_whatever_its_folder_is_called(tmp_path):
    store = tmp_path / "50%20 #1?" / "mlflow.db"
    store.parent.mkdir()
    store.write_bytes(b"no database")

    found = check_database(store)

    assert not found.is_well
    assert [path.name for path in tmp_path.rglob("*")] == ["50%20 #1?", "mlflow.db"]


def test_a_licence_that_nobody_gave_is_flagged(made):
    listed = (made / "data/sources.yaml").read_text()

    assert yaml.safe_load(listed)["faces"]["licence"] == "CC0"
    assert yaml.safe_load(listed)["cats"]["licence"] == "unknown"
    assert listed.count("FIND OUT") == 2


def test_a_given_parent_is_converted_and_watched_by_dvc(raw, tmp_path):
    tiny_parent(tmp_path / "model")

    create_project(tmp_path / "own", ProjectPlan(own_data(raw), parent=str(tmp_path / "model")))

    assert load_params(tmp_path / "own/params.yaml").prepare["cats"].resolution == 32
    assert (tmp_path / "own/models/parent.dvc").exists()
    assert "train_parent" not in yaml.safe_load((tmp_path / "own/dvc.yaml").read_text())["stages"]


@pytest.mark.parametrize("children", [[], ["cats"]])
@pytest.mark.parametrize(("parent", "place"), [("", "models/parent"), ("train", TRAINED_PARENT)])
def test_a_parent_is_kept_where_the_labelled_images_are_the_demos(
    raw, tmp_path, children, parent, place
):
    own = own_data(
        raw, images=None, labels=None, licences=[], tests=[],
        children=[f"{name}={raw / name}" for name in children],
    )  # fmt: skip
    config = ModelConfig(resolution=16, z_dim=8, w_dim=8, channels={4: 8, 8: 8, 16: 8})
    save_model(Model.new(config), tmp_path / "parent")
    given = None if parent else tmp_path / "parent"

    text = starting_params(
        tmp_path, ProjectPlan(own, parent or str(given), 16 if parent else None), given
    )

    (tmp_path / "params.yaml").write_text(text)
    params = load_params(tmp_path / "params.yaml")
    assert params.train_parent.model == place
    assert (params.train_parent.recipe is None) == (not parent)
    assert {one.resolution for one in params.prepare.values()} == {16}


@pytest.mark.parametrize("word", ["no", "on", "2020_21", "0x1f"])
def test_names_and_values_that_yaml_takes_for_something_else_stay_what_they_are(
    raw, tmp_path, word
):
    table = pd.read_csv(raw / "faces.csv")
    values = ["16:9" if row % 2 else word for row in range(len(table))]
    table.assign(**{word: values}).to_csv(tmp_path / "labels.csv", index=False)
    own = own_data(
        raw, labels=tmp_path / "labels.csv", children=[f"{word}={raw / 'cats'}"], tests=[]
    )  # fmt: skip

    (tmp_path / "params.yaml").write_text(starting_params(tmp_path, ProjectPlan(own, "", 32), None))

    params = load_params(tmp_path / "params.yaml")
    assert [*params.train_child] == [word]
    assert params.prepare["faces"].label_schema[word]["values"] == sorted(["16:9", word])


def test_a_folder_without_a_plain_letter_in_its_name_becomes_a_project(tmp_path, capsys):
    create_project(tmp_path / "猫と人", ProjectPlan())

    assert load_params(tmp_path / "猫と人" / "params.yaml").project.name == "project"
    said = capsys.readouterr().out
    assert "`project.name` in params.yaml is 'project'." in said


def test_a_resolution_without_starting_networks_is_refused_with_the_ways_out(raw, tmp_path):
    wanted = (
        r"no starting networks for 512 pixels: choose a --resolution of \[8, 16, .*256\], give a "
        r"--parent .* or bring networks by --params FILE"
    )

    with pytest.raises(ParamsError, match=wanted):
        create_project(tmp_path / "own", ProjectPlan(own_data(raw), resolution=512))

    assert not (tmp_path / "own").exists()


def test_printed_networks_make_a_project_of_a_resolution_that_has_no_starting_ones(raw, tmp_path):
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text(parent_block(resolution=512, total_kimg=7.0))

    text = starting_params(tmp_path, ProjectPlan(own_data(raw), "", 512, overlay), None)

    params = yaml.safe_load(text)
    assert params["prepare"]["faces"]["resolution"] == 512
    assert max(params["train_parent"]["architecture"]["channels"]) == 512


def test_the_next_steps_can_be_pasted():
    assert "\n  cd 'my faces [1]'\n" in next_steps(Path("my faces [1]"), ProjectPlan())


def test_who_makes_a_project_in_this_folder_is_there_already():
    assert "cd " not in next_steps(Path(), ProjectPlan())


def test_another_resolution_than_the_parents_is_refused_before_anything_is_made(raw, tmp_path):
    tiny_parent(tmp_path / "model")
    plan = ProjectPlan(own_data(raw), parent=str(tmp_path / "model"), resolution=64)

    with pytest.raises(ParamsError, match="the parent draws 32 pixels, --resolution asks for 64"):
        create_project(tmp_path / "own", plan)

    assert not (tmp_path / "own").exists()


def test_a_parent_that_no_child_can_be_tuned_from_is_refused_before_anything_is_made(raw, tmp_path):
    tiny_parent(tmp_path / "model")
    model = load_model(tmp_path / "model")
    model.discriminator = None
    save_model(model, tmp_path / "generator_alone")
    config = model.config.model_copy(update={"img_channels": 1})
    save_model(Model.new(config), tmp_path / "grey")
    reference = ROOT / "tests/reference"

    for parent, error, message in (
        (tmp_path / "generator_alone", CheckpointError, "generator_alone' holds no discriminator"),
        (tmp_path / "grey", DataError, "images have 3 channels, the parent draws 1"),
        (reference / "sg3t_r32.pkl", ParamsError, "'stylegan3-t' cannot be trained or fine-tuned"),
        (reference / "ada_r16_cond3.pkl", DataError, "draws by class"),
    ):
        with pytest.raises(error, match=message):
            create_project(tmp_path / "own", ProjectPlan(own_data(raw), parent=str(parent)))

    assert not (tmp_path / "own").exists()


def test_an_overlay_goes_over_the_params_and_a_mistyped_key_is_named(raw, tmp_path):
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text("invert: {num_stpes: 3}")

    with pytest.raises(ParamsError, match=r"unknown key 'invert.num_stpes'"):
        create_project(tmp_path / "own", ProjectPlan(own_data(raw), "", 32, overlay))


def test_an_overlay_that_is_no_yaml_is_named(raw, tmp_path):
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text("invert: {num_steps: [3}")

    with pytest.raises(ParamsError, match=r"overlay.yaml' cannot be read: while parsing"):
        create_project(tmp_path / "own", ProjectPlan(own_data(raw), "", 32, overlay))


def test_printed_recipes_go_over_the_params_as_they_are(raw, tmp_path):
    overlay = tmp_path / "overlay.yaml"
    child = recipe_block("cats", resolution=32, total_kimg=7.0)
    overlay.write_text(child + parent_block(resolution=32, total_kimg=7.0))

    text = starting_params(tmp_path, ProjectPlan(own_data(raw), "", 32, overlay), None)

    params = yaml.safe_load(text)
    child, parent = params["train_child"]["cats"]["recipe"], params["train_parent"]
    assert (child["total_kimg"], parent["recipe"]["total_kimg"]) == (7, 7)
    assert child["feature_weight"] == 10.0
    assert set(parent["architecture"]["channels"].values()) == {512}


def test_merging_replaces_leaves_and_keeps_the_rest():
    tree = {"a": {"b": 1, "c": [1, 2]}, "d": 4}

    merge(tree, {"a": {"c": [3]}, "d": {"e": 5}})

    assert tree == {"a": {"b": 1, "c": [3]}, "d": {"e": 5}}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"children": []}, "at least one --child"),
        ({"children": ["cats"]}, "--child reads NAME=IMAGES, got 'cats'"),
        ({"images": None}, "--labels describe --images"),
        ({"tests": ["dogs=a,b"]}, "child 'dogs' needs its --child"),
        ({"tests": ["cats=a"]}, "--test reads NAME=IMAGES,LABELS"),
        ({"children": ["cats=a", "Cats=b"]}, "--child names child 'cats' twice"),
        ({"licences": ["dogs=CC0"]}, "--licence names 'dogs'"),
    ],
)
def test_options_that_contradict_each_other_are_named(raw, changes, said):
    with pytest.raises(ParamsError, match=said):
        own_data(raw, **changes)


def test_a_place_without_images_is_named(raw, tmp_path):
    with pytest.raises(DataError, match="holds no image"):
        own_data(raw, children=[f"cats={tmp_path}"])


def test_images_whose_name_has_a_comma_are_found(raw, tmp_path):
    (tmp_path / "cats, indoors").symlink_to(raw / "cats")

    own = own_data(raw, children=[f"cats={tmp_path / 'cats, indoors'}"])

    assert own.children["cats"].labels is None


def test_a_project_among_the_images_that_it_would_copy_is_refused(raw):
    place = raw / "faces" / "project"

    with pytest.raises(ParamsError, match="lies inside the images"):
        create_project(place, ProjectPlan(own_data(raw), resolution=32))

    assert not place.exists()


def test_test_labels_must_mean_what_the_parents_mean(raw, tmp_path):
    table = pd.read_csv(raw / "seen.csv", dtype=str)
    table["glasses"] = np.where(table.index == 3, "monocle", table["glasses"])
    table.to_csv(tmp_path / "odd.csv", index=False)
    own = own_data(raw, tests=[f"cats={raw / 'seen'},{tmp_path / 'odd.csv'}"])

    with pytest.raises(DataError, match="'monocle'"):
        create_project(tmp_path / "own", ProjectPlan(own, resolution=32))


def test_a_project_of_another_version_says_how_to_go_on(made):
    params = load_params(made / "params.yaml", ["project.version=0.0.1"])

    with pytest.raises(StyleAlignError, match=r"'0\.0\.1', but stylealign .* is installed"):
        require_version(params)
