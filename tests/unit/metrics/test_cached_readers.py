"""Laws of the cache of readers: a hit reads as a new fit to the bit, damage is mended."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stylealign.data.dataset import open_dataset
from stylealign.data.labels import parse_schema
from stylealign.data.prepare import prepare
from stylealign.data.procedural import label_schema
from stylealign.data.sources import ProceduralSource
from stylealign.metrics import cached_readers as module
from stylealign.metrics.cached_readers import Lessons, cached_reader, shrink


@pytest.fixture
def lessons(prepare_cats, tmp_path) -> Lessons:
    dataset = open_dataset(prepare_cats(tmp_path / "cats", 30))
    schema = {name: dataset.schema[name] for name in ("yaw", "glasses", "smile")}
    return Lessons(dataset=dataset, ids=dataset.ids()[:24], schema=schema, num_steps=4, seed=0)


@pytest.fixture
def fits(monkeypatch) -> list[Any]:
    """Grows by one with each reader that is fitted."""
    seen: list[Any] = []
    fit: Callable[..., Any] = module.fit_reader
    monkeypatch.setattr(module, "fit_reader", lambda *a, **k: seen.append(k) or fit(*a, **k))
    return seen


def test_a_hit_reads_to_the_bit_as_a_fit_and_fits_nothing(lessons, tmp_path, fits):
    images = lessons.dataset.images()

    cached_reader(lessons, tmp_path / "cache")
    found = cached_reader(lessons, tmp_path / "cache")

    assert len(fits) == 1
    alone = lessons.learn()
    assert torch.equal(found.outputs(images), alone.outputs(images))
    assert found.predict(images).equals(alone.predict(images))
    assert list(found.schema) == ["yaw", "glasses", "smile"]
    assert found.val_scores == alone.val_scores


def test_a_damaged_reader_is_fitted_anew(lessons, tmp_path, fits):
    first = cached_reader(lessons, tmp_path / "cache")
    ((tmp_path / "cache" / lessons.key) / "reader.safetensors").write_bytes(b"broken")

    mended, found = (cached_reader(lessons, tmp_path / "cache") for _ in range(2))

    images = lessons.dataset.images()
    assert len(fits) == 2
    assert torch.equal(first.outputs(images), mended.outputs(images))
    assert torch.equal(first.outputs(images), found.outputs(images))


def test_a_cache_that_cannot_be_written_keeps_no_one_from_reading(lessons, tmp_path, fits):
    (tmp_path / "cache").write_text("a file")

    reader = cached_reader(lessons, tmp_path / "cache")

    assert len(fits) == 1
    assert len(reader.predict(lessons.dataset.images())) == 30


def test_whatever_changes_the_reader_changes_its_key(lessons):
    ids, schema = lessons.ids, lessons.schema
    others = [
        replace(lessons, ids=ids[:-1]),
        replace(lessons, ids=ids[::-1]),
        replace(lessons, schema=dict(reversed(schema.items()))),
        replace(lessons, schema={"yaw": schema["yaw"]}),
        replace(lessons, num_steps=5),
        replace(lessons, seed=1),
        replace(lessons, max_px=16),
    ]

    keys = {one.key for one in others}

    assert len(keys - {lessons.key}) == len(others)
    assert replace(lessons).key == lessons.key


def test_a_corrected_label_changes_the_key(lessons, tmp_path):
    source = ProceduralSource("cats", 30, seed=0, resolution=32)
    assert source.labels is not None
    source.labels.iloc[0, source.labels.columns.get_loc("yaw")] += 1.0
    prepare(
        source, tmp_path / "corrected", resolution=32, schema=parse_schema(label_schema("cats")),
        fractions={"train": 1.0, "val": 0.0, "test": 0.0}, seed=0, shard_size=30,
        max_rejected_fraction=0.0, near_duplicate_bits=0,
    )  # fmt: skip

    corrected = open_dataset(tmp_path / "corrected")

    assert np.array_equal(corrected.images(), lessons.dataset.images())
    assert replace(lessons, dataset=corrected).key != lessons.key


def test_other_code_and_another_number_of_threads_change_the_key(lessons, tmp_path, monkeypatch):
    key = lessons.key
    (tmp_path / "fitting.py").write_text("learning_rate = 1")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    threaded = lessons.key
    monkeypatch.undo()

    monkeypatch.setattr(module, "CODE", tmp_path)

    assert len({key, threaded, lessons.key}) == 3
    assert len([*Path(module.__file__).with_name("readers").glob("*.py")]) > 3  # what it hashes


def test_only_the_newest_readers_are_kept(lessons, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_READERS", 2)
    several = [replace(lessons, num_steps=1, seed=seed) for seed in range(3)]

    for one in several:
        cached_reader(one, tmp_path / "cache")

    assert {path.name for path in (tmp_path / "cache").iterdir()} == {
        one.key for one in several[1:]
    }


def test_large_images_are_shrunk_before_they_are_read():
    images = np.random.default_rng(0).integers(0, 256, (2, 256, 256, 3), dtype=np.uint8)

    shrunk = shrink(images, 128)

    assert shrunk.shape == (2, 128, 128, 3)
    assert abs(float(shrunk[1, 5, 7, 2]) - images[1, 10:12, 14:16, 2].mean()) <= 0.5
    assert shrink(shrunk, 128) is shrunk


def test_a_reader_is_fitted_on_images_of_the_size_that_it_reads(lessons):
    assert lessons.learn().resolution == 32
    assert replace(lessons, max_px=16).learn().resolution == 16
