"""Which of a child's images it is trained on: those that the parent draws the like of."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from stylealign.data.choosing import choose_ids
from stylealign.data.dataset import ImageDataset, open_dataset
from stylealign.data.labels import LabelSchema
from stylealign.data.manifest import MANIFEST_FILE
from stylealign.errors import DataError
from stylealign.images import PixelBatch
from stylealign.metrics.cached_readers import (
    MAX_READ_PX,
    Lessons,
    most_fitted,
    shrink,
)
from stylealign.metrics.coverage import choose_readable
from stylealign.metrics.matching import choose_matching, matching_weights
from stylealign.metrics.readers import Augmentation, Reader, Readings, Recipe
from stylealign.models import Model
from stylealign.params import MatchParams
from stylealign.training.split import Split
from tasks.lessons import FITTED, choose_schema, learn, sides
from tasks.samples import iterate_samples
from tasks.saying import tell, warn

COLOR_JITTER: Final = 0.6
"""Of the reader, which looks into a domain of other colours; as the augmented source-only arm."""
FEWEST: Final = 100
"""Images below which a choice would cost the child more than it gives: all are kept then."""


@dataclass(frozen=True)
class Matched:
    """The images of a training, and what a reader saw of all that went into the choice."""

    ids: list[str]
    summary: dict[str, Any]


def match_images(
    params: MatchParams,
    parent: Model,
    dataset: ImageDataset,
    labelled: Path,
    cache: Path,
    split: Split,
    *,
    mirror: bool = False,
) -> Matched:
    """Choose images of a data set's training split; the first process chooses for all of them.

    With `mirror` the training shows each image from both sides, so both are looked at.

    Raises: ParamsError for a label that the parent's images do not have; DataError if the reader
        has too few images; DivergenceError if its loss is not finite.
    """
    ids = dataset.ids("train")
    matched = Matched(ids, {})
    if split.rank == 0:
        matched = choose(params, parent, dataset, ids, labelled, cache, mirror=mirror)
    is_kept = torch.from_numpy(np.isin(ids, matched.ids)).to(parent.generator.w_avg.device)
    rows = split.from_first(is_kept.byte()).nonzero().flatten().tolist()
    return Matched([ids[row] for row in rows], matched.summary)


def choose(
    params: MatchParams,
    parent: Model,
    dataset: ImageDataset,
    ids: list[str],
    labelled: Path,
    cache: Path,
    *,
    mirror: bool = False,
) -> Matched:
    """Read both domains and choose; says what came of it.

    Raises: DataError if the labelled set is not prepared, and as `match_images`.
    """
    if not (labelled / MANIFEST_FILE).exists():
        message = f"{labelled.name} with the labels for match is not prepared yet"
        raise DataError(f"{message}; run `stylealign run prepare {labelled.name}` first")
    of_parent = open_dataset(labelled)
    reader = parent_reader(params, of_parent, cache)
    schema = choose_readable(reader.val_scores, reader.schema, of_parent.labels(FITTED))
    unread = [name for name in params.labels if name not in schema]
    if unread:
        warn(f"match leaves out {', '.join(unread)}: a reader hardly guesses it on {labelled.name}")
    if not schema:
        return Matched(ids, {"labels": {}, "num_images": len(ids), "num_kept": len(ids)})
    drawn = read(reader, schema, iterate_samples(parent, params.num_samples, params.seed))
    shown = read(reader, schema, sides(dataset, ids, mirror=mirror))
    weights = matching_weights(shown, drawn).reshape(-1, len(ids)).mean(0)
    is_kept = choose_matching(weights, params.closeness, params.min_share, params.seed)
    if is_kept.sum() < FEWEST:
        warn(f"match would leave {is_kept.sum()} of {len(ids)} images: all are kept")
        is_kept[:] = True
    spreads = {
        name: describe(spec.values, drawn[name], shown[name], np.resize(is_kept, len(shown[name])))
        for name, spec in schema.items()
    }
    kept = [ids[row] for row in np.flatnonzero(is_kept)]
    told = "; ".join(f"{name} {tell_spread(seen)}" for name, seen in spreads.items())
    tell(f"match keeps {len(kept):,} of {len(ids):,} images; spread as read: {told}")
    return Matched(kept, {"labels": spreads, "num_images": len(ids), "num_kept": len(kept)})


def parent_reader(params: MatchParams, dataset: ImageDataset, cache: Path) -> Reader:
    """A reader of the parent's domain that does not go by colours."""
    lessons = Lessons(
        dataset=dataset,
        ids=choose_ids(dataset.ids(FITTED), most_fitted(dataset), params.seed),
        schema=choose_schema(dataset, params.labels),
        num_steps=params.reader_steps,
        seed=params.seed,
        max_px=MAX_READ_PX,
        recipe=Recipe(augmentation=Augmentation(color_jitter=COLOR_JITTER)),
    )
    return learn(lessons, f"reader of {dataset.folder.name}", cache)


def read(reader: Reader, schema: LabelSchema, batches: Iterable[PixelBatch]) -> Readings:
    """What is seen of these labels in images that stream by."""
    parts = [reader.read(shrink(batch, MAX_READ_PX)) for batch in batches]
    return {name: np.concatenate([part[name] for part in parts]) for name in schema}


def describe(
    values: tuple[str, ...], drawn: np.ndarray, shown: np.ndarray, is_kept: np.ndarray
) -> dict[str, Any]:
    """Standard deviation of a number, or mean probability of each value, in the three sets."""
    sets = {"parent": drawn, "all": shown, "kept": shown[is_kept]}
    if drawn.ndim == 1:
        return {name: round(float(seen.std()), 4) for name, seen in sets.items()}
    return {
        name: dict(zip(values, seen.mean(0).round(4).tolist(), strict=True))
        for name, seen in sets.items()
    }


def tell_spread(seen: dict[str, Any]) -> str:
    """One label of the record in words."""

    def show(value: float | dict[str, float]) -> str:
        if not isinstance(value, dict):
            return f"{value:.3g}"
        return " ".join(f"{name} {share:.0%}" for name, share in value.items())

    return f"{show(seen['kept'])}, the parent's {show(seen['parent'])}, of all {show(seen['all'])}"
