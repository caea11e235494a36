"""How much of what its data shows a parent draws, at each of its snapshots."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from stylealign.checkpoints.beside import COVERAGE_FILE
from stylealign.data.dataset import ImageDataset
from stylealign.data.labels import LabelSchema
from stylealign.data.splits import divide_groups
from stylealign.images import PixelBatch
from stylealign.metrics.accuracy import COMPARABLE, score_labels
from stylealign.metrics.cached_readers import (
    MAX_READ_PX,
    Lessons,
    most_fitted,
    shrink,
)
from stylealign.metrics.coverage import (
    MAX_PREVALENCE_GAP,
    MIN_SPREAD,
    Coverage,
    choose_readable,
    measure_coverage,
)
from stylealign.metrics.readers.fitting import MIN_IMAGES
from stylealign.metrics.readers.network import MIN_RESOLUTION
from stylealign.params import CoverageParams
from stylealign.training import Training
from tasks.lessons import learn, sides
from tasks.samples import iterate_samples

NOTHING: Final = Coverage({}, {})


class DataCoverage:
    """Holds a parent in training against its data, label by label, by what a reader sees in both.

    The reader is fitted before the first step, or comes from `cache`; what it sees in the data is
    read from images that it was not fitted on, and labels that it cannot read there do not count.
    Without any label that counts nothing is measured. Figures lie in the training's own state, so
    a run that goes on, or falls back, has those that belong to the kimg it is at; nothing is drawn
    from the rng of the training.
    """

    def __init__(
        self,
        training: Training,
        dataset: ImageDataset,
        params: CoverageParams | None,
        cache: Path,
    ) -> None:
        self.training, self.params = training, params or CoverageParams()
        self.settings = self.params.model_dump(mode="json")
        self.schema: LabelSchema = {}
        self.scores: dict[str, float] = {}
        seen, unseen = divide(dataset, self.params)
        known = readable_schema(dataset, seen) if params else {}
        if not known:
            return
        lessons = Lessons(
            dataset=dataset,
            ids=seen,
            schema=known,
            num_steps=self.params.reader_steps,
            seed=self.params.seed,
            max_px=MAX_READ_PX,
        )
        self.reader = learn(lessons, f"reader of {dataset.folder.name}", cache)
        self.real = self.read(sides(dataset, unseen, mirror=training.recipe.mirror))
        truth = dataset.labels("train").loc[unseen, list(known)]
        self.scores = score_labels(truth, self.real.head(len(unseen)), known)
        self.schema = choose_readable(self.scores, known, truth)

    def read(self, batches: Iterable[PixelBatch]) -> pd.DataFrame:
        """What the reader sees in images that stream by, one row each."""
        read = [self.reader.predict(shrink(batch, MAX_READ_PX)) for batch in batches]
        return pd.concat(read, ignore_index=True)

    def measure(self) -> Coverage:
        """Note what the parent covers now."""
        if not self.schema:
            return NOTHING
        training, params, split = self.training, self.params, self.training.split
        samples = iterate_samples(
            training.model,
            params.num_samples,
            params.seed,
            num_at_once=split.part_size(training.recipe.batch_size),
            draw_c=training.classes.draw if training.classes else None,
        )
        coverage = measure_coverage(self.read(samples), self.real, self.schema)
        training.note_measured({"kimg": training.kimg, **asdict(coverage)}, self.settings)
        return coverage

    def catch_up(self) -> None:
        """Measure the finished parent, if that was done with other settings."""
        if not self.rows or self.rows[-1]["kimg"] != self.training.kimg:
            self.measure()

    @property
    def rows(self) -> list[dict[str, Any]]:
        """What was measured with these settings."""
        return self.training.measured(self.settings) if self.schema else []

    @property
    def last(self) -> Coverage:
        """What was measured last: of the parent itself, once it is done."""
        rows = self.rows
        return Coverage(rows[-1]["spread"], rows[-1]["prevalence_gap"]) if rows else NOTHING

    @property
    def complaint(self) -> str:
        """The labels that are not covered, in a sentence; empty where all are."""
        last = self.last
        said = [
            f"{name} ({last.spread[name]:.2f} of the data's spread)"
            if name in last.spread
            else f"{name} (a share {100 * last.prevalence_gap[name]:.1f} points off)"
            for name in last.below
        ]
        if not said:
            return ""
        advice = "a child cannot inherit what its parent does not draw"
        return f"samples cover too little of {', '.join(said)}: {advice}"

    def tables(self) -> Mapping[str, Any]:
        """The file to keep beside the model, by its name; none where nothing was measured."""
        if not self.rows:
            return {}
        content = {
            "below": self.last.below,
            "min_spread": MIN_SPREAD,
            "max_prevalence_gap": MAX_PREVALENCE_GAP,
            "settings": self.settings,
            "reader_scores": self.scores,
            "snapshots": self.rows,
        }
        return {COVERAGE_FILE: content}


def divide(dataset: ImageDataset, params: CoverageParams) -> tuple[list[str], list[str]]:
    """Images that a reader is fitted on, and those of the same split that it has not seen."""
    ids = dataset.ids("train")
    num_unseen = min(params.num_samples, len(ids) // 2)
    unseen, rest = divide_groups(dataset.groups(ids), num_unseen, seed=params.seed)
    seen = rest[: most_fitted(dataset)]
    return [ids[row] for row in np.sort(seen)], [ids[row] for row in np.sort(unseen)]


def readable_schema(dataset: ImageDataset, ids: list[str]) -> LabelSchema:
    """Labels of a type that readers read, as far as enough of these images have them."""
    if dataset.resolution < MIN_RESOLUTION:
        return {}
    known = dataset.labels("train").loc[ids].notna().sum()
    return {
        name: spec
        for name, spec in dataset.schema.items()
        if spec.type in COMPARABLE and known[name] >= MIN_IMAGES
    }
