"""Carrying: the label that a redrawn image shows, from the one that its original was given."""

import numpy as np
import pandas as pd

from stylealign.data.encoding import EncodedLabels, decode_labels, encode_labels
from stylealign.data.labels import LabelSchema, LabelSpec
from stylealign.metrics.accuracy import column_of
from stylealign.transfer.evidence import require_transferable


def follow_redrawing(
    given: pd.DataFrame, original: pd.DataFrame, redrawn: pd.DataFrame, schema: LabelSchema
) -> pd.DataFrame:
    """Move given labels by what a reader sees change between images and their redrawings.

    An inversion does not find everything: a wide smile comes back narrower, glasses now and then
    not at all, and what the code does not hold no child can draw. A label that is carried on all
    the same teaches that narrow smiles are wide. Both readings come from one reader of the
    parent's domain, whose errors on an image cancel as far as it makes them on both drawings.

    A number moves by the difference of the readings, within the range of the given ones; a level
    by as many levels. A class is replaced where the original was read rightly and the redrawing
    as something else, a multi-label so value by value. A missing label stays missing.

    Shapes: all tables have N rows in one order; returns N rows, one column per label.
    Raises: DataError if a label is of a type that cannot be carried over.
    """
    require_transferable(schema)
    own, before, after = (_encode(table, schema) for table in (given, original, redrawn))
    moved = {
        name: _move(own[name], before[name], after[name], spec) for name, spec in schema.items()
    }
    return decode_labels(moved, schema)


def _encode(table: pd.DataFrame, schema: LabelSchema) -> EncodedLabels:
    """Labels as arrays; numbers in full, so that one which does not move stays what it was."""
    numbers = {
        name: column_of(table, name).to_numpy(np.float64, na_value=np.nan)
        for name, spec in schema.items()
        if spec.type == "continuous"
    }
    return encode_labels(table, schema) | numbers


def _move(given: np.ndarray, before: np.ndarray, after: np.ndarray, spec: LabelSpec) -> np.ndarray:
    if spec.type == "continuous":
        if np.isnan(given).all():
            return given
        return (given + (after - before)).clip(np.nanmin(given), np.nanmax(given))
    if spec.type == "ordinal":
        is_known = given >= 0
        return np.where(is_known, (given + (after - before)).clip(0, len(spec.values) - 1), given)
    return np.where(before == given, after, given)
