"""Semantic directions: found in the parent from labels, tried out in the child."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from stylealign.errors import DataError
from stylealign.images import PixelBatch
from stylealign.models import Model
from stylealign.models.latents import WPlus, Z
from stylealign.tensors import to_uint8

Numbers = Float[np.ndarray, " N"]


@dataclass(frozen=True)
class Direction:
    """A linear reading of w_plus codes, and the way to move along it.

    Shapes: normal and step [num_ws, w_dim].
    """

    normal: Tensor
    """Weights of the linear reading."""
    step: Tensor
    """The move that raises the reading by one unit of the label and changes nothing else of it."""
    intercept: float

    def predict(self, w_plus: WPlus) -> Numbers:
        """Label of each code, by the linear reading: the distance to its hyperplane."""
        flat = w_plus.flatten(1) @ self.normal.flatten().to(w_plus)
        return (flat + self.intercept).cpu().numpy().astype(np.float64)


def fit_direction(w_plus: WPlus, values: Numbers, *, ridge: float = 1.0) -> Direction:
    """Regress a number, or a class as 0 and 1, on codes of labelled parent images.

    The step follows the covariance of code and label rather than the regression weights: these
    dodge what other attributes do to the code and lead out of the space of real codes.

    Units:  ridge in units of the mean variance of a code's coordinate.
    Raises: DataError if the counts differ, or the values are all equal or not all finite.
    Source: LARGE, arXiv:2107.11186, section 3; the step as in Haufe et al., 2014,
        doi:10.1016/j.neuroimage.2013.10.067, equation 6.
    """
    if len(w_plus) != len(values) or not np.isfinite(values).all() or np.ptp(values) == 0:
        message = f"{len(values)} values for {len(w_plus)} codes"
        raise DataError(f"{message}, expected one each, finite, at least two different ones")
    codes = w_plus.detach().flatten(1).double()
    labels = torch.from_numpy(values.astype(np.float64)).to(codes.device)
    mean, offset = codes.mean(dim=0), labels.mean()
    centered = codes - mean
    covariance = centered.t() @ centered / len(codes)
    shared = centered.t() @ (labels - offset) / len(codes)
    strength = ridge * covariance.diagonal().mean()
    normal = torch.linalg.solve(covariance + strength * torch.eye(len(mean)).to(mean), shared)
    step = covariance @ normal
    step = step / (step @ normal).clamp(min=1e-12)
    shape = w_plus.shape[1:]
    return Direction(
        normal=normal.float().reshape(shape),
        step=step.float().reshape(shape),
        intercept=float(offset - mean @ normal),
    )


def measure_slope(
    direction: Direction,
    model: Model,
    read: Callable[[PixelBatch], Numbers],
    z: Z,
    *,
    distance: float,
    batch_size: int = 64,
) -> Numbers:
    """How much the reading of each image rises per unit of the label along a direction.

    Called with the same z for parent and child, each with a reader of its own domain, it tells
    whether the direction means the same in both: 1 is what the linear reading promises.

    Units:  distance in units of the label, taken to either side.
    """
    slopes: list[Numbers] = []
    for part in z.split(batch_size):
        with torch.no_grad():
            w_plus = model.generator.mapping(part.to(model.generator.w_avg))
            step = direction.step.to(w_plus)
            ends = [
                to_uint8(model.generator.synthesis(w_plus + sign * distance * step))
                for sign in (-1, 1)
            ]
        slopes.append((read(ends[1]) - read(ends[0])) / (2 * distance))
    return np.concatenate(slopes)
