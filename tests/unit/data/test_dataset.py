"""Laws of reading a data set: by id, by position, in batches, after damage."""

import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from stylealign.data import dataset as module
from stylealign.data.batches import TrainingBatches
from stylealign.data.dataset import ImageDataset, open_dataset
from stylealign.data.manifest import Manifest
from stylealign.data.shards import read_shard, write_parquet
from stylealign.data.sources import open_source
from stylealign.errors import DataError
from stylealign.images import PixelBatch, encode_png
from stylealign.tensors import to_float


@pytest.fixture
def dataset(raw_folder: Path, tmp_path: Path, prepare_set: Callable[..., Manifest]) -> ImageDataset:
    prepare_set(open_source(raw_folder, labels=tmp_path / "labels.csv"), tmp_path / "out")
    return open_dataset(tmp_path / "out")


def test_images_come_in_the_order_asked_for(dataset: ImageDataset) -> None:
    everything = dataset.images()
    positions = [7, 3, 3, 19, 0]

    by_position = dataset.images(positions)
    by_id = dataset.images([dataset.ids()[place] for place in positions])

    assert (by_position == everything[positions]).all()
    assert (by_id == by_position).all()
    assert dataset.images([]).shape == (0, 16, 16, 3)


def test_image_hashes_are_those_of_the_encoded_images(dataset: ImageDataset) -> None:
    ids = dataset.ids()[::-3]
    hashes = [hashlib.sha256(encode_png(image)).hexdigest() for image in dataset.images(ids)]

    assert dataset.image_hashes(ids) == hashes


def test_splits_divide_the_table(dataset: ImageDataset) -> None:
    ids = [name for split in ("train", "val", "test") for name in dataset.ids(split)]

    assert sorted(ids) == dataset.ids()
    assert dataset.manifest.counts["train"] == len(dataset.ids("train"))
    assert dataset.labels("train").index.tolist() == dataset.ids("train")


def test_batches_are_the_images_asked_for_a_few_at_a_time(dataset: ImageDataset) -> None:
    ids = dataset.ids()[::-1]

    batches = list(dataset.batches(ids, 3))

    assert {len(images) for images in batches[:-1]} == {3}
    assert (np.concatenate(batches) == dataset.images(ids)).all()


