"""What readers are fitted on, the fit itself behind a bar, and what they are then shown."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from stylealign.data.dataset import ImageDataset
from stylealign.data.labels import LabelSchema
from stylealign.errors import ParamsError
from stylealign.images import PixelBatch
from stylealign.metrics.cached_readers import READ_AT_ONCE, Lessons, cached_reader
from stylealign.metrics.readers import Reader
from tasks.progress import progress

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


def learn(lessons: Lessons, description: str, cache: Path | None = None) -> Reader:
    """The reader of these lessons, from the folder `cache` where one is given and has it already.

    Raises: DataError or DivergenceError as `Lessons.learn`.
    """

    def fit(lessons: Lessons) -> Reader:
        with progress(description, lessons.num_steps, unit="steps") as bar:
            return lessons.learn(lambda _step: bar.advance())

    return fit(lessons) if cache is None else cached_reader(lessons, cache, fit)


def sides(dataset: ImageDataset, ids: list[str], *, mirror: bool) -> Iterator[PixelBatch]:
    """Images as a training shows them: as they are, and where it mirrors, all of them so again."""
    yield from dataset.batches(ids, READ_AT_ONCE)
    if mirror:
        yield from (batch[:, :, ::-1].copy() for batch in dataset.batches(ids, READ_AT_ONCE))
