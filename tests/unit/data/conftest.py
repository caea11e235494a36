"""Small real images on disk, and one way to prepare them."""

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from stylealign.data.labels import LabelSchema, parse_schema
from stylealign.data.manifest import Manifest
from stylealign.data.prepare import prepare
from stylealign.data.sources import Source
from stylealign.images import crop_and_resize, encode_png


@pytest.fixture(scope="session")
def draw_image() -> Callable[..., np.ndarray]:
    """Draw a smooth random image, unlike that of any other seed."""

    def draw(seed: int, side: int = 24) -> np.ndarray:
        rng = np.random.default_rng(seed)
        return crop_and_resize(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8), side)

    return draw


@pytest.fixture
def raw_folder(tmp_path: Path, draw_image: Callable[..., np.ndarray]) -> Path:
    """Twenty images, and beside the folder `labels.csv` with two labels of each."""
    folder = tmp_path / "raw"
    folder.mkdir()
    for number in range(20):
        (folder / f"{number:03d}.png").write_bytes(encode_png(draw_image(number)))
    table = pd.DataFrame(
        {
            "file": [f"{number:03d}.png" for number in range(20)],
            "yaw": np.linspace(-30, 30, 20).round(2),
            "glasses": ["yes" if number % 2 else "no" for number in range(20)],
            "person": [f"p{number // 2}" for number in range(20)],
        }
    )
    table.to_csv(tmp_path / "labels.csv", index=False)
    return folder


@pytest.fixture
def schema() -> LabelSchema:
    """Two labels, as params would give them."""
    return parse_schema(
        {
            "yaw": {"type": "continuous", "unit": "degree", "mirror": "negate"},
            "glasses": {"type": "class", "values": ["no", "yes"]},
        }
    )


@pytest.fixture
def prepare_set(schema: LabelSchema) -> Callable[..., Manifest]:
    """Prepare with the settings of these tests, each of which a test may replace."""

    def run(source: Source, folder: Path, **settings: Any) -> Manifest:
        defaults: dict[str, Any] = {
            "resolution": 16,
            "schema": schema if source.labels is not None else {},
            "fractions": {"train": 0.8, "val": 0.1, "test": 0.1},
            "seed": 0,
            "shard_size": 4,
            "max_rejected_fraction": 0.0,
        }
        return prepare(source, folder, **{**defaults, **settings})

    return run


@pytest.fixture
def zip_of(tmp_path: Path) -> Callable[[dict[str, bytes]], Path]:
    """Write a zip of the given members."""

    def write(members: dict[str, bytes]) -> Path:
        path = tmp_path / "images.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in members.items():
                archive.writestr(name, data)
        return path

    return write


@pytest.fixture(scope="session")
def bytes_of() -> Callable[[Path], dict[str, bytes]]:
    """Read every file of a folder."""

    def read(folder: Path) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}

    return read
