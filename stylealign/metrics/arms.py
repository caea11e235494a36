"""Fitting the arms of a comparison: source-only, transfer and oracle under one recipe."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from stylealign.data.labels import LabelSchema
from stylealign.data.splits import deal_folds
from stylealign.errors import DataError
from stylealign.images import PixelBatch
from stylealign.metrics.readers import Readings, Recipe, average, decide, fit_reader

Predictions = Sequence[pd.DataFrame]
"""What one arm says about the test images: one table per seed."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelledImages:
    """Images with one row of labels each."""

    images: PixelBatch
    labels: pd.DataFrame
    groups: Sequence[Hashable] = ()
    """What each image belongs to, such as a person; those of one group are never separated.
    Empty = each is alone."""

    def __post_init__(self) -> None:
        """Check that every image has its row, and its group where there are groups.

        Raises: DataError if the numbers of images and rows differ.
        """
        if len(self.images) != len(self.labels):
            lengths = (len(self.images), len(self.labels))
            raise DataError(f"there are {lengths!r} images and rows of labels, expected as many")
        if len(self.groups) not in (0, len(self.images)):
            lengths = (len(self.images), len(self.groups))
            raise DataError(f"there are {lengths!r} images and groups, expected as many")

    def take(self, rows: np.ndarray) -> "LabelledImages":
        """Return some of the images."""
        groups = [self.groups[row] for row in rows] if self.groups else ()
        return LabelledImages(
            images=self.images[rows], labels=self.labels.iloc[rows], groups=groups
        )


@dataclass(frozen=True, kw_only=True)
class ArmPredictions:
    """What every arm says about the test images, one table per seed."""

    source_variants: dict[str, list[pd.DataFrame]]
    routes: dict[str, list[pd.DataFrame]]
    readings: dict[str, list[Readings]]
    """The routes' probabilities and numbers before anything was decided."""
    oracle: list[pd.DataFrame]
    num_images: dict[str, int]
    """Number of training images of each arm, validation split included."""


@dataclass(frozen=True, kw_only=True)
class SourceVariants:
    """What distinguishes the three variants of source-only."""

    color_jitter: float = 0.6
    """Strength of the colour jitter of the variant "augmented"."""
    coral_weight: float = 100.0
    """Weight of the covariance distance of the variant "coral"."""

    def recipes(self, recipe: Recipe) -> dict[str, Recipe]:
        """Return the recipe of each variant."""
        jittered = replace(recipe.augmentation, color_jitter=self.color_jitter)
        return {
            "plain": recipe,
            "augmented": replace(recipe, augmentation=jittered),
            "coral": replace(recipe, coral_weight=self.coral_weight),
        }


def fit_arms(
    test: LabelledImages,
    schema: LabelSchema,
    *,
    source: LabelledImages,
    routes: Mapping[str, LabelledImages],
    oracle: LabelledImages | None,
    target_images: PixelBatch,
    seeds: Sequence[int],
    num_steps: int,
    recipe: Recipe | None = None,
    variants: SourceVariants | None = None,
    num_folds: int = 5,
    on_fit: Callable[[int, int, str], None] | None = None,
) -> ArmPredictions:
    """Fit the same small network on every arm's images and let it read the test images.

    All arms share the number of images (that of the smallest), recipe, augmentation and steps,
    and keep the state that is best on a validation split of their own images. Source-only comes
    plain, with colour jitter ("augmented"), and with the feature covariances of unlabelled child
    images ("coral"). Without real labelled child images apart from the test set the oracle is
    cross-fitted inside it: each test image is read by a network that saw neither it nor another
    of its group, fitted on images of the other folds, so the arms share at most
    (num_folds - 1) / num_folds of the test set. The first route is the headline and takes part in
    deciding the shared number; a further route that offers fewer learns from what it has.

    `on_fit` is called after each fit with the number of fits done, their total, and the arm.

    Raises: DataError if there is no seed, no route, an arm has too few images, or an oracle is to
        be cross-fitted in test images of one group alone.
    """
    if not seeds or not routes:
        raise DataError(f"got {len(seeds)} seeds and {len(routes)} routes, expected at least 1")
    recipe = recipe or Recipe()
    source_recipes = (variants or SourceVariants()).recipes(recipe)
    arms = {f"source_{name}": _Arm(source, own) for name, own in source_recipes.items()}
    arms |= {f"route_{name}": _Arm(data, recipe) for name, data in routes.items()}
    folds: list[list[np.ndarray]] = []
    if oracle is not None:
        arms["oracle"] = _Arm(oracle, recipe)
    else:
        folds = [_deal_folds(test, num_folds, seed) for seed in seeds]
    fitter = _Fitter(
        test=test,
        schema=schema,
        target_images=target_images,
        num_steps=num_steps,
        num_images=_shared_number(source, next(iter(routes.values())), oracle or test, folds),
        num_fits=len(seeds) * len(arms) + sum(map(len, folds)),
        on_fit=on_fit,
    )
    read: dict[str, list[Readings]] = {name: [] for name in (*arms, "oracle")}
    for seed in seeds:
        for name, arm in arms.items():
            read[name].append(fitter.fit(name, arm, seed))
    for seed, dealt in zip(seeds, folds, strict=False):
        read["oracle"].append(fitter.cross_fit(recipe, seed, dealt))
    tables = {
        name: [pd.DataFrame(decide(one, schema)) for one in arm] for name, arm in read.items()
    }
    return ArmPredictions(
        source_variants={name: tables[f"source_{name}"] for name in source_recipes},
        routes={name: tables[f"route_{name}"] for name in routes},
        readings={name: read[f"route_{name}"] for name in routes},
        oracle=tables["oracle"],
        num_images=fitter.images_used,
    )


