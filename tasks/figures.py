"""Metrics files: the figures of a stage, in git and in the record."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from prefect import task
from prefect.cache_policies import NO_CACHE


@task(cache_policy=NO_CACHE)
def write_figures(figures: dict[str, Any], path: Path) -> None:
    """Write a metrics file: sorted, rounded to six digits, the same input the same bytes."""
    path.parent.mkdir(exist_ok=True)
    text = json.dumps(rounded(figures), indent=2, sort_keys=True, allow_nan=False)
    path.write_text(text + "\n", "utf-8")


def rounded(value: Any) -> Any:  # noqa: ANN401  any JSON value
    """Numbers with six significant digits; what is not finite becomes null."""
    if isinstance(value, dict):
        return {str(key): rounded(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(inner) for inner in value]
    if isinstance(value, float | np.floating):
        return float(f"{value:.6g}") if np.isfinite(value) else None
    return value


def flat_numbers(figures: dict[str, Any], prefix: str = "") -> dict[str, float]:
    """Every number of a nested record under its dotted path, as MLflow takes them."""
    flat: dict[str, float] = {}
    for key, value in figures.items():
        path = f"{prefix}{key}"
        if isinstance(value, dict):
            flat |= flat_numbers(value, f"{path}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            flat[path] = float(value)
    return flat
