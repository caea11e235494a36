"""How far a stated confidence can be believed."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int
from pydantic import BaseModel, ConfigDict

from stylealign.errors import DataError

Confidence = Float[np.ndarray, " N"]
Correct = Bool[np.ndarray, " N"]


class Reliability(NamedTuple):
    """A reliability diagram: one entry per bin, from the lowest confidence up."""

    confidence: Float[np.ndarray, " B"]
    accuracy: Float[np.ndarray, " B"]
    num_rows: Int[np.ndarray, " B"]


def reliability(confidence: Confidence, is_correct: Correct, *, num_bins: int = 15) -> Reliability:
    """Compare mean confidence and accuracy in bins of equal mass.

    Bins hold equally many predictions, up to one, so that none is empty or decided by a few. Equal
    confidences make one claim: where a bin's edge divides them, each side has their mean accuracy,
    so the order of rows decides nothing.

    Raises: DataError if there is no prediction, or a confidence lies outside [0, 1].
    """
    _check(confidence, is_correct)
    order = np.argsort(confidence, kind="stable")
    bins = np.array_split(order, min(num_bins, len(order)))
    accuracy = pd.Series(is_correct.astype(np.float64)).groupby(confidence).transform("mean")
    return Reliability(
        confidence=np.array([confidence[rows].mean() for rows in bins]),
        accuracy=np.array([accuracy[rows].mean() for rows in bins]),
        num_rows=np.array([len(rows) for rows in bins]),
    )


def expected_calibration_error(
    confidence: Confidence, is_correct: Correct, *, num_bins: int = 15
) -> float:
    """Average the gap between confidence and accuracy over bins of equal mass.

    Raises: DataError if there is no prediction, or a confidence lies outside [0, 1].
    Source: Nguyen and O'Connor, arXiv:1508.05154 (adaptive binning).
    """
    diagram = reliability(confidence, is_correct, num_bins=num_bins)
    gaps = np.abs(diagram.confidence - diagram.accuracy)
    return float((gaps * diagram.num_rows).sum() / len(confidence))


def brier_score(confidence: Confidence, is_correct: Correct) -> float:
    """Average the squared distance of a confidence from what came true: 0 is best.

    Raises: DataError if there is no prediction, or a confidence lies outside [0, 1].
    """
    _check(confidence, is_correct)
    return float(np.square(confidence - is_correct).mean())


def auroc(confidence: Confidence, is_correct: Correct) -> float | None:
    """Estimate how likely a correct prediction has more confidence than a wrong one.

    Ties count one half. None where all predictions are correct, or all wrong.

    Raises: DataError if there is no prediction, or a confidence lies outside [0, 1].
    """
    _check(confidence, is_correct)
    num_correct = int(is_correct.sum())
    num_wrong = len(is_correct) - num_correct
    if num_correct == 0 or num_wrong == 0:
        return None
    rank_sum = pd.Series(confidence).rank().to_numpy()[is_correct].sum()
    wins = rank_sum - num_correct * (num_correct + 1) / 2
    return float(wins / (num_correct * num_wrong))


class CalibrationFigures(BaseModel):
    """How far one label's confidence can be believed, as metrics files hold it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ece: float
    brier: float
    auroc: float | None
    accuracy: float
    """Share of labels that were right, whatever was claimed."""
    mean_confidence: float
    num_rows: int
    reliability: dict[str, list[float]]


def measure_calibration(confidence: Confidence, is_correct: Correct) -> CalibrationFigures:
    """All figures of one confidence, with the diagram that the error is read from.

    Raises: DataError if there is no prediction, or a confidence lies outside [0, 1].
    """
    diagram = reliability(confidence, is_correct)
    return CalibrationFigures(
        ece=expected_calibration_error(confidence, is_correct),
        brier=brier_score(confidence, is_correct),
        auroc=auroc(confidence, is_correct),
        accuracy=float(is_correct.mean()),
        mean_confidence=float(confidence.mean()),
        num_rows=len(confidence),
        reliability={
            "confidence": diagram.confidence.tolist(),
            "accuracy": diagram.accuracy.tolist(),
            "num_rows": diagram.num_rows.tolist(),
        },
    )


def _check(confidence: Confidence, is_correct: Correct) -> None:
    if len(confidence) == 0 or len(confidence) != len(is_correct):
        lengths = (len(confidence), len(is_correct))
        raise DataError(f"columns have {lengths!r} values, expected equal and at least 1")
    is_probability = (confidence >= 0.0) & (confidence <= 1.0)  # not true for NaN
    if not is_probability.all():
        row = int(np.argmin(is_probability))
        raise DataError(f"confidence is {confidence[row]!r} in row {row}, expected [0, 1]")
