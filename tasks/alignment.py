"""Tasks of stage `analyze`: what parent and child share, in weights, images and directions."""

from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from prefect import task
from prefect.cache_policies import NO_CACHE

from stylealign.alignment import (
    LabelReader,
    fit_direction,
    list_groups,
    measure_agreement,
    measure_ceiling,
    measure_slope,
    reset_groups,
    weight_distances,
)
from stylealign.data.choosing import choose_ids
from stylealign.data.dataset import open_dataset
from stylealign.data.tables import LABEL_PREFIX
from stylealign.errors import DataError
from stylealign.images import PixelBatch
from stylealign.metrics.cached_features import cached_features
from stylealign.metrics.distances import frechet_of_moments
from stylealign.metrics.features import Extractor, iterate_features
from stylealign.metrics.moments import Moments
from stylealign.metrics.perceptual import Lite2Blocks, perceptual_distance
from stylealign.models import Model
from stylealign.params import AnalyzeParams, EvaluateParams
from stylealign.tensors import to_float
from tasks.devices import compute
from tasks.extractors import open_extractor
from tasks.inversion import open_model
from tasks.layout import feature_folder, reader_folder
from tasks.lessons import choose_schema
from tasks.progress import progress
from tasks.readers import domain_reader, labelled_images
from tasks.samples import iterate_samples
from tasks.translation import as_latents, labelled_codes

MIN_DIRECTION_ROWS = 30


@task(cache_policy=NO_CACHE)
def compare_drawings(
    params: AnalyzeParams,
    parent: Path,
    child: Path,
    parent_images: Path,
    child_images: Path,
    codes: Path,
    device: str,
    num_threads: int,
) -> dict[str, Any]:
    """Agreement at equal z, and slopes along the parent's directions, by both domains' readers."""
    schema = choose_schema(open_dataset(parent_images), params.labels)
    networks = open_model(parent, device), open_model(child, device)
    domains = parent_images, child_images
    with compute(num_threads):
        first, second = (domain_reader(folder, params, reader_folder()) for folder in domains)
        ceilings = ceiling(first, parent_images, params), ceiling(second, child_images, params)
        agreement = measure_agreement(
            *networks, (first, second), ceilings, schema,
            num_samples=params.num_samples, num_bootstrap=params.num_bootstrap,
            batch_size=params.batch_size, seed=params.seed,
        )  # fmt: skip
        slopes = compare_slopes(params, networks, (first, second), codes, parent_images)
    return {"equal_z": {name: asdict(one) for name, one in agreement.items()}, "directions": slopes}


def ceiling(reader: LabelReader, folder: Path, params: AnalyzeParams) -> dict[str, float]:
    """How far a reader can be believed, on images that it was not fitted on.

    Raises: DataError if none of them has a value of a label.
    """
    known = labelled_images(folder, params.labels, "val")
    silent = [name for name in params.labels if not known.labels[name].notna().to_numpy().any()]
    if silent:
        raise DataError(
            f"{str(folder)!r} has no value of {silent[0]!r} in its split 'val', which its reader "
            "is held against: give prepare a larger share of it, or take the label out of analyze"
        )
    schema = choose_schema(open_dataset(folder), params.labels)
    return measure_ceiling(reader, known.images, known.labels, schema)


def compare_slopes(
    params: AnalyzeParams,
    networks: tuple[Model, Model],
    readers: tuple[LabelReader, LabelReader],
    codes: Path,
    images: Path,
) -> dict[str, dict[str, float]]:
    """How an attribute answers to its direction in both models; numbers only.

    Images without the label do not count; nor does a label of under `MIN_DIRECTION_ROWS` images,
    or of one value.
    """
    rows = labelled_codes(codes, images)
    generator = networks[0].generator
    with torch.no_grad():
        found = as_latents(rows, networks[0].config, str(generator.w_avg.device))
        w_plus = generator.to_w_plus(found.codes, found.space)
    rng = torch.Generator().manual_seed(params.seed)
    z = torch.randn(params.num_reset_samples, networks[0].config.z_dim, generator=rng)
    schema = choose_schema(open_dataset(images), params.labels)
    slopes: dict[str, dict[str, float]] = {}
    for name, spec in schema.items():
        if spec.type != "continuous":
            continue
        labels = rows[f"{LABEL_PREFIX}{name}"].to_numpy(np.float64)
        known = np.flatnonzero(np.isfinite(labels))
        values = labels[known]
        if len(values) < MIN_DIRECTION_ROWS or np.ptp(values) == 0:
            continue
        direction = fit_direction(w_plus[known], values)
        distance = params.direction_distance * float(np.std(values))
        slopes[name] = {
            f"{side}_slope": measure_slope(
                direction, network, read_column(reader, name), z,
                distance=distance, batch_size=params.batch_size,
            ).mean().item()
            for side, network, reader in zip(("parent", "child"), networks, readers, strict=True)
        }  # fmt: skip
    return slopes


def read_column(reader: LabelReader, name: str) -> Callable[[PixelBatch], np.ndarray]:
    """What a reader says of one label in images, as numbers."""

    def read(images: PixelBatch) -> np.ndarray:
        return reader.predict(images)[name].to_numpy(np.float64)

    return read


@task(cache_policy=NO_CACHE)
def compare_weights(
    params: AnalyzeParams,
    features: EvaluateParams,
    parent: Path,
    child: Path,
    real: Path,
    device: str,
    num_threads: int,
) -> dict[str, dict[str, float]]:
    """How far each group of weights moved, and what setting it back does to the child."""
    origin, model = open_model(parent, device), open_model(child, device)
    moved = weight_distances(origin, model)
    dataset, num = open_dataset(real), params.num_reset_samples
    extractor = open_extractor(features)
    groups = dict[str, dict[str, float]]()
    with compute(num_threads), progress("reset groups", len(moved), unit="groups") as bar:
        ids = choose_ids(dataset.ids("train"), num, params.seed)
        known = cached_features(dataset, ids, extractor, feature_folder(), device=device)
        truth = Moments.of_rows(torch.tensor(known))
        samples = iterate_samples(model, num, params.seed)
        drawn = iterate_features(samples, extractor, device=device)
        own = frechet_of_moments(truth, Moments.of_batches(map(torch.from_numpy, drawn)))
        for group in list_groups(model.generator):
            reset = reset_groups(model, origin, [group])
            change, moments = measure_change(model, reset, num, params.seed, extractor)
            groups[group] = {
                "weight_distance": moved[group],
                "reset_perceptual": change,
                "reset_fd": frechet_of_moments(truth, moments) - own,
            }
            bar.advance()
    return groups


def measure_change(
    before: Model, after: Model, num: int, seed: int, extractor: Extractor
) -> tuple[float, Moments]:
    """Perceptual distance of two models' drawings of equal codes, and moments of the second's."""
    look, distances = Lite2Blocks(), list[torch.Tensor]()
    place = before.generator.w_avg.device

    def drawn() -> Iterator[PixelBatch]:
        pairs = zip(*(iterate_samples(one, num, seed) for one in (before, after)), strict=True)
        for first, second in pairs:
            seen = [look(to_float(images).to(place)) for images in (second, first)]
            distances.append(perceptual_distance(*seen))
            yield second

    features = iterate_features(drawn(), extractor, device=str(place))
    moments = Moments.of_batches(map(torch.from_numpy, features))
    return torch.cat(distances).mean().item(), moments
