"""Directions are found from the labels that are there."""

import numpy as np
import pandas as pd
import pytest

from stylealign.checkpoints import load_model
from stylealign.errors import DataError
from stylealign.params import AnalyzeParams
from tasks import alignment

PARAMS = AnalyzeParams(
    num_samples=8, labels=("yaw", "pitch", "smile"), reader_steps=1, num_reset_samples=8,
    direction_distance=1.0, num_bootstrap=1, batch_size=8, seed=0,
)  # fmt: skip


@pytest.fixture(scope="module")
def images(tmp_path_factory, prepare_cats):
    return prepare_cats(tmp_path_factory.mktemp("images") / "cats", 60)


class BrightnessReader:
    """Reads every label as how bright an image is."""

    def predict(self, images):
        """One row of labels per image."""
        bright = images.astype(np.float64).mean((1, 2, 3))
        return pd.DataFrame(dict.fromkeys(PARAMS.labels, bright))


def test_images_without_a_label_do_not_count_for_its_direction(images, models, monkeypatch):
    parent = load_model(models["parent"])
    draw = np.random.default_rng(0)
    codes = draw.normal(size=(60, parent.config.w_dim)).astype(np.float32)
    rows = pd.DataFrame({
        "space": "w", "code": list(codes), "model_id": parent.config.id,
        "label.yaw": codes[:, 0].astype(np.float64), "label.pitch": np.nan, "label.smile": 1.0,
    })  # fmt: skip
    rows.loc[40:, "label.yaw"] = np.nan

    def slopes(rows: pd.DataFrame) -> dict[str, dict[str, float]]:
        monkeypatch.setattr(alignment, "labelled_codes", lambda *_: rows)
        readers = (BrightnessReader(), BrightnessReader())
        return alignment.compare_slopes(PARAMS, (parent, parent), readers, images, images)

    found = slopes(rows)

    assert set(found) == {"yaw"}
    assert found == slopes(rows.iloc[:40])
    assert found["yaw"]["parent_slope"] == found["yaw"]["child_slope"]
    assert slopes(rows.iloc[12:]) == {}  # 28 labels are too few


def test_a_reader_with_nothing_to_be_held_against_is_refused_by_set_and_label(images):
    with pytest.raises(DataError, match=r"cats' has no value of 'yaw' in its split 'val'"):
        alignment.ceiling(BrightnessReader(), images, PARAMS)
