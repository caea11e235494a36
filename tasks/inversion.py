"""Tasks of stage `invert`: images and a model become latent codes, shard by shard."""

import hashlib
import json
import shutil
from collections.abc import Collection
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from prefect import task
from prefect.cache_policies import NO_CACHE

from stylealign.checkpoints import load_model
from stylealign.data.choosing import choose_ids
from stylealign.data.dataset import ImageDataset, open_dataset
from stylealign.data.folders import finish_folder
from stylealign.data.shards import (
    Shard,
    ShardPlan,
    fingerprint,
    plan_shards,
    read_shard,
    write_shard,
)
from stylealign.errors import DataError
from stylealign.inversion import (
    Encoder,
    EncoderTick,
    Inversion,
    fit_encoder,
    invert,
    load_encoder,
)
from stylealign.inversion.encoder import FILES as ENCODER_FILES
from stylealign.inversion.inputs import require_no_classes
from stylealign.models import Model
from stylealign.models.precision import ADVICE, is_imitated
from stylealign.params import InvertParams
from tasks.devices import compute
from tasks.progress import progress
from tasks.saying import warn

ENGINE_VERSION = 2
"""Raised whenever this stage would give other bytes for the same input."""

WORK_ONLY = {"dataset", "splits", "max_images", "shard_size", "batch_size"}
"""Params that choose or pack rows, but change no row."""


@task(cache_policy=NO_CACHE)
def plan_codes(
    params: InvertParams, model: Path, images: Path, folder: Path, device: str
) -> ShardPlan:
    """Which images still need a code from this model with these params."""
    if is_imitated(params.precision, torch.device(device)):
        warn(f"invert: {ADVICE}")
    config = open_model(model, "cpu").config
    require_no_classes(config)
    dataset = open_dataset(images)
    rows = choose_rows(dataset, params)
    made_by = fingerprint(
        engine=ENGINE_VERSION,
        model=config.id,
        params=params.model_dump(mode="json", exclude=WORK_ONLY),
        resolution=dataset.resolution,
    )
    return plan_shards(folder, rows, fingerprint=made_by, shard_size=params.shard_size)


@task(cache_policy=NO_CACHE)
def prepare_encoder(
    params: InvertParams, model: Path, folder: Path, device: str, num_threads: int
) -> Path | None:
    """The encoder that guesses where each descent starts, fitted unless it lies there already."""
    if not params.encoder_kimg:
        drop_encoders(folder)
        return None
    network = open_model(model, device)
    key = fingerprint(
        engine=ENGINE_VERSION,
        model=network.config.id,
        space=params.space,
        kimg=params.encoder_kimg,
        seed=params.seed,
    )
    place = folder / f"encoder-{key[:16]}"
    drop_encoders(folder, but=place)
    if not (place / ENCODER_FILES.record_file).exists():
        with compute(num_threads):
            train_encoder(network, params, f"encoder of {folder.name}").save(place)
    return place


def drop_encoders(folder: Path, but: Path | None = None) -> None:
    """Remove the encoders of other models and params from a folder of codes."""
    for stale in set(folder.glob("encoder-*")) - {but}:
        shutil.rmtree(stale)


def train_encoder(network: Model, params: InvertParams, description: str) -> Encoder:
    """Fit an encoder of a model's own samples, with a bar."""
    last = 0.0
    with progress(description, params.encoder_kimg, unit="kimg") as bar:

        def follow(tick: EncoderTick) -> None:
            nonlocal last
            bar.advance(tick.kimg - last)
            last = tick.kimg

        return fit_encoder(
            network,
            space=params.space,
            kimg=params.encoder_kimg,
            seed=params.seed,
            on_tick=follow,
        )


@task(cache_policy=NO_CACHE)
def invert_shard(
    shard: Shard,
    params: InvertParams,
    model: Path,
    images: Path,
    encoder: Path | None,
    folder: Path,
    device: str,
    num_threads: int,
) -> int:
    """Invert the images of one shard and write their codes; returns how many."""
    network, pixels = open_model(model, device), open_dataset(images).images(shard.ids)
    with compute(num_threads):
        found = invert(
            pixels,
            network,
            space=params.space,
            num_steps=params.num_steps,
            learning_rate=params.learning_rate,
            seed=params.seed,
            seeds=[row_seed(params.seed, name) for name in shard.ids],
            start=load_encoder(encoder, network).predict(pixels) if encoder else None,
            num_candidates=params.num_candidates,
            perceptual_weight=params.perceptual_weight,
            spread_weight=params.spread_weight,
            prior_weight=params.prior_weight,
            min_psnr=params.min_psnr,
            batch_size=params.batch_size,
            precision=params.precision,
        )
    write_shard(folder, shard, codes_table(shard, found, network.config.id))
    return len(shard.ids)


