"""Tasks of stage `transfer`: translated images become a labelled set that says what to trust."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from prefect import task
from prefect.cache_policies import NO_CACHE

from stylealign.data.choosing import choose_ids
from stylealign.data.dataset import ImageDataset, open_dataset
from stylealign.data.folders import finish_folder
from stylealign.data.manifest import Manifest
from stylealign.data.shards import fingerprint, plan_shards, write_shard
from stylealign.data.tables import LABEL_PREFIX, image_table
from stylealign.errors import DataError
from stylealign.images import PixelBatch, encode_png
from stylealign.inversion import Encoder, load_encoder
from stylealign.metrics.readers import Reader, load_reader
from stylealign.models import Model
from stylealign.params import InvertParams, TransferParams
from stylealign.portions import Portions
from stylealign.tensors import to_uint8
from stylealign.transfer import (
    Calibration,
    Confidence,
    LabelTransfer,
    Presence,
    Prominence,
    build_table,
    fit_calibration,
    fit_readers,
    follow_redrawing,
    measure_presence,
    measure_prominence,
    read_cycle,
    read_with,
    score_confidence,
)
from stylealign.transfer.calibration import MIN_ROWS
from stylealign.transfer.evidence import require_transferable
from stylealign.translation import translate
from tasks.devices import compute
from tasks.inversion import open_model, row_seed, train_encoder
from tasks.layout import ChildPlaces
from tasks.lessons import FITTED, choose_schema
from tasks.readers import train_reader
from tasks.samples import draw_samples
from tasks.translation import as_latents, labelled_codes
from tasks.verdicts import write_calibration, write_verdicts

ENGINE_VERSION = 5
"""Raised whenever this stage would give other bytes for the same input."""


@task(cache_policy=NO_CACHE)
def fit_instruments(
    params: TransferParams,
    invert: InvertParams,
    places: ChildPlaces,
    device: str,
    num_threads: int,
) -> None:
    """What confidence is measured with: the parent domain's reader and the child's encoder."""
    require_transferable(choose_schema(open_dataset(places.images), params.labels))
    require_hold_outs(labelled_codes(places.codes, places.images), params.labels)
    with compute(num_threads):
        train_reader(
            places.images,
            params.labels,
            num_steps=params.reader_steps,
            seed=params.seed,
            description="reader of the parent's domain",
        ).save(places.instruments / "reader")
        settings = invert.model_copy(update={"encoder_kimg": params.encoder_kimg})
        for whose, folder in missing_encoders(places).items():
            network = open_model(places.models[whose == "child"], device)
            train_encoder(network, settings, f"encoder of the {whose}").save(folder)


def require_hold_outs(rows: pd.DataFrame, labels: Sequence[str]) -> None:
    """Refuse inverted images among which there are too few hold-outs to calibrate on.

    Raises: DataError that says how many there are of which label.
    """
    held_out = rows.loc[rows["split"] != FITTED]
    for name in labels:
        num = held_out[f"{LABEL_PREFIX}{name}"].notna().to_numpy().sum().item()
        if num < MIN_ROWS:
            raise DataError(
                f"{num} inverted images outside of split {FITTED!r} have label {name!r}, expected "
                f"at least {MIN_ROWS} to calibrate its confidence on: add 'val' or 'test' to "
                "invert.splits, raise invert.max_images, or give prepare larger shares of them"
            )


def missing_encoders(places: ChildPlaces) -> dict[str, Path]:
    """Where encoders go that are yet to fit: the child's, the parent's if `invert` fitted none."""
    missing = {"child": places.instruments / "encoder"}
    if not any(places.codes.glob("encoder-*")):
        missing["parent"] = places.instruments / "parent_encoder"
    return missing


@task(cache_policy=NO_CACHE)
def transfer_labels(
    params: TransferParams, places: ChildPlaces, device: str, num_threads: int
) -> Manifest:
    """Read every translated image back, score its labels, and write the labelled child set."""
    moved = open_dataset(places.translated)
    with compute(num_threads):
        carried = carry_labels(params, places, device)
        confidence, calibration = judge_labels(params, places, moved, carried, device)
    given = carried_along(moved, carried)
    origin, configs = moved.table(), [open_model(p, "cpu").config for p in places.models]
    table = build_table(
        origin["parent_id"].tolist(), given, origin["psnr"].to_numpy(),
        confidence, parent=configs[0], child=configs[1],
        space=origin["space"].iloc[0], seed=params.seed,
        min_reconstruction=params.min_reconstruction, min_confidence=params.min_confidence,
    )  # fmt: skip
    kept = origin[["id", "split", *(name for name in ("group",) if name in origin)]]
    rows = pd.concat([kept, table], axis=1)
    manifest = write_set(moved, rows, confidence.labels, params, places.transferred)
    write_verdicts(confidence.labels, places.transferred)
    write_calibration(calibration, places.transferred)
    return manifest


def carry_labels(params: TransferParams, places: ChildPlaces, device: str) -> pd.DataFrame:
    """The labels that go along with each inverted image, by its id in the parent's data set."""
    images, rows = open_dataset(places.images), labelled_codes(places.codes, places.images)
    ids = rows["id"].tolist()
    given = pd.DataFrame(images.labels().loc[ids, list(params.labels)])
    if params.carry == "given":
        return given
    reader = load_reader(places.instruments / "reader")
    redrawn = redraw(rows, open_model(places.models[0], device), params.batch_size)
    return follow_redrawing(
        given,
        reader.predict(images.images(ids)),
        reader.predict(redrawn),
        choose_schema(images, params.labels),
    ).set_axis(ids)