def test_batches_read_each_shard_once(
    dataset: ImageDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def counted(path: Path, columns: list[str], **options: bool) -> pa.Table:
        read.append(path.name)
        return read_shard(path, columns, **options)

    dataset.table()
    monkeypatch.setattr(module, "read_shard", counted)
    for _ in dataset.batches(dataset.ids("train"), 1):
        pass

    assert len(read) > 1
    assert len(read) == len(set(read))


def test_an_unknown_id_is_named(dataset: ImageDataset) -> None:
    with pytest.raises(DataError, match="id 'nobody' is not in the data set"):
        dataset.images(["000.png", "nobody"])


def test_a_missing_shard_is_named(dataset: ImageDataset) -> None:
    folder = Path(str(dataset.folder))
    (folder / dataset.manifest.shards[0].file).unlink()

    with pytest.raises(DataError, match=r"lacks 1 shards, first '\w+-00000"):
        open_dataset(folder)


def test_a_folder_without_manifest_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no manifest at"):
        open_dataset(tmp_path)


def test_a_broken_manifest_is_a_data_error(dataset: ImageDataset) -> None:
    folder = Path(str(dataset.folder))
    (folder / "manifest.json").write_text("{}")

    with pytest.raises(DataError, match="is not usable: kind"):
        open_dataset(folder)


@pytest.mark.parametrize("file", ["../{}", "/tmp/{}", "a\\{}", ".{}", "{}\0", "a/../{}"])
def test_a_manifest_that_leads_out_of_its_folder_is_refused(
    dataset: ImageDataset, file: str
) -> None:
    folder = Path(str(dataset.folder))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["shards"][0]["file"] = file.format(manifest["shards"][0]["file"])
    (folder / "manifest.json").write_text(json.dumps(manifest))

    with pytest.raises(DataError, match="file"):
        open_dataset(folder)


def test_images_of_another_size_than_the_manifest_says_are_refused(dataset: ImageDataset) -> None:
    folder = Path(str(dataset.folder))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["resolution"] += 1
    (folder / "manifest.json").write_text(json.dumps(manifest))

    with pytest.raises(DataError, match="expected"):
        open_dataset(folder).images([0])


def test_a_pass_shows_every_image_once(dataset: ImageDataset) -> None:
    num_images = len(dataset.ids("train"))
    batches = TrainingBatches(dataset, num_images, seed=0)

    first, second = next(batches), next(batches)

    assert sorted(first.ids) == sorted(second.ids) == dataset.ids("train")
    assert first.ids != second.ids
    assert torch.equal(first.images, to_float(dataset.images(first.ids)))


def test_a_pass_over_some_of_the_images_shows_each_of_them_once(dataset: ImageDataset) -> None:
    chosen = dataset.ids("train")[1::2]
    batches = TrainingBatches(dataset, len(chosen), seed=0, only=chosen)

    for _ in range(2):
        batch = next(batches)
        assert sorted(batch.ids) == chosen
        assert torch.equal(batch.images, to_float(dataset.images(batch.ids)))
        truth = dataset.labels("train").loc[batch.ids, "yaw"].to_numpy(np.float32)
        assert batch.labels["yaw"].numpy() == pytest.approx(truth)


def test_a_stream_of_other_images_of_the_set_is_not_gone_on_with(dataset: ImageDataset) -> None:
    ids = dataset.ids("train")
    state = TrainingBatches(dataset, 2, seed=0, only=ids[1:]).state_dict()

    for only in (None, ids[:-1]):
        with pytest.raises(DataError, match="other images"):
            TrainingBatches(dataset, 2, seed=0, only=only).load_state_dict(state)
    TrainingBatches(dataset, 2, seed=0, only=ids[1:]).load_state_dict(state)


def test_windows_of_other_shards_are_another_order_and_are_not_gone_on_with(
    dataset: ImageDataset,
    raw_folder: Path,
    tmp_path: Path,
    prepare_set: Callable[..., Manifest],
) -> None:
    source = open_source(raw_folder, labels=tmp_path / "labels.csv")
    prepare_set(source, tmp_path / "other", shard_size=3)
    other = open_dataset(tmp_path / "other")
    assert other.content_hash == dataset.content_hash
    assert len(other.manifest.shards) != len(dataset.manifest.shards)

    whole = TrainingBatches(dataset, 4, seed=0)
    TrainingBatches(other, 4, seed=0).load_state_dict(whole.state_dict())
    state = TrainingBatches(dataset, 4, seed=0, max_cached_bytes=HALF_IN_MEMORY).state_dict()
    with pytest.raises(DataError, match="content_hash"):
        TrainingBatches(other, 4, seed=0, max_cached_bytes=HALF_IN_MEMORY).load_state_dict(state)


@pytest.mark.parametrize("change", ["copied", "cut"])
def test_a_shard_that_is_not_the_one_of_the_manifest_is_refused(
    change: str, dataset: ImageDataset
) -> None:
    full = [shard for shard in dataset.manifest.shards if shard.num_rows == 4]
    folder = Path(str(dataset.folder))
    one, other, *_ = (folder / shard.file for shard in full)
    if change == "copied":
        other.write_bytes(one.read_bytes())
    else:
        write_parquet(read_shard(other).slice(1), other)

    with pytest.raises(DataError, match=r"is twice in the shards of|has \d+ rows, not \d+"):
        open_dataset(folder).ids()


@pytest.mark.parametrize("max_cached_bytes", [2**30, 16 * 16 * 3 * 9])
def test_a_resumed_stream_goes_on_as_the_first_would(
    max_cached_bytes: int, dataset: ImageDataset
) -> None:
    settings: dict[str, Any] = {"seed": 1, "mirror": True, "max_cached_bytes": max_cached_bytes}
    stream = TrainingBatches(dataset, 7, **settings)
    for _ in range(4):
        next(stream)
    resumed = TrainingBatches(dataset, 7, **settings)
    resumed.load_state_dict(stream.state_dict())

    for _ in range(5):
        expected, found = next(stream), next(resumed)
        assert found.ids == expected.ids
        assert torch.equal(found.images, expected.images)
        assert torch.equal(found.labels["yaw"], expected.labels["yaw"])


def test_a_set_too_large_for_memory_still_shows_every_image_once(dataset: ImageDataset) -> None:
    num_images = len(dataset.ids("train"))
    batches = TrainingBatches(dataset, 4, seed=0, max_cached_bytes=16 * 16 * 3 * 5)

    drawn = [next(batches) for _ in range(num_images)]  # four whole passes
    names = [name for batch in drawn for name in batch.ids]

    assert sorted(names) == sorted(dataset.ids("train") * 4)
    for batch in drawn:
        assert torch.equal(batch.images, to_float(dataset.images(batch.ids)))


def test_batches_carry_the_labels_that_are_named_in_the_same_order(dataset: ImageDataset) -> None:
    whole, named, none = (
        next(TrainingBatches(dataset, 16, seed=0, mirror=True, labels=labels))
        for labels in (None, ["yaw"], [])
    )

    assert len(whole.labels) > 1
    assert [*named.labels] == ["yaw"]
    assert torch.equal(named.labels["yaw"], whole.labels["yaw"])
    assert none.labels == {}
    assert torch.equal(none.images, whole.images)


def test_mirrored_images_carry_mirrored_labels(dataset: ImageDataset) -> None:
    labels = dataset.labels()
    batches = TrainingBatches(dataset, 16, seed=0, mirror=True)

    num_mirrored = 0
    for _ in range(5):
        batch = next(batches)
        plain = to_float(dataset.images(batch.ids))
        for row, name in enumerate(batch.ids):
            is_mirrored = torch.equal(batch.images[row], plain[row].flip(-1))
            sign = -1 if is_mirrored else 1
            assert is_mirrored or torch.equal(batch.images[row], plain[row])
            assert batch.labels["yaw"][row].item() == pytest.approx(sign * labels.at[name, "yaw"])
            num_mirrored += is_mirrored

    assert 20 < num_mirrored < 60  # of 80; 4.5 standard deviations around the half


def test_ranks_share_one_order(dataset: ImageDataset) -> None:
    whole = next(TrainingBatches(dataset, 8, seed=0))

    ranks = [next(TrainingBatches(dataset, 4, seed=0, rank=rank, num_ranks=2)) for rank in (0, 1)]

    assert ranks[0].ids == whole.ids[0::2]
    assert ranks[1].ids == whole.ids[1::2]


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """Positions that data sets are asked to decode, call by call."""
    calls: list[list[int]] = []
    usual = ImageDataset.images

    def images(dataset: ImageDataset, positions: np.ndarray) -> PixelBatch:
        calls.append(positions.tolist())
        return usual(dataset, positions)

    monkeypatch.setattr(ImageDataset, "images", images)
    return calls


HALF_IN_MEMORY = 16 * 16 * 3 * 12


def test_the_next_window_is_decoded_meanwhile(
    dataset: ImageDataset, decoded: list[list[int]]
) -> None:
    batches = TrainingBatches(dataset, 1, seed=0, max_cached_bytes=HALF_IN_MEMORY)

    drawn = next(batches).ids
    deadline = time.monotonic() + 60
    while len(decoded) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)

    now, ahead = decoded
    assert dataset.positions(drawn)[0] in now
    assert not set(now) & set(ahead)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_decodes_its_own_images_alone(
    rank: int, dataset: ImageDataset, decoded: list[list[int]]
) -> None:
    settings: dict[str, Any] = {"rank": rank, "num_ranks": 2, "max_cached_bytes": HALF_IN_MEMORY}
    batches = TrainingBatches(dataset, 1, seed=0, **settings)
    num_images = len(batches.ids)

    drawn = [next(batches).ids[0] for _ in range(num_images // 2)]

    own = [place for places in decoded for place in places]
    assert len(drawn) == len(set(drawn))
    assert set(dataset.positions(drawn)) <= set(own)
    assert len(own) < 0.8 * num_images  # its half, and what is begun of the next pass


def test_a_shard_that_is_lost_meanwhile_is_named(dataset: ImageDataset) -> None:
    batches = TrainingBatches(dataset, 1, seed=0, max_cached_bytes=HALF_IN_MEMORY)
    next(batches)
    for record in dataset.manifest.shards:
        (Path(str(dataset.folder)) / record.file).unlink()

    with pytest.raises(DataError, match="shard"):
        for _ in range(2 * len(batches.ids)):
            next(batches)


def test_a_state_of_another_seed_is_refused(dataset: ImageDataset) -> None:
    state = TrainingBatches(dataset, 4, seed=0).state_dict()

    with pytest.raises(DataError, match="has seed 0, expected 1"):
        TrainingBatches(dataset, 4, seed=1).load_state_dict(state)


def test_an_empty_split_is_refused(dataset: ImageDataset) -> None:
    with pytest.raises(DataError, match=r"split 'spare' .* is empty"):
        TrainingBatches(dataset, 4, seed=0, split="spare")
