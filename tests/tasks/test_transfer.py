"""Which transferred rows stay valid."""

from pathlib import Path

import pandas as pd
import pytest

from stylealign.data.dataset import open_dataset
from stylealign.params import TransferParams
from tasks.transfer import write_set

PARAMS = TransferParams(
    labels=("yaw",), carry="given", min_reconstruction=10.0, min_confidence=0.5, reader_steps=2,
    encoder_kimg=0.1, cycle_steps=1, num_calibration=50, num_witnesses=50, batch_size=4,
    shard_size=5, seed=0,
)  # fmt: skip


@pytest.fixture(scope="module")
def moved(tmp_path_factory, prepare_cats) -> Path:
    """Twelve images that stand for translated ones."""
    return prepare_cats(tmp_path_factory.mktemp("moved") / "cats", 12)


def transferred(moved: Path, folder: Path, confidence: float) -> pd.DataFrame:
    """The set as it is on disk, once it was written with this confidence."""
    dataset = open_dataset(moved)
    rows = dataset.table()[["id", "split", "label.yaw"]].assign(confidence=confidence)
    write_set(dataset, rows, {}, PARAMS, folder)
    return open_dataset(folder).table()


def test_a_confidence_that_moved_renews_the_rows_though_images_and_params_did_not(moved, tmp_path):
    transferred(moved, tmp_path, 0.9)

    table = transferred(moved, tmp_path, 0.1)  # as other real images would have it

    assert table["confidence"].tolist() == [0.1] * 12


def test_a_set_that_would_be_the_same_is_not_written_again(moved, tmp_path):
    transferred(moved, tmp_path, 0.9)
    before = {path.name: path.stat().st_ino for path in tmp_path.glob("*.parquet")}

    transferred(moved, tmp_path, 0.9)

    after = {path.name: path.stat().st_ino for path in tmp_path.glob("train-*.parquet")}
    assert len(after) == 3
    assert after.items() <= before.items()
