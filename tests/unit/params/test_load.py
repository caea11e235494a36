"""params.yaml: what is wrong is named by its key, what is right is frozen."""

from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from stylealign.errors import ParamsError
from stylealign.params import Params, load_params

DEMO = Path(__file__).parents[3] / "params.yaml"


def changed(tmp_path: Path, *keys: str, value: object) -> Path:
    tree = yaml.safe_load(DEMO.read_text())
    node = tree
    for key in keys[:-1]:
        node = node[key]
    node[keys[-1]] = value
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


def test_the_demo_params_are_valid():
    params = load_params(DEMO)

    assert params.train_child["cats"].dataset == "cats"
    assert load_params(str(DEMO)) == params


@pytest.mark.parametrize(
    ("keys", "named", "near"),
    [
        (("invert", "num_step"), "invert.num_step", "num_steps"),
        (("prepare", "people", "resolutoin"), "prepare.people.resolutoin", "resolution"),
        (("train_child", "cats", "recipe", "g_rl"), "train_child.cats.recipe.g_rl", "g_lr"),
        (("transfr",), "transfr", "transfer"),
        (("prepare", "cats", "procedural", "sead"), "prepare.cats.procedural.sead", "seed"),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest_known_one(tmp_path, keys, named, near):
    path = changed(tmp_path, *keys, value=1)

    with pytest.raises(ParamsError, match=f"unknown key '{named}': did you mean '{near}'"):
        load_params(path)


def test_an_unknown_key_like_no_other_lists_the_known_ones(tmp_path):
    path = changed(tmp_path, "report", "zzz", value=1)

    with pytest.raises(ParamsError, match="known are title, num_samples, seed"):
        load_params(path)


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (("invert", "num_steps"), 0, "invert.num_steps: .*greater than or equal to 1, got 0"),
        (("invert", "space"), "q", "invert.space: .*got 'q'"),
        (("prepare", "people", "resolution"), 48, "prepare.people: resolution must be a power"),
        (("prepare", "people", "split"), {"train": 1, "val": 1, "test": 0}, "add up to 1"),
        (("invert", "splits"), ["train", "vall"], "invert.splits.1: .*got 'vall'"),
        (("invert", "splits"), [], "invert.splits: .*at least 1 item"),
        (("invert", "dataset"), "dogs", "invert.dataset is 'dogs', but prepare has only"),
        (("quality", "max_fd_ratio"), float("nan"), "quality.max_fd_ratio"),
        (
            ("train_child", "cats", "shards"),
            {"url": "/data/cats", "content_hash": "0" * 64},
            "train_child.cats.shards.url: ",
        ),
        (("evaluate", "feature_extractor"), "lite3", "evaluate.feature_extractor: .*'inception'"),
        (("evaluate", "controls"), ["yaw"], "'yaw' is in labels and in controls"),
        (("evaluate", "controls"), ["beard"], "evaluate.controls names 'beard', but transfer.la"),
        (("transfer", "labels"), ["yaw"], "evaluate.labels names 'pitch', .* only .'yaw'.: add it"),
        (("evaluate", "feature_extractor"), "vgg16", "evaluate: feature_extractor 'vgg16' needs"),
        (("evaluate", "feature_weights"), {"path": "v", "sha256": "0" * 64}, "'lite2' takes no"),
        (("evaluate", "feature_weights"), {"path": "v", "sha256": "0" * 9}, "weights.sha256: "),
        (("train_child", "Cats!"), {}, "train_child.Cats!"),
        (
            ("train_parent", "model"),
            "models:/faces@champion",
            "train_parent.model: .*`stylealign convert models:/faces@champion models/parent`",
        ),
    ],
)
def test_a_value_that_cannot_be_used_is_named_with_what_was_expected(
    tmp_path, keys, value, message
):
    path = changed(tmp_path, *keys, value=value)

    with pytest.raises(ParamsError, match=message):
        load_params(path)


