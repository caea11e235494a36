"""Where augmentations get their numbers from: chance, or one percentile for all."""

import math
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor


@runtime_checkable
class Draws(Protocol):
    """Numbers for one batch, on the CPU, and the choice whom each transform concerns."""

    @property
    def batch(self) -> int:
        """Images of the batch."""
        ...

    def uniform(self, columns: int = 1) -> Tensor:
        """Numbers in [0, 1), [N, columns]."""
        ...

    def normal(self, columns: int = 1) -> Tensor:
        """Numbers of unit variance, [N, columns]."""
        ...

    def half_normal(self) -> Tensor:
        """Absolute values of numbers of unit variance, [N, 1]."""
        ...

    def pixels(self, shape: tuple[int, int, int]) -> Tensor:
        """Numbers of unit variance for every pixel, [N, C, H, W]."""
        ...

    def choose(self) -> Tensor:
        """Whether a transform concerns each image, bool [N, 1]."""
        ...

    def choose_half(self, *, is_second: bool) -> Tensor:
        """Whether one of a pair of equal transforms concerns each image, bool [N, 1].

        Either is drawn alone, so that at least one of them happens as often as `choose` says.
        """
        ...


class RandomDraws:
    """Chance: each transform concerns each image with probability `strength`, on its own."""

    def __init__(self, batch: int, strength: float, rng: torch.Generator) -> None:
        self.batch, self.strength, self.rng = batch, strength, rng

    def uniform(self, columns: int = 1) -> Tensor:
        """Numbers in [0, 1), [N, columns]."""
        return torch.rand(self.batch, columns, generator=self.rng)

    def normal(self, columns: int = 1) -> Tensor:
        """Numbers of unit variance, [N, columns]."""
        return torch.randn(self.batch, columns, generator=self.rng)

    def half_normal(self) -> Tensor:
        """Absolute values of numbers of unit variance, [N, 1]."""
        return self.normal().abs()

    def pixels(self, shape: tuple[int, int, int]) -> Tensor:
        """Numbers of unit variance for every pixel, [N, C, H, W]."""
        return torch.randn(self.batch, *shape, generator=self.rng)

    def choose(self) -> Tensor:
        """Whether a transform concerns each image, bool [N, 1]."""
        return self.uniform() < self.strength

    def choose_half(self, *, is_second: bool) -> Tensor:  # noqa: ARG002 (both halves are alike)
        """Whether one of a pair of equal transforms concerns each image, bool [N, 1]."""
        return self.uniform() < 1 - math.sqrt(1 - self.strength)


class PercentileDraws:
    """No chance: every transform concerns every image, with this percentile of its range.

    For comparison with the reference, whose debugging mode this is; hence its own scale of the
    normal percentiles, which lacks a factor sqrt(2).
    """

    def __init__(self, batch: int, percentile: float) -> None:
        self.batch = batch
        self.percentile = torch.tensor(percentile)

    def uniform(self, columns: int = 1) -> Tensor:
        """The percentile itself, [N, columns]."""
        return self.percentile.expand(self.batch, columns)

    def normal(self, columns: int = 1) -> Tensor:
        """The same number for all, [N, columns]."""
        return torch.erfinv(self.percentile * 2 - 1).expand(self.batch, columns)

    def half_normal(self) -> Tensor:
        """The same number for all, [N, 1]."""
        return torch.erfinv(self.percentile).expand(self.batch, 1)

    def pixels(self, shape: tuple[int, int, int]) -> Tensor:
        """Zeros: pixel noise has no percentile."""
        return torch.zeros(self.batch, *shape)

    def choose(self) -> Tensor:
        """All of them, bool [N, 1]."""
        return torch.ones(self.batch, 1, dtype=torch.bool)

    def choose_half(self, *, is_second: bool) -> Tensor:
        """All for the first of the pair, none for the second, bool [N, 1]."""
        return torch.full((self.batch, 1), not is_second)
