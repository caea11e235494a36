"""Laws of calibration errors, Brier score and AUROC."""

import numpy as np
import pytest
import sklearn.metrics

from stylealign.errors import DataError
from stylealign.metrics.calibration import (
    auroc,
    brier_score,
    expected_calibration_error,
    measure_calibration,
    reliability,
)


@pytest.fixture
def stated() -> tuple[np.ndarray, np.ndarray]:
    rows = np.random.default_rng(0)
    confidence = rows.beta(4, 2, 3000).round(2)  # with ties
    return confidence, rows.random(3000) < confidence


def test_brier_score_and_auroc_equal_those_of_scikit_learn(stated):
    confidence, is_correct = stated

    values = brier_score(confidence, is_correct), auroc(confidence, is_correct)

    assert values[0] == pytest.approx(sklearn.metrics.brier_score_loss(is_correct, confidence))
    assert values[1] == pytest.approx(sklearn.metrics.roc_auc_score(is_correct, confidence))


def test_a_true_confidence_is_calibrated_and_a_shifted_one_is_off_by_its_shift(stated):
    confidence, is_correct = stated

    honest = expected_calibration_error(confidence, is_correct)
    boastful = expected_calibration_error(np.clip(confidence + 0.1, 0, 1), is_correct)

    assert honest < 0.03  # the sampling error of 15 bins of 200
    assert boastful == pytest.approx(0.1, abs=0.03)


def test_bins_hold_equally_many_and_average_back_to_the_whole(stated):
    confidence, is_correct = stated

    diagram = reliability(confidence[:-1], is_correct[:-1])

    assert len(diagram.num_rows) == 15
    assert diagram.num_rows.max() - diagram.num_rows.min() <= 1
    assert (np.diff(diagram.confidence) >= 0).all()
    mean = (diagram.accuracy * diagram.num_rows).sum() / diagram.num_rows.sum()
    assert mean == pytest.approx(is_correct[:-1].mean())


def test_the_order_of_rows_decides_nothing_where_confidences_are_equal():
    is_correct, claims = np.arange(100) % 40 < 25, np.repeat([0.2, 0.6], [40, 60])
    order = np.random.default_rng(0).permutation(100)

    by_name, shuffled = (reliability(claims[o], is_correct[o]) for o in (np.arange(100), order))

    np.testing.assert_allclose(shuffled.accuracy, by_name.accuracy)
    sorted_rows = np.arange(100) < 60
    assert expected_calibration_error(np.full(100, 0.5), sorted_rows) == pytest.approx(0.1)


def test_one_bin_compares_the_means():
    confidence, is_correct = np.array([0.9, 0.7]), np.array([True, False])

    error = expected_calibration_error(confidence, is_correct, num_bins=1)

    assert error == pytest.approx(0.3)


def test_auroc_is_one_half_for_a_constant_and_none_for_one_outcome():
    is_correct = np.array([True, False, True])

    assert auroc(np.full(3, 0.5), is_correct) == 0.5
    assert auroc(np.array([0.1, 0.2, 0.3]), np.ones(3, bool)) is None


@pytest.mark.parametrize("bad", [np.nan, -0.1, 1.5])
def test_what_is_no_probability_is_refused(bad):
    with pytest.raises(DataError, match="row 1"):
        brier_score(np.array([0.5, bad]), np.array([True, False]))


def test_the_figures_of_a_confidence_are_those_of_its_parts(stated):
    confidence, is_correct = stated

    figures = measure_calibration(confidence, is_correct)

    assert figures.ece == expected_calibration_error(confidence, is_correct)
    assert figures.auroc == auroc(confidence, is_correct)
    assert figures.accuracy == pytest.approx(
        np.average(figures.reliability["accuracy"], weights=figures.reliability["num_rows"])
    )
    assert figures.mean_confidence == pytest.approx(confidence.mean())
    assert figures.num_rows == sum(figures.reliability["num_rows"]) == 3000
