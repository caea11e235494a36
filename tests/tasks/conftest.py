"""Tiny related models and a folder of images, one of them broken."""

from contextlib import nullcontext
from pathlib import Path

import pytest
import torch

from stylealign.checkpoints import load_model, save_model
from stylealign.data.procedural import draw_attributes, render
from stylealign.images import encode_png
from stylealign.params import TransferParams
from tests.tiny import tiny_model

NUM_IMAGES = 5


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, Path]:
    """A parent, its child, and a stranger."""
    folder = tmp_path_factory.mktemp("models")
    places = {name: folder / name for name in ("parent", "child", "stranger")}
    save_model(tiny_model(0, noise=False), places["parent"])
    save_model(tiny_model(1, noise=False), places["stranger"])
    child = load_model(places["parent"])
    with torch.no_grad():
        for weight in child.generator.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    child.config = child.config.model_copy(update={"parent_id": child.config.id})
    save_model(child, places["child"])
    return places


@pytest.fixture
def conditional(tmp_path) -> Path:
    """A model of three classes."""
    save_model(tiny_model(2, noise=False, c_dim=3), tmp_path / "conditional")
    return tmp_path / "conditional"


@pytest.fixture
def images(tmp_path) -> Path:
    """Images of 32 pixels, one of them broken."""
    folder = tmp_path / "images"
    (folder / "inner").mkdir(parents=True)
    table = draw_attributes("people", NUM_IMAGES, seed=0)
    for row, pixels in enumerate(render("people", table, 32)):
        (folder / "inner" / f"{row}.png").write_bytes(encode_png(pixels))
    (folder / "broken.jpg").write_bytes(b"no image")
    return folder


@pytest.fixture
def no_progress():
    """A bar that needs no server."""

    class Bar:
        def advance(self) -> None:
            """Move nothing."""

    return lambda *_, **__: nullcontext(Bar())


@pytest.fixture(scope="session")
def transfer_params() -> TransferParams:
    """A transfer of yaw in shards of five rows."""
    return TransferParams(
        labels=("yaw",), carry="given", min_reconstruction=10.0, min_confidence=0.5, reader_steps=2,
        encoder_kimg=0.1, cycle_steps=1, num_calibration=50, num_witnesses=50, batch_size=4,
        shard_size=5, seed=0,
    )  # fmt: skip
