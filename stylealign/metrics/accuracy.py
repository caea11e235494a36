"""Scores of predicted labels against true ones, and agreement of any two columns of a label."""

from typing import Final, cast

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from stylealign.data.encoding import MISSING_CLASS, encode_labels
from stylealign.data.labels import LabelSchema, LabelSpec
from stylealign.errors import DataError

Values = np.ndarray | pd.Series

COMPARABLE: Final = ("class", "multilabel", "continuous", "ordinal")
"""Types of labels whose values are the same or not, or a distance apart, wherever they are."""


def require_comparable(schema: LabelSchema) -> None:
    """Refuse labels of other types.

    Raises: DataError naming the label and its type.
    """
    for name, spec in schema.items():
        if spec.type not in COMPARABLE:
            message = f"label {name!r} is of type {spec.type!r}, expected one of {COMPARABLE!r}"
            raise DataError(f"{message}; leave it out of `labels`")


def balanced_accuracy(truth: Values, predicted: Values) -> float:
    """Average the recall of every class that occurs in the truth.

    Raises: DataError if the two differ in length or are empty.
    """
    table = _confusion(truth, predicted)
    occurs = table.sum(1) > 0
    return float((table.diagonal()[occurs] / table.sum(1)[occurs]).mean())


def accuracy(truth: Values, predicted: Values) -> float:
    """Return the share of equal values.

    Raises: DataError if the two differ in length or are empty.
    """
    table = _confusion(truth, predicted)
    return float(table.trace() / table.sum())


def macro_f1(truth: Values, predicted: Values) -> float:
    """Average the F1 of every class that occurs in the truth or among the predictions.

    Raises: DataError if the two differ in length or are empty.
    """
    table = _confusion(truth, predicted)
    return float((2.0 * table.diagonal() / (table.sum(0) + table.sum(1))).mean())


def cohen_kappa(truth: Values, predicted: Values) -> float:
    """Measure agreement beyond chance: 1 is perfect, 0 is what independent raters reach.

    Where both raters use one same class only, chance explains everything and the value is 0.

    Raises: DataError if the two differ in length or are empty.
    Source: Cohen, 1960, doi:10.1177/001316446002000104.
    """
    table = _confusion(truth, predicted) / len(truth)
    observed = float(table.trace())
    expected = float(table.sum(0) @ table.sum(1))
    return (observed - expected) / (1.0 - expected) if expected < 1.0 else 0.0


def mean_absolute_error(truth: Values, predicted: Values) -> float:
    """Average the absolute error, in the label's own unit (levels, of an ordinal label).

    Raises: DataError if the two differ in length or are empty.
    """
    true_values, predictions = _check_numbers(truth, predicted)
    return float(np.abs(true_values - predictions).mean())


def error_score(truth: Values, predicted: Values) -> float:
    """Compare errors with those of a constant: 1 - MAE / MAE of the best constant predictor.

    The best constant for absolute errors is the median of the true values. 1 is perfect, 0 is as
    good as knowing nothing, and the score has no lower bound.

    Raises: DataError if the two differ in length, are empty, or all true values are equal.
    """
    true_values, predictions = _check_numbers(truth, predicted)
    constant_error = np.abs(true_values - np.median(true_values)).mean()
    if constant_error == 0:
        raise DataError("true values are all equal, expected at least two different ones")
    return float(1.0 - np.abs(true_values - predictions).mean() / constant_error)


def pearson(first: Values, second: Values) -> float:
    """Correlate two columns of numbers; 0 where one of them is constant.

    Raises: DataError if the two differ in length or are empty.
    """
    numbers = _check_numbers(first, second)
    if min(map(np.ptp, numbers)) == 0:
        return 0.0  # its mean may be off by a rounding, which two constants would share
    columns = [values - values.mean() for values in numbers]
    norm = np.linalg.norm(columns[0]) * np.linalg.norm(columns[1])
    return float(np.clip(columns[0] @ columns[1] / norm, -1.0, 1.0)) if norm > 0 else 0.0


def spearman(first: Values, second: Values) -> float:
    """Correlate the ranks of two columns of numbers; ties share their mean rank.

    Raises: DataError if the two differ in length or are empty.
    """
    ranks = [pd.Series(values).rank().to_numpy() for values in _check_numbers(first, second)]
    return pearson(ranks[0], ranks[1])


def agreement(first: pd.Series, second: pd.Series, spec: LabelSpec) -> float:
    """How far two columns go together, over rows that have both: 1 is perfect, 0 is chance.

    Cohen's kappa of classes, and its mean over the values of a multi-label; Pearson's
    correlation of numbers and of levels.
    """
    return agreement_of_numbers(as_numbers(first, spec), as_numbers(second, spec), spec)


def agreement_of_numbers(
    first: Float[np.ndarray, "N K"], second: Float[np.ndarray, "N K"], spec: LabelSpec
) -> float:
    """The same of two columns that are numbers already, as `as_numbers` makes them."""
    known = np.isfinite(first).all(axis=1) & np.isfinite(second).all(axis=1)
    measure = pearson if spec.type in ("continuous", "ordinal") else cohen_kappa
    columns = zip(first[known].T, second[known].T, strict=True)
    return float(np.mean([measure(one, other) for one, other in columns]))


def column_of(table: pd.DataFrame, name: str) -> pd.Series:
    """One column, which pandas' own types leave open."""
    return cast("pd.Series", table[name])


