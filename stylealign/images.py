"""Images as files and as uint8 pixels: reading, writing, cutting, laying out.

This module does without torch, so that what only moves pictures starts at once; the float images
that networks see are in `stylealign.tensors`.
"""

import io
import struct
import warnings
import zlib
from collections.abc import Callable, Sequence
from typing import Final, Literal

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

from stylealign.errors import DataError

Pixels = UInt8[np.ndarray, "_ _ 3"]
PixelBatch = UInt8[np.ndarray, "N H W 3"]
Mask = UInt8[np.ndarray, "_ _"]

MAX_PIXELS: Final = 80_000_000
"""Larger images are refused before their pixels are decoded."""

FORMATS: Final = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""Formats that Pillow decodes by itself, so that no file can start an outside program."""

_BROKEN_FILE: Final = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
    struct.error,
    zlib.error,
)
"""What Pillow's decoders raise on damaged files."""

# Pillow only warns about a bomb of one to two times its limit; here it is always an error.
warnings.simplefilter("error", Image.DecompressionBombWarning)


def encode_png(pixels: Pixels | Mask) -> bytes:
    """Encode one image, or one mask, as PNG; equal pixels give equal bytes."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, format="PNG", compress_level=6)
    return buffer.getvalue()


def encode_animation(
    frames: PixelBatch, file_format: Literal["GIF", "WEBP"], *, frame_ms: int = 40
) -> bytes:
    """Encode frames as one animation that repeats for ever.

    Shapes: frames [N, H, W, 3].
    Units:  frame_ms is the time that each frame stands, in milliseconds.
    """
    first, *others = [Image.fromarray(np.ascontiguousarray(frame)) for frame in frames]
    buffer = io.BytesIO()
    first.save(
        buffer,
        format=file_format,
        save_all=True,
        append_images=others,
        duration=frame_ms,
        loop=0,
    )
    return buffer.getvalue()


def decode(data: bytes) -> Pixels:
    """Decode one image file to RGB, upright as its EXIF orientation says.

    Transparent pixels are laid over white; of an animation the first frame is taken.

    Raises: DataError if the data is no image, is damaged, or has more than `MAX_PIXELS` pixels.
    """
    return _open(data, lambda image: np.array(_to_rgb(ImageOps.exif_transpose(image))))


def decode_mask(data: bytes) -> Mask:
    """Decode a mask: one grey level, or palette position, per pixel.

    Raises: DataError as `decode` does, or if the file has more than one channel.
    """
    mask = _open(data, np.array)
    if mask.ndim != 2 or mask.dtype != np.uint8:
        raise DataError(f"mask has shape {mask.shape} of {mask.dtype}; expected 8-bit grey")
    return mask


def crop_and_resize(pixels: Pixels, resolution: int) -> Pixels:
    """Cut the largest centred square and resize it with antialiasing.

    Shapes: pixels [H, W, 3]; returns [resolution, resolution, 3].
    """
    height, width = pixels.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = np.ascontiguousarray(pixels[top : top + side, left : left + side])
    if side == resolution:
        return square
    size = (resolution, resolution)
    return np.array(Image.fromarray(square).resize(size, Image.Resampling.LANCZOS))


def image_grid(images: Sequence[Pixels] | PixelBatch, num_columns: int) -> Pixels:
    """Lay equally large images side by side, row by row; missing ones are white.

    Shapes: images [N, H, W, 3]; returns [num_rows * H, num_columns * W, 3].
    Raises: DataError if there is no image.
    """
    if len(images) == 0:
        raise DataError("cannot lay out a grid of 0 images, expected at least 1")
    batch = np.stack(list(images))
    num_images, height, width, _ = batch.shape
    num_rows = -(-num_images // num_columns)
    cells = np.full((num_rows * num_columns, height, width, 3), 255, np.uint8)
    cells[:num_images] = batch
    rows = cells.reshape(num_rows, num_columns, height, width, 3).swapaxes(1, 2)
    return rows.reshape(num_rows * height, num_columns * width, 3)


def _open(data: bytes, read: Callable[[Image.Image], np.ndarray]) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _refuse_bomb(image.size)
            return read(image)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        message = f"image is too large: {error}; expected at most {MAX_PIXELS} pixels"
        raise DataError(message) from error
    except DataError:
        raise
    except _BROKEN_FILE as error:
        reason = str(error).split(" <_io")[0]  # without the address of our own buffer
        message = f"cannot decode image: {reason}; expected an intact file of {FORMATS}"
        raise DataError(message) from error


def _refuse_bomb(size: tuple[int, int]) -> None:
    num_pixels = size[0] * size[1]
    if num_pixels > MAX_PIXELS:
        message = f"image of {num_pixels} pixels is too large; expected at most {MAX_PIXELS}"
        raise DataError(message)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit grey: keep the upper byte, where Pillow would clip
        grey = (np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)
        return Image.fromarray(grey).convert("RGB")
    if image.mode == "F":
        raise DataError("image has float pixels; expected 8-bit or 16-bit pixels")
    if image.has_transparency_data:
        upright = image.convert("RGBA")
        white = Image.new("RGBA", upright.size, "white")
        return Image.alpha_composite(white, upright).convert("RGB")
    return image.convert("RGB")
