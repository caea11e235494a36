"""Laws of the cache of real features: a hit is a recomputation, damage is none of the user's."""

import numpy as np
import pytest
from torch.nn import functional

from stylealign.data.dataset import ImageDataset, open_dataset
from stylealign.metrics import cached_features as module
from stylealign.metrics.cached_features import cached_features
from stylealign.metrics.features import extract_features


class CountedPixels:
    """An extractor that sees an image at 4x4 pixels and counts the images it saw."""

    name = "coarse"

    def __init__(self, hash: str = "coarse") -> None:
        self.hash = hash
        self.num_seen = self.most_at_once = 0

    def __call__(self, images):
        """Sixteen means of each channel."""
        self.num_seen += len(images)
        self.most_at_once = max(self.most_at_once, len(images))
        return functional.adaptive_avg_pool2d(images, 4).flatten(1)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory, prepare_cats) -> ImageDataset:
    return open_dataset(prepare_cats(tmp_path_factory.mktemp("cats"), 10))


def test_a_hit_is_what_a_recomputation_gives_and_sees_no_image(dataset, tmp_path):
    ids, extractor = dataset.ids("train")[:6], CountedPixels()

    first = cached_features(dataset, ids, extractor, tmp_path)
    again = cached_features(dataset, ids, extractor, tmp_path)

    assert extractor.num_seen == 6
    assert np.array_equal(first, extract_features(dataset.images(ids), CountedPixels()))
    assert again.tobytes() == first.tobytes()
    assert again.dtype == first.dtype


def test_another_selection_extractor_or_data_set_is_no_hit(dataset, tmp_path, prepare_cats):
    others = open_dataset(prepare_cats(tmp_path / "others", 10, seed=1))
    ids = dataset.ids("train")[:6]
    cache, other = tmp_path / "cache", CountedPixels("other")
    cached_features(dataset, ids, CountedPixels(), cache)

    fewer = cached_features(dataset, ids[:5], CountedPixels(), cache)
    turned = cached_features(dataset, ids[::-1], CountedPixels(), cache)
    cached_features(dataset, ids, other, cache)
    of_others = cached_features(others, others.ids("train")[:6], CountedPixels(), cache)

    assert len(fewer) == 5
    assert np.array_equal(turned[1:], fewer[::-1])
    assert other.num_seen == 6
    assert not np.array_equal(of_others[:5], fewer)


def test_images_are_decoded_a_batch_at_a_time(dataset, tmp_path, monkeypatch):
    ids, extractor = dataset.ids("train"), CountedPixels()
    whole = extract_features(dataset.images(ids), CountedPixels())
    monkeypatch.setattr(module, "BATCH_SIZE", 4)
    monkeypatch.setattr(ImageDataset, "images", None)

    streamed = cached_features(dataset, ids, extractor, tmp_path)

    assert extractor.most_at_once == 4
    assert streamed == pytest.approx(whole, abs=1e-6)


@pytest.mark.parametrize("damage", ["flipped", "truncated", "emptied", "foreign"])
def test_a_damaged_file_is_made_anew_and_whole(dataset, tmp_path, damage):
    ids, extractor = dataset.ids("train"), CountedPixels()
    whole = cached_features(dataset, ids, extractor, tmp_path)
    (path,) = tmp_path.iterdir()
    content = path.read_bytes()
    broken = {
        "flipped": content[:-1] + bytes([content[-1] ^ 1]),
        "truncated": content[:-7],
        "emptied": b"",
        "foreign": b"\xff" * 100,
    }
    path.write_bytes(broken[damage])

    found = cached_features(dataset, ids, extractor, tmp_path)

    assert found.tobytes() == whole.tobytes()
    assert extractor.num_seen == 20
    assert path.read_bytes() == content
    assert [*tmp_path.iterdir()] == [path]


def test_a_cache_that_cannot_be_written_costs_time_alone(dataset, tmp_path):
    (tmp_path / "features").write_text("a file where the folder should be")

    found = cached_features(dataset, dataset.ids(), CountedPixels(), tmp_path / "features")

    assert len(found) == 10


def test_only_the_newest_files_are_kept(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_FILES", 2)
    ids, extractor = dataset.ids(), CountedPixels()

    for num in (4, 5, 6):
        cached_features(dataset, ids[:num], extractor, tmp_path)
    cached_features(dataset, ids[:6], extractor, tmp_path)

    assert len([*tmp_path.iterdir()]) == 2
    assert extractor.num_seen == 15
