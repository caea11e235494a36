"""Gap closed: how much of the way from no child labels to real child labels a transfer goes."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NotRequired, TypedDict

import numpy as np
import pandas as pd

from stylealign.data.labels import LabelSchema, LabelSpec
from stylealign.errors import DataError
from stylealign.images import PixelBatch
from stylealign.metrics.accuracy import (
    LabelScorer,
    accuracy,
    macro_f1,
    mean_absolute_error,
    pearson,
    spearman,
)
from stylealign.metrics.arms import (
    LabelledImages,
    Predictions,
    SourceVariants,
    fit_arms,
    latent_routes,
)
from stylealign.metrics.bootstrap import Resamples, draw_resamples, interval
from stylealign.metrics.readers import Readings, Recipe

MIN_HEADROOM: Final = 0.05
"""Where the oracle may be better than source-only by less than this, no share is given."""

HEADLINE_SEEDS: Final = 5
"""Networks per arm from which a figure may be quoted; with fewer it is a look, not a result."""


CLASS_MEASURES: Final = {"accuracy": accuracy, "f1": macro_f1}
NUMBER_MEASURES: Final = {"spearman": spearman, "pearson": pearson, "mae": mean_absolute_error}
"""What stands beside the score, which is balanced accuracy or 1 - MAE / MAE of a constant."""


class RouteGap(TypedDict):
    """How one route of transfer scores, and what it gains."""

    score: float
    gap_closed: float | None
    low: float | None
    high: float | None
    gain: float
    gain_low: float
    gain_high: float


class LabelGap(TypedDict):
    """The entry of one label in `metrics/evaluate.json`."""

    gap_closed: float | None
    low: float | None
    high: float | None
    reason: str | None
    gain: float
    gain_low: float
    gain_high: float
    source_only: float
    transfer: float
    oracle: float
    headroom_low: float
    score: str
    source_variant: str
    source_variants: dict[str, float]
    routes: dict[str, RouteGap]
    beside: dict[str, dict[str, float]]
    num_test: int
    num_seeds: int
    num_train: NotRequired[dict[str, int]]


def measure_gap(
    test: LabelledImages,
    schema: LabelSchema,
    *,
    source: LabelledImages,
    transfer: LabelledImages,
    oracle: LabelledImages | None,
    target_images: PixelBatch,
    seeds: Sequence[int],
    num_steps: int,
    rng: np.random.Generator,
    filtered: LabelledImages | None = None,
    latent: Readings | None = None,
    predicted_routes: Mapping[str, Predictions] | None = None,
    recipe: Recipe | None = None,
    variants: SourceVariants | None = None,
    num_resamples: int = 2000,
    on_fit: Callable[[int, int, str], None] | None = None,
) -> dict[str, LabelGap]:
    """Fit all arms and compare them: the `labels` entry of `metrics/evaluate.json`.

    The headline is the data route: a network fitted on all transferred child images ("data").
    Beside it stand the accepted ones alone ("filtered"); what a parent's reader says of the test
    images once they were led back to the parent ("latent", the same for each seed), and the mean
    of that and the data route ("combined"); and routes that come as predictions of the test
    images, one table per seed. `target_images` are child images without labels. A figure for the
    docs needs at least `HEADLINE_SEEDS` seeds.

    Raises: DataError if an arm has too few images, or routes do not fit the test set.
    """
    routes = {"data": transfer} | ({} if filtered is None else {"filtered": filtered})
    arms = fit_arms(
        test,
        schema,
        source=source,
        routes=routes,
        oracle=oracle,
        target_images=target_images,
        seeds=seeds,
        num_steps=num_steps,
        recipe=recipe,
        variants=variants,
        on_fit=on_fit,
    )
    gaps = compare_arms(
        test.labels,
        schema,
        source_variants=arms.source_variants,
        routes={
            **arms.routes,
            **latent_routes(latent, arms.readings["data"], schema),
            **(predicted_routes or {}),
        },
        oracle=arms.oracle,
        num_resamples=num_resamples,
        rng=rng,
    )
    for gap in gaps.values():
        gap["num_train"] = arms.num_images
    return gaps


def compare_arms(
    truth: pd.DataFrame,
    schema: LabelSchema,
    *,
    source_variants: Mapping[str, Predictions],
    routes: Mapping[str, Predictions],
    oracle: Predictions,
    headline: str = "data",
    num_resamples: int = 2000,
    rng: np.random.Generator,
) -> dict[str, LabelGap]:
    """Compare predictions of all arms on one real labelled test set, label by label.

    gap closed = (transfer - source_only) / (oracle - source_only), with the mean score over seeds
    of each arm. source_only is, per label, the variant with the highest score *on this test set*:
    the most demanding baseline, since the choice may only raise it. Nothing of ours is chosen so.
    Intervals are those of a bootstrap that draws test images and seeds for all arms at once; the
    n-th table of every arm belongs to the n-th seed. An arm without seeds gives the same table
    for each. Labels with fewer than two different true values are left out.

    Raises: DataError if arms differ in the number of seeds or images, or the headline is missing.
    """
    arms = [*source_variants.values(), *routes.values(), oracle]
    num_seeds = len(oracle)
    if headline not in routes:
        raise DataError(f"routes are {sorted(routes)!r}, expected {headline!r} among them")
    if not source_variants or any(len(arm) != num_seeds for arm in arms):
        sizes = sorted({len(arm) for arm in arms})
        raise DataError(f"arms have {sizes!r} seeds, expected equally many and a source-only arm")
    resamples = draw_resamples(len(truth), num_seeds, num_resamples=num_resamples, rng=rng)
    gaps: dict[str, LabelGap] = {}
    for name, spec in schema.items():
        scorer = LabelScorer(name, spec, truth)
        if scorer.is_scorable:
            comparison = _Comparison(name, spec, truth, scorer, resamples)
            gaps[name] = comparison.describe(source_variants, routes, oracle, headline)
    return gaps


class _ArmScore:
    """The score of one arm and its resampled scores."""

    def __init__(self, scorer: LabelScorer, tables: Predictions, resamples: Resamples) -> None:
        self.tables = tables
        self.score = float(np.mean([scorer.scores(table)[0] for table in tables]))
        scores = np.stack([scorer.scores(table, resamples.image_counts) for table in tables])
        self.resampled = resamples.mean_over_seeds(scores)


class _Comparison:
    """All arms of one label."""

    def __init__(
        self,
        name: str,
        spec: LabelSpec,
        truth: pd.DataFrame,
        scorer: LabelScorer,
        resamples: Resamples,
    ) -> None:
        self._name, self._spec, self._truth = name, spec, truth
        self._scorer, self._resamples = scorer, resamples

    def describe(
        self,
        source_variants: Mapping[str, Predictions],
        routes: Mapping[str, Predictions],
        oracle: Predictions,
        headline: str,
    ) -> LabelGap:
        sources = {name: self._arm(tables) for name, tables in source_variants.items()}
        strongest = max(sources, key=lambda name: sources[name].score)
        source, best = sources[strongest], self._arm(oracle)
        headroom_low, _ = interval(best.resampled - source.resampled)
        is_open = headroom_low >= MIN_HEADROOM
        transfers = {name: self._arm(tables) for name, tables in routes.items()}
        gaps = {n: _route_gap(arm, source, best, is_open=is_open) for n, arm in transfers.items()}
        main = gaps[headline]
        return LabelGap(
            gap_closed=main["gap_closed"],
            low=main["low"],
            high=main["high"],
            reason=None if is_open else _closed_reason(best.score - source.score, headroom_low),
            gain=main["gain"],
            gain_low=main["gain_low"],
            gain_high=main["gain_high"],
            source_only=source.score,
            transfer=main["score"],
            oracle=best.score,
            headroom_low=headroom_low,
            score=_score_name(self._spec),
            source_variant=strongest,
            source_variants={name: arm.score for name, arm in sources.items()},
            routes=gaps,
            beside=self._beside(
                {"source_only": source, "transfer": transfers[headline], "oracle": best}
            ),
            num_test=len(self._truth),
            num_seeds=len(oracle),
        )

    def _arm(self, tables: Predictions) -> _ArmScore:
        return _ArmScore(self._scorer, tables, self._resamples)

    def _beside(self, arms: Mapping[str, _ArmScore]) -> dict[str, dict[str, float]]:
        """Return further scores of the three arms, averaged over seeds."""
        if self._spec.type == "multilabel":
            return {}
        measures = CLASS_MEASURES if self._spec.type == "class" else NUMBER_MEASURES
        known = self._scorer.is_known
        truth = self._values(self._truth)[known]
        read = {name: [self._values(t)[known] for t in a.tables] for name, a in arms.items()}
        return {
            measure_name: {
                arm_name: float(np.mean([measure(truth, predicted) for predicted in tables]))
                for arm_name, tables in read.items()
            }
            for measure_name, measure in measures.items()
        }

    def _values(self, table: pd.DataFrame) -> np.ndarray:
        """Return the label's column, levels of an ordinal label as their ranks."""
        column = table[self._name]
        if self._spec.type == "ordinal":
            ranks = {level: rank for rank, level in enumerate(self._spec.values)}
            return np.array([ranks.get(level, np.nan) for level in column])
        return column.to_numpy()


