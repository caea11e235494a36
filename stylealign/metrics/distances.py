"""Distances between two sets of images, each given as a matrix of features."""

from typing import Final, NamedTuple

import numpy as np
import torch
from torch import Tensor

from stylealign.errors import DataError
from stylealign.metrics.moments import Moments

FeatureMatrix = np.ndarray | Tensor
Rng = torch.Generator | np.random.Generator

_CHUNK_ROWS: Final = 512


class PrecisionRecall(NamedTuple):
    """How much of the fake set looks real, and how much of the real set is covered."""

    precision: float
    recall: float


def frechet_distance(real: FeatureMatrix, fake: FeatureMatrix) -> float:
    """Measure the Fréchet distance between two Gaussians fitted to features.

    The trace of the root of a product of covariances is the nuclear norm of the product of the
    centred data matrices, so no matrix root is taken and a set has distance 0 from itself.

    Shapes: real [N, F]; fake [M, F].
    Raises: DataError if the features differ in F, are not finite, or have under two rows.
    Source: Heusel et al., arXiv:1706.08500, eq. 6; covariances are divided by N.
    """
    real_rows, fake_rows = _check_features(real, fake, min_rows=2)
    return frechet_of_moments(Moments.of_rows(real_rows), Moments.of_rows(fake_rows))


def frechet_of_moments(real: Moments, fake: Moments) -> float:
    """Measure the same from means and covariances alone, as sets that streamed by leave them.

    Raises: DataError if the features differ in width, are not finite, or have under two rows.
    """
    for name, moments in (("real", real), ("fake", fake)):
        if moments.num_rows < 2:
            message = f"{name} features have {moments.num_rows} rows, expected at least 2"
            raise DataError(message)
        if not moments.mean.isfinite().all():
            raise DataError(f"{name} features are not finite; expected no NaN")
    if len(real.mean) != len(fake.mean):
        widths = (len(real.mean), len(fake.mean))
        raise DataError(f"features have widths {widths!r}; use one extractor for both sets")
    real_root, fake_root = real.root_covariance(), fake.root_covariance()
    root_trace = torch.linalg.svdvals(real_root @ fake_root.T).sum()
    traces = real_root.square().sum() + fake_root.square().sum()
    distance = (real.mean - fake.mean).square().sum() + traces - 2.0 * root_trace
    return max(float(distance), 0.0)


def kernel_distance(
    real: FeatureMatrix,
    fake: FeatureMatrix,
    *,
    num_subsets: int = 100,
    max_subset_size: int = 1000,
    rng: Rng,
) -> float:
    """Measure the kernel distance: the unbiased squared MMD, averaged over random subsets.

    Both subsets have min(N, M, max_subset_size) rows, drawn without replacement. Being unbiased,
    the value can be slightly negative for sets of one distribution. It is not multiplied by 1000.

    Shapes: real [N, F]; fake [M, F].
    Raises: DataError if the features differ in F, are not finite, or have under two rows.
    Source: Bińkowski et al., arXiv:1801.01401, eq. 4, with the cubic polynomial kernel.
    """
    real_rows, fake_rows = _check_features(real, fake, min_rows=2)
    size = min(len(real_rows), len(fake_rows), max_subset_size)
    if num_subsets < 1 or size < 2:
        message = f"cannot average {num_subsets} subsets of {size} rows, expected at least 1 of 2"
        raise DataError(message)
    if size == len(real_rows) == len(fake_rows):
        return _squared_mmd(real_rows, fake_rows)  # every subset is the whole set
    total = 0.0
    for _ in range(num_subsets):
        real_subset = real_rows[_permutation(len(real_rows), rng)[:size]]
        fake_subset = fake_rows[_permutation(len(fake_rows), rng)[:size]]
        total += _squared_mmd(real_subset, fake_subset)
    return total / num_subsets


