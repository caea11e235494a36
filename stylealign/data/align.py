"""The map from a raw image into the square frame that a model expects."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Float
from PIL import Image

from stylealign.data.labels import LabelSpec
from stylealign.errors import DataError
from stylealign.images import Mask, Pixels

Affine = Float[np.ndarray, "2 3"]
"""Maps source pixels to fractions of the square frame."""

MAX_SUPERSAMPLING: Final = 16

FFHQ_POINTS: Final[dict[str, tuple[float, float]]] = {
    "left_eye": (0.3769, 0.4686),
    "right_eye": (0.6229, 0.4691),
    "nose": (0.5013, 0.6133),
    "left_mouth": (0.3931, 0.7254),
    "right_mouth": (0.6115, 0.7249),
}
"""Five points of FFHQ crops as seen in the image. Source: facexlib's template for 512 pixels."""


@dataclass(frozen=True)
class Template:
    """Where the points of a keypoint label, or the corners of a box label, shall come to lie."""

    label: str
    points: Mapping[str, tuple[float, float]]
    """Fractions of the frame; for a box its `top_left` and `bottom_right`."""
    max_residual: float
    """Largest root mean square distance left after the fit, as a fraction of the frame."""


def centre_square(width: int, height: int) -> Affine:
    """Map of the largest centred square."""
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    return np.array([[1.0 / side, 0.0, -left / side], [0.0, 1.0 / side, -top / side]])


def fit_similarity(
    points: Float[np.ndarray, "P 2"], template: Float[np.ndarray, "P 2"]
) -> tuple[Affine, float]:
    """Turn, scale and shift that bring points nearest to a template, and the distance left.

    Never mirrors.

    Units:  the residual is a root mean square in the template's unit.
    Raises: DataError if there are fewer than two different points.
    Source: Umeyama, IEEE PAMI 13(4), 1991, eq. 40-42, in the complex form for two dimensions.
    """
    source = points[:, 0] + 1j * points[:, 1]
    target = template[:, 0] + 1j * template[:, 1]
    source_mean, target_mean = source.mean(), target.mean()
    spread = float(np.sum(np.abs(source - source_mean) ** 2))
    if not spread > 0:
        raise DataError("keypoints coincide; expected at least two different points")
    turn = np.sum(np.conj(source - source_mean) * (target - target_mean)) / spread
    shift = target_mean - turn * source_mean
    residual = float(np.sqrt(np.mean(np.abs(turn * source + shift - target) ** 2)))
    matrix = np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])
    return matrix, residual


def fit_template(
    cell: Sequence[object], spec: LabelSpec, template: Template, size: tuple[int, int]
) -> tuple[Affine, float]:
    """Map of one image, from its keypoints or its first box, into the template's frame.

    Raises: DataError if the label lacks a point of the template.
    """
    names = list(spec.values) if spec.type == "keypoints" else ["top_left", "bottom_right"]
    values = cell if spec.type == "keypoints" else list(cell)[0]  # noqa: RUF015
    known = dict(zip(names, source_points(values, spec, size), strict=True))
    missing = [name for name in template.points if name not in known]
    if missing:
        raise DataError(f"template point {missing[0]!r} is not in label {template.label!r}")
    points = np.array([known[name] for name in template.points])
    if spec.type == "keypoints":
        return fit_similarity(points, np.array(list(template.points.values())))
    return _fit_box(points, np.array(list(template.points.values())))


def source_points(
    values: object, spec: LabelSpec, size: tuple[int, int]
) -> Float[np.ndarray, "P 2"]:
    """Points of a keypoint label, or corners of one box, in pixels of the source image."""
    points = np.asarray(values, dtype=np.float64).reshape(-1, 2)
    return points * np.array(size, dtype=np.float64) if spec.unit == "relative" else points


def move_points(points: Float[np.ndarray, "P 2"], affine: Affine) -> Float[np.ndarray, "P 2"]:
    """Points of the source image as fractions of the frame."""
    return points @ affine[:, :2].T + affine[:, 2]


def warp(pixels: Pixels, affine: Affine, resolution: int) -> Pixels:
    """Draw the frame from the source with antialiasing; beyond the border the image mirrors.

    The frame is sampled at about the source's own density and then reduced.

    Shapes: pixels [H, W, 3]; returns [resolution, resolution, 3].
    """
    inverse = _inverse(affine)
    scale = float(np.sqrt(abs(np.linalg.det(inverse[:, :2])))) / resolution
    fine = resolution * int(np.clip(np.ceil(scale), 1, MAX_SUPERSAMPLING))
    padded, pad = _pad(pixels, inverse)
    to_source = inverse / np.array([fine, fine, 1.0])
    to_source[:, 2] += pad
    data = to_source.ravel().tolist()
    image = Image.fromarray(padded).transform(
        (fine, fine), Image.Transform.AFFINE, data, resample=Image.Resampling.BICUBIC
    )
    return np.array(image.resize((resolution, resolution), Image.Resampling.LANCZOS))


def warp_mask(mask: Mask, affine: Affine, resolution: int) -> Mask:
    """Draw the frame of a mask by its nearest level; beyond the border it repeats the edge."""
    inverse = _inverse(affine)
    centres = (np.arange(resolution) + 0.5) / resolution
    grid = np.stack(np.meshgrid(centres, centres), axis=-1).reshape(-1, 2)
    places = np.floor(move_points(grid, inverse)).astype(int)
    rows = places[:, 1].clip(0, mask.shape[0] - 1)
    columns = places[:, 0].clip(0, mask.shape[1] - 1)
    return mask[rows, columns].reshape(resolution, resolution)


def _fit_box(
    corners: Float[np.ndarray, "2 2"], template: Float[np.ndarray, "2 2"]
) -> tuple[Affine, float]:
    """Equal centre and equal area, without a turn; the residual is the difference of shape."""
    sizes, wanted = corners[1] - corners[0], template[1] - template[0]
    if not sizes.prod() > 0:
        raise DataError("box is empty; expected a box with an area")
    scale = float(np.sqrt(wanted.prod() / sizes.prod()))
    shift = template.mean(axis=0) - scale * corners.mean(axis=0)
    affine = np.array([[scale, 0.0, shift[0]], [0.0, scale, shift[1]]])
    distance = move_points(corners, affine) - template
    return affine, float(np.sqrt(np.mean(np.sum(distance**2, axis=1))))


def _inverse(affine: Affine) -> Affine:
    linear = np.linalg.inv(affine[:, :2])
    return np.column_stack([linear, -linear @ affine[:, 2]])


def _pad(pixels: Pixels, inverse: Affine) -> tuple[Pixels, int]:
    height, width = pixels.shape[:2]
    corners = move_points(np.array([[0.0, 0], [1, 0], [0, 1], [1, 1]]), inverse)
    beyond = max(float(-corners.min()), float((corners - [width, height]).max()), 0.0)
    limit = max(min(height, width) * 2, 1)
    pad = min(int(np.ceil(beyond)) + 2, limit)
    return np.pad(pixels, ((pad, pad), (pad, pad), (0, 0)), mode="symmetric"), pad