@task(cache_policy=NO_CACHE)
def finish_codes(plan: ShardPlan, model: Path, images: Path, metrics: Path) -> dict[str, float]:
    """Close the folder of codes and write the stage's figures."""
    lineage = {
        "model": open_model(model, "cpu").config.id,
        "data": open_dataset(images).content_hash,
        "engine": ENGINE_VERSION,
    }
    finish_folder(plan, kind="codes", lineage=lineage)
    codes = read_codes(plan.folder)
    scores = {
        "psnr_mean": round(codes["psnr"].to_numpy().mean().item(), 4),
        "perceptual_mean": round(codes["perceptual"].to_numpy().mean().item(), 6),
        "converged": round(codes["converged"].to_numpy().mean().item(), 4),
    }
    metrics.parent.mkdir(exist_ok=True)
    metrics.write_text(json.dumps(scores, indent=2) + "\n", "utf-8")
    return scores


def choose_rows(dataset: ImageDataset, params: InvertParams) -> pd.DataFrame:
    """Id, split and image hash of what is inverted: all of each split, or so many by lot.

    Raises: DataError if no image is left.
    """
    table = dataset.table()
    parts = (dataset.ids(split) for split in dict.fromkeys(params.splits))
    ids = [name for part in parts for name in choose_ids(part, params.max_images, params.seed)]
    chosen = table.loc[table["id"].isin(ids)]
    if chosen.empty:
        raise DataError(
            f"no image of {str(dataset.folder)!r} is in the splits {list(params.splits)!r}: "
            f"it has {dataset.manifest.counts}"
        )
    return chosen[["id", "split"]].assign(sha256=dataset.image_hashes(chosen["id"].tolist()))


def codes_table(shard: Shard, found: Inversion, model_id: str) -> pa.Table:
    """One row per image: its code, and how well it draws the image again."""
    codes = found.latents.codes.flatten(1).cpu().numpy().astype(np.float32)
    size = len(shard.ids)
    values = pa.array(codes.ravel(), pa.float32())
    columns: dict[str, pa.Array] = {
        "id": pa.array(shard.ids, pa.string()),
        "split": pa.array([shard.split] * size, pa.string()),
        "space": pa.array([found.latents.space] * size, pa.string()),
        "code": pa.FixedSizeListArray.from_arrays(values, codes.shape[1]),
        "noise_seed": pa.array([found.noise_seed] * size, pa.int64()),
        "steps": pa.array([found.steps] * size, pa.int32()),
        "mse": pa.array(found.mse.cpu().numpy(), pa.float32()),
        "perceptual": pa.array(found.perceptual.cpu().numpy(), pa.float32()),
        "psnr": pa.array(found.psnr.cpu().numpy(), pa.float32()),
        "converged": pa.array(found.converged.cpu().numpy(), pa.bool_()),
        "model_id": pa.array([model_id] * size, pa.string()),
    }
    return pa.table(columns)


def read_codes(folder: Path, ids: Collection[str] | None = None) -> pd.DataFrame:
    """Rows of a folder of codes, sorted by id: all, or at least those of some images.

    Raises: DataError if it holds none.
    """
    paths = sorted(folder.glob("*-of-*.parquet"))
    if ids is not None:
        wanted = set(ids)
        paths = [path for path in paths if wanted & set(read_shard(path, ["id"])["id"].to_pylist())]
    if not paths:
        raise DataError(f"{str(folder)!r} holds no such codes; run stage `invert`")
    return pa.concat_tables([read_shard(path) for path in paths]).sort_by("id").to_pandas()


def row_seed(seed: int, name: str) -> int:
    """The seed of one image: from its id, never from its place in a batch."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:6])


@lru_cache(maxsize=2)
def open_model(folder: Path, device: str) -> Model:
    """A model, read once per process."""
    return load_model(folder, device)