def carried_along(moved: ImageDataset, carried: pd.DataFrame) -> pd.DataFrame:
    """The labels of translated images, in their order."""
    return carried.loc[moved.table()["parent_id"].tolist()].reset_index(drop=True)


def judge_labels(
    params: TransferParams,
    places: ChildPlaces,
    moved: ImageDataset,
    carried: pd.DataFrame,
    device: str,
) -> tuple[Confidence, Calibration]:
    """What the child's pixels say about each label, once they were led back to the parent."""
    given = carried_along(moved, carried)
    parent, child = (open_model(path, device) for path in places.models)
    reader = load_reader(places.instruments / "reader")
    guess = parent_encoder(places, parent)
    calibration = calibrate(params, places, carried, parent, guess, reader)
    cycle = read_cycle(
        moved.images(), child, parent, load_encoder(places.instruments / "encoder", child), reader,
        seeds=[row_seed(params.seed, name) for name in moved.ids()],
        num_steps=params.cycle_steps, batch_size=params.batch_size,
    )  # fmt: skip
    presence = look_for_labels(params, moved, given, child, open_dataset(places.real))
    schema, rng = choose_schema(moved, params.labels), np.random.default_rng(params.seed)
    confidence = score_confidence(
        given, cycle.readings, calibration, schema, rng=rng, presence=presence,
        prominence=compare_places(params, moved, open_dataset(places.images)),
    )  # fmt: skip
    return confidence, calibration


def look_for_labels(
    params: TransferParams,
    moved: ImageDataset,
    given: pd.DataFrame,
    child: Model,
    real: ImageDataset,
) -> dict[str, Presence]:
    """Whether real child images show the labels, as far as readers of transferred ones see."""
    schema = choose_schema(moved, params.labels)
    ids = choose_ids(real.ids("train"), params.num_witnesses, params.seed)
    readers = fit_readers(
        moved.images(), given, schema,
        num_steps=params.reader_steps, seed=params.seed, groups=moved.groups(moved.ids()),
    )  # fmt: skip
    return measure_presence(
        read_with(readers, draw_samples(child, len(ids), params.seed)),
        read_with(readers, real.images(ids)),
        schema,
        rng=np.random.default_rng(params.seed),
    )


def compare_places(
    params: TransferParams, moved: ImageDataset, images: ImageDataset
) -> dict[str, Prominence]:
    """How much of what each label changes in the parent's images is left in the translated ones."""
    rng, rows = np.random.default_rng(params.seed), moved.table()
    picks = np.sort(rng.permutation(len(rows))[: params.num_witnesses])
    chosen = rows.iloc[picks]
    return measure_prominence(
        images.images(chosen["parent_id"].tolist()),
        moved.images(chosen["id"].tolist()),
        moved.labels().loc[chosen["id"], list(params.labels)].reset_index(drop=True),
        choose_schema(moved, params.labels),
        rng=rng,
    )


