"""Laws of resampling."""

import numpy as np
import pytest

from stylealign.errors import DataError
from stylealign.metrics.bootstrap import bootstrap, draw_resamples, interval


def test_resamples_count_every_image_and_seed_once_on_average():
    resamples = draw_resamples(30, 4, num_resamples=4000, rng=np.random.default_rng(0))

    assert (resamples.image_counts.sum(1) == 30).all()
    assert np.allclose(resamples.seed_shares.sum(1), 1)
    assert np.allclose(resamples.image_counts.mean(0), 1, atol=0.1)
    assert np.allclose(resamples.seed_shares.mean(0), 1 / 4, atol=0.02)


def test_one_seed_is_drawn_every_time():
    resamples = draw_resamples(5, 1, num_resamples=3, rng=np.random.default_rng(0))
    scores = np.array([[0.1, 0.2, 0.3]])

    assert (resamples.mean_over_seeds(scores) == scores[0]).all()


def test_the_interval_of_a_mean_is_the_normal_one():
    column = np.random.default_rng(0).standard_normal(400)

    low, high = bootstrap(
        lambda values: float(values.mean()),
        column,
        num_resamples=3000,
        rng=np.random.default_rng(1),
    )

    half_width = 1.96 * column.std() / 20
    assert low == pytest.approx(column.mean() - half_width, abs=0.015)
    assert high == pytest.approx(column.mean() + half_width, abs=0.015)


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    rows = np.random.default_rng(0)
    hits = 0
    for _ in range(200):
        low, high = bootstrap(
            lambda v: float(v.mean()), rows.standard_normal(60), num_resamples=200, rng=rows
        )
        hits += low <= 0 <= high

    assert 0.88 <= hits / 200 <= 0.99  # 0.95, with four standard errors of 200 trials


def test_columns_stay_paired():
    column = np.random.default_rng(0).standard_normal(50)

    low, high = bootstrap(
        lambda a, b: float(np.abs(a - b).max()),
        column,
        column.copy(),
        num_resamples=20,
        rng=np.random.default_rng(1),
    )

    assert (low, high) == (0.0, 0.0)


def test_the_interval_holds_the_central_95_percent():
    assert interval(np.arange(1001.0)) == pytest.approx((25.0, 975.0))


def test_empty_and_unequal_columns_are_refused():
    with pytest.raises(DataError, match="expected equal"):
        bootstrap(np.dot, np.ones(3), np.ones(4), rng=np.random.default_rng(0))
    with pytest.raises(DataError, match="at least 1"):
        draw_resamples(0, 1, num_resamples=10, rng=np.random.default_rng(0))


def test_resamples_without_a_value_are_left_out_as_long_as_they_are_few():
    values = np.arange(1001.0)
    few, many = (np.append(values, np.full(number, np.nan)) for number in (50, 100))

    assert interval(few) == pytest.approx((25.0, 975.0))
    assert np.isnan(interval(many)).all()