def _route_gap(
    route: _ArmScore, source: _ArmScore, oracle: _ArmScore, *, is_open: bool
) -> RouteGap:
    gain_low, gain_high = interval(route.resampled - source.resampled)
    gap_closed = low = high = None
    if is_open:
        gap_closed = (route.score - source.score) / (oracle.score - source.score)
        headroom = oracle.resampled - source.resampled
        # a resample without headroom has no share: fewer than one in forty, by the bound above
        shares = (route.resampled - source.resampled) / np.where(headroom > 0, headroom, np.nan)
        low, high = interval(shares)
    return RouteGap(
        score=route.score,
        gap_closed=gap_closed,
        low=low,
        high=high,
        gain=route.score - source.score,
        gain_low=gain_low,
        gain_high=gain_high,
    )


def _closed_reason(headroom: float, headroom_low: float) -> str:
    if np.isnan(headroom_low):
        return (
            f"oracle - source_only is {headroom:.3f} without a bound: too few test images differ "
            "in this label for resamples of them to be scored"
        )
    return (
        f"oracle - source_only is {headroom:.3f} with a lower bound of {headroom_low:.3f}, "
        f"under {MIN_HEADROOM}: there is no gap to close"
    )


def _score_name(spec: LabelSpec) -> str:
    return "balanced_accuracy" if spec.type in ("class", "multilabel") else "1 - mae / mae_constant"
