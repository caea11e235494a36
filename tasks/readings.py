"""What readers see in a child while it trains: agreement with its parent, and coverage."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pandas as pd
import torch

from stylealign.alignment.agreement import compare_readings, draw_codes
from stylealign.data.choosing import choose_ids
from stylealign.data.dataset import ImageDataset, open_dataset
from stylealign.data.labels import LabelSchema
from stylealign.data.manifest import MANIFEST_FILE
from stylealign.errors import DataError, StyleAlignError
from stylealign.metrics.accuracy import score_labels
from stylealign.metrics.coverage import Coverage, choose_readable, measure_coverage
from stylealign.metrics.readers import Reader
from stylealign.metrics.readers.fitting import MIN_IMAGES
from stylealign.models import Model
from stylealign.params import AnalyzeParams
from stylealign.tensors import to_uint8
from stylealign.training import Training
from tasks.layout import LabelledSets
from tasks.lessons import FITTED, choose_schema, sides
from tasks.readers import domain_reader

MAX_HELD_BYTES: Final = 2 * 10**9
"""Decoded images of a set that a training makes room for to fit a reader."""

UNREAD: Final = "no number or class that the readers of both domains guess well enough"


@dataclass(frozen=True)
class Seen:
    """What readers see in a child at one point of its training, label by label."""

    agreement: dict[str, float]
    """With the parent at equal codes: Pearson's correlation, or Cohen's kappa of classes."""
    coverage: Coverage
    """Of what held-out images of the child's labelled set show."""

    def figures(self) -> dict[str, float]:
        """All of them by name, ready to be logged."""
        agreement = {f"agreement.{name}": value for name, value in self.agreement.items()}
        return agreement | {f"coverage.{k}": v for k, v in self.coverage.figures().items()}

    def __str__(self) -> str:
        agreed = [f"{name} {value:.2f}" for name, value in self.agreement.items()]
        spread = [f"{name} {ratio:.2f}" for name, ratio in self.coverage.spread.items()]
        gaps = self.coverage.prevalence_gap.items()
        covered = spread + [f"{name} {100 * gap:.1f} points off" for name, gap in gaps]
        return f"agreement {', '.join(agreed) or '-'}; coverage {', '.join(covered)}"


class ChildReadings:
    """Reads a child in training beside its parent, where both domains have labelled images.

    It only measures: nothing of what it sees goes into the training, its snapshots or the child.
    What is wrong with the labelled images is said, and ends no training.
    """

    def __init__(
        self,
        training: Training,
        parent: Model,
        sets: LabelledSets | None,
        params: AnalyzeParams,
        cache: Path,
        say: Callable[[str], object],
    ) -> None:
        self.say = say
        self.pair: ReadPair | None = None
        if sets is None or not params.labels:
            return
        with self._survived():
            require_prepared(sets)
            self.pair = ReadPair(training, parent, sets, params, cache)
            unread = [name for name in params.labels if name not in self.pair.shared]
            if unread:
                say(f"no agreement on {', '.join(unread)}: {UNREAD}")

    def measure(self) -> Seen | None:
        """What is seen of the child now; None where it cannot be read."""
        seen = None
        if self.pair is not None:
            with self._survived():
                seen = self.pair.look()
        return seen

    @contextmanager
    def _survived(self) -> Generator[None]:
        """Say what goes wrong while the block lasts, and go on behind it."""
        try:
            yield
        except StyleAlignError as error:
            self.say(f"agreement and coverage of this child are not measured: {error}")


