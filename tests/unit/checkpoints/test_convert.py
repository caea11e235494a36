"""Conversion keeps the weights and records a declared parent; inspection tells what a file is."""

from pathlib import Path

import pytest
import torch

from stylealign.checkpoints import (
    convert_checkpoint,
    inspect_checkpoint,
    load_model,
    require_related,
    save_model,
)
from stylealign.errors import CheckpointError, LineageError
from tests.unit.checkpoints.test_folder import small_model

REFERENCE = Path(__file__).parents[2] / "reference"


def test_a_converted_model_draws_the_same_image(tmp_path, rng):
    source, z = REFERENCE / "rosinality_32.pt", torch.randn(2, 64, generator=rng)

    config = convert_checkpoint(source, tmp_path / "model", domain="cat")
    converted = load_model(tmp_path / "model")

    assert torch.equal(converted.generator(z), load_model(source).generator(z))
    assert (config.domain, config.lineage) == ("cat", "none")


@pytest.mark.parametrize(
    "name", ["ada_r32_uncond.pkl", "tf_ada_r32_uncond.pkl", "rosinality_32.pt"]
)
def test_a_foreign_file_has_children_as_its_conversion_has(name, tmp_path):
    config = convert_checkpoint(REFERENCE / name, tmp_path / "model")

    child = load_model(REFERENCE / name).new_child("cats")

    assert (child.config.parent_id, child.config.root_id) == (config.id, config.id)
    require_related(child.config, config)


@pytest.mark.parametrize("domain", ["two\nlines", "\x1b[2J", "\udcff", "x" * 100_000])
def test_a_domain_that_no_folder_could_hold_is_refused_and_nothing_written(domain, tmp_path):
    with pytest.raises(CheckpointError, match="field 'domain'") as caught:
        convert_checkpoint(REFERENCE / "rosinality_32.pt", tmp_path / "model", domain=domain)

    assert str(caught.value).isprintable()
    assert not (tmp_path / "model").exists()


def test_a_declared_parent_makes_relatives(tmp_path):
    save_model(small_model(0), tmp_path / "parent")
    save_model(small_model(1), tmp_path / "child")

    child = convert_checkpoint(
        tmp_path / "child", tmp_path / "declared", parent=tmp_path / "parent"
    )

    assert child.lineage == "declared"
    require_related(child, load_model(tmp_path / "parent").config)


def test_a_parent_of_another_architecture_is_refused_and_nothing_written(tmp_path):
    save_model(small_model(0), tmp_path / "parent")

    with pytest.raises(
        LineageError, match=r"another architecture, its \w+ is .*, not .*; give the model"
    ):
        convert_checkpoint(
            REFERENCE / "rosinality_32.pt", tmp_path / "out", parent=tmp_path / "parent"
        )

    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "file_format", "architecture"),
    [
        ("ada_r32_uncond.pkl", "nvidia", "stylegan2"),
        ("sg3t_r32.pkl", "nvidia", "stylegan3-t"),
        ("tf_ada_r32_uncond.pkl", "tensorflow", "stylegan2"),
        ("rosinality_32.pt", "rosinality", "stylegan2"),
    ],
)
def test_inspection_names_format_architecture_size_and_hash(name, file_format, architecture):
    record = inspect_checkpoint(REFERENCE / name)

    assert (record.format, record.config.architecture) == (file_format, architecture)
    assert record.num_bytes == (REFERENCE / name).stat().st_size
    assert set(record.num_parameters) == {"G_ema", "G", "D"}
    assert len(record.config.id) == 64
