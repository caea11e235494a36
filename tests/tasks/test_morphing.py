"""Frames between two images, in the format that the file's name asks for."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageSequence

from stylealign.errors import DataError, LineageError
from tasks.morphing import morph_images

NUM_FRAMES = 4


def morph(images: Path, models: dict[str, Path], out: Path, **changes) -> int:
    """A short morph from the parent's image to the child's."""
    options: dict[str, Any] = {
        "first": str(images / "inner/0.png"),
        "second": str(images / "inner/1.png"),
    }
    options |= {"codes": images, "num_frames": NUM_FRAMES, "use_force": False, "num_steps": 2}
    options |= changes
    pair = models["parent"], models[options.pop("child", "child")]
    return morph_images(options.pop("first"), options.pop("second"), pair, out, **options)


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_an_animation_has_all_frames(images, models, tmp_path, suffix):
    morph(images, models, tmp_path / f"morph{suffix}")

    with Image.open(tmp_path / f"morph{suffix}") as animation:
        assert len(list(ImageSequence.Iterator(animation))) == NUM_FRAMES
        assert animation.size == (128, 128)


def test_a_strip_lies_side_by_side(images, models, tmp_path):
    morph(images, models, tmp_path / "strip.png")

    with Image.open(tmp_path / "strip.png") as strip:
        assert strip.size == (NUM_FRAMES * 128, 128)


def test_an_unknown_suffix_is_refused_before_any_work(images, models, tmp_path):
    with pytest.raises(DataError, match=r"expected \.gif, \.webp or \.png"):
        morph(images, models, tmp_path / "morph.mp4")


def test_an_end_that_is_neither_file_nor_id_is_named(images, models, tmp_path):
    with pytest.raises(DataError, match="'nobody' is neither an image file nor the id"):
        morph(images, models, tmp_path / "morph.gif", second="nobody")


def test_strangers_do_not_morph(images, models, tmp_path):
    with pytest.raises(LineageError, match="are not related"):
        morph(images, models, tmp_path / "morph.gif", child="stranger")


def test_a_code_of_a_stranger_of_another_size_is_refused_as_one(images, models, tmp_path):
    row = {"id": "far", "code": [0.0] * 100, "space": "w_plus", "model_id": "stranger"}
    pq.write_table(pa.Table.from_pylist([row]), images / "train-00000-of-00001.parquet")

    with pytest.raises(LineageError, match=r"'stranger' .* not related"):
        morph(images, models, tmp_path / "morph.gif", first="far")
    with pytest.raises(DataError, match=r"have shape \(1, 100\)"):
        morph(images, models, tmp_path / "morph.gif", first="far", use_force=True)
