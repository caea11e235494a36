"""Two images become the frames between them, in one animation or one strip."""

import math
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import pandas as pd
import torch

from stylealign.checkpoints import load_model, require_related
from stylealign.data.shards import read_shard
from stylealign.errors import DataError
from stylealign.images import PixelBatch, encode_animation, encode_png, image_grid
from stylealign.inversion import invert
from stylealign.inversion.inputs import require_no_classes
from stylealign.inversion.start import code_shape
from stylealign.models import Latents, Model
from stylealign.morphing import morph
from stylealign.tensors import to_uint8
from tasks.pictures import find_device, read_picture, require_folder

ANIMATED: Final[dict[str, Literal["GIF", "WEBP"]]] = {".gif": "GIF", ".webp": "WEBP"}
STRIP: Final = ".png"
MIN_SIDE_PX: Final = 128
"""Smaller frames are enlarged by a whole factor."""


def morph_images(
    first: str,
    second: str,
    models: tuple[Path, Path],
    out: Path,
    *,
    codes: Path,
    num_frames: int,
    use_force: bool,
    device: str = "auto",
    **settings: object,
) -> int:
    """Write the frames from one image to another; returns how many.

    Each end is an image file, which is inverted in its own model, or the id of a row in a folder
    of codes. `.gif` and `.webp` become animations, `.png` a strip of all frames.

    Raises: DataError if an end is neither, the suffix of `out` is unknown, or a model is
        conditional; LineageError if the models are not related, unless `use_force` asks for a
        control experiment.
    """
    suffix = out.suffix.lower()
    if suffix not in (*ANIMATED, STRIP):
        raise DataError(f"{str(out)!r} ends in {suffix!r}: expected .gif, .webp or .png")
    device = find_device(device)
    networks = load_model(models[0], device), load_model(models[1], device)
    require_related(*networks, force=use_force)
    for model in networks:
        require_no_classes(model.config)
    given = {name: value for name, value in settings.items() if value is not None}
    ends = (first, networks[0]), (second, networks[1])
    known = [find_code(end, codes, model, use_force=use_force) for end, model in ends]
    spaces = [found.space for found in known if found is not None]
    given |= {"space": spaces[0]} if spaces else {}
    latents = [
        found or invert_picture(Path(end), model, given)
        for found, (end, model) in zip(known, ends, strict=True)
    ]
    # the models are related, and each code belongs to one of them
    frames = morph(
        latents[0], networks[0], latents[1], networks[1], num_frames=num_frames, force=True
    )
    pixels = enlarge(np.concatenate([to_uint8(frame) for frame in frames]))
    require_folder(out.parent)
    out.write_bytes(encode_frames(pixels, suffix))
    return len(pixels)


def find_code(end: str, codes: Path, model: Model, *, use_force: bool) -> Latents | None:
    """The code of a row, or None where the end is an image file.

    Raises: DataError if it is neither; LineageError if the code belongs to a stranger.
    """
    if Path(end).is_file():
        return None
    for path in sorted(codes.glob("*-of-*.parquet")):
        frame: pd.DataFrame = read_shard(path).to_pandas()
        rows = frame.loc[frame["id"] == end]
        if len(rows):
            found = as_code(rows.iloc[0], model)
            require_related(found, model, force=use_force)
            return found
    raise DataError(f"{end!r} is neither an image file nor the id of a row in {str(codes)!r}")


def as_code(row: pd.Series, model: Model) -> Latents:
    """One row of a codes table as a code, flat where it is of a model of another size."""
    code = torch.tensor(np.asarray(row["code"], np.float32))[None]
    shape = code_shape(model.generator, row["space"])
    if code.numel() == math.prod(shape):
        code = code.reshape(1, *shape)
    return Latents(code.to(model.generator.w_avg), row["space"], row["model_id"])


def invert_picture(path: Path, model: Model, settings: dict[str, Any]) -> Latents:
    """The code that draws an image file again."""
    return invert(read_picture(path, model.config.resolution), model, **settings).latents


def enlarge(pixels: PixelBatch) -> PixelBatch:
    """Frames that a person can see."""
    factor = max(1, MIN_SIDE_PX // pixels.shape[1])
    return pixels.repeat(factor, axis=1).repeat(factor, axis=2)


def encode_frames(pixels: PixelBatch, suffix: str) -> bytes:
    """One animation, or one strip where the format has no time."""
    if suffix == STRIP:
        return encode_png(image_grid(pixels, len(pixels)))
    return encode_animation(pixels, ANIMATED[suffix])
