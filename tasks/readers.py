"""Attribute readers as several stages need them: fitted on true labels of one data set."""

from collections.abc import Sequence
from pathlib import Path

from stylealign.data.dataset import ImageDataset, open_dataset
from stylealign.data.labels import LabelSchema
from stylealign.errors import ParamsError
from stylealign.metrics.arms import LabelledImages
from stylealign.metrics.readers import Reader, fit_reader
from tasks.progress import progress


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


def labelled_images(
    folder: Path, labels: Sequence[str], split: str | None, max_images: int | None = None
) -> LabelledImages:
    """The first images of a split with the labels asked for."""
    dataset = open_dataset(folder)
    names = list(choose_schema(dataset, labels))
    ids = dataset.ids(split)[:max_images]
    table = dataset.labels(split).loc[ids, names].reset_index(drop=True)
    return LabelledImages(images=dataset.images(ids), labels=table)


def train_reader(
    folder: Path,
    labels: Sequence[str],
    *,
    split: str | None = "train",
    num_steps: int,
    seed: int,
    description: str,
) -> Reader:
    """A reader of a data set's labels, fitted on one split; None = on all rows."""
    known = labelled_images(folder, labels, split)
    schema = choose_schema(open_dataset(folder), labels)
    with progress(description, num_steps, unit="steps") as bar:
        return fit_reader(
            known.images,
            known.labels,
            schema,
            seed=seed,
            num_steps=num_steps,
            on_step=lambda _step: bar.advance(),
        )