def test_a_secret_in_an_address_is_refused_and_not_shown(tmp_path):
    shards = {"url": "s3://KEY:SECRET@bucket/cats", "content_hash": "0" * 64}
    path = changed(tmp_path, "train_child", "cats", "shards", value=shards)

    with pytest.raises(ParamsError, match="credentials do not belong") as refused:
        load_params(path)

    assert "KEY:" not in str(refused.value)
    assert "SECRET@" not in str(refused.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("project.num_threads", "true"),
        ("invert.max_images", "true"),
        ("invert.min_psnr", "false"),
        ("train_child.cats.recipe.g_lr", "true"),
        ("evaluate.seeds.1", "[0, true]"),
        ("prepare.cats.procedural.prevalence.glasses.round", "{glasses: {round: true}}"),
    ],
)
def test_true_and_false_are_no_numbers(key, value):
    section = key.removesuffix(".1").removesuffix(".glasses.round")

    with pytest.raises(ParamsError, match=rf"{key}: input should be a number, got (True|False)"):
        load_params(DEMO, [f"{section}={value}"])


def test_numbers_that_yaml_takes_for_text_are_numbers():
    params = load_params(DEMO, ["train_child.cats.recipe.g_lr=1e-4", 'invert.num_steps="5"'])

    assert params.train_child["cats"].recipe.g_lr == 1e-4
    assert params.invert.num_steps == 5


def test_a_mistyped_key_is_named_before_the_one_it_leaves_missing(tmp_path):
    tree = yaml.safe_load(DEMO.read_text())
    tree["invert"]["num_stpes"] = tree["invert"].pop("num_steps")
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(tree))

    with pytest.raises(ParamsError, match=r"'invert.num_stpes': did you mean 'num_steps'"):
        load_params(tmp_path / "params.yaml")


def test_a_missing_key_is_named(tmp_path):
    tree = yaml.safe_load(DEMO.read_text())
    del tree["invert"]["seed"]
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(tree))

    with pytest.raises(ParamsError, match=r"key 'invert.seed' is missing"):
        load_params(tmp_path / "params.yaml")


def test_a_missing_file_says_how_to_make_one(tmp_path):
    with pytest.raises(ParamsError, match="stylealign init"):
        load_params(tmp_path / "params.yaml")


@pytest.mark.parametrize("text", ["a: [1", "- 1\n- 2\n", "\x00"])
def test_broken_yaml_is_one_sentence(tmp_path, text):
    (tmp_path / "params.yaml").write_text(text)

    with pytest.raises(ParamsError, match=r"params\.yaml"):
        load_params(tmp_path / "params.yaml")


def test_an_override_leaves_sections_alone_that_share_an_anchor():
    before = load_params(DEMO)

    after = load_params(DEMO, ["prepare.cats.split.train=0.7", "prepare.cats.split.val=0.2"])

    assert after.prepare["cats"].split.train == 0.7
    assert after.prepare["people"] == before.prepare["people"]


def test_an_override_counts_like_the_file():
    params = load_params(DEMO, ["invert.num_steps=7", "train_child.cats.recipe.g_lr=1e-4"])

    assert params.invert.num_steps == 7
    assert params.train_child["cats"].recipe.g_lr == pytest.approx(1e-4)


@pytest.mark.parametrize(
    "override", ["invert", "num_steps=3", "nowhere.deep.key=1", "invert.=1", "invert.space=[w_plus"]
)
def test_an_override_that_names_no_section_is_an_error(override):
    with pytest.raises(ParamsError, match="override"):
        load_params(DEMO, [override])


def test_params_are_frozen():
    params = load_params(DEMO)

    with pytest.raises(ValidationError, match="frozen"):
        params.invert.num_steps = 3


def test_every_field_of_the_sections_says_what_it_means_or_is_plain():
    sections = list(Params.model_fields)

    assert sections[0] == "project"
    assert all(Params.model_fields[name].is_required() for name in sections)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("g_lr", -1, r"recipe\.g_lr: input should be greater than 0, or 'auto', got -1"),
        ("ema_kimg", "fast", r"recipe\.ema_kimg: .*a valid number.*, or 'auto', got 'fast'"),
        ("freeze", "mapping", r"recipe\.freeze: input should be a list, got 'mapping'"),
        ("d_warmup_kimg", 99, r"recipe: d_warmup_kimg is 99 of total_kimg \d+, the generator"),
    ],
)
def test_a_recipe_is_corrected_in_the_words_of_the_file(tmp_path, field, value, message):
    path = changed(tmp_path, "train_child", "cats", "recipe", field, value=value)

    with pytest.raises(ParamsError, match=message):
        load_params(path)
