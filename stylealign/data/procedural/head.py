"""The parts that people and cats share: where a turned head carries its eyes, mouth and glasses."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from stylealign.data.procedural.canvas import Array, Canvas

EYE_X, EYE_Y, EYE_Z = 0.28, -0.10, 0.40
MOUTH_Y, MOUTH_Z = 0.43, 0.40
NOSE_Y, NOSE_Z = 0.16, 0.48
EYE_WIDTH, EYE_HEIGHT = 0.19, 0.20
SIDES = (-1.0, 1.0)

FRAME = np.array([0.06, 0.07, 0.12], np.float32)
LENS = np.array([0.80, 0.90, 0.98], np.float32)
LID = np.array([0.13, 0.08, 0.08], np.float32)


class Spot(NamedTuple):
    """A point of the head as seen in the picture; `width` is how much of its breadth is left."""

    x: Array
    y: Array
    width: Array


@dataclass(frozen=True)
class Head:
    """The attributes that both domains draw the same way.

    Shapes: every field [N, 1, 1].
    Units: yaw and pitch in radians; positive yaw turns to the right edge, positive pitch up.
    """

    yaw: Array
    pitch: Array
    smile: Array
    eye_openness: Array
    glasses: Array

    def spot(self, x: float, y: float, z: float) -> Spot:
        """Where a point of the straight head lies once the head is turned, seen from far away."""
        sin_yaw, cos_yaw = np.sin(self.yaw), np.cos(self.yaw)
        seen_x = x * cos_yaw + z * sin_yaw
        seen_y = y * np.cos(self.pitch) - z * np.sin(self.pitch)
        return Spot(seen_x, seen_y, np.maximum(cos_yaw - x / z * sin_yaw, 0.35))


def eyes_opening(canvas: Canvas, head: Head) -> Array:
    """Coverage of both eye openings, which shrink to a slit in a closed eye."""
    return np.maximum(*(_opening(canvas, head, side) for side in SIDES))


def _opening(canvas: Canvas, head: Head, side: float) -> Array:
    spot = head.spot(side * EYE_X, EYE_Y, EYE_Z)
    arch = _arch((canvas.x - spot.x) / (EYE_WIDTH * spot.width))
    half = _half_height(head) * arch
    return canvas.span(spot.y - half, spot.y + half)


def _half_height(head: Head) -> Array:
    return EYE_HEIGHT * (0.08 + 0.92 * head.eye_openness)


def paint_lids(canvas: Canvas, head: Head) -> None:
    """Draw the dark upper lids, nearly all that is left of a closed eye."""
    for side in SIDES:
        spot = head.spot(side * EYE_X, EYE_Y, EYE_Z)
        arch = _arch((canvas.x - spot.x) / (1.15 * EYE_WIDTH * spot.width))
        top = spot.y - _half_height(head) * arch
        thickness = 0.07 * np.minimum(3 * arch, 1.0)
        canvas.paint(canvas.span(top - 0.85 * thickness, top + 0.15 * thickness), LID)


def mouth_bend(head: Head) -> Array:
    """How far the middle of the mouth hangs below its corners."""
    return np.where(head.smile > 0, np.float32(0.27), np.float32(0.23)) * head.smile


def paint_mouth(canvas: Canvas, head: Head, lips: Array, inside: Array) -> None:
    """Draw a mouth whose corners rise, that widens and that opens with the smile."""
    spot = head.spot(0.0, MOUTH_Y, MOUTH_Z)
    half_width = (0.35 + 0.06 * head.smile) * (0.3 + 0.7 * spot.width)
    arch = _arch((canvas.x - spot.x) / half_width)
    middle = spot.y + mouth_bend(head) * (arch - 0.55)
    gap = 0.08 * np.maximum(head.smile, 0.0) * arch
    lip = 0.07 * np.minimum(4 * arch, 1.0)
    canvas.paint(canvas.span(middle - gap - lip, middle + gap + lip), lips)
    canvas.paint(canvas.span(middle - gap, middle + gap), inside)


def paint_glasses(canvas: Canvas, head: Head, *, roundness: float) -> None:
    """Draw rims, bridge and temples; `roundness` is the height of a rim over its breadth."""
    left, right = (head.spot(side * EYE_X, EYE_Y, EYE_Z) for side in SIDES)
    rims = []
    for spot in (left, right):
        width = 0.245 * spot.width
        canvas.paint(
            0.22 * head.glasses * canvas.ellipse(spot.x, spot.y, width, 0.245 * roundness), LENS
        )
        rims.append(canvas.ring(spot.x, spot.y, width, 0.245 * roundness, 0.075))
    bridge_start = (left.x + 0.245 * left.width, left.y - 0.03)
    bridge_end = (right.x - 0.245 * right.width, right.y - 0.03)
    rims.append(canvas.line(bridge_start, bridge_end, 0.075))
    canvas.paint(head.glasses * np.maximum.reduce(rims), FRAME)


def _arch(offset: Array) -> Array:
    return np.maximum(1.0 - offset * offset, 0.0)
