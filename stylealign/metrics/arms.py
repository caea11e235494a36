"""Fitting the arms of a comparison: source-only, transfer and oracle under one recipe."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from stylealign.data.labels import LabelSchema
from stylealign.errors import DataError
from stylealign.images import PixelBatch
from stylealign.metrics.readers import Recipe, fit_reader


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelledImages:
    """Images with one row of labels each."""

    images: PixelBatch
    labels: pd.DataFrame

    def __post_init__(self) -> None:
        """Check that every image has its row.

        Raises: DataError if the numbers of images and rows differ.
        """
        if len(self.images) != len(self.labels):
            lengths = (len(self.images), len(self.labels))
            raise DataError(f"there are {lengths!r} images and rows of labels, expected as many")

    def take(self, rows: np.ndarray) -> "LabelledImages":
        """Return some of the images."""
        return LabelledImages(images=self.images[rows], labels=self.labels.iloc[rows])


@dataclass(frozen=True, kw_only=True)
class ArmPredictions:
    """What every arm says about the test images, one table per seed."""

    source_variants: dict[str, list[pd.DataFrame]]
    routes: dict[str, list[pd.DataFrame]]
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

    All arms share the number of images (that of the smallest, except a route that offers fewer),
    recipe, augmentation and steps, and keep the state that is best on a validation split of their
    own images. Source-only comes plain, with colour jitter ("augmented"), and with the feature
    covariances of unlabelled child images ("coral"). Without real labelled child images apart
    from the test set the oracle is cross-fitted inside it: each test image is read by a network
    that did not see it, fitted on (num_folds - 1) / num_folds of the test set.

    `on_fit` is called after each fit with the number of fits done, their total, and the arm. The
    first route decides the shared number of images.

    Raises: DataError if there is no seed, no route, or an arm has too few images.
    """
    if not seeds or not routes:
        raise DataError(f"got {len(seeds)} seeds and {len(routes)} routes, expected at least 1")
    recipe = recipe or Recipe()
    source_recipes = (variants or SourceVariants()).recipes(recipe)
    arms = {f"source_{name}": _Arm(source, own) for name, own in source_recipes.items()}
    arms |= {f"route_{name}": _Arm(data, recipe) for name, data in routes.items()}
    if oracle is not None:
        arms["oracle"] = _Arm(oracle, recipe)
    deciding = [source, next(iter(routes.values())), *([oracle] if oracle is not None else [])]
    fitter = _Fitter(
        test=test,
        schema=schema,
        target_images=target_images,
        num_steps=num_steps,
        num_images=min(len(data.images) for data in deciding),
        num_fits=len(seeds) * (len(arms) + (num_folds if oracle is None else 0)),
        on_fit=on_fit,
    )
    tables: dict[str, list[pd.DataFrame]] = {name: [] for name in (*arms, "oracle")}
    for seed in seeds:
        for name, arm in arms.items():
            tables[name].append(fitter.fit(name, arm, seed))
        if oracle is None:
            tables["oracle"].append(fitter.cross_fit(recipe, seed, num_folds))
    return ArmPredictions(
        source_variants={name: tables[f"source_{name}"] for name in source_recipes},
        routes={name: tables[f"route_{name}"] for name in routes},
        oracle=tables["oracle"],
        num_images=fitter.images_used,
    )


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

    def fit(self, name: str, arm: _Arm, seed: int) -> pd.DataFrame:
        """Fit on the shared number of images and read the test set."""
        rows = np.random.default_rng([seed, 0]).permutation(len(arm.data.images))
        shared = arm.data.take(np.sort(rows[: self.num_images]))
        return self._fit(name, shared, arm.recipe, seed, self.test.images)

    def cross_fit(self, recipe: Recipe, seed: int, num_folds: int) -> pd.DataFrame:
        """Read each part of the test set after fitting on the other parts."""
        order = np.random.default_rng([seed, 1]).permutation(len(self.test.images))
        tables: list[pd.DataFrame] = []
        for held_out in np.array_split(order, num_folds):
            kept = np.setdiff1d(order, held_out)
            images = self.test.images[held_out]
            table = self._fit("oracle", self.test.take(kept), recipe, seed, images)
            tables.append(table.set_index(held_out))
        return pd.concat(tables).sort_index()

    def _fit(
        self, name: str, data: LabelledImages, recipe: Recipe, seed: int, images: PixelBatch
    ) -> pd.DataFrame:
        reader = fit_reader(
            data.images,
            data.labels,
            self.schema,
            seed=seed,
            num_steps=self.num_steps,
            recipe=recipe,
            target_images=self.target_images,
        )
        self.num_done += 1
        self.images_used[name] = len(data.images)
        if self.on_fit is not None:
            self.on_fit(self.num_done, self.num_fits, name)
        return reader.predict(images)
