"""Confidence of transferred labels, from child pixels and the parent's calibration alone."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pandas as pd
from jaxtyping import Float

from stylealign.data.labels import LabelSchema, LabelSpec
from stylealign.metrics.accuracy import agreement_of_numbers, as_numbers, column_of
from stylealign.metrics.bootstrap import bootstrap
from stylealign.transfer.calibration import Calibration
from stylealign.transfer.evidence import (
    chance_of,
    is_missing,
    measure_evidence,
)
from stylealign.transfer.presence import MIN_PRESENT, Presence, absent_reason
from stylealign.transfer.prominence import MIN_PROMINENCE, Prominence, faint_reason


@dataclass(frozen=True, kw_only=True)
class LabelTransfer:
    """Whether a label comes through in the child, judged without any child label."""

    agreement: float
    """Agreement of given labels with the cycle through the child: kappa, or Pearson's r."""
    low: float
    high: float
    kept: float
    """Share of the parent's own cycle agreement that is left, in [0, 1]."""
    present: float | None = None
    """Of two readers' agreement on drawn images, what is left on real ones; None unmeasured."""
    present_low: float | None = None
    """Lower end of its 95 % interval."""
    prominence: float | None = None
    """Of what the label changes in the parent's pixels, what is left in place; None unmeasured."""
    prominence_high: float | None = None
    """Upper end of its 95 % interval."""
    transferable: bool
    reason: str
    """Why not; empty where it is transferable."""


@dataclass(frozen=True, kw_only=True)
class Confidence:
    """Figures of every row, and the verdict on every label."""

    by_label: pd.DataFrame
    """Probability that the label is right, one column per label; NaN where it is missing."""
    confidence: Float[np.ndarray, " N"]
    """Expected share of right labels among the transferable labels of the row."""
    consistency: Float[np.ndarray, " N"]
    """Mean evidence of the transferable labels of the row."""
    labels: dict[str, LabelTransfer]


def score_confidence(
    given: pd.DataFrame,
    cycle: pd.DataFrame,
    calibration: Calibration,
    schema: LabelSchema,
    *,
    rng: np.random.Generator,
    presence: Mapping[str, Presence] | None = None,
    prominence: Mapping[str, Prominence] | None = None,
    min_kept: float = 0.3,
    num_bootstrap: int = 200,
) -> Confidence:
    """Judge given labels by what the cycle read from the child's images.

    Where a label is lost, the cycle still agrees with it now and then, by chance, and no single
    row shows that. So the whole set is asked first which share of the agreement is `kept`; a row
    is then right with the calibrated probability in that share of cases, else by chance. A label
    is transferable if even the lower bound of what is kept reaches `min_kept`.

    `presence` says how far real child images show each label (`measure_presence`). A label that
    they do not surely show by half is no attribute of the child's domain, whatever trace of it
    the child draws: it is not transferable, and its confidence is chance. The same holds for one
    of whose `prominence` in the parent (`measure_prominence`) surely less than a tenth is left in
    place: the child shows it as something else.
    """
    given = given.reset_index(drop=True)
    evidence = measure_evidence(given, cycle, schema)
    seen, shown = presence or {}, prominence or {}
    labels: dict[str, LabelTransfer] = {}
    columns: dict[str, np.ndarray] = {}
    for name, spec in schema.items():
        ceiling = calibration[name].cycle_agreement
        verdict = judge_label(
            column_of(given, name), column_of(cycle, name), spec, ceiling,
            rng=rng, min_kept=min_kept, num_bootstrap=num_bootstrap,
        )  # fmt: skip
        labels[name] = hear_witnesses(verdict, seen.get(name), shown.get(name))
        is_refuted = verdict.transferable and not labels[name].transferable
        kept = 0.0 if is_refuted else verdict.kept
        probability = calibration[name].apply(evidence[name].to_numpy(np.float64))
        columns[name] = kept * probability + (1 - kept) * chance_of(column_of(given, name), spec)
        columns[name][is_missing(column_of(given, name))] = np.nan
    by_label = pd.DataFrame(columns)
    carried = [name for name, label in labels.items() if label.transferable]
    return Confidence(
        by_label=by_label,
        confidence=_row_means(by_label, carried),
        consistency=_row_means(evidence, carried),
        labels=labels,
    )


def judge_label(
    given: pd.Series, read: pd.Series, spec: LabelSpec, ceiling: float,
    *, rng: np.random.Generator, min_kept: float, num_bootstrap: int,
) -> LabelTransfer:  # fmt: skip
    """Compare the agreement through the child with that of the parent's own cycle, the ceiling."""
    known = ~is_missing(given)
    first, second = (as_numbers(column, spec)[known] for column in (given, read))
    value = agreement_of_numbers(first, second, spec)
    agreement = partial(agreement_of_numbers, spec=spec)
    low, high = bootstrap(agreement, first, second, num_resamples=num_bootstrap, rng=rng)
    kept = float(np.clip(value / ceiling, 0, 1)) if ceiling > 0 else 0.0
    is_kept = ceiling > 0 and low / ceiling >= min_kept
    reason = "" if is_kept else (
        f"the cycle through the child agrees {value:.2f} [{low:.2f}, {high:.2f}] with the label, "
        f"the parent's own cycle {ceiling:.2f}"
    )  # fmt: skip
    return LabelTransfer(
        agreement=value, low=low, high=high, kept=kept, transferable=is_kept, reason=reason
    )


def hear_witnesses(
    verdict: LabelTransfer, seen: Presence | None, shown: Prominence | None
) -> LabelTransfer:
    """Add what images show; it can only speak against a label."""
    against: list[str] = []
    if seen is not None:
        verdict = replace(verdict, present=seen.share, present_low=seen.low)
        against += [absent_reason(seen)] if seen.low < MIN_PRESENT else []
    if shown is not None:
        verdict = replace(verdict, prominence=shown.share, prominence_high=shown.high)
        against += [faint_reason(shown)] if shown.high < MIN_PROMINENCE else []
    if not against or not verdict.transferable:
        return verdict
    return replace(verdict, transferable=False, reason="; ".join(against))


def _row_means(table: pd.DataFrame, columns: list[str]) -> Float[np.ndarray, " N"]:
    """Means over the columns that a row has; 0 where it has none."""
    if not columns:
        return np.zeros(len(table))
    return table[columns].mean(axis=1).fillna(0.0).to_numpy(np.float64)
