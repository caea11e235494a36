"""Recipes as YAML: what is printed loads, and comes to the automatic configuration exactly."""

import sys
from pathlib import Path

import pytest
import yaml

from flows.cli import main
from flows.starting_params import merge
from flows.starting_recipe import parent_block, recipe_block
from stylealign.errors import ParamsError
from stylealign.models import ModelConfig
from stylealign.params import Params, load_params
from stylealign.training.auto import auto_config, auto_recipe
from stylealign.training.split import Split
from stylealign.training.state import stddev_group

from .conftest import ROOT

PLACES = [(8, 1), (32, 1), (64, 16), (256, 1), (256, 3), (512, 8), (1024, 1), (1024, 16)]


def pasted(block: str, folder: Path) -> Params:
    """The demo's params.yaml with a block in place of the recipes that are there."""
    tree = yaml.safe_load((ROOT / "params.yaml").read_text())
    new = yaml.safe_load(block)
    for child in new.get("train_child", {}):
        del tree["train_child"][child]["recipe"]
    merge(tree, new)
    (folder / "params.yaml").write_text(yaml.safe_dump(tree))
    return load_params(folder / "params.yaml")


@pytest.mark.parametrize(("resolution", "num_devices"), PLACES)
def test_a_pasted_block_is_the_automatic_recipe(resolution, num_devices, tmp_path):
    block = recipe_block("cats", resolution=resolution, total_kimg=12.5, num_devices=num_devices)

    recipe = pasted(block, tmp_path).train_child["cats"].recipe

    assert recipe == auto_recipe(resolution, total_kimg=12.5, num_devices=num_devices)


@pytest.mark.parametrize(("resolution", "num_devices"), PLACES)
def test_a_pasted_parent_has_the_automatic_networks_and_can_be_dealt_out(
    resolution, num_devices, tmp_path
):
    block = parent_block(resolution=resolution, total_kimg=25000.0, num_devices=num_devices)

    section = pasted(block, tmp_path).train_parent

    assert section.recipe
    assert section.architecture
    assert section.recipe == auto_recipe(resolution, total_kimg=25000.0, num_devices=num_devices)
    config = ModelConfig(**section.architecture.model_dump(), resolution=resolution)
    assert config == auto_config(resolution, num_devices=num_devices)
    batch_size = section.recipe.batch_size
    group = stddev_group(config, batch_size)
    Split(num_ranks=num_devices).require_fit(batch_size, group, config.mbstd_group_size)


def test_classes_are_a_label_of_the_recipe(tmp_path):
    block = recipe_block("cats", resolution=32, total_kimg=1.0, classes="glasses")

    assert pasted(block, tmp_path).train_child["cats"].recipe.classes == "glasses"


def test_a_short_run_has_several_snapshots_to_choose_from():
    short, long = (
        yaml.safe_load(recipe_block("cats", resolution=32, total_kimg=total))
        for total in (3.0, 1000.0)
    )

    fields = [block["train_child"]["cats"]["recipe"] for block in (short, long)]
    assert [(one["tick_kimg"], one["snapshot_kimg"]) for one in fields] == [(0.3, 0.6), (4, 10)]


def test_what_auto_comes_to_stands_beside_it():
    child = recipe_block("cats", resolution=1024, total_kimg=1.0)
    parent = parent_block(resolution=256, total_kimg=1.0, num_devices=8)

    beside = {line.split(":")[0].strip(): line.partition("# ")[2] for line in child.splitlines()}
    assert (beside["g_lr"], beside["ema_kimg"]) == ("0.002", "1.25")
    assert beside["r1_gamma"].startswith("52.4288; ")
    assert "# 256 pixels, 8 devices: torchrun --nproc-per-node 8 " in parent


def test_only_what_was_chosen_is_printed():
    printed = yaml.safe_load(recipe_block("cats", resolution=64, total_kimg=200.0))

    chosen = auto_recipe(64, total_kimg=200.0).model_fields_set | {"snapshot_kimg"}
    assert set(printed["train_child"]["cats"]["recipe"]) == chosen


def run(command: str, monkeypatch) -> int:
    """Exit code of the command."""
    monkeypatch.setattr(sys, "argv", ["stylealign", *command.split()])
    with pytest.raises(SystemExit) as end:
        main()
    return int(end.value.code or 0)


def test_a_child_is_named_as_init_names_it(monkeypatch, capsys):
    assert run("recipe Big_Cats! --resolution 32 --total-kimg 3", monkeypatch) == 0

    assert list(yaml.safe_load(capsys.readouterr().out)["train_child"]) == ["big_cats"]


def test_the_command_prints_yaml_and_nothing_else(monkeypatch, capsys):
    command = "recipe --resolution 256 --total-kimg 1000"
    codes = [run(command, monkeypatch), run(f"{command} --parent", monkeypatch)]

    said = capsys.readouterr()
    child, parent = said.out.split("train_parent:")
    assert codes == [0, 0]
    assert yaml.safe_load(child)["train_child"]["NAME"]["recipe"]["batch_size"] == 16
    assert set(yaml.safe_load(f"train_parent:{parent}")["train_parent"]) == {
        "architecture",
        "recipe",
    }
    assert said.err == ""


def test_a_name_that_was_not_put_in_is_an_error_that_says_where(tmp_path):
    tree = yaml.safe_load((ROOT / "params.yaml").read_text())
    merge(tree, yaml.safe_load(recipe_block("NAME", resolution=32, total_kimg=1.0)))
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(tree))

    with pytest.raises(ParamsError, match=r"train_child\.NAME"):
        load_params(tmp_path / "params.yaml")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--resolution 100 --total-kimg 1", "a power of two from 8 to 1024, got 100"),
        ("--resolution 2048 --total-kimg 1", "a power of two from 8 to 1024, got 2048"),
        ("--resolution 64 --total-kimg 0", "a number above 0, got 0.0"),
        ("--resolution 64 --total-kimg nan", "a number above 0, got nan"),
        ("--resolution 64 --total-kimg 1 --devices 32", "choose 1, 2, 4, 8 or 16 devices"),
        ("--resolution 64 --total-kimg 1 --parent", "leave 'cats' or --parent out"),
        ("--resolution 64 --total-kimg 1 --devices 5", "a batch of 64 cannot be dealt to 5"),
    ],
)
def test_what_cannot_be_trained_is_refused_in_a_sentence(options, said, monkeypatch, capsys):
    assert run(f"recipe cats {options}", monkeypatch) == 2

    assert said in capsys.readouterr().err
