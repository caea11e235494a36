"""Coverage: whether samples spread over what the data shows, read by attribute readers."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from stylealign.data.labels import LabelSchema

MIN_SPREAD = 0.9
MAX_PREVALENCE_GAP = 0.05


@dataclass(frozen=True)
class Coverage:
    """Spread of each attribute in samples against the data; a parent passes on what it covers.

    Units: `spread` is a ratio of standard deviations, `prevalence_gap` the largest difference
        of a class's share.
    """

    spread: dict[str, float]
    prevalence_gap: dict[str, float]

    @property
    def is_accepted(self) -> bool:
        """Whether every attribute is covered within the limits of this module."""
        is_spread = all(ratio >= MIN_SPREAD for ratio in self.spread.values())
        return is_spread and all(gap <= MAX_PREVALENCE_GAP for gap in self.prevalence_gap.values())


def measure_coverage(sampled: pd.DataFrame, real: pd.DataFrame, schema: LabelSchema) -> Coverage:
    """Compare what a reader sees in samples with what it sees in data.

    Both tables come from the same reader, so its own shrinkage cancels.

    Shapes: one row per image, one column per label.
    """
    spread: dict[str, float] = {}
    gaps: dict[str, float] = {}
    for name, spec in schema.items():
        first, second = sampled[name].to_numpy(), real[name].to_numpy()
        if spec.type == "continuous":
            spread[name] = float(np.std(first) / np.std(second))
        elif spec.type == "class":
            values = sorted({*first, *second})
            gaps[name] = max(abs(float(np.mean(first == v) - np.mean(second == v))) for v in values)
    return Coverage(spread, gaps)
