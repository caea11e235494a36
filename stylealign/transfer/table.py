"""The columns of a transferred data set, from the figures of its rows."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float

from stylealign.data.tables import CONFIDENCE_PREFIX, LABEL_PREFIX
from stylealign.errors import DataError
from stylealign.models import ModelConfig, Space
from stylealign.transfer.confidence import Confidence


def build_table(
    parent_ids: Sequence[str],
    given: pd.DataFrame,
    reconstruction: Float[np.ndarray, " N"],
    confidence: Confidence,
    *,
    parent: ModelConfig,
    child: ModelConfig,
    space: Space,
    seed: int,
    min_reconstruction: float,
    min_confidence: float,
) -> pd.DataFrame:
    """One row per transferred image: where it comes from, its labels, and how far to trust them.

    `given` has one column per label, without prefix. A row that fails a threshold stays in the
    table with `accepted` false and the reasons, joined by "; ".

    Units:  reconstruction and min_reconstruction in dB.
    Raises: DataError if the parts differ in length.
    """
    lengths = {len(parent_ids), len(given), len(reconstruction), len(confidence.confidence)}
    if len(lengths) != 1:
        raise DataError(f"ids, labels and figures have {sorted(lengths)!r} rows, expected equal")
    reasons = _reject_reasons(
        reconstruction, confidence.confidence, min_reconstruction, min_confidence
    )
    columns = {
        "parent_id": list(parent_ids),
        "parent_model": parent.id,
        "child_model": child.id,
        "space": space,
        "seed": seed,
        "reconstruction": reconstruction.astype(np.float64),
        "consistency": confidence.consistency,
        "confidence": confidence.confidence,
        "accepted": [not reason for reason in reasons],
        "reject_reason": reasons,
    }
    labels = {f"{LABEL_PREFIX}{name}": given[name].to_numpy() for name in given}
    probabilities = {
        f"{CONFIDENCE_PREFIX}{name}": confidence.by_label[name].to_numpy()
        for name in confidence.by_label
    }
    return pd.DataFrame(columns | labels | probabilities)


def _reject_reasons(
    reconstruction: Float[np.ndarray, " N"],
    confidence: Float[np.ndarray, " N"],
    min_reconstruction: float,
    min_confidence: float,
) -> list[str]:
    checks = (
        (reconstruction, min_reconstruction, f"reconstruction below {min_reconstruction:g} dB"),
        (confidence, min_confidence, f"confidence below {min_confidence:g}"),
    )
    failed = [
        [reason for values, limit, reason in checks if not values[row] >= limit]
        for row in range(len(reconstruction))
    ]
    return ["; ".join(reasons) for reasons in failed]
