"""Coverage: whether samples spread over what the data shows, read by attribute readers."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from stylealign.data.encoding import encode_labels
from stylealign.data.labels import LabelSchema, LabelSpec

MIN_SPREAD = 0.9
MAX_PREVALENCE_GAP = 0.05

MIN_SKILL = 0.3
"""Of a reader, from 0 (it guesses) to 1 (it is always right): with less it tells nothing."""


@dataclass(frozen=True)
class Coverage:
    """Spread of each attribute in samples against the data; a parent passes on what it covers.

    Units: `spread` is a ratio of standard deviations, `prevalence_gap` the largest difference
        of a value's share.
    """

    spread: dict[str, float]
    prevalence_gap: dict[str, float]

    @property
    def is_accepted(self) -> bool:
        """Whether every attribute is covered within the limits of this module."""
        return not self.below

    @property
    def below(self) -> list[str]:
        """Attributes that are not covered within the limits of this module."""
        narrow = [name for name, ratio in self.spread.items() if not ratio >= MIN_SPREAD]
        return narrow + [n for n, gap in self.prevalence_gap.items() if gap > MAX_PREVALENCE_GAP]

    def figures(self) -> dict[str, float]:
        """One number per attribute, ready to be logged: ratio of spread, or gap in points."""
        return {**self.spread, **{name: 100 * gap for name, gap in self.prevalence_gap.items()}}


def measure_coverage(sampled: pd.DataFrame, real: pd.DataFrame, schema: LabelSchema) -> Coverage:
    """Compare what a reader sees in samples with what it sees in data.

    Both tables come from the same reader, so its own shrinkage cancels; that holds only if it
    has seen none of the images. A number that is the same in all data has no spread to cover.

    Shapes: one row per image, one column per label.
    """
    spread: dict[str, float] = {}
    gaps: dict[str, float] = {}
    for name, spec in schema.items():
        if spec.type == "continuous":
            deviations = [float(np.std(table[name].to_numpy())) for table in (sampled, real)]
            if deviations[1] > 0:
                spread[name] = deviations[0] / deviations[1]
        else:
            first, second = (_shares(table, name, spec) for table in (sampled, real))
            gaps[name] = float(np.abs(first - second).max())
    return Coverage(spread, gaps)


def choose_readable(
    scores: Mapping[str, float], schema: LabelSchema, truth: pd.DataFrame
) -> LabelSchema:
    """The labels of which a reader tells anything, by its scores on images it has not seen.

    `truth` holds true labels of them, or of images like them: who guesses a class has only those
    to choose from that occur.
    """
    return {
        name: spec
        for name, spec in schema.items()
        if name in scores and _skill(scores[name], truth, name, spec) >= MIN_SKILL
    }


def _skill(score: float, truth: pd.DataFrame, name: str, spec: LabelSpec) -> float:
    """How much of the way from a guess to perfection a score as of `score_labels` is."""
    chance = 0.5 if spec.type == "multilabel" else 0.0
    if spec.type == "class":
        chance = 1 / np.count_nonzero(_shares(truth, name, spec))
    return (score - chance) / (1 - chance)


def _shares(table: pd.DataFrame, name: str, spec: LabelSpec) -> np.ndarray:
    """How often each value of a class, an ordinal or a multi-label occurs."""
    values = encode_labels(pd.DataFrame(table[[name]]), {name: spec})[name]
    if spec.type != "multilabel":
        values = values[:, None] == np.arange(len(spec.values))
    return values.mean(0)
