"""Shapes of the metrics files, as far as a page shows them."""

from collections.abc import Mapping
from typing import Final, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

Number: TypeAlias = float | None
"""JSON has no NaN: a figure that could not be measured is null."""


class _Figures(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class RouteFigures(_Figures):
    """How one route of transfer does on one label."""

    score: Number
    gap_closed: Number = None
    low: Number = None
    high: Number = None
    gain: Number = None
    gain_low: Number = None
    gain_high: Number = None


class LabelFigures(_Figures):
    """The three arms of one label, and what lies between them."""

    source_only: Number
    transfer: Number
    oracle: Number
    gap_closed: Number
    low: Number = None
    high: Number = None
    reason: str | None = None
    gain: Number
    gain_low: Number = None
    gain_high: Number = None
    score: str = ""
    source_variant: str = ""
    transferable: bool = True
    """What the transfer says of the label, without any child label."""
    not_transferable_because: str = ""
    control: bool = False
    """A label declared as one that the child's domain has no counterpart of."""
    routes: dict[str, RouteFigures] = Field(default_factory=dict)
    num_test: int | None = None
    num_seeds: int | None = None


class Reliability(_Figures):
    """Mean confidence and accuracy per bin of equal mass."""

    confidence: list[float]
    accuracy: list[float]
    num_rows: list[int] = Field(default_factory=list)


class Calibration(_Figures):
    """How far the confidence of one label can be believed in one domain."""

    ece: Number
    brier: Number = None
    auroc: Number = None
    num_rows: int | None = None
    reliability: Reliability | None = None


class ChildFigures(BaseModel):
    """One child in `metrics/evaluate.json`; image quality stands beside the fields named here."""

    model_config = ConfigDict(frozen=True, extra="allow")

    labels: dict[str, LabelFigures] = Field(default_factory=dict)
    references: dict[str, dict[str, Number]] = Field(default_factory=dict)
    """The same distances of the parent's samples (`parent`) and of other real images (`real`)."""
    confidence: dict[str, dict[str, Calibration]] = Field(default_factory=dict)
    """Per label, as `parent` (hold-outs that it was calibrated on) and `child`."""

    @property
    def image_quality(self) -> dict[str, float]:
        """Figures such as fd_lite2_500, by name."""
        extra = self.model_extra or {}
        return {name: float(value) for name, value in extra.items() if _is_number(value)}

    @property
    def distance(self) -> float | None:
        """The Fréchet distance, by whichever extractor it was measured."""
        return _frechet(self.image_quality)

    @property
    def start_distance(self) -> float | None:
        """The same distance of the parent's samples, where the fine-tuning began."""
        return _frechet(self.references.get("parent", {}))


def _frechet(figures: Mapping[str, Number]) -> float | None:
    return next((x for name, x in figures.items() if name.startswith("fd_")), None)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


class Agreement(_Figures):
    """What readers say about parent and child at equal codes."""

    agreement: Number
    low: Number = None
    high: Number = None
    parent_ceiling: Number = None
    child_ceiling: Number = None


class GroupFigures(_Figures):
    """One group of weights: how far it moved, and what its reset does."""

    weight_distance: Number
    reset_perceptual: Number = None
    reset_fd: Number = None


class DirectionFigures(_Figures):
    """The slope of an attribute along its direction, in parent and child."""

    parent_slope: Number
    child_slope: Number


class ChildAnalysis(_Figures):
    """One child in `metrics/analyze.json`."""

    equal_z: dict[str, Agreement] = Field(default_factory=dict)
    groups: dict[str, GroupFigures] = Field(default_factory=dict)
    directions: dict[str, DirectionFigures] = Field(default_factory=dict)


EVALUATIONS: Final = TypeAdapter(dict[str, ChildFigures])
ANALYSES: Final = TypeAdapter(dict[str, ChildAnalysis])
