"""Tasks of stage `translate`: codes and a child become the child's images, with their labels."""

import hashlib
from collections.abc import Collection
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from prefect import task
from prefect.cache_policies import NO_CACHE

from stylealign.data.dataset import open_dataset
from stylealign.data.folders import finish_folder
from stylealign.data.manifest import Manifest
from stylealign.data.shards import Shard, ShardPlan, fingerprint, plan_shards, write_shard
from stylealign.data.tables import LABEL_PREFIX, image_table
from stylealign.errors import DataError
from stylealign.images import encode_png
from stylealign.models import Latents, ModelConfig
from stylealign.models.latents import unflatten_codes
from stylealign.params import TranslateParams
from stylealign.tensors import to_uint8
from stylealign.translation import translate
from tasks.devices import compute
from tasks.inversion import open_model, read_codes
from tasks.layout import ChildPlaces

ENGINE_VERSION = 2
"""Raised whenever this stage would give other bytes for the same input."""


@task(cache_policy=NO_CACHE)
def plan_translation(params: TranslateParams, places: ChildPlaces) -> ShardPlan:
    """Which codes still need an image of this child with these params."""
    rows = labelled_codes(places.codes, places.images)
    carried = rows.drop(columns="code").to_numpy().tolist()
    hashes = [
        hashlib.sha256(np.asarray(code).tobytes() + repr(cells).encode()).hexdigest()
        for code, cells in zip(rows["code"], carried, strict=True)
    ]
    made_by = fingerprint(
        engine=ENGINE_VERSION,
        child=open_model(places.child, "cpu").config.id,
        truncation_psi=params.truncation_psi,
    )
    keyed = rows[["id", "split"]].assign(sha256=hashes)
    return plan_shards(places.translated, keyed, fingerprint=made_by, shard_size=params.shard_size)


@task(cache_policy=NO_CACHE)
def translate_shard(
    shard: Shard,
    params: TranslateParams,
    places: ChildPlaces,
    device: str,
    num_threads: int,
) -> int:
    """Draw the codes of one shard with the child; returns how many."""
    table = labelled_codes(places.codes, places.images, shard.ids)
    rows = table.set_index("id", drop=False).loc[list(shard.ids)]
    network, origin = open_model(places.child, device), open_model(places.parent, "cpu").config
    with compute(num_threads):
        drawn = translate(
            as_latents(rows, origin, device),
            network,
            truncation_psi=params.truncation_psi,
            batch_size=params.batch_size,
        )
    frame = rows.drop(columns=["code", "steps", "mse", "noise_seed", "model_id"]).assign(
        parent_id=rows["id"], parent_model=origin.id, child_model=network.config.id
    )
    pictures = [encode_png(image) for image in to_uint8(drawn.cpu())]
    schema = open_dataset(places.images).schema
    write_shard(places.translated, shard, image_table(frame, pictures, schema))
    return len(shard.ids)


@task(cache_policy=NO_CACHE)
def finish_translation(plan: ShardPlan, places: ChildPlaces) -> Manifest:
    """Close the folder of translated images."""
    dataset, config = open_dataset(places.images), open_model(places.child, "cpu").config
    return finish_folder(
        plan,
        kind="translated",
        lineage={
            "child": config.id,
            "parent": config.parent_id,
            "data": dataset.content_hash,
            "engine": ENGINE_VERSION,
        },
        domain=places.name,
        resolution=config.resolution,
        label_schema=dataset.schema,
        name=places.name,
    )


def labelled_codes(codes: Path, images: Path, ids: Collection[str] | None = None) -> pd.DataFrame:
    """Codes with the labels and groups of the images they stand for, sorted by id.

    All of them, or at least those of some images.

    Raises: DataError if there are none, or an image is gone.
    """
    found, table = read_codes(codes, ids), open_dataset(images).table()
    kept = [name for name in table.columns if name in ("id", "group", "source_sha256")]
    kept += [name for name in table.columns if name.startswith(LABEL_PREFIX)]
    rows = found.merge(table[kept], on="id", validate="one_to_one")
    if len(rows) < len(found):
        message = f"{len(found) - len(rows)} of {len(found)} codes in {str(codes)!r} are of images"
        raise DataError(f"{message} that {str(images)!r} does not hold; run stage `invert` again")
    return rows


def as_latents(rows: pd.DataFrame, origin: ModelConfig, device: str) -> Latents:
    """Rows of a codes table as the library's codes."""
    space = rows["space"].iloc[0]
    flat = torch.from_numpy(np.stack(rows["code"].tolist()))
    codes = unflatten_codes(flat, space, origin.num_ws)
    return Latents(codes.to(device), space, rows["model_id"].iloc[0], origin.root_id)
