"""Calibration: from evidence to the probability that a label is right, learned in the parent."""

from collections.abc import Hashable, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int
from pydantic import BaseModel, ConfigDict
from sklearn.isotonic import IsotonicRegression

from stylealign.data.labels import LabelSchema
from stylealign.data.splits import deal_folds
from stylealign.errors import DataError
from stylealign.metrics.accuracy import agreement, column_of
from stylealign.metrics.calibration import CalibrationFigures, measure_calibration
from stylealign.transfer.evidence import (
    is_missing,
    measure_evidence,
    measure_rightness,
)

MIN_ROWS = 50
NUM_FOLDS = 5


class LabelCalibration(BaseModel):
    """A rising curve from evidence to probability, and how well the parent's own cycle reads."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    evidence: tuple[float, ...]
    probability: tuple[float, ...]
    cycle_agreement: float
    """Agreement of given labels with the parent's own cycle: kappa, or Pearson's r."""
    num_rows: int
    held_out: CalibrationFigures
    """What the curve claims for hold-outs that it did not see, against what is true of them."""

    def apply(self, evidence: Float[np.ndarray, " N"]) -> Float[np.ndarray, " N"]:
        """Probability that the label is right, by the curve; evidence beyond its ends is cut."""
        return np.interp(evidence, self.evidence, self.probability)


Calibration = dict[str, LabelCalibration]


def fit_calibration(
    given: pd.DataFrame,
    drawn: pd.DataFrame,
    cycle: pd.DataFrame,
    schema: LabelSchema,
    *,
    rng: np.random.Generator,
    groups: Sequence[Hashable] = (),
) -> Calibration:
    """Learn from parent hold-outs how often a label is right at each strength of evidence.

    Whether a label is right on a drawing is known there, because the parent has a reader. Every
    row counts twice: with its own label, and with that of a random other row. Without these
    wrong labels nothing would tell what weak evidence means.

    `given` holds true labels, `drawn` readings of the inverted images as the parent draws them,
    `cycle` readings after those drawings went through the parent's own cycle. Rows of one of the
    `groups` are not on both sides when the curves are held against what is true, unless it has
    more than half of the rows; the curves that are kept learn from all rows.

    Raises: DataError if there are fewer than `MIN_ROWS` labelled rows.
    """
    each = groups or range(len(given))
    order = rng.permutation(len(given))
    shuffled = given.iloc[order].reset_index(drop=True)
    own = given.reset_index(drop=True)
    parts = [(labels, measure_evidence(labels, cycle, schema)) for labels in (own, shuffled)]
    rightness = [measure_rightness(labels, drawn, schema) for labels, _ in parts]
    calibration: Calibration = {}
    for name, spec in schema.items():
        known = [~is_missing(column_of(labels, name)) for labels, _ in parts]
        if known[0].sum() < MIN_ROWS:
            message = f"label {name!r} has {int(known[0].sum())} rows to calibrate on"
            raise DataError(f"{message}, expected at least {MIN_ROWS}")
        evidence = np.concatenate([
            part[name].to_numpy(np.float64)[rows]
            for (_, part), rows in zip(parts, known, strict=True)
        ])  # fmt: skip
        is_right = np.concatenate([
            part[name].to_numpy(bool)[rows] for part, rows in zip(rightness, known, strict=True)
        ])  # fmt: skip
        knots, probabilities = _fit_curve(evidence, is_right)
        calibration[name] = LabelCalibration(
            evidence=tuple(knots.tolist()),
            probability=tuple(probabilities.tolist()),
            cycle_agreement=agreement(column_of(own, name), column_of(cycle, name), spec),
            num_rows=int(known[0].sum()),
            held_out=_cross_fit(
                evidence, is_right, [np.flatnonzero(rows) for rows in known], each, rng
            ),
        )
    return calibration


def _cross_fit(
    evidence: Float[np.ndarray, " N"],
    is_right: Bool[np.ndarray, " N"],
    rows: list[Int[np.ndarray, " M"]],
    groups: Sequence[Hashable],
    rng: np.random.Generator,
) -> CalibrationFigures:
    """What curves of the other folds claim for rows with their own label, against what is true.

    A row's own label and its wrong one share a fold, since they share the reading. Where a group
    holds more than half of the rows they are dealt singly: the others are too few to learn from.
    """
    places = np.concatenate(rows)
    present = np.unique(places)
    folds = deal_folds([groups[place] for place in present], NUM_FOLDS, rng)
    if 2 * max(map(len, folds)) > len(present):
        folds = np.array_split(rng.permutation(len(present)), NUM_FOLDS)
    claimed = np.empty(len(evidence))
    for fold in folds:
        is_in_fold = np.isin(places, present[fold])
        knots, probabilities = _fit_curve(evidence[~is_in_fold], is_right[~is_in_fold])
        claimed[is_in_fold] = np.interp(evidence[is_in_fold], knots, probabilities)
    num_own = len(rows[0])
    return measure_calibration(claimed[:num_own], is_right[:num_own])


def _fit_curve(
    evidence: Float[np.ndarray, " N"], is_right: Bool[np.ndarray, " N"]
) -> tuple[Float[np.ndarray, " K"], Float[np.ndarray, " K"]]:
    """Isotonic regression whose ends keep a doubt of one row in each bin's count.

    Source: Zadrozny and Elkan, 2002, doi:10.1145/775047.775151.
    """
    bound = 1 / (len(evidence) / 15 + 2)
    curve = IsotonicRegression(y_min=bound, y_max=1 - bound, out_of_bounds="clip")
    curve.fit(evidence, is_right.astype(np.float64))
    return np.asarray(curve.X_thresholds_), np.asarray(curve.y_thresholds_)
