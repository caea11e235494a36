"""Tiny labelled images that a small network reads in a second."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from stylealign.data.labels import LabelSchema, LabelSpec

MakeImages = Callable[..., tuple[np.ndarray, pd.DataFrame]]


@pytest.fixture(scope="session")
def schema() -> LabelSchema:
    return {
        "place": LabelSpec(type="continuous", mirror="negate", tolerance=0.1),
        "color": LabelSpec(type="class", values=("red", "blue")),
        "level": LabelSpec(type="ordinal", values=("low", "mid", "high")),
        "marks": LabelSpec(type="multilabel", values=("top", "bottom")),
    }


@pytest.fixture(scope="session")
def make_images() -> MakeImages:
    """A bar at `place`, of `color`, on grey of `level`, with `marks` at the borders."""

    def make(
        num_images: int, *, seed: int, resolution: int = 16, is_child: bool = False
    ) -> tuple[np.ndarray, pd.DataFrame]:
        rows = np.random.default_rng(seed)
        place = rows.uniform(-1, 1, num_images)
        is_red = rows.random(num_images) < 0.5
        level = rows.integers(0, 3, num_images)
        has_mark = rows.random((num_images, 2)) < 0.5
        images = np.zeros((num_images, resolution, resolution, 3))
        images += (60 + 60 * level)[:, None, None, None]
        middle = (resolution - 1) / 2 * (1 + 0.7 * place)
        distance = np.abs(np.arange(resolution) - middle[:, None])
        bar = np.clip(2 - distance, 0, 1)[:, None, :, None]
        paint = np.where(is_red[:, None], [220, 20, 20], [20, 20, 220])[:, None, None]
        images = images * (1 - bar) + paint * bar
        images[:, :2] = np.where(has_mark[:, :1, None, None], 250, images[:, :2])
        images[:, -2:] = np.where(has_mark[:, 1:, None, None], 250, images[:, -2:])
        if is_child:  # another look: turned colours, so that a parent's reader is misled
            images = 255 - images[..., ::-1]
        labels = pd.DataFrame(
            {
                "place": place,
                "color": np.where(is_red, "red", "blue").astype(object),
                "level": np.array(["low", "mid", "high"], dtype=object)[level],
                "marks": [
                    [n for n, m in zip(("top", "bottom"), r, strict=True) if m] for r in has_mark
                ],
            }
        )
        noise = rows.normal(0, 6, images.shape)
        return np.clip(images + noise, 0, 255).astype(np.uint8), labels

    return make
