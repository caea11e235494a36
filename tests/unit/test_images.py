"""Laws of the boundary between files, uint8 pixels and float images."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from stylealign.errors import DataError
from stylealign.images import crop_and_resize, decode, encode_png, image_grid
from stylealign.tensors import to_float, to_uint8


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (12, 10, 3), dtype=np.uint8)


def encoded(image: Image.Image, file_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=file_format, **options)
    return buffer.getvalue()


def png_header_of(width: int, height: int) -> bytes:
    """A PNG whose header claims a huge size, as a bomb does, in a few bytes."""
    small = encode_png(np.zeros((1, 1, 3), np.uint8))
    chunk = bytearray(small)
    chunk[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    import zlib

    chunk[29:33] = zlib.crc32(bytes(chunk[12:29])).to_bytes(4, "big")
    return bytes(chunk)


def test_every_uint8_value_survives_the_way_to_float_and_back() -> None:
    values = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=3)

    floats = to_float(values)

    assert floats.min() == -1.0
    assert floats.max() == 1.0
    assert (to_uint8(floats) == values).all()


def test_float_values_out_of_range_are_clipped() -> None:
    floats = torch.tensor([-9.0, 9.0]).view(1, 1, 1, 2).expand(1, 3, 1, 2)

    images = to_uint8(floats)

    assert images[0, 0, :, 0].tolist() == [0, 255]


def test_png_keeps_every_pixel_and_equal_pixels_give_equal_bytes(pixels: np.ndarray) -> None:
    first, second = encode_png(pixels), encode_png(pixels.copy())

    decoded = decode(first)

    assert first == second
    assert (decoded == pixels).all()


def test_decoding_turns_an_image_upright(pixels: np.ndarray) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned by 90 degrees
    data = encoded(Image.fromarray(pixels), "PNG", exif=exif)

    decoded = decode(data)

    assert (decoded == np.rot90(pixels, -1)).all()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_every_png_colour_mode_becomes_rgb(mode: str, pixels: np.ndarray) -> None:
    data = encoded(Image.fromarray(pixels).convert(mode), "PNG")

    decoded = decode(data)

    assert decoded.shape == pixels.shape
    assert decoded.dtype == np.uint8


def test_cmyk_becomes_rgb() -> None:
    red = Image.new("RGB", (8, 8), (250, 10, 10))

    decoded = decode(encoded(red.convert("CMYK"), "JPEG", quality=95))

    assert np.abs(decoded.astype(int) - [250, 10, 10]).max() < 12


def test_sixteen_bit_grey_keeps_its_brightness() -> None:
    grey = Image.fromarray(np.full((4, 4), 0x80FF, np.uint16))

    decoded = decode(encoded(grey, "PNG"))

    assert (decoded == 0x80).all()


def test_transparent_pixels_are_laid_over_white() -> None:
    clear = Image.new("RGBA", (4, 4), (10, 20, 30, 0))

    decoded = decode(encoded(clear, "PNG"))

    assert (decoded == 255).all()


def test_a_transparent_palette_is_laid_over_white(pixels: np.ndarray) -> None:
    paletted = Image.fromarray(pixels).convert("P")
    data = encoded(paletted, "PNG", transparency=bytes(256))

    decoded = decode(data)

    assert (decoded == 255).all()


@pytest.mark.parametrize("data", [b"", b"not an image", b"\x89PNG\r\n\x1a\n broken"])
def test_what_is_no_image_is_a_data_error(data: bytes) -> None:
    with pytest.raises(DataError, match="cannot decode image"):
        decode(data)


def test_a_truncated_image_is_a_data_error(pixels: np.ndarray) -> None:
    data = encode_png(pixels)

    with pytest.raises(DataError, match="cannot decode image"):
        decode(data[: len(data) // 2])


@pytest.mark.parametrize("side", [9_000, 10_000, 20_000])
def test_a_bomb_is_refused_before_its_pixels_are_decoded(side: int) -> None:
    bomb = png_header_of(side, side)

    with pytest.raises(DataError, match="too large"):
        decode(bomb)


def test_resizing_a_fine_pattern_averages_it_instead_of_sampling_it() -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255

    small = crop_and_resize(stripes, 16)

    assert np.abs(small[2:-2, 2:-2].astype(int) - 128).max() <= 4


def test_cropping_takes_the_centre() -> None:
    wide = np.zeros((4, 8, 3), np.uint8)
    wide[:, 2:6] = 200

    square = crop_and_resize(wide, 4)

    assert (square == 200).all()


def test_a_grid_shows_each_image_in_its_place_and_white_where_none_is_left() -> None:
    images = [np.full((2, 3, 3), value, np.uint8) for value in (10, 20, 30)]

    grid = image_grid(images, num_columns=2)

    assert grid.shape == (4, 6, 3)
    assert grid[::2, ::3, 0].tolist() == [[10, 20], [30, 255]]


def test_a_grid_of_nothing_is_a_data_error() -> None:
    with pytest.raises(DataError, match="at least 1"):
        image_grid([], num_columns=2)
