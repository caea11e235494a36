"""Where a child stands while it trains: how like its domain, how like its parent, no label read."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from stylealign.alignment.groups import list_groups, weight_distances
from stylealign.alignment.swap import reset_groups
from stylealign.checkpoints import require_related
from stylealign.errors import DataError
from stylealign.images import PixelBatch
from stylealign.metrics.distances import FeatureMatrix, frechet_distance
from stylealign.metrics.features import Extractor, extract_features, metric_name
from stylealign.metrics.perceptual import Lite2Blocks, perceptual_distance
from stylealign.models import Generator, Model
from stylealign.models.classes import draw_classes
from stylealign.models.latents import Labels
from stylealign.portions import Portions
from stylealign.tensors import to_float, to_uint8

MAX_CONTENDERS = 4
"""Snapshots whose weights are held at most while a rule cannot tell yet which of them to keep."""


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Figures of a child at one point of its training, on fixed codes.

    Units: `fidelity` a Fréchet distance, less is better; `change` the perceptual distance of the
        child's drawing to the parent's, less is nearer; `likeness` a correlation in [-1, 1],
        more is better; `weight_distances` and `group_changes` by component group.
    """

    kimg: float
    fidelity: float
    fidelity_name: str
    change: float
    likeness: float
    weight_distances: dict[str, float]
    group_changes: dict[str, float]
    """How much the child's drawing changes where a group is set back to the parent's weights."""

    def figures(self) -> dict[str, float]:
        """All of them by name, ready to be logged."""
        groups = {f"weight_distance.{name}": v for name, v in self.weight_distances.items()}
        changes = {f"group_change.{name}": v for name, v in self.group_changes.items()}
        own = {"change": self.change, "likeness": self.likeness}
        return {self.fidelity_name: self.fidelity, **own, **groups, **changes}


