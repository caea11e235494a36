"""Pictures of the procedural domains from a table of attributes."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stylealign.data.procedural.attributes import Domain, class_values, require_domain
from stylealign.data.procedural.canvas import Array, Canvas, new_canvas
from stylealign.data.procedural.cats import EYES, FUR, paint_cats
from stylealign.data.procedural.head import Head
from stylealign.data.procedural.people import HAIR, SKIN, paint_people
from stylealign.errors import DataError, ParamsError

Palette = dict[str, tuple[float, float, float]]

_MIN_RESOLUTION = 32
_CHUNK_PIXELS = 1 << 15  # pictures painted together: small enough to stay in the cache
_NUMBERS = ("yaw", "pitch", "smile", "eye_openness", "size", "x", "y", "background")


def render(domain: str, attributes: pd.DataFrame, resolution: int) -> NDArray[np.uint8]:
    """One picture per row of attributes.

    A picture depends on its own row alone, and a larger resolution shows the same picture sharper.

    Shapes: returns [N, H, W, 3], H = W = resolution.
    Units: sRGB, 0 to 255; attributes as `draw_attributes` gives them.
    Raises: ParamsError if the domain or the resolution cannot be used; DataError if a column is
        missing or holds a value that the domain does not know.
    """
    domain = require_domain(domain)
    classes = class_values(domain)
    if resolution < _MIN_RESOLUTION:
        raise ParamsError(f"resolution must be at least {_MIN_RESOLUTION}, got {resolution!r}")
    _require_columns(domain, attributes, classes)
    pictures = np.empty((len(attributes), resolution, resolution, 3), np.uint8)
    num_chunk = max(1, _CHUNK_PIXELS // resolution**2)
    for start in range(0, len(attributes), num_chunk):
        rows = attributes.iloc[start : start + num_chunk]
        image = _render_chunk(domain, rows, resolution)
        pictures[start : start + num_chunk] = image.transpose(0, 2, 3, 1)
    return pictures


def _render_chunk(domain: Domain, rows: pd.DataFrame, resolution: int) -> NDArray[np.uint8]:
    number = {name: rows[name].to_numpy(np.float32) for name in _NUMBERS}
    canvas = new_canvas(number["size"], number["x"], number["y"], resolution)
    _paint_background(canvas, number["background"], resolution)
    glasses = (rows["glasses"] == "yes").to_numpy(np.float32)
    head = Head(
        yaw=np.radians(number["yaw"]).reshape(-1, 1, 1),
        pitch=np.radians(number["pitch"]).reshape(-1, 1, 1),
        smile=number["smile"].reshape(-1, 1, 1),
        eye_openness=number["eye_openness"].reshape(-1, 1, 1),
        glasses=glasses.reshape(-1, 1, 1),
    )
    if domain == "people":
        skin, hair = _colors(rows, "tone", SKIN), _colors(rows, "hair_color", HAIR)
        paint_people(canvas, head, skin=skin, hair=hair)
    else:
        fur, eyes = _colors(rows, "tone", FUR), _colors(rows, "eye_color", EYES)
        paint_cats(canvas, head, fur=fur, eyes=eyes)
    return np.rint(255.0 * np.clip(canvas.image, 0.0, 1.0)).astype(np.uint8)


def _paint_background(canvas: Canvas, place: Array, resolution: int) -> None:
    """Fill with a soft color between green and violet, darker towards the bottom."""
    turn = 2 * np.pi * (0.30 + 0.45 * place.reshape(-1, 1, 1, 1))
    phase = 2 * np.pi * np.array([0, 1 / 3, 2 / 3], np.float32).reshape(1, 3, 1, 1)
    height = ((2 * np.arange(resolution) + 1) / resolution - 1).astype(np.float32)
    fall = 0.95 - 0.11 * height.reshape(1, 1, -1, 1)
    canvas.image[...] = fall * (0.76 + 0.13 * np.cos(turn - phase))


def _colors(rows: pd.DataFrame, name: str, palette: Palette) -> Array:
    return np.array([palette[value] for value in rows[name]], np.float32)


def _require_columns(
    domain: Domain, attributes: pd.DataFrame, classes: dict[str, tuple[str, ...]]
) -> None:
    missing = [name for name in (*_NUMBERS, *classes) if name not in attributes.columns]
    if missing:
        raise DataError(f"attributes of {domain!r} lack the columns {missing!r}")
    for name, values in classes.items():
        unknown = set(attributes[name]) - set(values)
        if unknown:
            raise DataError(
                f"column {name!r} holds {sorted(map(str, unknown))!r}: expected {list(values)}"
            )
    if not np.isfinite(attributes[list(_NUMBERS)].to_numpy(np.float64)).all():
        raise DataError(f"attributes of {domain!r} must be finite numbers, found NaN or infinity")
