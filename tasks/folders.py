"""Images of any folder become images of a child's domain."""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

import numpy as np

from stylealign.checkpoints import load_model, require_related
from stylealign.data.folders import GRID_FILE, TRANSLATIONS_FILE
from stylealign.data.manifest import write_whole
from stylealign.errors import DataError
from stylealign.images import PixelBatch, encode_png, image_grid
from stylealign.inversion import Inversion, invert
from stylealign.inversion.inputs import require_no_classes
from stylealign.models import Model
from stylealign.tensors import to_uint8
from stylealign.translation import translate
from tasks.pictures import (
    CHUNK,
    Pictures,
    find_device,
    open_pictures,
    require_folder,
    require_outside,
)
from tasks.terminal import terminal_bar

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
    require_outside(place, out)
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
