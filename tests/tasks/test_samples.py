"""Laws of random drawings: a batch at a time, or all at once, they are the same."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from stylealign.checkpoints import load_model
from stylealign.metrics.distances import frechet_distance, frechet_of_moments
from stylealign.metrics.features import extract_features
from stylealign.metrics.moments import Moments
from stylealign.metrics.perceptual import Lite2Blocks, perceptual_distance
from stylealign.tensors import to_float
from tasks import samples as module
from tasks.alignment import measure_change
from tasks.samples import draw_samples, iterate_samples
from tests.full_device import full_above


class CoarsePixels:
    """An extractor that sees an image at 2x2 pixels."""

    name = hash = "coarse"

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Four means of each channel."""
        return functional.adaptive_avg_pool2d(images, 2).flatten(1)


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch):
    monkeypatch.setattr(module, "SAMPLE_BATCH", 16)


def test_samples_are_drawn_a_batch_at_a_time(models):
    parent = load_model(models["parent"])

    batches = list(iterate_samples(parent, 40, seed=3))

    assert [len(images) for images in batches] == [16, 16, 8]
    assert np.array_equal(np.concatenate(batches), draw_samples(parent, 40, seed=3))


def test_how_many_are_drawn_at_once_changes_no_code(models):
    parent = load_model(models["parent"])

    few = np.concatenate(list(iterate_samples(parent, 40, seed=3, num_at_once=5)))

    assert np.abs(few.astype(int) - draw_samples(parent, 40, seed=3)).max() <= 1


def test_a_device_that_holds_few_images_draws_the_same_in_batches_of_the_same_size(models):
    parent = load_model(models["parent"])
    expected = list(iterate_samples(parent, 40, seed=3))

    parent.generator.synthesis.register_forward_pre_hook(full_above(5))
    found = list(iterate_samples(parent, 40, seed=3))

    assert [len(images) for images in found] == [len(images) for images in expected]
    assert np.abs(np.concatenate(found).astype(int) - np.concatenate(expected)).max() <= 1


def test_what_a_change_does_is_the_same_from_batches_as_from_whole_sets(models):
    parent, child = (load_model(models[name]) for name in ("parent", "child"))

    change, moments = measure_change(child, parent, 40, 0, CoarsePixels())

    before, after = (draw_samples(model, 40, seed=0) for model in (child, parent))
    look, features = Lite2Blocks(), extract_features(before, CoarsePixels())
    distance = perceptual_distance(look(to_float(after)), look(to_float(before))).mean()
    fd = frechet_distance(features, extract_features(after, CoarsePixels()))
    streamed = frechet_of_moments(Moments.of_rows(torch.tensor(features)), moments)
    assert change == pytest.approx(distance.item(), rel=1e-5)
    assert streamed == pytest.approx(fd, rel=1e-5)
