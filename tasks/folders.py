"""Images of any folder become images of a child's domain, or a table of labels."""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from stylealign.checkpoints import load_model, require_related
from stylealign.data.folders import GRID_FILE, TRANSLATIONS_FILE
from stylealign.data.manifest import write_whole
from stylealign.data.tables import LABEL_PREFIX
from stylealign.errors import DataError
from stylealign.images import PixelBatch, encode_png, image_grid
from stylealign.inversion import Inversion, invert
from stylealign.inversion.inputs import require_no_classes
from stylealign.metrics.readers import load_reader
from stylealign.models import Model
from stylealign.tensors import to_uint8
from stylealign.translation import translate
from tasks.pictures import Pictures, find_device, open_pictures, require_folder
from tasks.terminal import terminal_bar

CHUNK: Final = 64
"""Images inverted together: what a killed run loses at most."""
GRID_ROWS: Final = 12
GRID_SIDE_PX: Final = 128


@dataclass(frozen=True)
class Translated:
    """What became of a folder; `num_kept` were there from an earlier run.

    Units: psnr_mean in dB, of all images in the folder.
    """

    num_made: int
    num_kept: int
    num_rejected: int
    psnr_mean: float


def translate_folder(
    place: Path,
    parent: Path,
    child: Path,
    out: Path,
    *,
    use_force: bool,
    truncation_psi: float,
    device: str = "auto",
    **settings: object,
) -> Translated:
    """Invert every image in the parent, draw its code with the child, write it as PNG.

    Each finished image has its line in `translations.jsonl`, after a first line that says what
    made it; a run that was killed goes on behind the last line.

    Raises: DataError if there is no image, or `out` holds images made otherwise or lies among
        those that are read, or a model is conditional; LineageError if the models are not related,
        unless `use_force` asks for a control experiment.
    """
    _require_outside(place, out)
    device = find_device(device)
    models = load_model(parent, device), load_model(child, device)
    require_related(*models, force=use_force)
    for model in models:
        require_no_classes(model.config)
    pictures = open_pictures(place, models[0].config.resolution)
    require_folder(out)
    made_by = {
        "parent": models[0].config.id,
        "child": models[1].config.id,
        "truncation_psi": truncation_psi,
        **settings,
    }
    done = _read_record(out / TRANSLATIONS_FILE, made_by)
    files = _choose_files(pictures.ids)
    todo = [name for name in files if name not in done]
    with terminal_bar("translate", len(files), unit="images") as advance:
        advance(len(files) - len(todo))
        for ids, pixels in pictures.batches(todo, CHUNK):
            found = invert(pixels, models[0], **_given(settings))
            drawn = _draw(found, models[1], truncation_psi)
            if not (out / GRID_FILE).exists():
                _write_grid(pixels, found, models[0], drawn, out / GRID_FILE)
            done |= _write_images(ids, files, found, drawn, out)
            advance(len(ids))
    pictures.write_rejected(out)
    return _summary(done, todo, pictures)


def _require_outside(place: Path, out: Path) -> None:
    """Refuse to write among the images that are read, or in their place.

    Raises: DataError that names both.
    """
    if out.resolve().is_relative_to(place.resolve()):
        raise DataError(
            f"{str(out)!r} lies among the images {str(place)!r} and could replace them: "
            "write to another place"
        )


def _given(settings: dict[str, object]) -> dict[str, Any]:
    """Settings that somebody chose; for the others the library's own defaults hold."""
    return {name: value for name, value in settings.items() if value is not None}


def _draw(found: Inversion, model: Model, truncation_psi: float) -> PixelBatch:
    # whether the models are related was asked of their weights, of which codes know nothing
    drawn = translate(found.latents, model, truncation_psi=truncation_psi, force=True)
    return to_uint8(drawn)


