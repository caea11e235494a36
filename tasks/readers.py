"""Attribute readers as several stages need them: fitted on true labels of one data set."""

from collections.abc import Sequence
from pathlib import Path

from stylealign.data.choosing import choose_ids
from stylealign.data.dataset import open_dataset
from stylealign.metrics.arms import LabelledImages
from stylealign.metrics.cached_readers import Lessons
from stylealign.metrics.readers import Reader
from stylealign.params import AnalyzeParams
from tasks.lessons import FITTED, choose_schema, learn


def labelled_images(
    folder: Path,
    labels: Sequence[str],
    split: str | None,
    max_images: int | None = None,
    seed: int = 0,
) -> LabelledImages:
    """Images of a split, all or some by lot, with the labels asked for."""
    dataset = open_dataset(folder)
    names = list(choose_schema(dataset, labels))
    ids = choose_ids(dataset.ids(split), max_images, seed)
    table = dataset.labels(split).loc[ids, names].reset_index(drop=True)
    return LabelledImages(images=dataset.images(ids), labels=table, groups=dataset.groups(ids))


def train_reader(
    folder: Path,
    labels: Sequence[str],
    *,
    split: str | None = FITTED,
    num_steps: int,
    seed: int,
    description: str,
    cache: Path | None = None,
) -> Reader:
    """A reader of a data set's labels, fitted on one split; None = on all rows.

    It comes from the folder `cache`, where one is given and has it already.
    """
    dataset = open_dataset(folder)
    lessons = Lessons(
        dataset=dataset,
        ids=dataset.ids(split),
        schema=choose_schema(dataset, labels),
        num_steps=num_steps,
        seed=seed,
    )
    return learn(lessons, description, cache)


def domain_reader(folder: Path, params: AnalyzeParams, cache: Path) -> Reader:
    """The reader of a domain that children are analyzed by, while they train and afterwards."""
    return train_reader(
        folder,
        params.labels,
        num_steps=params.reader_steps,
        seed=params.seed,
        description=f"reader of {folder.name}",
        cache=cache,
    )
