"""Alignment: what parent and child share, in weights, in images and in meaning."""

from stylealign.alignment.agreement import (
    Agreement,
    LabelReader,
    measure_agreement,
    measure_ceiling,
)
from stylealign.alignment.groups import group_of, list_groups, weight_distances
from stylealign.alignment.semantics import Direction, fit_direction, measure_slope
from stylealign.alignment.standing import FixedCodes, Rule, Standing
from stylealign.alignment.swap import reset_groups

__all__ = [
    "Agreement",
    "Direction",
    "FixedCodes",
    "LabelReader",
    "Rule",
    "Standing",
    "fit_direction",
    "group_of",
    "list_groups",
    "measure_agreement",
    "measure_ceiling",
    "measure_slope",
    "reset_groups",
    "weight_distances",
]
