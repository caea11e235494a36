"""Which labels of a data set a stage is about, and which of its images teach a reader."""

from collections.abc import Sequence
from typing import Final

from stylealign.data.dataset import ImageDataset
from stylealign.data.labels import LabelSchema
from stylealign.errors import ParamsError

FITTED: Final = "train"
"""The split that readers are fitted on."""


def choose_schema(dataset: ImageDataset, labels: Sequence[str]) -> LabelSchema:
    """The part of a data set's label schema that was asked for.

    Raises: ParamsError naming a label that the data set does not have.
    """
    for name in labels:
        if name not in dataset.schema:
            raise ParamsError(
                f"label {name!r} is not one of {str(dataset.folder)!r}, "
                f"which has {sorted(dataset.schema)}: take it out of `labels`"
            )
    return {name: dataset.schema[name] for name in labels}
