"""Numbers, shares and hashes as a reader wants to see them."""

import math

import numpy as np
import pandas as pd

from stylealign.data.labels import LabelSpec
from stylealign.report.content import Cell, Range

NO_NUMBER = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"


def number(value: float | None, digits: int = 2, *, is_signed: bool = False) -> str:
    """A number with a true minus sign; a dash where there is none."""
    if value is None or not math.isfinite(value):
        return NO_NUMBER
    rounded = round(value, digits) + 0.0  # without the sign of a negative zero
    return f"{rounded:{'+' if is_signed else ''},.{digits}f}".replace("-", MINUS)


def significant(value: float | None) -> str:
    """A number of unknown size with about three digits that matter."""
    if value is None or not math.isfinite(value) or value == 0:
        return NO_NUMBER if value is None or not math.isfinite(value) else "0"
    return number(value, max(0, 2 - math.floor(math.log10(abs(value)))))


def interval(low: float | None, high: float | None, *, is_signed: bool = False) -> str:
    """An interval in square brackets; empty where there is none."""
    if low is None or high is None:
        return ""
    return f"[{number(low, is_signed=is_signed)}, {number(high, is_signed=is_signed)}]"


def percent(share: float) -> str:
    """A share of one as a whole percentage; never 0 or 100 unless it is exactly that."""
    if 0 < share < 0.01:
        return "< 1 %"
    if 0.99 < share < 1:
        return "> 99 %"
    return f"{100 * share:.0f} %"


def short_hash(digest: str) -> str:
    """The first digits of a hash: enough to tell two apart."""
    return digest[:12] or NO_NUMBER


def ranged(
    value: float | None,
    low: float | None,
    high: float | None,
    *,
    scale: tuple[float, float],
    is_signed: bool = False,
) -> Cell:
    """A value with its interval as second line and as drawing."""
    if value is None or low is None or high is None:
        return Cell(number(value, is_signed=is_signed), tone="muted")
    drawn = Range(value, low, high, scale)
    text = number(value, is_signed=is_signed)
    return Cell(text, interval(low, high, is_signed=is_signed), range=drawn)


def plural(count: int, noun: str) -> str:
    """A count with its noun."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def label_text(value: object, spec: LabelSpec) -> str:
    """The value of a label, with its unit."""
    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return NO_NUMBER
    if spec.type == "continuous" and isinstance(value, float | int):
        is_degree = spec.unit in ("degree", "degrees", "deg")
        unit = "°" if is_degree else f" {spec.unit}" if spec.unit else ""
        return number(value, 0 if is_degree else 2) + unit
    if isinstance(value, list | tuple | np.ndarray):
        counted = {"keypoints": "point", "boxes": "box"}.get(spec.type)
        if counted == "point":
            return plural(len(value) // 2, counted)
        return f"{len(value)} boxes" if counted else ", ".join(map(str, value)) or "none"
    return "mask" if spec.type == "mask" else str(value)


def words(name: str) -> str:
    """The name of a label or reason as words."""
    return name.replace("_", " ")