def as_numbers(column: pd.Series, spec: LabelSpec) -> Float[np.ndarray, "N K"]:
    """The label as numbers: place of a class, rank of a level, membership of each value.

    Shapes: [N, num_values] for a multi-label, else [N, 1]; NaN where the label is missing.
    """
    name = "label"
    encoded = encode_labels(pd.DataFrame({name: column.to_numpy()}), {name: spec})[name]
    numbers = encoded.astype(np.float64).reshape(len(column), -1)
    if spec.type in ("class", "ordinal"):
        numbers[numbers < 0] = np.nan
    return numbers


def score_labels(
    truth: pd.DataFrame, predicted: pd.DataFrame, schema: LabelSchema
) -> dict[str, float]:
    """Score every label of a table by the house's definition.

    Balanced accuracy for classes (averaged over the values of a multi-label), `error_score` for
    numbers and for the rank of ordinal labels. Rows without a true value do not count; a label
    with fewer than two different true values has no score and is left out.
    """
    scores: dict[str, float] = {}
    for name, spec in schema.items():
        scorer = LabelScorer(name, spec, truth)
        if scorer.is_scorable:
            scores[name] = float(scorer.scores(predicted)[0])
    return scores


class LabelScorer:
    """The score of one label as a function of how often each image counts.

    Bootstrap resamples are such counts, so a thousand of them are one product of matrices.
    """

    def __init__(self, name: str, spec: LabelSpec, truth: pd.DataFrame) -> None:
        """Prepare the true values of a label of type class, multilabel, continuous or ordinal."""
        self._name = name
        self._spec = spec
        self._truth = self._columns(truth)
        if spec.type in ("class", "multilabel"):
            self._is_known = self._truth >= 0
        else:
            self._is_known = np.isfinite(self._truth)
            known = self._truth[self._is_known]
            constant = np.median(known) if known.size else 0.0
            self._constant_error = np.where(self._is_known, np.abs(self._truth - constant), 0.0)

    @property
    def is_scorable(self) -> bool:
        """Whether at least two different true values are there, in every column of the label."""
        columns = zip(self._truth.T, self._is_known.T, strict=True)
        return all(len(np.unique(column[known])) > 1 for column, known in columns)

    @property
    def is_known(self) -> Bool[np.ndarray, " N"]:
        """Images with a true value, of those that the schema names."""
        return np.asarray(self._is_known.all(axis=1))

    def scores(
        self, predicted: pd.DataFrame, counts: Float[np.ndarray, "B N"] | None = None
    ) -> Float[np.ndarray, " B"]:
        """Score predictions once for every row of counts; without counts each image counts once.

        A class that a resample misses does not count in it. A resample that no constant is wrong
        in, or that has no image with a true value, has no score (NaN).

        Shapes: counts [B, N] for N images; returns [B].
        Raises: DataError if the number of predictions is not that of the true values.
        """
        if len(predicted) != len(self._truth):
            lengths = (len(self._truth), len(predicted))
            raise DataError(f"true and predicted labels have {lengths!r} rows, expected equal")
        weights = np.ones((1, len(self._truth))) if counts is None else counts
        predictions = self._columns(predicted)
        if self._spec.type in ("class", "multilabel"):
            return self._recalls(predictions, weights)
        errors = np.where(self._is_known, np.abs(self._truth - predictions), 0.0)
        return 1.0 - _quotient((weights @ errors)[:, 0], (weights @ self._constant_error)[:, 0])

    def _columns(self, table: pd.DataFrame) -> np.ndarray:
        """Return the label as [N, 1], or [N, num_values] for a multi-label."""
        values = encode_labels(pd.DataFrame(table[[self._name]]), {self._name: self._spec})[
            self._name
        ]
        if self._spec.type == "multilabel":
            return np.where(np.isnan(values), MISSING_CLASS, values).astype(np.int64)
        if self._spec.type == "ordinal":
            return np.where(values == MISSING_CLASS, np.nan, values)[:, None]
        return values[:, None].astype(np.float64 if self._spec.type == "continuous" else np.int64)

    def _recalls(self, predictions: np.ndarray, weights: np.ndarray) -> np.ndarray:
        num_classes = 2 if self._spec.type == "multilabel" else len(self._spec.values)
        per_column: list[np.ndarray] = []
        for truth, column in zip(self._truth.T, predictions.T, strict=True):
            of_class = (truth[:, None] == np.arange(num_classes)).astype(np.float64)
            masses = weights @ of_class
            hits = weights @ (of_class * (truth == column)[:, None])
            recalls = np.divide(hits, masses, out=np.zeros_like(hits), where=masses > 0)
            per_column.append(_quotient(recalls.sum(1), (masses > 0).sum(1)))
        return np.mean(per_column, axis=0)


def _quotient(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """NaN where it is divided by nothing."""
    return np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0)


def _confusion(truth: Values, predicted: Values) -> Float[np.ndarray, "K K"]:
    """Count pairs of true and predicted class, rows being the truth."""
    first, second = np.asarray(truth), np.asarray(predicted)
    _check_lengths(first, second)
    classes, codes = np.unique(np.concatenate([first, second]), return_inverse=True)
    table = np.zeros((len(classes), len(classes)))
    np.add.at(table, (codes[: len(first)], codes[len(first) :]), 1.0)
    return table


def _check_numbers(first: Values, second: Values) -> tuple[np.ndarray, np.ndarray]:
    numbers = np.asarray(first, np.float64), np.asarray(second, np.float64)
    _check_lengths(*numbers)
    if not (np.isfinite(numbers[0]).all() and np.isfinite(numbers[1]).all()):
        raise DataError("values are not all finite; leave out rows without a value")
    return numbers


def _check_lengths(first: np.ndarray, second: np.ndarray) -> None:
    if len(first) != len(second) or len(first) == 0:
        lengths = (len(first), len(second))
        raise DataError(f"columns have {lengths!r} values, expected equal and at least 1")
