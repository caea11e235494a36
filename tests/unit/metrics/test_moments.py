"""Laws of moments that stream by: order, batches and offsets do not matter."""

import numpy as np
import pytest
import torch

from stylealign.errors import DataError
from stylealign.metrics.distances import frechet_distance, frechet_of_moments
from stylealign.metrics.moments import Moments


def rows(num_rows: int, width: int = 12, seed: int = 0, shift: float = 0.0) -> torch.Tensor:
    drawn = np.random.default_rng(seed).standard_normal((num_rows, width))
    return torch.from_numpy(drawn * np.linspace(0.3, 2, width) + shift)


def covariance(moments: Moments) -> np.ndarray:
    root = moments.root_covariance()
    return (root.T @ root).numpy()


@pytest.mark.parametrize("sizes", [[300], [1] * 9 + [40], [7, 100, 3, 190]])
def test_moments_of_a_stream_equal_those_of_the_whole(sizes):
    whole = rows(sum(sizes))

    streamed = Moments.of_batches(whole.split(sizes))

    assert streamed.num_rows == len(whole)
    assert streamed.mean.numpy() == pytest.approx(whole.numpy().mean(0), abs=1e-13)
    expected = np.cov(whole.numpy().T, ddof=0)
    assert covariance(streamed) == pytest.approx(expected, rel=1e-11, abs=1e-13)


def test_a_far_mean_costs_no_digits():
    whole = rows(500)
    expected = np.cov(whole.numpy().T, ddof=0)

    streamed = Moments.of_batches((whole + 1e6).split(50))

    # sums of squares would be wrong in the fourth digit here: 1e12 in float64 has steps of 1e-4
    assert covariance(streamed) == pytest.approx(expected, rel=1e-8, abs=1e-8)


def test_merging_ignores_the_order_of_the_sets():
    first, second = Moments.of_rows(rows(40)), Moments.of_rows(rows(70, seed=1, shift=2.0))

    one_way, other_way = first.merge(second), second.merge(first)

    assert covariance(one_way) == pytest.approx(covariance(other_way), rel=1e-12, abs=1e-14)
    assert one_way.mean.numpy() == pytest.approx(other_way.mean.numpy(), rel=1e-12)


def test_no_more_rows_are_held_than_twice_the_width():
    streamed = Moments.of_batches(rows(25, seed=seed) for seed in range(40))

    assert streamed.num_rows == 1000
    assert len(streamed.factor) <= 24
    assert streamed.root_covariance().shape == (12, 12)


@pytest.mark.parametrize("num_rows", [9, 200])
def test_frechet_distance_of_streams_equals_that_of_whole_sets(num_rows):
    real, fake = rows(num_rows).float(), rows(150, seed=1, shift=0.4).float()

    streamed = frechet_of_moments(
        Moments.of_batches(real.split(4)), Moments.of_batches(fake.split(64))
    )

    assert streamed == pytest.approx(frechet_distance(real, fake), rel=1e-10)


def test_a_single_row_and_another_width_are_refused():
    good = Moments.of_rows(rows(10))

    with pytest.raises(DataError, match="fake features have 1 rows, expected at least 2"):
        frechet_of_moments(good, Moments.of_rows(rows(1)))
    with pytest.raises(DataError, match="one extractor"):
        frechet_of_moments(good, Moments.of_rows(rows(10, width=5)))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_stream_with_one_bad_number_is_refused(bad):
    good, spoilt = rows(40), rows(40, seed=1)
    spoilt[17, 3] = bad

    with pytest.raises(DataError, match="fake features are not finite"):
        frechet_of_moments(Moments.of_rows(good), Moments.of_batches(spoilt.split(8)))
