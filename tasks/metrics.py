"""Tasks of stage `evaluate`: how good a child's images are, and how much of the gap is closed."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from prefect import task
from prefect.cache_policies import NO_CACHE

from stylealign.data.choosing import choose_ids
from stylealign.data.dataset import open_dataset
from stylealign.metrics import (
    frechet_distance,
    kernel_distance,
    perceptual_path_length,
    precision_recall,
)
from stylealign.metrics.arms import LabelledImages
from stylealign.metrics.cached_features import cached_features
from stylealign.metrics.distances import FeatureMatrix
from stylealign.metrics.features import Extractor, collect_features, metric_name
from stylealign.metrics.gap import measure_gap
from stylealign.metrics.quality import judge_child
from stylealign.models import Model
from stylealign.params import EvaluateParams, QualityParams
from stylealign.transfer import LabelTransfer
from tasks.devices import compute
from tasks.extractors import choose_look, open_extractor
from tasks.inversion import open_model
from tasks.layout import ChildPlaces, feature_folder
from tasks.lessons import choose_schema
from tasks.progress import progress
from tasks.readers import labelled_images
from tasks.real_images import read_latent
from tasks.samples import iterate_samples
from tasks.verdicts import ONE_VALUE, describe_unmeasured, read_verdicts, state

MIN_ACCEPTED = 100
"""Fewer accepted rows teach nothing."""


@task(cache_policy=NO_CACHE)
def score_images(
    params: EvaluateParams, places: ChildPlaces, device: str, num_threads: int
) -> dict[str, Any]:
    """Distances between the child's samples and the real images of its domain, and path length.

    `references` says what such figures mean: those of the parent's samples, where the
    fine-tuning began, and of other real images, the least that so many images can reach.
    """
    real, seed, num = open_dataset(places.real), params.seeds[0], params.num_features
    chosen = choose_ids(real.ids("train"), num, seed)
    rest = sorted(set(real.ids()).difference(chosen))
    others = choose_ids(rest, num, seed)
    extractor = open_extractor(params)
    with compute(num_threads):

        def of_real(ids: list[str]) -> FeatureMatrix:
            return cached_features(real, ids, extractor, feature_folder(), device=device)

        def compare(features: FeatureMatrix) -> dict[str, float]:
            scores = compare_features(truth, features, seed)
            return {metric_name(kind, extractor, len(truth)): x for kind, x in scores.items()}

        def of_model(folder: Path) -> dict[str, float]:
            model = open_model(folder, device)
            samples = iterate_samples(model, len(truth), seed)
            features = collect_features(samples, extractor, device=device)
            return {**compare(features), **path_length(params, model, extractor)}

        truth = of_real(chosen)
        parent, child = (of_model(folder) for folder in places.models)
        references = {"parent": parent}
        if len(others) == len(truth):
            references["real"] = compare(of_real(others))
        return {**child, "references": references}


def path_length(params: EvaluateParams, model: Model, extractor: Extractor) -> dict[str, float]:
    """How much images change along short steps between codes; nothing where no path is asked for.

    Codes are in w, steps begin at an end.
    """
    if params.num_paths == 0:
        return {}
    look = choose_look(extractor)
    rng = torch.Generator().manual_seed(params.seeds[0])
    length = perceptual_path_length(
        model.generator,
        look,
        num_paths=params.num_paths,
        rng=rng,
        shares=model.config.class_shares,
    )
    return {metric_name("ppl", look, params.num_paths): length}


def compare_features(truth: FeatureMatrix, drawn: FeatureMatrix, seed: int) -> dict[str, float]:
    """Every distance of two sets of features."""
    quality = precision_recall(truth, drawn)
    scores = {
        "fd": frechet_distance(truth, drawn),
        "kid": kernel_distance(truth, drawn, rng=np.random.default_rng(seed)),
        "precision": quality.precision,
        "recall": quality.recall,
    }
    return {kind: float(value) for kind, value in scores.items()}


@task(cache_policy=NO_CACHE)
def score_arms(
    params: EvaluateParams, places: ChildPlaces, prepared: Path, device: str, num_threads: int
) -> dict[str, Any]:
    """The three arms on real labelled child images; labels without those have their verdict."""
    if places.name not in params.children:
        verdicts = read_verdicts(places.transferred)
        return describe_unmeasured(verdicts, (), controls=params.controls)
    sets = params.children[places.name]
    schema = choose_schema(open_dataset(places.images), params.labels)
    target, seed = open_dataset(places.real), params.seeds[0]

    def known(folder: Path, split: str | None) -> LabelledImages:
        return labelled_images(folder, params.labels, split, params.num_train, seed)

    with (
        compute(num_threads),
        progress(f"evaluate {places.name}", len(params.seeds), unit="fits") as bar,
    ):
        gaps = measure_gap(
            labelled_images(prepared / sets.test, params.labels, "test"),
            schema,
            source=known(places.images, "train"),
            transfer=known(places.transferred, None),
            filtered=accepted_only(places.transferred, params),
            latent=read_latent(params, places, prepared / sets.test, device),
            oracle=known(prepared / sets.oracle, "train") if sets.oracle else None,
            target_images=target.images(choose_ids(target.ids("train"), params.num_train, seed)),
            seeds=params.seeds,
            num_steps=params.num_steps,
            rng=np.random.default_rng(seed),
            num_resamples=params.num_bootstrap,
            on_fit=lambda done, total, _name: bar.follow("fit", done, total),
        )
    verdicts = read_verdicts(places.transferred)
    measurable = open_dataset(prepared / sets.test).schema
    unmeasured = describe_unmeasured(verdicts, measurable, controls=params.controls)
    return unmeasured | with_verdicts(gaps, verdicts, params.labels)


def with_verdicts(
    gaps: Mapping[str, Mapping[str, object]],
    verdicts: Mapping[str, LabelTransfer],
    labels: Sequence[str],
) -> dict[str, dict[str, Any]]:
    """Every label that was asked for with its verdict; those without a score say why."""
    silent = {name: verdicts[name] for name in labels if name not in gaps}
    measured = {name: {**gap, **state(verdicts[name])} for name, gap in gaps.items()}
    return describe_unmeasured(silent, (), reason=ONE_VALUE) | measured


def accepted_only(transferred: Path, params: EvaluateParams) -> LabelledImages | None:
    """The accepted rows of a transferred set; None where too few are left to learn from."""
    dataset = open_dataset(transferred)
    table = dataset.table()
    accepted = table.loc[table["accepted"], "id"].tolist()
    ids = choose_ids(accepted, params.num_train, params.seeds[0])
    if len(ids) < MIN_ACCEPTED:
        return None
    labels = dataset.labels().loc[ids, list(params.labels)].reset_index(drop=True)
    return LabelledImages(images=dataset.images(ids), labels=labels, groups=dataset.groups(ids))


@task(cache_policy=NO_CACHE)
def judge(scores: dict[str, Any], transferred: Path, quality: QualityParams) -> dict[str, Any]:
    """Whether a child passes the gate, and every reason against it.

    Labels that the transfer itself calls lost reach no user, so their gain is not asked for.
    """
    offered = [label for label in scores["labels"].values() if label["transferable"]]
    checks = judge_child(
        distance=frechet_of(scores),
        start_distance=frechet_of(scores["references"]["parent"]),
        accepted_share=open_dataset(transferred).table()["accepted"].to_numpy().mean().item(),
        gains=[label["gain"] for label in offered if label["gain"] is not None],
        max_fd_ratio=quality.max_fd_ratio,
        min_accepted=quality.min_accepted,
        min_gain=quality.min_gain,
    )
    reasons = [check.reason for check in checks if not check.is_met]
    return {"passed": not reasons, "reasons": reasons}


def frechet_of(scores: dict[str, Any]) -> float:
    """The Fréchet distance among figures, whichever extractor it was measured with."""
    return next(value for name, value in scores.items() if name.startswith("fd_"))