def precision_recall(real: FeatureMatrix, fake: FeatureMatrix, *, k: int = 3) -> PrecisionRecall:
    """Measure improved precision and recall: shares of points inside the other set's manifold.

    A set's manifold is the union of balls around its points, each as wide as the distance to the
    point's k-th nearest neighbour, the point itself not counted.

    Shapes: real [N, F]; fake [M, F].
    Raises: DataError if the features differ in F, are not finite, or have under k + 1 rows.
    Source: Kynkäänniemi et al., arXiv:1904.06991, eq. 1 and 2.
    """
    if k < 1:
        raise DataError(f"k is {k!r}, expected at least 1 neighbour")
    real_rows, fake_rows = _check_features(real, fake, min_rows=k + 1)
    centre = real_rows.mean(0)
    real_rows, fake_rows = real_rows - centre, fake_rows - centre
    return PrecisionRecall(
        precision=_share_inside(fake_rows, real_rows, k),
        recall=_share_inside(real_rows, fake_rows, k),
    )


def _check_features(
    real: FeatureMatrix, fake: FeatureMatrix, *, min_rows: int
) -> tuple[Tensor, Tensor]:
    """Bring both matrices to float64 on the CPU, or say what is wrong with them."""
    checked: list[Tensor] = []
    for name, matrix in (("real", real), ("fake", fake)):
        # a copy, since views that are reversed or read-only cannot be shared
        array = matrix.detach().cpu() if isinstance(matrix, Tensor) else np.array(matrix, order="C")
        rows = torch.as_tensor(array).to(torch.float64)
        if rows.ndim != 2 or rows.shape[1] == 0:
            shape = tuple(rows.shape)
            raise DataError(f"{name} features have shape {shape!r}, expected [N, F] with F > 0")
        if len(rows) < min_rows:
            raise DataError(f"{name} features have {len(rows)} rows, expected at least {min_rows}")
        if not torch.isfinite(rows).all():
            bad_row = int((~torch.isfinite(rows).all(1)).nonzero()[0])
            raise DataError(f"{name} features are not finite in row {bad_row}; expected no NaN")
        checked.append(rows)
    if checked[0].shape[1] != checked[1].shape[1]:
        widths = (checked[0].shape[1], checked[1].shape[1])
        raise DataError(f"features have widths {widths!r}; use one extractor for both sets")
    return checked[0], checked[1]


def _squared_mmd(real: Tensor, fake: Tensor) -> float:
    size = len(real)
    real_kernel, fake_kernel = _cubic_kernel(real, real), _cubic_kernel(fake, fake)
    within = real_kernel.sum() - real_kernel.trace() + fake_kernel.sum() - fake_kernel.trace()
    between = _cubic_kernel(real, fake).sum()
    return float(within / (size * (size - 1)) - 2.0 * between / size**2)


def _cubic_kernel(rows: Tensor, columns: Tensor) -> Tensor:
    return (rows @ columns.T / rows.shape[1] + 1.0) ** 3


def _permutation(length: int, rng: Rng) -> Tensor:
    if isinstance(rng, torch.Generator):
        return torch.randperm(length, generator=rng, device=rng.device).cpu()
    return torch.from_numpy(rng.permutation(length))


def _squared_distances(rows: Tensor, columns: Tensor) -> Tensor:
    products = rows @ columns.T
    squares = rows.square().sum(1, keepdim=True) + columns.square().sum(1)
    return (squares - 2.0 * products).clamp_(min=0.0)


def _squared_radii(points: Tensor, k: int) -> Tensor:
    radii: list[Tensor] = []
    for start in range(0, len(points), _CHUNK_ROWS):
        distances = _squared_distances(points[start : start + _CHUNK_ROWS], points)
        own = torch.arange(len(distances))
        distances[own, own + start] = torch.inf
        radii.append(distances.kthvalue(k, dim=1).values)
    return torch.cat(radii)


def _share_inside(points: Tensor, centres: Tensor, k: int) -> float:
    # squares are differences of large numbers: equal points are equal up to rounding only
    rounding = 1e-13 * float(max(points.square().sum(1).max(), centres.square().sum(1).max()))
    limits = _squared_radii(centres, k) + rounding
    num_inside = 0
    for chunk in points.split(_CHUNK_ROWS):
        num_inside += int((_squared_distances(chunk, centres) <= limits).any(1).sum())
    return num_inside / len(points)
