"""Soft-edged shapes painted on a batch of pictures at once."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]

_TINY = np.float32(1e-6)


@dataclass(frozen=True)
class Canvas:
    """A batch of pictures in head coordinates: 0 is the head's middle, the picture is 2 wide.

    Shapes are coverages in [0, 1]: the share of a pixel's square that lies inside the shape, so
    an edge is one pixel wide at every resolution and a thin line fades where it gets thinner.

    Shapes: image [N, 3, h, W]; x [N, 1, W]; y [N, h, 1]; pixel [N, 1, 1], a pixel's side.
    """

    image: Array
    x: Array
    y: Array
    pixel: Array

    def rows(self, top: float, bottom: float) -> "Canvas":
        """The rows of this canvas that lie between two heights in any of its pictures."""
        is_inside = ((self.y >= top) & (self.y <= bottom)).any(axis=(0, 2))
        inside = np.flatnonzero(is_inside)
        first, last = (inside[0], inside[-1] + 1) if len(inside) else (0, 0)
        return Canvas(self.image[:, :, first:last], self.x, self.y[:, first:last], self.pixel)

    def paint(self, coverage: Array, color: Array) -> None:
        """Lay one color per picture over what is there.

        Shapes: coverage [N, h, W]; color [N, 3] or [3].
        """
        ink = np.broadcast_to(color.astype(np.float32), (len(self.image), 3))[:, :, None, None]
        self.image[...] += coverage[:, None] * (ink - self.image)

    def edge(self, distance: Array) -> Array:
        """Coverage of the side where a signed distance is negative."""
        return np.clip(0.5 - distance / self.pixel, 0.0, 1.0)

    def ellipse_distance(
        self, x: Array | float, y: Array | float, width: Array | float, height: Array | float
    ) -> Array:
        """First-order signed distance to an ellipse with these half axes, negative inside."""
        across, down = (self.x - x) / width, (self.y - y) / height
        level = across * across + down * down
        across, down = across / width, down / height
        slope = np.sqrt(across * across + down * down) + _TINY
        return 0.5 * (level - 1.0) / slope

    def ellipse(
        self, x: Array | float, y: Array | float, width: Array | float, height: Array | float
    ) -> Array:
        """Coverage of an ellipse with these half axes."""
        return self.edge(self.ellipse_distance(x, y, width, height))

    def ring(
        self,
        x: Array | float,
        y: Array | float,
        width: Array | float,
        height: Array | float,
        thickness: float,
    ) -> Array:
        """Coverage of an ellipse's outline, `thickness` wide."""
        distance = self.ellipse_distance(x, y, width, height)
        return self.edge(distance - thickness / 2) - self.edge(distance + thickness / 2)

    def glow(
        self, x: Array | float, y: Array | float, width: Array | float, height: Array | float
    ) -> Array:
        """A smooth spot: 1 in the middle, 0 from the ellipse's outline on."""
        across, down = (self.x - x) / width, (self.y - y) / height
        fall = np.maximum(1.0 - across * across - down * down, 0.0)
        return fall * fall

    def dot(
        self, x: Array | float, y: Array | float, width: Array | float, height: Array | float
    ) -> Array:
        """Coverage of an ellipse that may be thinner than a pixel."""
        thin = np.minimum(width, height)
        distance = np.maximum(self.ellipse_distance(x, y, width, height), -thin)
        return self.edge(distance) - self.edge(distance + 2 * thin)

    def span(self, upper: Array, lower: Array) -> Array:
        """Coverage of what lies below one curve and above another, exact along the columns.

        Shapes: upper and lower are heights per column, [N, 1, W].
        """
        bottom = np.clip(0.5 + (lower - self.y) / self._blur(lower), 0.0, 1.0)
        top = np.clip(0.5 + (upper - self.y) / self._blur(upper), 0.0, 1.0)
        return np.maximum(bottom - top, 0.0)

    def _blur(self, curve: Array) -> Array:
        """How high the edge along a curve is: a pixel, or as much as the curve climbs in one."""
        return np.maximum(np.abs(np.gradient(curve, axis=2)), self.pixel)

    def line(
        self,
        start: tuple[Array | float, Array | float],
        end: tuple[Array | float, Array | float],
        thickness: float,
    ) -> Array:
        """Coverage of a straight line with round ends."""
        run, rise = end[0] - start[0], end[1] - start[1]
        across, down = self.x - start[0], self.y - start[1]
        along = np.clip((across * run + down * rise) / (run * run + rise * rise), 0.0, 1.0)
        across, down = across - along * run, down - along * rise
        distance = np.sqrt(across * across + down * down)
        return self.edge(distance - thickness / 2) - self.edge(distance + thickness / 2)


def new_canvas(size: Array, x: Array, y: Array, resolution: int) -> Canvas:
    """An empty canvas whose head coordinates are scaled and shifted per picture.

    Shapes: size, x, y [N].
    Units: x and y in image widths.
    """
    centers = ((2 * np.arange(resolution) + 1) / resolution - 1).astype(np.float32)
    scale = size.reshape(-1, 1, 1)
    return Canvas(
        image=np.zeros((len(size), 3, resolution, resolution), np.float32),
        x=(centers.reshape(1, 1, -1) - 2 * x.reshape(-1, 1, 1)) / scale,
        y=(centers.reshape(1, -1, 1) - 2 * y.reshape(-1, 1, 1)) / scale,
        pixel=np.float32(2 / resolution) / scale,
    )
