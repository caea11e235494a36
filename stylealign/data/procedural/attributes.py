"""Attributes of the procedural domains: what they mean, how they are drawn and how they mirror."""

from collections.abc import Mapping
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from stylealign.errors import ParamsError

Domain = Literal["people", "cats"]
Prevalence = Mapping[str, Mapping[str, float]]

_DOMAINS: tuple[Domain, ...] = get_args(Domain)
_STREAM = 0x5A11  # keeps these draws apart from any other use of the same seed

# (low, high, unit, mirror, tolerance) of every continuous attribute
_RANGES: dict[str, tuple[float, float, str, str, float]] = {
    "yaw": (-40.0, 40.0, "degree", "negate", 5.0),
    "pitch": (-25.0, 25.0, "degree", "invariant", 5.0),
    "smile": (-1.0, 1.0, "", "invariant", 0.2),
    "eye_openness": (0.0, 1.0, "", "invariant", 0.1),
}
_NUISANCE: dict[str, tuple[float, float]] = {
    "size": (0.96, 1.04),  # scale of the head
    "x": (-0.03, 0.03),  # shift of the head to the right, image widths
    "y": (-0.03, 0.03),  # shift of the head downwards, image heights
    "background": (0.0, 1.0),  # place on the ring of background colours
}
_CLASSES: dict[Domain, dict[str, tuple[str, ...]]] = {
    "people": {
        "glasses": ("no", "yes"),
        "tone": ("light", "medium", "dark"),
        "hair_color": ("black", "blond", "red"),
    },
    "cats": {
        "glasses": ("no", "yes"),
        "tone": ("light", "medium", "dark"),
        "eye_color": ("amber", "blue", "green"),
    },
}


def require_domain(domain: str) -> Domain:
    """The same name, once it is known to be a procedural domain.

    Raises: ParamsError if it is not one.
    """
    for known in _DOMAINS:
        if domain == known:
            return known
    raise ParamsError(f"unknown procedural domain {domain!r}: choose one of {list(_DOMAINS)}")


def label_schema(domain: str) -> dict[str, dict[str, Any]]:
    """One plain record per label of a domain: type, values, unit, mirror, tolerance.

    The nuisance columns of `draw_attributes` are no labels and do not appear here.

    Raises: ParamsError if the domain is unknown.
    """
    continuous = {
        name: {
            "type": "continuous",
            "values": None,
            "unit": unit or None,
            "mirror": mirror,
            "tolerance": tolerance,
        }
        for name, (_, _, unit, mirror, tolerance) in _RANGES.items()
    }
    classes = {
        name: {
            "type": "class",
            "values": list(values),
            "unit": None,
            "mirror": "invariant",
            "tolerance": None,
        }
        for name, values in _CLASSES[require_domain(domain)].items()
    }
    return continuous | classes


def class_values(domain: str) -> dict[str, tuple[str, ...]]:
    """The values of every class attribute of a domain."""
    return dict(_CLASSES[require_domain(domain)])


def draw_attributes(
    domain: str, num: int, *, seed: int, prevalence: Prevalence | None = None
) -> pd.DataFrame:
    """Independent attributes of `num` pictures, nuisance columns included.

    Every column has a random stream of its own, made from the domain, the seed and the column's
    name, so the first rows stay the same when more are drawn, and two seeds share nothing.
    Continuous attributes are uniform; classes are uniform unless `prevalence` says otherwise.

    Units: degrees for yaw and pitch; image widths for x and y; see `label_schema` for the rest.
    Raises: ParamsError if the domain, the count or a prevalence cannot be used.
    """
    domain = require_domain(domain)
    classes = _CLASSES[domain]
    if num < 1:
        raise ParamsError(f"the number of pictures must be at least 1, got {num!r}")
    if seed < 0:
        raise ParamsError(f"the seed must not be negative, got {seed!r}")
    shares = _shares(domain, prevalence or {})
    columns: dict[str, Any] = {}
    for name, (low, high, *_) in _RANGES.items():
        columns[name] = _stream(domain, seed, name).uniform(low, high, num)
    for name, values in classes.items():
        edges = np.cumsum(shares[name])[:-1]
        picks = np.searchsorted(edges, _stream(domain, seed, name).random(num), side="right")
        columns[name] = np.asarray(values, dtype=object)[picks]
    for name, (low, high) in _NUISANCE.items():
        columns[name] = _stream(domain, seed, name).uniform(low, high, num)
    return pd.DataFrame(columns)


def _stream(domain: Domain, seed: int, name: str) -> np.random.Generator:
    key = (_STREAM, _DOMAINS.index(domain), seed, *name.encode())
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(key)))


def _shares(domain: Domain, prevalence: Prevalence) -> dict[str, np.ndarray]:
    classes = _CLASSES[domain]
    unknown = set(prevalence) - set(classes)
    if unknown:
        raise ParamsError(
            f"prevalence of {sorted(unknown)!r} cannot be set: {domain!r} has {sorted(classes)}"
        )
    shares: dict[str, np.ndarray] = {}
    for name, values in classes.items():
        given = prevalence.get(name, dict.fromkeys(values, 1.0 / len(values)))
        share = np.array([given.get(value, 0.0) for value in values])
        if set(given) - set(values) or (share < 0).any() or abs(share.sum() - 1.0) > 1e-6:
            raise ParamsError(
                f"prevalence of {name!r} must be shares of {list(values)} that add up to 1, "
                f"got {dict(given)!r}"
            )
        shares[name] = share
    return shares
