"""Laws of the distances between feature sets, and independent formulas for each."""

import numpy as np
import pytest
import scipy.linalg
import scipy.spatial.distance
import torch

from stylealign.errors import DataError
from stylealign.metrics import frechet_distance, kernel_distance, precision_recall


def features(num_rows: int, width: int = 12, seed: int = 0, shift: float = 0.0) -> np.ndarray:
    rows = np.random.default_rng(seed)
    return rows.standard_normal((num_rows, width)) @ np.diag(np.linspace(0.3, 2, width)) + shift


@pytest.mark.parametrize(("num_real", "num_fake"), [(50, 70), (200, 9), (7, 9)])
def test_frechet_distance_equals_the_formula_with_a_matrix_root(num_real, num_fake):
    real, fake = features(num_real), features(num_fake, seed=1, shift=0.5)
    real_cov, fake_cov = (np.cov(rows.T, ddof=0) for rows in (real, fake))
    if min(num_real, num_fake) > 12:
        root_trace = np.trace(np.real(scipy.linalg.sqrtm(real_cov @ fake_cov)))
    else:  # a singular product has no stable root, its eigenvalues are still exact
        eigenvalues = np.linalg.eigvals(real_cov @ fake_cov).real
        root_trace = np.sqrt(eigenvalues.clip(0)).sum()
    expected = ((real.mean(0) - fake.mean(0)) ** 2).sum() + np.trace(real_cov + fake_cov)
    expected -= 2 * root_trace

    distance = frechet_distance(real, fake)

    assert distance == pytest.approx(expected, rel=1e-6)


def test_frechet_distance_of_a_set_from_itself_is_zero():
    few_rows, many_rows = features(8, width=40), features(300, width=40)

    distances = [frechet_distance(rows, rows) for rows in (few_rows, many_rows)]

    assert distances == pytest.approx([0.0, 0.0], abs=1e-10)


def test_frechet_distance_of_a_shifted_set_is_the_squared_shift():
    real = features(100)

    distance = frechet_distance(real, real + 3.0)

    assert distance == pytest.approx(12 * 9.0)


def test_frechet_distance_of_a_scaled_set_divides_the_covariance_by_n():
    real = np.array([[0.0], [2.0]])  # variance 1 divided by N, 2 divided by N - 1

    distance = frechet_distance(real, 3 * real - 2)  # same mean, three times the deviation

    assert distance == pytest.approx((3 - 1) ** 2)


def test_frechet_distance_is_symmetric_and_ignores_row_order():
    real, fake = features(60), features(80, seed=1)

    distances = [frechet_distance(real, fake), frechet_distance(fake[::-1].copy(), real)]

    assert distances[0] == pytest.approx(distances[1], rel=1e-12)


def test_float32_tensors_and_float64_arrays_give_the_same_distances(rng):
    real, fake = features(60).astype(np.float32), features(60, seed=1).astype(np.float32)

    from_tensors = frechet_distance(torch.from_numpy(real), torch.from_numpy(fake))
    from_arrays = frechet_distance(real.astype(np.float64), fake.astype(np.float64))

    assert from_tensors == from_arrays


def test_kernel_distance_equals_the_double_sum_over_pairs(rng):
    real, fake = features(15), features(15, seed=1, shift=0.4)

    def kernel(a: np.ndarray, b: np.ndarray) -> float:
        return float(a @ b / 12 + 1) ** 3

    pairs = [(i, j) for i in range(15) for j in range(15)]
    within = sum(kernel(rows[i], rows[j]) for rows in (real, fake) for i, j in pairs if i != j) / (
        15 * 14
    )
    between = sum(kernel(real[i], fake[j]) for i, j in pairs) / 15**2

    distance = kernel_distance(real, fake, rng=rng)

    assert distance == pytest.approx(within - 2 * between, rel=1e-10)


def test_kernel_distance_is_unbiased_so_equal_distributions_average_to_zero(rng):
    distances = [
        kernel_distance(features(40, seed=2 * i), features(40, seed=2 * i + 1), rng=rng)
        for i in range(200)
    ]

    standard_error = np.std(distances) / len(distances) ** 0.5
    assert abs(np.mean(distances)) < 4 * standard_error
    assert min(distances) < 0


def test_kernel_distance_of_whole_sets_ignores_row_order(rng):
    real, fake = features(30), features(30, seed=1)

    distances = [kernel_distance(real, fake, rng=rng), kernel_distance(real[::-1], fake, rng=rng)]

    assert distances[0] == pytest.approx(distances[1], rel=1e-9)


@pytest.mark.parametrize(
    "make_rng", [torch.Generator().manual_seed, np.random.default_rng], ids=["torch", "numpy"]
)
def test_kernel_distance_over_subsets_repeats_with_the_seed_and_approaches_the_whole(make_rng):
    real, fake = features(120), features(100, seed=1, shift=0.6)
    whole = kernel_distance(real[:100], fake, rng=np.random.default_rng(0))

    first, second = (
        kernel_distance(real, fake, max_subset_size=40, rng=make_rng(3)) for _ in range(2)
    )

    assert first == second
    assert first == pytest.approx(whole, rel=0.15)


def test_precision_and_recall_equal_a_brute_force_count():
    real, fake = features(40, width=3), features(50, width=3, seed=1, shift=0.4)

    def inside(points: np.ndarray, centres: np.ndarray) -> float:
        radii = np.sort(scipy.spatial.distance.cdist(centres, centres), axis=1)[:, 3]
        distances = scipy.spatial.distance.cdist(points, centres)
        return float((distances <= radii).any(1).mean())

    measured = precision_recall(real, fake, k=3)

    assert measured == (inside(fake, real), inside(real, fake))
    assert 0 < measured.recall < 1


def test_the_radius_of_a_ball_does_not_count_its_own_centre():
    real = np.array([[0.0], [1.0], [2.0], [10.0]])
    fake = np.array([[10.9], [17.9], [18.1], [40.0]])  # the ball of 10 reaches 8 away

    measured = precision_recall(real, fake, k=1)

    assert measured.precision == 0.5


def test_a_set_covers_itself_and_nothing_far_away():
    real = features(600, width=4)  # more rows than one chunk

    assert precision_recall(real, real) == (1.0, 1.0)
    assert precision_recall(real, real + 100) == (0.0, 0.0)


def test_repeated_points_cover_themselves():
    repeated = np.repeat(features(5), 6, axis=0)

    assert precision_recall(repeated, repeated) == (1.0, 1.0)


def test_a_collapsed_set_is_precise_but_recalls_little():
    real = features(200, width=4)
    collapsed = real[:1] + 1e-3 * features(200, width=4, seed=1)

    measured = precision_recall(real, collapsed)

    assert measured.precision == 1.0
    assert measured.recall < 0.05


DISTANCES = {
    "frechet": frechet_distance,
    "kernel": lambda real, fake: kernel_distance(real, fake, rng=np.random.default_rng(0)),
    "precision": precision_recall,
}


@pytest.mark.parametrize("name", DISTANCES)
def test_features_that_cannot_be_compared_are_named(name):
    distance, good = DISTANCES[name], features(10)
    with_nan = good.copy()
    with_nan[4, 2] = np.nan

    with pytest.raises(DataError, match="fake features are not finite in row 4"):
        distance(good, with_nan)
    with pytest.raises(DataError, match="real features have 1 rows"):
        distance(good[:1], good)
    with pytest.raises(DataError, match="one extractor"):
        distance(good, good[:, :5])
    with pytest.raises(DataError, match="shape"):
        distance(good.ravel(), good)