class FixedCodes:
    """The codes, the parent's drawing of them and the real images that a child is held against.

    What does not change is computed once, so a figure moves only because the child does. For a
    conditional model `c` has a class for each code, best those of the real images: drawings of
    other classes are at a distance from them for that alone. Without it classes are uniform.

    Shapes: real [N, F], features of real images by the same extractor; c [num_codes, c_dim].
    Raises: DataError if there are under three codes or two real images.
    """

    def __init__(
        self,
        parent: Model,
        real: FeatureMatrix,
        extractor: Extractor,
        *,
        num_codes: int,
        num_looked_at: int = 64,
        c: Labels | None = None,
        portions: Portions | None = None,
        seed: int = 0,
    ) -> None:
        if num_codes < 3 or len(real) < 2:
            message = f"{num_codes} codes and {len(real)} real images are too few to compare"
            raise DataError(message + ": expected at least 3 and 2")
        self.parent = Model(parent.generator, parent.config)  # nothing else of it is kept
        self.extractor, self.portions = extractor, portions or Portions()
        self.num_looked_at = min(num_looked_at, num_codes)
        rng = torch.Generator().manual_seed(seed)
        self.z = torch.randn(num_codes, parent.config.z_dim, generator=rng)
        self.c = draw_classes(parent.generator, num_codes, rng) if c is None else c
        self._look = Lite2Blocks()
        self._real = real
        drawn = self._draw(parent.generator, num_codes)
        self._likeness = _pairwise(self._features(drawn))
        self._parent_looks = self._looks(drawn)

    def measure(self, child: Model, kimg: float, *, with_groups: bool = False) -> Standing:
        """Figures of a child now; `with_groups` adds a drawing for each component group.

        Raises: LineageError if the child is not related to the parent.
        """
        require_related(self.parent, child)
        drawn = self._draw(child.generator, len(self.z))
        features, looks = self._features(drawn), self._looks(drawn)
        group_changes: dict[str, float] = {}
        for group in list_groups(child.generator) if with_groups else ():
            reset = reset_groups(child, self.parent, [group]).generator
            seen = self._looks(self._draw(reset, self.num_looked_at))
            group_changes[group] = self._change(seen, looks)
        return Standing(
            kimg=kimg,
            fidelity=frechet_distance(self._real, features),
            fidelity_name=metric_name("fd", self.extractor, len(self.z)),
            change=self._change(looks, self._parent_looks),
            likeness=_correlation(_pairwise(features), self._likeness),
            weight_distances=weight_distances(self.parent, child),
            group_changes=group_changes,
        )

    @torch.no_grad()
    def _draw(self, generator: Generator, num: int) -> PixelBatch:
        device = generator.w_avg.device

        def drawn(rows: slice) -> PixelBatch:
            c = None if self.c is None else self.c[rows].to(device)
            return to_uint8(generator(self.z[rows].to(device), c))

        return np.concatenate(self.portions.map(num, drawn))

    @property
    def _device(self) -> torch.device:
        return self.parent.generator.w_avg.device

    def _features(self, images: PixelBatch) -> np.ndarray:
        size, device = self.portions.size, str(self._device)
        return extract_features(images, self.extractor, batch_size=size, device=device)

    @torch.no_grad()
    def _looks(self, images: PixelBatch) -> list[Tensor]:
        """Maps of the first images by scale; on the CPU, a GPU would have no room for training."""

        def look(rows: slice) -> list[Tensor]:
            return [maps.cpu() for maps in self._look(to_float(images[rows]).to(self._device))]

        portions = self.portions.map(min(self.num_looked_at, len(images)), look)
        return [torch.cat(maps) for maps in zip(*portions, strict=True)]

    def _change(self, looks: list[Tensor], others: list[Tensor]) -> float:
        """Mean perceptual distance, image by image."""

        def compare(rows: slice) -> Tensor:
            pair = ([maps[rows].to(self._device) for maps in side] for side in (looks, others))
            return perceptual_distance(*pair).cpu()

        return torch.cat(self.portions.map(self.num_looked_at, compare)).mean().item()


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Which snapshot of a training is kept, by fidelity and likeness, no label of the child read.

    Of all snapshots whose fidelity is within `tolerance` of the best (0.1 = at most a tenth worse)
    the one with the highest likeness is kept: training goes on as long as it makes the images
    better, and the last tenth is not paid for in alignment. The last one stays where it is within
    the tolerance itself and another's likeness is better by no more than `margin`, so that noise
    does not decide. Among equals in likeness the better fidelity is kept, then the later.
    """

    tolerance: float
    margin: float

    def choose(self, standings: Sequence[Standing]) -> Standing:
        """The snapshot to keep among all, in the order in which they were taken.

        Raises: DataError if there is nothing to choose from.
        """
        if not standings:
            raise DataError("no standing to choose from; measure at least one snapshot")
        contenders, last = self.contenders(standings), standings[-1]
        chosen = contenders[-1]
        is_good = last.fidelity <= self._limit(contenders)
        return last if is_good and chosen.likeness - last.likeness <= self.margin else chosen

    def contenders(self, standings: Sequence[Standing]) -> list[Standing]:
        """Those whose weights must be at hand, as they may be chosen yet; best fidelity first.

        A snapshot that another beats in both figures is none, nor is one out of the tolerance.
        Since the best fidelity still falls, one of less likeness may come in later. At most
        `MAX_CONTENDERS` are held: of more, the one that adds least likeness to its neighbour of
        better fidelity is given up for good.
        """
        held: list[Standing] = []
        for standing in standings:
            held = self._thin([*held, standing])
        return held

    def _thin(self, standings: list[Standing]) -> list[Standing]:
        limit = self._limit(standings)
        held: list[Standing] = []
        for one in sorted(standings, key=lambda one: (one.fidelity, -one.likeness, -one.kimg)):
            if one.fidelity <= limit and (not held or one.likeness > held[-1].likeness):
                held.append(one)
        while len(held) > MAX_CONTENDERS:  # the first has the best fidelity, the last is chosen
            steps = [after.likeness - one.likeness for one, after in pairwise(held[:-1])]
            del held[1 + steps.index(min(steps))]
        return held

    def _limit(self, standings: Sequence[Standing]) -> float:
        return min(one.fidelity for one in standings) * (1 + self.tolerance)


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's r of two rows; 0 where all of one are equal, as in a child that has collapsed."""
    a, b = a - a.mean(), b - b.mean()
    return float(a @ b / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-12))


def _pairwise(features: np.ndarray) -> np.ndarray:
    """Cosine of every two rows once, features centred: [N, F] -> [N (N - 1) / 2]."""
    centred = features.astype(np.float64) - features.mean(axis=0, dtype=np.float64)
    directions = centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12)
    return (directions @ directions.T)[np.triu_indices(len(features), k=1)]
