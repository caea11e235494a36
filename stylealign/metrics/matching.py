"""Matching: images of one domain chosen so that a reader sees in them what it sees in another.

Where a child's domain turns its heads further than the parent does, a child that is to draw that
domain turns them further too, and one code no longer means one pose. So what the two domains
differ by in their labels is taken out before the child learns the rest.
"""

from typing import Final

import numpy as np
from jaxtyping import Bool, Float64
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from stylealign.metrics.readers import Readings

Weights = Float64[np.ndarray, "_"]
Chosen = Bool[np.ndarray, "_"]

_MAX_LOG_WEIGHT: Final = 20.0


def matching_weights(readings: Readings, wanted: Readings) -> Weights:
    """How much more often each image's like occurs among the wanted ones: the ratio of densities.

    A classifier tells the two sets apart by numbers, probabilities of values, their squares and
    products; its odds, with both sets given equal weight, are the ratio. The reader may be biased
    as long as it is so in both sets.

    Shapes: readings of N images and of any number of wanted ones, as `Reader.read` gives them.
    Source: Bickel et al., "Discriminative learning under covariate shift", JMLR 10, 2009.
    """
    own, other = _features(readings), _features(wanted)
    is_wanted = np.repeat([0, 1], [len(own), len(other)])
    classifier = make_pipeline(
        StandardScaler(),
        PolynomialFeatures(2, include_bias=False),
        StandardScaler(),
        LogisticRegression(class_weight="balanced", max_iter=1000),
    )
    classifier.fit(np.concatenate([own, other]), is_wanted)
    log_odds: Weights = classifier.decision_function(own)
    return np.exp(log_odds.clip(-_MAX_LOG_WEIGHT, _MAX_LOG_WEIGHT))


def choose_matching(weights: Weights, closeness: float, min_share: float, seed: int) -> Chosen:
    """Keep each image with a chance in proportion to its weight, as far as a ceiling.

    The ceiling is where `closeness` of all weight lies under it, so that 1 follows the weights
    exactly, and lower where less than `min_share` of the images would be kept. Equal weights keep
    all.
    """
    chances = np.minimum(weights / _ceiling(weights, closeness), 1)
    if chances.mean() < min_share:
        chances = np.minimum(weights / _ceiling_that_keeps(weights, min_share), 1)
    return np.random.default_rng(seed).random(len(weights)) < chances


def _ceiling(weights: Weights, closeness: float) -> float:
    """The c whose sum of min(w, c) is this share of the sum of w."""
    ordered = np.sort(weights)
    below = np.concatenate([[0.0], ordered.cumsum()[:-1]])
    num_above = np.arange(len(ordered), 0, -1)
    reached = below + num_above * ordered  # where the ceiling is that weight
    target = closeness * ordered.sum()
    first = min(int(np.searchsorted(reached, target)), len(ordered) - 1)
    return float((target - below[first]) / num_above[first])


def _ceiling_that_keeps(weights: Weights, share: float) -> float:
    """The c for which the mean of min(w / c, 1) is this share, which falls as c rises."""
    ordered = np.sort(weights)
    below = ordered.cumsum()
    # were the n lowest under the ceiling and all others kept, they would have to give this much
    wanted = share * len(ordered) - np.arange(len(ordered) - 1, -1, -1)
    is_enough = (wanted > 0) & (below <= wanted * np.append(ordered[1:], np.inf))
    first = int(is_enough.argmax())
    return float(below[first] / wanted[first])


def _features(readings: Readings) -> Float64[np.ndarray, "N F"]:
    """Numbers and probabilities as they are; of a class all values but the last, which follows."""
    columns = [
        reading[:, None] if reading.ndim == 1 else reading[:, : max(reading.shape[1] - 1, 1)]
        for reading in readings.values()
    ]
    return np.concatenate(columns, axis=1).astype(np.float64)