class ReadPair:
    """A child and its parent, and a reader of each domain.

    Readers and codes are those of stage `analyze`; a conditional child draws classes as often as
    it is shown them. Labels that a reader hardly guesses on images it was not fitted on do not
    count.

    Raises: DataError, ParamsError or DivergenceError if the sets do not fit the model, have too
        few images, or nothing that can be read.
    """

    def __init__(
        self,
        training: Training,
        parent: Model,
        sets: LabelledSets,
        params: AnalyzeParams,
        cache: Path,
    ) -> None:
        self.training = training
        first, self.own = (
            read_domain(folder, training, params, cache) for folder in (sets.parent, sets.child)
        )
        if not self.own.readable:
            message = (
                f"a reader hardly guesses any of {list(params.labels)!r} of {sets.child.name!r}"
            )
            raise DataError(
                f"{message}; give it more labelled images, or more analyze.reader_steps"
            )
        self.shared: LabelSchema = {
            name: spec for name, spec in first.readable.items() if name in self.own.readable
        }
        codes = draw_codes(
            parent.generator,
            params.num_samples,
            training.classes.shares.tolist() if training.classes else (),
            batch_size=params.batch_size,
            seed=params.seed,
        )
        zs, classes = zip(*codes, strict=True)
        self.z = torch.cat(zs)
        self.c = None if classes[0] is None else torch.cat(classes)
        self.of_parent = self._read(first.reader, parent)

    def look(self) -> Seen:
        """What is seen of the child as it is now."""
        of_child = self._read(self.own.reader, self.training.model)
        return Seen(
            compare_readings(self.of_parent, of_child, self.shared),
            measure_coverage(of_child, self.own.unseen, self.own.readable),
        )

    @torch.no_grad()
    def _read(self, reader: Reader, model: Model) -> pd.DataFrame:
        """What a reader sees in drawings of the codes, one row each."""

        def read(rows: slice) -> pd.DataFrame:
            c = None if self.c is None else self.c[rows]
            return reader.predict(to_uint8(model.generator(self.z[rows], c)))

        return pd.concat(self.training.portions.map(len(self.z), read), ignore_index=True)


@dataclass(frozen=True, kw_only=True)
class ReadDomain:
    """A domain as its reader sees it."""

    reader: Reader
    unseen: pd.DataFrame
    """What it sees in images that it was not fitted on; from both sides in a mirrored training."""
    readable: LabelSchema
    """Labels of which it tells anything there."""


def read_domain(folder: Path, training: Training, params: AnalyzeParams, cache: Path) -> ReadDomain:
    """The reader of a labelled set, as `analyze` fits it, and how much it can read.

    Raises: DataError, ParamsError or DivergenceError if it cannot be fitted or judged.
    """
    dataset = open_dataset(folder)
    schema = choose_schema(dataset, params.labels)
    require_fit(dataset, training.model.config.resolution)
    ids = unseen_ids(dataset, params)
    reader = domain_reader(folder, params, cache)

    shown = sides(dataset, ids, mirror=training.recipe.mirror)
    unseen = pd.concat([reader.predict(batch) for batch in shown], ignore_index=True)
    truth = dataset.labels().loc[ids, list(schema)].reset_index(drop=True)
    readable = choose_readable(score_labels(truth, unseen.head(len(ids)), schema), schema, truth)
    return ReadDomain(reader=reader, unseen=unseen, readable=readable)


def unseen_ids(dataset: ImageDataset, params: AnalyzeParams) -> list[str]:
    """Images that no reader is fitted on, as many as samples are drawn at most.

    Raises: DataError if there are too few.
    """
    table = dataset.table()
    ids = table.loc[table["split"] != FITTED, "id"].tolist()
    if len(ids) < MIN_IMAGES:
        raise DataError(
            f"{str(dataset.folder)!r} has {len(ids)} images outside of its split {FITTED!r}, "
            f"expected at least {MIN_IMAGES} that its reader is not fitted on: "
            "give it other shares, or more images"
        )
    return choose_ids(ids, params.num_samples, params.seed)


def require_fit(dataset: ImageDataset, resolution: int) -> None:
    """Refuse images of another size than the child draws, and more than a training has room for.

    Raises: DataError that names both sizes.
    """
    if dataset.resolution != resolution:
        raise DataError(
            f"{str(dataset.folder)!r} has images of {dataset.resolution} pixels, the child draws "
            f"{resolution}: set resolution to {resolution} in prepare"
        )
    size = 3 * len(dataset.ids(FITTED)) * resolution**2
    if size > MAX_HELD_BYTES:
        raise DataError(
            f"images of {str(dataset.folder)!r} to fit a reader on take {size / 1e9:.1f} GB, more "
            f"than the {MAX_HELD_BYTES / 1e9:.1f} GB left to it beside a training; stage "
            "`analyze` has these figures"
        )


def require_prepared(sets: LabelledSets) -> None:
    """Refuse sets of which one is not on disk yet.

    Raises: DataError that says which commands make them.
    """
    folders = (sets.parent, sets.child)
    missing = [one.name for one in folders if not (one / MANIFEST_FILE).exists()]
    if missing:
        commands = " and ".join(f"`stylealign run prepare {name}`" for name in missing)
        message = f"{', '.join(missing)} with the labels for it is not prepared yet"
        raise DataError(f"{message}; run {commands} before the training")