def _read_record(path: Path, made_by: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Lines of an earlier run by id; begins the record anew without a line that a kill tore."""
    first, *lines = path.read_text("utf-8").splitlines() if path.exists() else [""]
    if first and json.loads(first) != made_by:
        raise DataError(
            f"{str(path.parent)!r} holds images made with other models or settings: "
            "choose another folder, or remove it"
        )
    rows = [json.loads(line) for line in lines if line.endswith("}")]
    done = {row["id"]: row for row in rows if (path.parent / row["file"]).exists()}
    text = "".join(json.dumps(row) + "\n" for row in (made_by, *done.values()))
    write_whole(path, lambda part: part.write_text(text, "utf-8"))
    return done


def _choose_files(ids: list[str]) -> dict[str, str]:
    """The file that each image is written to; `a.jpg` and `a.png` of one folder stay apart.

    So does an image called as the picture that shows some of them side by side.

    Raises: DataError if an id would lead out of the folder.
    """
    for name in ids:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise DataError(f"id {name!r} would lead out of the folder: rename it")
    stems = [str(PurePosixPath(name).with_suffix("")) for name in ids]
    counts = Counter([*stems, *ids, PurePosixPath(GRID_FILE).stem])
    return {
        name: f"{stem if counts[stem] == 1 else name}.png"
        for name, stem in zip(ids, stems, strict=True)
    }


def _write_images(
    ids: list[str], files: dict[str, str], found: Inversion, drawn: PixelBatch, out: Path
) -> dict[str, dict[str, Any]]:
    rows: dict[str, dict[str, Any]] = {}
    for number, name in enumerate(ids):
        path = out / files[name]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_png(drawn[number]))
        rows[name] = {
            "id": name,
            "file": files[name],
            "psnr": round(found.psnr[number].item(), 3),
            "perceptual": round(found.perceptual[number].item(), 6),
            "converged": bool(found.converged[number]),
        }
    with (out / TRANSLATIONS_FILE).open("a", encoding="utf-8") as record:
        record.writelines(json.dumps(row) + "\n" for row in rows.values())
    return rows


def _write_grid(
    pixels: PixelBatch, found: Inversion, parent: Model, drawn: PixelBatch, path: Path
) -> None:
    """Rows of: the image, the parent's own drawing of its code, the child's."""
    redrawn = _draw(found, parent, 1.0)
    rows = min(GRID_ROWS, len(pixels))
    cells = np.stack([pixels[:rows], redrawn[:rows], drawn[:rows]], axis=1)
    factor = max(1, GRID_SIDE_PX // pixels.shape[1])
    large = cells.reshape(3 * rows, *pixels.shape[1:]).repeat(factor, axis=1).repeat(factor, axis=2)
    path.write_bytes(encode_png(image_grid(large, 3)))


def _summary(done: dict[str, dict[str, Any]], todo: list[str], pictures: Pictures) -> Translated:
    if not done:
        raise DataError(
            f"none of {len(todo)} images can be used, the first: {pictures.rejected[0][2]}"
        )
    made = len(todo) - len(pictures.rejected)
    psnr = float(np.mean([row["psnr"] for row in done.values()]))
    return Translated(made, len(done) - made, len(pictures.rejected), psnr)


def predict_folder(place: Path, model: Path, out: Path, *, device: str = "auto") -> tuple[int, int]:
    """Read the labels of every image into a Parquet table; returns how many, and how many not.

    Columns: `id`, `label.<name>` of every label that the reader reads, `confidence.<name>` of
    classes. Images that cannot be decoded have a row without labels, and no reading is invented.

    Raises: CheckpointError if the model is no reader; DataError if there is no image to read, or
        the table cannot be written or lies among the images.
    """
    _require_outside(place, out)
    reader = load_reader(model)
    reader.network.to(find_device(device))
    pictures = open_pictures(place, reader.resolution)
    ids = pictures.ids
    require_folder(out.parent)
    tables: list[pd.DataFrame] = []
    with terminal_bar("predict", len(ids), unit="images") as advance:
        for chunk, pixels in pictures.batches(ids, CHUNK):
            tables.append(reader.predict(pixels).set_axis(pd.Index(chunk)))
            advance(len(chunk))
    if not tables:
        raise DataError(f"none of {len(ids)} images can be used: {pictures.rejected[0][2]}")
    read = pd.concat(tables).reindex(ids)
    names = {name: f"{LABEL_PREFIX}{name}" for name in reader.schema}
    table = read.rename(columns=names).rename_axis("id").reset_index()
    try:
        pq.write_table(
            pa.Table.from_pandas(table, preserve_index=False), out, write_page_checksum=True
        )
    except OSError as error:
        raise DataError(f"{str(out)!r} cannot be written: {error.strerror or error}") from None
    return len(ids) - len(pictures.rejected), len(pictures.rejected)
