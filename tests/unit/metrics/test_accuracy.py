"""Laws of the scores, each against an independent formula."""

import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import sklearn.metrics

from stylealign.data.labels import LabelSpec
from stylealign.errors import DataError
from stylealign.metrics.accuracy import (
    LabelScorer,
    balanced_accuracy,
    cohen_kappa,
    error_score,
    macro_f1,
    pearson,
    score_labels,
    spearman,
)

CLASS = LabelSpec(type="class", values=("cat", "dog", "owl"))
NUMBER = LabelSpec(type="continuous")


@pytest.fixture
def classes() -> tuple[np.ndarray, np.ndarray]:
    rows = np.random.default_rng(0)
    truth = rows.choice(["cat", "dog", "owl"], 200, p=[0.7, 0.2, 0.1])
    predicted = np.where(rows.random(200) < 0.6, truth, rows.choice(["cat", "dog"], 200))
    return truth, predicted


@pytest.fixture
def numbers() -> tuple[np.ndarray, np.ndarray]:
    rows = np.random.default_rng(0)
    truth = rows.exponential(size=150).round(1)  # skewed and with ties
    return truth, truth + rows.standard_normal(150).round(1)


@pytest.mark.parametrize(
    ("score", "reference"),
    [
        (balanced_accuracy, sklearn.metrics.balanced_accuracy_score),
        (macro_f1, lambda t, p: sklearn.metrics.f1_score(t, p, average="macro")),
        (cohen_kappa, sklearn.metrics.cohen_kappa_score),
    ],
)
def test_scores_of_classes_equal_those_of_scikit_learn(score, reference, classes):
    truth, predicted = classes

    value = score(truth, predicted)

    assert value == pytest.approx(reference(truth, predicted))


@pytest.mark.parametrize(
    ("correlation", "reference"),
    [(pearson, scipy.stats.pearsonr), (spearman, scipy.stats.spearmanr)],
)
def test_correlations_equal_those_of_scipy(correlation, reference, numbers):
    value = correlation(*numbers)

    assert value == pytest.approx(reference(*numbers).statistic)


def test_error_score_compares_with_the_best_constant(numbers):
    truth, predicted = numbers
    constants = np.linspace(truth.min(), truth.max(), 1001)
    best_constant_error = min(np.abs(truth - constant).mean() for constant in constants)

    score = error_score(truth, predicted)

    assert score == pytest.approx(1 - np.abs(truth - predicted).mean() / best_constant_error, 1e-3)
    assert error_score(truth, truth) == 1.0
    assert error_score(truth, np.full_like(truth, np.median(truth))) == 0.0


def test_a_majority_vote_scores_as_chance(classes):
    truth, _ = classes

    majority = np.full_like(truth, "cat")

    assert balanced_accuracy(truth, majority) == pytest.approx(1 / 3)
    assert cohen_kappa(truth, majority) == 0.0


def test_a_correlation_with_a_constant_is_zero(numbers):
    constant = np.ones_like(numbers[0])

    assert pearson(numbers[0], constant) == 0.0
    assert spearman(numbers[0], constant) == 0.0


@pytest.mark.parametrize("value", [0.1, 0.3])
@pytest.mark.parametrize("num", [3, 7, 10, 100, 2000])
def test_two_constants_do_not_correlate_whatever_their_mean_rounds_to(num, value):
    assert pearson(np.full(num, value), np.full(num, value)) == 0.0


def test_a_table_is_scored_label_by_label_and_missing_truths_do_not_count(classes, numbers):
    truth = pd.DataFrame({"animal": classes[0][:150].astype(object), "age": numbers[0]})
    predicted = pd.DataFrame({"animal": classes[1][:150].astype(object), "age": numbers[1]})
    truth.loc[:9, "animal"] = None
    truth.loc[20:29, "age"] = np.nan

    scores = score_labels(truth, predicted, {"animal": CLASS, "age": NUMBER})

    kept = np.r_[0:20, 30:150]
    assert scores["animal"] == pytest.approx(balanced_accuracy(*(c[10:150] for c in classes)))
    assert scores["age"] == pytest.approx(error_score(*(n[kept] for n in numbers)))


def test_ordinal_labels_are_scored_by_their_rank():
    spec = LabelSpec(type="ordinal", values=("low", "mid", "high"))
    truth = pd.DataFrame({"level": ["low", "mid", "high", "high"]})
    predicted = pd.DataFrame({"level": ["low", "high", "high", "mid"]})

    scores = score_labels(truth, predicted, {"level": spec})

    assert scores["level"] == pytest.approx(1 - 0.5 / 0.75)  # the median rank is 1.5


def test_multilabels_are_scored_value_by_value():
    spec = LabelSpec(type="multilabel", values=("hat", "tie"))
    truth = pd.DataFrame({"wears": [["hat"], ["tie"], ["hat", "tie"], []]})
    predicted = pd.DataFrame({"wears": [["hat"], ["hat"], ["hat", "tie"], ["tie"]]})

    scores = score_labels(truth, predicted, {"wears": spec})

    assert scores["wears"] == pytest.approx((0.75 + 0.5) / 2)


def test_a_label_with_one_true_value_has_no_score():
    truth = pd.DataFrame({"animal": ["cat"] * 5, "age": [1.0] * 5})

    scores = score_labels(truth, truth, {"animal": CLASS, "age": NUMBER})

    assert scores == {}


@pytest.mark.parametrize(("name", "spec"), [("animal", CLASS), ("age", NUMBER)])
def test_counting_an_image_twice_equals_listing_it_twice(name, spec, classes, numbers):
    truth = pd.DataFrame({"animal": classes[0][:150], "age": numbers[0]})
    predicted = pd.DataFrame({"animal": classes[1][:150], "age": numbers[1]})
    counts = np.random.default_rng(1).integers(0, 4, (3, 150)).astype(np.float64)
    # a constant predictor of the whole set stays the same in each resample
    counts[:, numbers[0] == np.median(numbers[0])] = 1

    scores = LabelScorer(name, spec, truth).scores(predicted, counts)

    for count, score in zip(counts, scores, strict=True):
        rows = np.repeat(np.arange(150), count.astype(int))
        if spec is CLASS:
            expected = balanced_accuracy(classes[0][rows], classes[1][rows])
        else:
            constant_error = np.abs(numbers[0][rows] - np.median(numbers[0])).sum()
            expected = 1 - np.abs(numbers[0] - numbers[1])[rows].sum() / constant_error
        assert score == pytest.approx(expected)


@pytest.mark.parametrize(("name", "spec"), [("animal", CLASS), ("age", NUMBER)])
def test_a_resample_that_says_nothing_has_no_score(name, spec):
    truth = pd.DataFrame({"animal": ["cat", "dog", None, None], "age": [1.0, 1.0, 1.0, 2.0]})
    counts = np.array([[1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 4.0, 0.0]])

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = LabelScorer(name, spec, truth).scores(truth.ffill(), counts)

    assert scores[0] == 1.0
    assert np.isnan(scores[1])


def test_columns_that_cannot_be_scored_are_refused():
    with pytest.raises(DataError, match="expected equal and at least 1"):
        balanced_accuracy(np.array(["a"]), np.array(["a", "b"]))
    with pytest.raises(DataError, match="not all finite"):
        pearson(np.array([1.0, np.nan]), np.array([1.0, 2.0]))
    with pytest.raises(DataError, match="all equal"):
        error_score(np.ones(3), np.ones(3))
