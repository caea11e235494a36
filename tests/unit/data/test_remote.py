"""Data sets in an object store: an S3 emulation on loopback, spoken to by the real client."""

import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import fsspec
import numpy as np
import pytest
from botocore.exceptions import EndpointConnectionError

from stylealign.data import remote
from stylealign.data.batches import TrainingBatches
from stylealign.data.dataset import open_dataset
from stylealign.data.manifest import Manifest
from stylealign.data.remote import find_place
from stylealign.data.sources import open_source
from stylealign.errors import DataError

warnings = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")


@pytest.fixture
def folder(raw_folder: Path, tmp_path: Path, prepare_set: Callable[..., Manifest]) -> Path:
    prepare_set(open_source(raw_folder, labels=tmp_path / "labels.csv"), tmp_path / "out")
    return tmp_path / "out"


@warnings
@pytest.mark.slow
def test_batches_from_s3_are_those_from_the_folder_and_resume(store: str, folder: Path) -> None:
    fsspec.filesystem("s3").put(f"{folder}/", f"{store}/cats/", recursive=True)
    near, far = open_dataset(folder), open_dataset(f"{store}/cats")
    batches = partial(
        TrainingBatches, batch_size=3, seed=5, mirror=True, max_cached_bytes=6 * 16 * 16 * 3
    )

    here, there = batches(near), batches(far)
    pairs = [(next(here), next(there)) for _ in range(12)]
    resumed = batches(far)
    resumed.load_state_dict(there.state_dict())

    assert all(one.ids == other.ids for one, other in pairs)
    assert all((one.images == other.images).all() for one, other in pairs)
    assert next(resumed).ids == next(here).ids


@warnings
@pytest.mark.slow
def test_a_set_that_is_not_in_the_store_is_named(store: str) -> None:
    with pytest.raises(DataError, match=f"no manifest at '{store}/dogs/manifest.json'"):
        open_dataset(f"{store}/dogs")


@warnings
@pytest.mark.slow
def test_a_bucket_that_is_not_there_is_named_with_what_to_check(store: str) -> None:
    with pytest.raises(DataError, match=f"{store}-none.*check bucket and folder"):
        open_dataset(f"{store}-none/cats")


@warnings
@pytest.mark.slow
@pytest.mark.parametrize(
    ("endpoint", "advice"),
    [
        ("http://127.0.0.1:9", "check the network, and AWS_ENDPOINT_URL"),
        ("127.0.0.1:9", "Invalid endpoint.*AWS_ENDPOINT_URL starts with http://"),
    ],
)
def test_a_store_that_cannot_be_reached_is_named_with_what_to_check(
    store: str, monkeypatch: pytest.MonkeyPatch, endpoint: str, advice: str
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    fsspec.filesystem("s3").clear_instance_cache()

    with pytest.raises(DataError, match=f"{store}/cats.*{advice}"):
        open_dataset(f"{store}/cats")


@warnings
@pytest.mark.slow
def test_missing_credentials_are_asked_for(
    store: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    fsspec.filesystem("s3").clear_instance_cache()

    with pytest.raises(DataError, match=f"{store}/cats.*give credentials .*AWS_ACCESS_KEY_ID"):
        open_dataset(f"{store}/cats")


@warnings
@pytest.mark.slow
def test_a_damaged_shard_in_the_store_is_named(store: str, folder: Path) -> None:
    files = fsspec.filesystem("s3")
    files.put(f"{folder}/", f"{store}/cats/", recursive=True)
    dataset = open_dataset(f"{store}/cats")
    dataset.ids()
    shard = dataset.manifest.shards[0].file
    files.pipe(f"{store}/cats/{shard}", (folder / shard).read_bytes()[:-200])

    with pytest.raises(DataError, match=f"shard '{store}/cats/{shard}' is damaged"):
        dataset.images()


@warnings
@pytest.mark.slow
def test_a_store_that_goes_away_while_a_set_is_drawn_from_is_named_and_asked_again(
    store: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = fsspec.filesystem("s3")
    files.put(f"{folder}/", f"{store}/cats/", recursive=True)
    batches = TrainingBatches(
        open_dataset(f"{store}/cats"), batch_size=3, seed=5, max_cached_bytes=6 * 16 * 16 * 3
    )
    expected = [batch.ids for batch, _ in zip(batches, range(8), strict=False)]
    batches.load_state_dict(batches.state_dict() | {"num_drawn": 0})
    refused = EndpointConnectionError(endpoint_url="http://127.0.0.1:9")

    async def fail(*_: object, **__: object) -> None:
        raise refused

    with monkeypatch.context() as away:
        away.setattr(files, "_cat_file", fail)
        away.setattr(files, "_call_s3", fail)
        with pytest.raises(DataError, match=f"{store}/cats/.*run again once the store answers"):
            for _ in range(8):
                next(batches)
    batches.load_state_dict(batches.state_dict() | {"num_drawn": 0})

    assert [next(batches).ids for _ in range(8)] == expected


def test_any_fsspec_folder_is_read_like_a_local_one(folder: Path) -> None:
    files = fsspec.filesystem("memory")
    files.put(f"{folder}/", "memory://sets/cats/", recursive=True)

    near, far = open_dataset(folder), open_dataset("memory://sets/cats")

    assert far.content_hash == near.content_hash
    assert far.table().equals(near.table())
    assert np.array_equal(far.images(), near.images())


END_AMID_READING = """
import sys, time
import fsspec
from stylealign.data.batches import TrainingBatches
from stylealign.data.dataset import open_dataset
from stylealign.data.remote import RemotePath
fsspec.filesystem("memory").put(f"{sys.argv[1]}/", "memory://sets/cats/", recursive=True)
for name in ("open", "read_bytes"):
    def slow(self, read=getattr(RemotePath, name)):
        time.sleep(0.5)
        return read(self)
    setattr(RemotePath, name, slow)
far = open_dataset("memory://sets/cats")
next(TrainingBatches(far, batch_size=3, seed=5, max_cached_bytes=6 * 16 * 16 * 3))
print("drawn")
"""


def test_a_process_may_end_while_a_thread_still_reads_ahead(folder: Path) -> None:
    command = [sys.executable, "-c", END_AMID_READING, str(folder)]

    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.stdout == "drawn\n", done.stderr
    assert done.returncode == 0, done.stderr


def test_a_store_whose_package_is_missing_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(remote.EXTRAS, "s3", "a_package_that_nobody_has")

    with pytest.raises(DataError, match=r"pip install 'stylealign\[s3\]'"):
        find_place("s3://sets/cats")


def test_an_unknown_protocol_is_refused() -> None:
    with pytest.raises(DataError, match="'nowhere://sets/cats' cannot be read"):
        find_place("nowhere://sets/cats")
