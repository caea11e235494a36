"""Classes of conditional models: which label they are, and how often the data has each."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from stylealign.data.dataset import ImageDataset
from stylealign.data.encoding import MISSING_CLASS, encode_labels, flip_labels
from stylealign.errors import DataError
from stylealign.models.latents import Labels


@dataclass(frozen=True)
class Classes:
    """The label that a model is conditioned on.

    `shares` is how often D sees each, which mirrored images may have changed.

    Shapes: `shares` [c_dim], of sum 1, in the order of the label's values.
    """

    label: str
    shares: Tensor
    is_mirrored_alike: bool = True
    """Whether a mirrored image has the same class, so that D may see images mirrored."""

    def draw(self, num: int, rng: torch.Generator) -> Labels:
        """Random classes, one-hot, as often as D sees them: [num, c_dim]."""
        picks = torch.multinomial(self.shares, num, replacement=True, generator=rng)
        return torch.eye(len(self.shares))[picks]

    def one_hot(self, labels: dict[str, Tensor]) -> Labels:
        """Classes of a batch of real images, [N, c_dim].

        Raises: DataError if an image of the batch lacks its class.
        """
        values = labels[self.label]
        if (values == MISSING_CLASS).any():
            num = int((values == MISSING_CLASS).sum())
            message = f"{num} images of a batch lack label {self.label!r}, which the model needs"
            raise DataError(message + "; complete it or leave these images out")
        return torch.eye(len(self.shares))[values]

    def of_images(self, dataset: ImageDataset, ids: Sequence[str], num: int) -> Labels:
        """Classes of these images over and over, so that drawings have them as often as they.

        Shapes: returns [num, c_dim].
        """
        spec = dataset.schema[self.label]
        table = dataset.labels().loc[list(ids), [self.label]]
        values = encode_labels(table, {self.label: spec})[self.label]
        return self.one_hot({self.label: torch.from_numpy(np.resize(values, num))})


def find_classes(
    dataset: ImageDataset, label: str, *, split: str = "train", mirror: bool = False
) -> Classes:
    """The classes that a label of a data set gives; with `mirror` half of the images are x-flipped.

    Raises: DataError if there is no such label, it is no class, or some image lacks it.
    """
    spec = dataset.schema.get(label)
    if spec is None or spec.type != "class":
        known = [name for name, other in dataset.schema.items() if other.type == "class"]
        message = f"classes is {label!r}, expected a label of type 'class' of the data set"
        raise DataError(f"{message}: one of {known!r}")
    encoded = encode_labels(dataset.labels(split).loc[:, [label]], {label: spec})
    values = encoded[label]
    missing = int((values == MISSING_CLASS).sum())
    if missing or not len(values):
        message = f"label {label!r} is missing for {missing} of {len(values)} images of {split!r}"
        raise DataError(message + "; a conditional model needs the class of every image")
    if mirror:
        flipped = flip_labels(encoded, {label: spec}, np.ones(len(values), dtype=bool))
        values = np.concatenate([values, flipped[label]])
    counts = torch.from_numpy(np.bincount(values, minlength=len(spec.values))).float()
    return Classes(label, counts / counts.sum(), is_mirrored_alike=spec.mirror == "invariant")
