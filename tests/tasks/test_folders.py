"""Any folder of images: translated by a pair of models, or read by a reader."""

import errno
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from stylealign.data.folders import GRID_FILE, TRANSLATIONS_FILE
from stylealign.data.labels import parse_schema
from stylealign.data.procedural import draw_attributes, label_schema, render
from stylealign.errors import CheckpointError, DataError, LineageError
from stylealign.images import decode
from stylealign.metrics.readers import fit_reader
from tasks.folders import Translated, translate_folder
from tasks.prediction import predict_folder

from .conftest import NUM_IMAGES


def translate(images: Path, models: dict[str, Path], out: Path, **changes) -> Translated:
    """Two descent steps from parent to child."""
    options: dict[str, Any] = {
        "use_force": False,
        "truncation_psi": 1.0,
        "num_steps": 2,
        "space": None,
    } | changes
    child = models[options.pop("child", "child")]
    return translate_folder(images, models["parent"], child, out, **options)


def test_every_usable_image_has_its_drawing_and_the_others_their_reason(images, models, tmp_path):
    out = tmp_path / "out"

    done = translate(images, models, out)

    assert (done.num_made, done.num_kept, done.num_rejected) == (NUM_IMAGES, 0, 1)
    for row in range(NUM_IMAGES):
        assert decode((out / "inner" / f"{row}.png").read_bytes()).shape == (16, 16, 3)
    rejected = pd.read_parquet(out / "rejected.parquet")
    assert rejected["id"].tolist() == ["broken.jpg"]
    assert rejected["reason"].str.startswith("corrupt image").all()


def test_the_grid_shows_image_parents_and_childs_drawing_in_each_row(images, models, tmp_path):
    translate(images, models, tmp_path / "out")

    grid = decode((tmp_path / "out" / GRID_FILE).read_bytes())

    assert grid.shape == (NUM_IMAGES * 128, 3 * 128, 3)


@pytest.mark.parametrize("place", [".", "inner", "../images/new"])
def test_images_that_are_read_are_never_written_over(images, models, tmp_path, place):
    before = {path: path.read_bytes() for path in images.rglob("*.*")}

    with pytest.raises(DataError, match="lies among the images"):
        translate(images, models, images / place)
    with pytest.raises(DataError, match="lies among the images"):
        predict_folder(images / "inner/0.png", tmp_path, images / "inner/0.png")

    assert {path: path.read_bytes() for path in images.rglob("*.*")} == before


