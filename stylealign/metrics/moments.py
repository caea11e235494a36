"""Mean and covariance of features that stream by, in float64 and in constant memory."""

from collections.abc import Iterable
from functools import reduce

import torch
from torch import Tensor


class Moments:
    """Mean and covariance of all rows seen so far, the covariance as a factor of itself.

    The scatter matrix is kept as `factor^T factor`, never multiplied out: merging two sets stacks
    their factors and one row for the distance of their means, so nothing is squared and nothing
    cancels. The factor is shortened to F rows once it has twice as many, so at most 2 F rows
    and one batch are ever held, whatever the number of images.

    Shapes: mean [F]; factor [R, F] with R up to 2 F; rows [N, F].
    Source: Chan, Golub and LeVeque, 1979 (merging of means and scatters), in square-root form.
    """

    def __init__(self, num_rows: int, mean: Tensor, factor: Tensor) -> None:
        """Take over what is known of rows that are gone; `of_rows` begins with rows."""
        self.num_rows, self.mean, self.factor = num_rows, mean, factor

    @classmethod
    def of_rows(cls, rows: Tensor) -> "Moments":
        """Moments of one batch, in float64."""
        wide = rows.to(torch.float64)
        mean = wide.mean(0)
        return cls(len(wide), mean, _shorten(wide - mean, at=2))

    @classmethod
    def of_batches(cls, batches: Iterable[Tensor]) -> "Moments":
        """Moments of all batches together, each seen once and let go."""
        return reduce(Moments.merge, map(cls.of_rows, batches))

    def merge(self, other: "Moments") -> "Moments":
        """Moments of both sets of rows together."""
        num_rows = self.num_rows + other.num_rows
        shift = other.mean - self.mean
        mean = self.mean + shift * (other.num_rows / num_rows)
        between = shift * (self.num_rows * other.num_rows / num_rows) ** 0.5
        factor = torch.cat([self.factor, other.factor, between[None]])
        return Moments(num_rows, mean, _shorten(factor, at=2))

    def root_covariance(self) -> Tensor:
        """A matrix whose product with itself, transposed first, is the covariance divided by N.

        Shapes: returns [R, F] with R up to F.
        """
        return _shorten(self.factor, at=1) / self.num_rows**0.5


def _shorten(factor: Tensor, *, at: int) -> Tensor:
    """A factor of the same scatter with at most F rows, once there are more than `at` times F."""
    if factor.shape[0] <= at * factor.shape[1]:
        return factor
    return torch.linalg.qr(factor, mode="r").R
