"""How labels become outputs of a reader: losses on the way in, values on the way out."""

from collections.abc import Mapping

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor
from torch.nn import functional

from stylealign.data.encoding import MISSING_CLASS, EncodedLabels, decode_labels
from stylealign.data.labels import LabelSchema
from stylealign.errors import DataError
from stylealign.metrics.accuracy import require_comparable

Readings = dict[str, np.ndarray]
"""What a reader says before it decides: probabilities of each value, or numbers."""


class Target(BaseModel):
    """The outputs that belong to one label, and the scale of a number."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    start: int
    stop: int
    mean: float = 0.0
    scale: float = 1.0


Targets = dict[str, Target]


def plan_targets(labels: EncodedLabels, schema: LabelSchema) -> Targets:
    """Lay out the outputs of all labels, with numbers normalised by their mean and deviation.

    Raises: DataError if a label is of a type that no reader reads, or has no value to learn from.
    """
    targets: Targets = {}
    start = 0
    require_comparable(schema)
    for name, spec in schema.items():
        known = labels[name][_is_known(labels[name])]
        if len(known) == 0:
            raise DataError(f"label {name!r} has no value to learn from, expected at least one")
        if spec.type in ("class", "multilabel"):
            targets[name] = Target(start=start, stop=start + len(spec.values))
        else:
            mean, deviation = float(known.mean()), float(known.std())
            scale = deviation if deviation > 0 else 1.0
            targets[name] = Target(start=start, stop=start + 1, mean=mean, scale=scale)
        start = targets[name].stop
    return targets


def label_loss(
    outputs: Tensor, labels: EncodedLabels, targets: Targets, schema: LabelSchema
) -> Tensor:
    """Sum the losses of all labels; rows with a missing label do not count for it.

    Cross-entropy for classes, binary cross-entropy for multi-labels, and Huber's loss for numbers
    and for the rank of ordinal labels, in units of their deviation.

    Shapes: outputs [N, L]; returns a scalar.
    """
    total = outputs.new_zeros(())
    for name, target in targets.items():
        is_known = torch.from_numpy(_is_known(labels[name]))
        if not is_known.any():
            continue
        predicted = outputs[is_known, target.start : target.stop]
        values = torch.from_numpy(labels[name])[is_known].to(outputs.device)
        if schema[name].type == "class":
            total = total + functional.cross_entropy(predicted, values)
        elif schema[name].type == "multilabel":
            total = total + functional.binary_cross_entropy_with_logits(predicted, values)
        else:
            normalised = (values.float() - target.mean) / target.scale
            total = total + functional.huber_loss(predicted[:, 0], normalised, delta=0.5)
    return total


def read_outputs(outputs: Tensor, targets: Targets, schema: LabelSchema) -> Readings:
    """Turn raw outputs into probabilities of each value, or numbers in the label's own unit.

    Shapes: outputs [N, L]; class and multilabel [N, num_values]; continuous and ordinal [N].
    """
    readings: Readings = {}
    for name, target in targets.items():
        columns = outputs[:, target.start : target.stop].double().cpu()
        if schema[name].type == "class":
            readings[name] = columns.softmax(1).numpy()
        elif schema[name].type == "multilabel":
            readings[name] = columns.sigmoid().numpy()
        else:
            readings[name] = (columns[:, 0] * target.scale + target.mean).numpy()
    return readings


def decide(readings: Mapping[str, np.ndarray], schema: LabelSchema) -> dict[str, list[object]]:
    """Turn readings into label values: the likeliest class, the nearest level, the number."""
    encoded: EncodedLabels = {}
    for name, reading in readings.items():
        spec = schema[name]
        if spec.type == "class":
            encoded[name] = reading.argmax(1)
        elif spec.type == "ordinal":
            encoded[name] = reading.round().clip(0, len(spec.values) - 1).astype(np.int64)
        else:
            encoded[name] = reading
    table = decode_labels(encoded, {name: schema[name] for name in readings})
    return {name: table[name].tolist() for name in readings}


def average(first: Readings, second: Readings) -> Readings:
    """Mean of two readings of the same images: of their probabilities, or of their numbers.

    Raises: KeyError if the second lacks a label of the first.
    """
    return {name: (values + second[name]) / 2 for name, values in first.items()}


def _is_known(values: np.ndarray) -> np.ndarray:
    if values.dtype.kind in "iu":
        return values != MISSING_CLASS
    missing: np.ndarray = np.isnan(values.reshape(len(values), -1))
    return np.asarray(~missing.any(axis=1))