def test_a_killed_run_goes_on_where_it_was_with_the_same_images(images, models, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    translate(images, models, whole)
    translate(images, models, killed)
    lines = (killed / TRANSLATIONS_FILE).read_text().splitlines()
    (killed / TRANSLATIONS_FILE).write_text("\n".join([*lines[:3], lines[3][:20]]))

    done = translate(images, models, killed)

    assert (done.num_made, done.num_kept) == (NUM_IMAGES - 2, 2)
    for line in (killed / TRANSLATIONS_FILE).read_text().splitlines()[1:]:
        name = json.loads(line)["file"]
        drawn = [decode((place / name).read_bytes()).astype(int) for place in (whole, killed)]
        assert np.abs(drawn[0] - drawn[1]).max() <= 1  # another batch rounds otherwise


def test_a_record_that_cannot_be_written_again_is_not_lost(images, models, tmp_path, monkeypatch):
    translate(images, models, tmp_path / "out")

    def fill(path: Path, text: str, *_arguments: str) -> None:
        path.write_bytes(text.encode()[:10])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as full, pytest.raises(DataError, match="No space left"):
        full.setattr(Path, "write_text", fill)
        translate(images, models, tmp_path / "out")

    assert translate(images, models, tmp_path / "out").num_kept == NUM_IMAGES


def test_a_folder_made_with_other_settings_is_left_alone(images, models, tmp_path):
    translate(images, models, tmp_path / "out")

    with pytest.raises(DataError, match="other models or settings"):
        translate(images, models, tmp_path / "out", num_steps=3)


def test_a_model_that_draws_by_class_is_refused_before_anything_is_written(
    images, models, conditional, tmp_path
):
    with pytest.raises(DataError, match=r"draws by class \(c_dim 3\).* take a model without"):
        translate(images, models | {"parent": conditional}, tmp_path / "out", use_force=True)

    assert not (tmp_path / "out").exists()


def test_a_stranger_draws_nothing_unless_it_is_forced(images, models, tmp_path):
    with pytest.raises(LineageError, match="are not related"):
        translate(images, models, tmp_path / "out", child="stranger")

    done = translate(images, models, tmp_path / "out", child="stranger", use_force=True)

    assert done.num_made == NUM_IMAGES


def test_images_of_one_stem_stay_apart(images, models, tmp_path):
    first = images / "inner" / "0.png"
    (images / "inner" / "0.bmp").write_bytes(first.read_bytes())

    translate(images, models, tmp_path / "out")

    names = {path.name for path in (tmp_path / "out" / "inner").iterdir()}
    assert {"0.png.png", "0.bmp.png", "1.png"} <= names


def test_no_two_images_are_drawn_into_one_file(images, models, tmp_path):
    first = images / "inner" / "0.png"
    for name in ("0.bmp", "0.png.bmp"):
        (images / "inner" / name).write_bytes(first.read_bytes())

    done = translate(images, models, tmp_path / "out")

    assert len(list((tmp_path / "out" / "inner").iterdir())) == done.num_made == NUM_IMAGES + 2


def test_a_folder_of_broken_images_says_what_is_wrong_with_the_first(models, tmp_path):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.png").write_bytes(b"no image")

    with pytest.raises(DataError, match="none of 1 images can be used"):
        translate(tmp_path / "broken", models, tmp_path / "out")


@pytest.fixture(scope="module")
def reader(tmp_path_factory) -> Path:
    """A reader of drawn people that has learned almost nothing."""
    names = ["yaw", "glasses"]
    schema = parse_schema({name: label_schema("people")[name] for name in names})
    table = draw_attributes("people", 40, seed=1)
    folder = tmp_path_factory.mktemp("reader")
    fitted = fit_reader(
        render("people", table, 32),
        table.loc[:, names].reset_index(drop=True),
        schema,
        seed=0,
        num_steps=2,
    )
    fitted.save(folder)
    return folder


def test_predictions_are_one_row_per_image_and_empty_where_it_cannot_be_read(
    images, reader, tmp_path
):
    counts = predict_folder(images, reader, tmp_path / "new" / "labels.parquet")

    table = pd.read_parquet(tmp_path / "new" / "labels.parquet")
    assert counts == (NUM_IMAGES, 1)
    assert set(table.columns) == {"id", "label.yaw", "label.glasses", "confidence.glasses"}
    read = table.set_index("id").drop("broken.jpg")
    assert not read.isna().to_numpy().any()
    confidence = read["confidence.glasses"].to_numpy()
    assert ((confidence >= 0) & (confidence <= 1)).all()
    assert table.set_index("id").loc["broken.jpg"].isna().to_numpy().all()


def test_a_translated_folder_is_read_without_the_picture_of_it(images, models, reader, tmp_path):
    out = tmp_path / "out"
    translate(images, models, out)

    counts = predict_folder(out, reader, tmp_path / "labels.parquet")

    ids = pd.read_parquet(tmp_path / "labels.parquet")["id"].tolist()
    assert (out / GRID_FILE).exists()
    assert counts == (NUM_IMAGES, 0)
    assert ids == [f"inner/{row}.png" for row in range(NUM_IMAGES)]


def test_an_image_called_as_the_grid_keeps_its_drawing(images, models, tmp_path):
    (images / GRID_FILE).write_bytes((images / "inner" / "0.png").read_bytes())

    translate(images, models, tmp_path / "out")

    grid = decode((tmp_path / "out" / GRID_FILE).read_bytes())
    drawn = decode((tmp_path / "out" / f"{GRID_FILE}.png").read_bytes())
    assert grid.shape[1] == 3 * 128
    assert drawn.shape == (16, 16, 3)


def test_a_generator_is_no_reader(images, models, tmp_path):
    with pytest.raises(CheckpointError, match="cannot open reader"):
        predict_folder(images, models["parent"], tmp_path / "labels.parquet")