def latent_routes(
    latent: Readings | None, data: Sequence[Readings], schema: LabelSchema
) -> dict[str, Predictions]:
    """The latent route, and its mean with each network of the data route; empty without it."""
    if latent is None:
        return {}
    known = {name: latent[name] for name in schema}
    alone = pd.DataFrame(decide(known, schema))
    both = [pd.DataFrame(decide(average(known, one), schema)) for one in data]
    return {"latent": [alone] * len(data), "combined": both}


def _deal_folds(test: LabelledImages, num_folds: int, seed: int) -> list[np.ndarray]:
    """Rows of the test set by lot in folds that share no group, as far as there are groups."""
    each = test.groups or range(len(test.images))
    folds = deal_folds(each, num_folds, np.random.default_rng([seed, 1]))
    if len(folds) < 2:
        raise DataError(
            "the test images are all of one group, so no oracle can be cross-fitted in them: add "
            "images of another group, or name a set with real labels as `oracle`"
        )
    return folds


def _shared_number(
    source: LabelledImages,
    headline: LabelledImages,
    oracle: LabelledImages,
    folds: Sequence[Sequence[np.ndarray]],
) -> int:
    """Number of images that every arm can offer; a cross-fitted oracle has the other folds."""
    largest_fold = max((len(fold) for dealt in folds for fold in dealt), default=0)
    return min(len(source.images), len(headline.images), len(oracle.images) - largest_fold)


@dataclass(frozen=True)
class _Arm:
    data: LabelledImages
    recipe: Recipe


@dataclass(kw_only=True)
class _Fitter:
    """Fits one arm after the other and counts."""

    test: LabelledImages
    schema: LabelSchema
    target_images: PixelBatch
    num_steps: int
    num_images: int
    num_fits: int
    on_fit: Callable[[int, int, str], None] | None
    num_done: int = 0
    images_used: dict[str, int] = field(default_factory=dict[str, int])

    def fit(self, name: str, arm: _Arm, seed: int) -> Readings:
        """Fit on the shared number of images and read the test set."""
        rows = np.random.default_rng([seed, 0]).permutation(len(arm.data.images))
        shared = arm.data.take(np.sort(rows[: self.num_images]))
        return self._fit(name, shared, arm.recipe, seed, self.test.images)

    def cross_fit(self, recipe: Recipe, seed: int, folds: Sequence[np.ndarray]) -> Readings:
        """Read each fold of the test set after fitting on images of the other folds."""
        parts: list[Readings] = []
        for number, held_out in enumerate(folds):
            others = np.concatenate([*folds[:number], *folds[number + 1 :]])
            shared = self.test.take(np.sort(others[: self.num_images]))
            images = self.test.images[held_out]
            parts.append(self._fit("oracle", shared, recipe, seed, images))
        place = np.argsort(np.concatenate(folds))
        return {name: np.concatenate([part[name] for part in parts])[place] for name in parts[0]}

    def _fit(
        self, name: str, data: LabelledImages, recipe: Recipe, seed: int, images: PixelBatch
    ) -> Readings:
        reader = fit_reader(
            data.images,
            data.labels,
            self.schema,
            seed=seed,
            num_steps=self.num_steps,
            recipe=recipe,
            groups=data.groups,
            target_images=self.target_images,
        )
        self.num_done += 1
        self.images_used[name] = len(data.images)
        if self.on_fit is not None:
            self.on_fit(self.num_done, self.num_fits, name)
        return reader.read(images)
