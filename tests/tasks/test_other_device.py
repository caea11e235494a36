"""What the commands for any folder do with networks on a device that is not the CPU."""

import pytest

from stylealign.checkpoints import folder
from stylealign.images import decode
from tasks import folders, morphing
from tests.other_device import OTHER, OtherDevice, pretend

from .conftest import NUM_IMAGES


@pytest.fixture(autouse=True)
def _other_device(models, monkeypatch):
    """What safetensors reads without a word to torch is moved there afterwards."""
    assert models  # made before, on the CPU
    read = folder.safe_open
    monkeypatch.setattr(folder, "safe_open", lambda path, kind, *_, **__: read(path, kind))
    for module in (folders, morphing):
        monkeypatch.setattr(module, "find_device", lambda _wanted: OTHER)
    pretend(monkeypatch.setattr)
    with OtherDevice():
        yield


def test_a_folder_is_translated_there(images, models, tmp_path):
    done = folders.translate_folder(
        images, models["parent"], models["child"], tmp_path / "out",
        use_force=False, truncation_psi=0.7, num_steps=2, space=None,
    )  # fmt: skip

    assert done.num_made == NUM_IMAGES


def test_two_images_are_morphed_there(images, models, tmp_path):
    first, second = (str(images / "inner" / f"{row}.png") for row in (0, 1))
    pair, out = (models["parent"], models["child"]), tmp_path / "strip.png"

    morphing.morph_images(
        first, second, pair, out, codes=images, num_frames=3, use_force=False, num_steps=2
    )

    assert decode(out.read_bytes()).shape == (128, 3 * 128, 3)
