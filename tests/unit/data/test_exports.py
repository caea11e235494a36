"""Exports hold the same images and labels as the data set they come from."""

import json
import tarfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from stylealign.data.dataset import ImageDataset, open_dataset
from stylealign.data.exports import export_imagefolder, export_webdataset
from stylealign.data.labels import LabelSchema
from stylealign.data.manifest import Manifest
from stylealign.data.prepare import prepare
from stylealign.data.sources import open_source
from stylealign.errors import DataError
from stylealign.images import decode


@pytest.fixture
def dataset(raw_folder: Path, tmp_path: Path, prepare_set: Callable[..., Manifest]) -> ImageDataset:
    prepare_set(open_source(raw_folder, labels=tmp_path / "labels.csv"), tmp_path / "out")
    return open_dataset(tmp_path / "out")


def member(archive: tarfile.TarFile, name: str) -> bytes:
    """Contents of one file of an archive."""
    file = archive.extractfile(name)
    assert file is not None
    return file.read()


def test_an_image_folder_holds_every_image_with_its_labels(
    dataset: ImageDataset, tmp_path: Path
) -> None:
    num_images = export_imagefolder(dataset, tmp_path / "export")

    assert num_images == 20
    for path in (tmp_path / "export").glob("*/metadata.jsonl"):
        for line in path.read_text().splitlines():
            record = json.loads(line)
            pixels = decode((path.parent / record["file_name"]).read_bytes())
            assert (pixels == dataset.images([record["id"]])[0]).all()
            assert record["label.yaw"] == dataset.labels().at[record["id"], "yaw"]
            assert path.parent.name.startswith(record["split"])


def test_places_of_a_data_set_may_be_given_as_text(
    raw_folder: Path, tmp_path: Path, schema: LabelSchema
) -> None:
    source = open_source(str(raw_folder), labels=str(tmp_path / "labels.csv"))
    place = str(tmp_path / "out")
    shares = {"train": 1.0, "val": 0.0, "test": 0.0}

    prepare(
        source,
        place,
        resolution=16,
        schema=schema,
        fractions=shares,
        seed=0,
        shard_size=20,
        max_rejected_fraction=0.0,
    )

    dataset = open_dataset(place)
    assert export_imagefolder(dataset, str(tmp_path / "images")) == 20
    assert len(export_webdataset(dataset, str(tmp_path / "tars"), shard_size=20)) == 1


def test_web_dataset_shards_hold_pairs_and_equal_data_give_equal_bytes(
    dataset: ImageDataset, tmp_path: Path
) -> None:
    paths = export_webdataset(dataset, tmp_path / "a", shard_size=5)
    again = export_webdataset(dataset, tmp_path / "b", shard_size=5)

    assert [path.read_bytes() for path in paths] == [path.read_bytes() for path in again]
    ids: list[str] = []
    for path in paths:
        with tarfile.open(path) as archive:
            names = archive.getnames()
            assert names[0::2] == [f"{name[:-4]}.json" for name in names[1::2]]
            for label, image in zip(names[0::2], names[1::2], strict=True):
                record = json.loads(member(archive, label))
                ids.append(record["id"])
                pixels = decode(member(archive, image))
                assert (pixels == dataset.images([record["id"]])[0]).all()
    assert sorted(ids) == dataset.ids()


@pytest.mark.parametrize("export", [export_imagefolder, partial(export_webdataset, shard_size=5)])
def test_an_export_is_never_mixed_with_an_earlier_one(
    dataset: ImageDataset, tmp_path: Path, export: Callable[..., object]
) -> None:
    export(dataset, tmp_path / "used")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "used").rglob("*")}

    with pytest.raises(DataError, match=r"'.*used' is not empty: choose a new folder"):
        export(dataset, tmp_path / "used")

    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "used").rglob("*")} == before
