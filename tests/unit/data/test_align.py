"""Laws of the map from a raw image into its frame."""

from collections.abc import Callable

import numpy as np
import pytest

from stylealign.data.align import (
    FFHQ_POINTS,
    centre_square,
    fit_similarity,
    move_points,
    warp,
    warp_mask,
)
from stylealign.errors import DataError
from stylealign.images import crop_and_resize


def similarity(angle: float, scale: float, shift: tuple[float, float]) -> np.ndarray:
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    return np.array([[cos, -sin, shift[0]], [sin, cos, shift[1]]])


def test_a_similarity_is_found_again_from_moved_points() -> None:
    points = np.array(list(FFHQ_POINTS.values()))
    moved = similarity(0.4, 90.0, (30.0, -12.0))

    affine, residual = fit_similarity(move_points(points, moved), points)

    np.testing.assert_allclose(move_points(move_points(points, moved), affine), points, atol=1e-12)
    assert residual < 1e-12


def test_a_mirrored_face_leaves_a_residual_instead_of_being_mirrored_back() -> None:
    points = np.array(list(FFHQ_POINTS.values()))

    affine, residual = fit_similarity(points * [-1, 1], points)

    assert residual > 0.05
    assert np.linalg.det(affine[:, :2]) > 0


def test_no_similarity_fits_better_than_the_one_found() -> None:
    rng = np.random.default_rng(0)
    points, template = rng.random((5, 2)), rng.random((5, 2))
    affine, residual = fit_similarity(points, template)

    for _ in range(200):
        scale, turn = affine[0, 0] + 1j * affine[1, 0], 1 + 0.05 * rng.standard_normal(2) @ [1, 1j]
        other = similarity(float(np.angle(scale * turn)), float(abs(scale * turn)), (0.0, 0.0))
        other[:, 2] = affine[:, 2] + 0.05 * rng.standard_normal(2)
        distance = move_points(points, other) - template
        assert np.sqrt(np.mean(np.sum(distance**2, axis=1))) >= residual


def test_points_in_one_place_are_refused() -> None:
    with pytest.raises(DataError, match="coincide"):
        fit_similarity(np.ones((3, 2)), np.random.default_rng(0).random((3, 2)))


def test_warping_to_the_centre_square_is_cropping(draw_image: Callable[..., np.ndarray]) -> None:
    image = draw_image(0, side=48)[:, :40]

    warped = warp(image, centre_square(40, 48), 40)

    np.testing.assert_array_equal(warped, crop_and_resize(image, 40))


@pytest.mark.parametrize("side", [37, 150, 400])
def test_warping_a_large_image_averages_as_resizing_does(
    side: int, draw_image: Callable[..., np.ndarray]
) -> None:
    image = draw_image(0, side=side)

    warped = warp(image, centre_square(side, side), 20)
    resized = crop_and_resize(image, 20)

    # two resampling steps instead of one: a few grey levels, most of them at the border
    assert np.abs(warped.astype(int) - resized).mean() < 3


def test_a_marked_point_lands_where_its_map_says() -> None:
    image = np.zeros((60, 60, 3), np.uint8)
    image[40:44, 10:14] = 255
    affine, _ = fit_similarity(
        np.array([[12.0, 42.0], [52.0, 42.0]]), np.array([[0.25, 0.5], [0.75, 0.5]])
    )

    warped = warp(image, affine, 32)

    assert warped[15:17, 7:9].min() > 128
    assert warped[15:17, 10:30].max() < 30


def test_beyond_the_border_the_image_mirrors_instead_of_turning_black() -> None:
    image = np.full((10, 10, 3), 90, np.uint8)
    affine = similarity(0.3, 0.04, (0.3, 0.3))

    warped = warp(image, affine, 16)

    assert warped.min() == warped.max() == 90


def test_a_mask_follows_its_image() -> None:
    mask = np.zeros((40, 40), np.uint8)
    mask[:20, 20:] = 3
    image = np.repeat(mask[..., None] * 80, 3, axis=2).astype(np.uint8)
    affine = similarity(0.2, 1 / 40, (0.05, -0.05))

    warped_mask = warp_mask(mask, affine, 32)
    warped_image = warp(image, affine, 32)[..., 0]

    assert ((warped_image > 120) == (warped_mask == 3)).mean() > 0.95
