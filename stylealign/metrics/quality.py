"""The quality gate: what a child must reach before users get it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

DISTANCE: Final = "Fréchet distance to real images, child over parent"


@dataclass(frozen=True)
class Check:
    """One demand of the gate, and what was reached."""

    what: str
    value: float | None
    """None where there is nothing to measure it by; then the demand is not made."""
    bound: float
    is_upper: bool
    """Whether the bound is the most, or the least, that passes."""

    @property
    def is_met(self) -> bool:
        """Whether the value passes; what is not a number never does."""
        if self.value is None:
            return True
        return self.value <= self.bound if self.is_upper else self.value >= self.bound

    @property
    def reason(self) -> str:
        """Why the gate stays shut."""
        limit = "at most" if self.is_upper else "at least"
        return f"{self.what} is {self.value:,.2f}, expected {limit} {self.bound:,.2f}"


def judge_child(
    *,
    distance: float | None,
    start_distance: float | None,
    accepted_share: float | None,
    gains: Sequence[float],
    max_fd_ratio: float,
    min_accepted: float,
    min_gain: float,
) -> tuple[Check, ...]:
    """Hold a child's figures to the demands; it passes if all of them are met.

    A Fréchet distance means nothing by itself: its scale is that of the features, and few images
    add to it. So the child's distance to its domain is held against `start_distance`, that of the
    parent to the child's domain by the same extractor and as many images: 1 is where the
    fine-tuning began. `gains` are those of every label with real child labels, negative controls
    left out; without any, nothing is demanded of their mean.
    """
    mean_gain = sum(gains) / len(gains) if gains else None
    ratio = None if distance is None or not start_distance else distance / start_distance
    return (
        Check(DISTANCE, ratio, max_fd_ratio, is_upper=True),
        Check("share of accepted rows", accepted_share, min_accepted, is_upper=False),
        Check("mean gain over source-only", mean_gain, min_gain, is_upper=False),
    )
