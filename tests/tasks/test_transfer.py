"""Which transferred rows stay valid, and what is refused before anything is fitted."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stylealign.data.dataset import open_dataset
from stylealign.errors import DataError
from stylealign.params import InvertParams, TransferParams
from tasks import transfer
from tasks.layout import ChildPlaces

INVERT = InvertParams(
    dataset="cats", max_images=None, space="w_plus", num_steps=2, learning_rate=0.1,
    perceptual_weight=0.0, spread_weight=0.0, prior_weight=0.0, num_candidates=4, encoder_kimg=0,
    batch_size=4, shard_size=4, min_psnr=20.0, seed=0, splits=("train", "val", "test"),
)  # fmt: skip


@pytest.fixture(scope="module")
def moved(tmp_path_factory, prepare_cats) -> Path:
    """Twelve images that stand for translated ones."""
    return prepare_cats(tmp_path_factory.mktemp("moved") / "cats", 12)


def transferred(
    moved: Path, folder: Path, params: TransferParams, confidence: float
) -> pd.DataFrame:
    """The set as it is on disk, once it was written with this confidence."""
    dataset = open_dataset(moved)
    rows = dataset.table()[["id", "split", "label.yaw"]].assign(confidence=confidence)
    transfer.write_set(dataset, rows, {}, params, folder)
    return open_dataset(folder).table()


def test_a_confidence_that_moved_renews_the_rows_though_images_and_params_did_not(
    moved, tmp_path, transfer_params
):
    transferred(moved, tmp_path, transfer_params, 0.9)

    table = transferred(moved, tmp_path, transfer_params, 0.1)  # as other real images would have it

    assert table["confidence"].tolist() == [0.1] * 12


def test_a_set_that_would_be_the_same_is_not_written_again(moved, tmp_path, transfer_params):
    transferred(moved, tmp_path, transfer_params, 0.9)
    before = {path.name: path.stat().st_ino for path in tmp_path.glob("*.parquet")}

    transferred(moved, tmp_path, transfer_params, 0.9)

    after = {path.name: path.stat().st_ino for path in tmp_path.glob("train-*.parquet")}
    assert len(after) == 3
    assert after.items() <= before.items()


def test_too_few_hold_outs_are_refused_by_label_before_anything_is_fitted(
    moved, transfer_params, monkeypatch
):
    split = np.repeat(["train", "val", "test"], [500, 25, 25])
    rows = pd.DataFrame({"split": split, "label.yaw": 1.0, "label.tone": [None, *["dark"] * 549]})
    monkeypatch.setattr(transfer, "labelled_codes", lambda *_: rows.iloc[:-1])
    places = ChildPlaces("cats", moved, moved, moved, moved, moved, moved, moved, moved)

    with pytest.raises(DataError, match=r"49 inverted images .* 'yaw'.* 'val' or 'test' to invert"):
        transfer.fit_instruments.fn(transfer_params, INVERT, places, "cpu", 1)

    transfer.require_hold_outs(rows, ["yaw", "tone"])
    rows.loc[549, "label.tone"] = None
    with pytest.raises(DataError, match=r"49 inverted images .* 'tone'"):
        transfer.require_hold_outs(rows, ["yaw", "tone"])
