"""What a data set lacks of what lies there is said, not left to be found out."""

import zipfile
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

from stylealign.data.procedural import draw_attributes, render
from stylealign.images import encode_png
from stylealign.params import PrepareParams
from tasks import data

NUM_IMAGES = 20


@pytest.fixture
def raw(tmp_path) -> Path:
    """A zip of twenty images, one of them broken."""
    pixels = render("people", draw_attributes("people", NUM_IMAGES, seed=0), 32)
    with zipfile.ZipFile(tmp_path / "faces.zip", "w") as images:
        for row, image in enumerate(pixels):
            images.writestr(f"{row}.png", encode_png(image) if row else b"no image")
    return tmp_path


def said_of(raw: Path, capsys, monkeypatch) -> str:
    bar = SimpleNamespace(follow=lambda *_: None)
    monkeypatch.setattr(data, "progress", lambda *_, **__: nullcontext(bar))
    params = PrepareParams.model_validate(
        {
            "source": raw,
            "images": "faces.zip",
            "resolution": 32,
            "split": {"train": 1.0, "val": 0.0, "test": 0.0},
            "seed": 0,
            "shard_size": 100,
            "near_duplicate_bits": 0,
            "max_rejected": 0.05,
        }
    )
    data.prepare_images.fn("faces", params, "CC0", raw / ".out", 1)
    return capsys.readouterr().err


def test_images_that_are_left_out_are_counted_by_reason(raw, capsys, monkeypatch):
    said = said_of(raw, capsys, monkeypatch)

    assert f"left out 1 corrupt image: {raw / '.out/rejected.parquet'}" in said
    assert "beside" not in said


@pytest.mark.parametrize("name", ["new.JPG", "more.zip", "more"])
def test_images_put_beside_those_that_are_read_are_named(raw, capsys, monkeypatch, name):
    (raw / "more").mkdir() if name == "more" else (raw / name).touch()

    assert f"{name!r} beside 'faces.zip' will not be read" in said_of(raw, capsys, monkeypatch)