def calibrate(
    params: TransferParams,
    places: ChildPlaces,
    carried: pd.DataFrame,
    parent: Model,
    encoder: Encoder,
    reader: Reader,
) -> Calibration:
    """How often a label is right at each strength of evidence, learned on parent hold-outs."""
    images, rows = open_dataset(places.images), labelled_codes(places.codes, places.images)
    held_out = rows.loc[rows["split"] != FITTED]
    ids = choose_ids(held_out["id"].tolist(), params.num_calibration, params.seed)
    held_out = held_out.loc[held_out["id"].isin(ids)]
    drawn = redraw(held_out, parent, params.batch_size)
    known = carried.loc[held_out["id"].tolist()]
    cycle = read_cycle(
        drawn, parent, parent, encoder, reader,
        seeds=[row_seed(params.seed, name) for name in held_out["id"]],
        num_steps=params.cycle_steps, batch_size=params.batch_size,
    )  # fmt: skip
    return fit_calibration(
        known.reset_index(drop=True),
        reader.predict(drawn),
        cycle.readings,
        choose_schema(images, params.labels),
        rng=np.random.default_rng(params.seed),
        groups=images.groups(held_out["id"].tolist()),
    )


def redraw(rows: pd.DataFrame, parent: Model, batch_size: int) -> PixelBatch:
    """The inverted images as the parent itself draws their codes."""
    device = str(parent.generator.w_avg.device)

    def draw(part: slice) -> PixelBatch:
        latents = as_latents(rows.iloc[part, :], parent.config, device)
        return to_uint8(translate(latents, parent, batch_size=batch_size))

    return np.concatenate(Portions(batch_size).map(len(rows), draw))


def parent_encoder(places: ChildPlaces, parent: Model) -> Encoder:
    """The encoder that the inversion started from, or the one that was fitted in its stead."""
    found = [*places.codes.glob("encoder-*"), places.instruments / "parent_encoder"]
    return load_encoder(found[0], parent)


def write_set(
    moved: ImageDataset,
    rows: pd.DataFrame,
    verdicts: Mapping[str, LabelTransfer],
    params: TransferParams,
    folder: Path,
) -> Manifest:
    """Write the labelled child set in shards.

    Confidence is a property of the whole set, and of all that it is judged by. So other figures of
    any row renew all shards.
    """
    made_by = fingerprint(
        engine=ENGINE_VERSION,
        data=moved.content_hash,
        rows=rows.to_json(orient="split", double_precision=15),
        params=params.model_dump(mode="json", exclude={"shard_size", "batch_size"}),
    )
    plan = plan_shards(
        folder,
        rows[["id", "split"]].assign(sha256=moved.content_hash),
        fingerprint=made_by,
        shard_size=params.shard_size,
    )
    by_id = rows.set_index("id", drop=False)
    schema = choose_schema(moved, params.labels)
    for shard in plan.todo:
        pictures = [encode_png(image) for image in moved.images(shard.ids)]
        write_shard(folder, shard, image_table(by_id.loc[list(shard.ids)], pictures, schema))
    lost = {name: verdict.reason for name, verdict in verdicts.items() if not verdict.transferable}
    return finish_folder(
        plan,
        kind="transferred",
        lineage=dict(moved.manifest.lineage)
        | {"engine": ENGINE_VERSION, "labels_as": params.carry, "labels_not_transferable": lost},
        domain=moved.manifest.domain,
        resolution=moved.resolution,
        label_schema=schema,
        name=folder.name,
    )


@task(cache_policy=NO_CACHE)
def count_accepted(folder: Path) -> dict[str, float]:
    """How many rows a user may trust."""
    table = open_dataset(folder).table()
    return {
        "rows": float(len(table)),
        "accepted": table["accepted"].to_numpy().mean().item(),
        "confidence_mean": table["confidence"].to_numpy().mean().item(),
    }
