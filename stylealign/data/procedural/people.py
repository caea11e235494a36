"""People: skin in three tones, hair in three colors, round pupils and red lips."""

import numpy as np

from stylealign.data.procedural.canvas import Array, Canvas
from stylealign.data.procedural.head import (
    EYE_HEIGHT,
    EYE_X,
    EYE_Y,
    EYE_Z,
    NOSE_Y,
    NOSE_Z,
    SIDES,
    Head,
    eyes_opening,
    paint_glasses,
    paint_lids,
    paint_mouth,
)

SKIN = {"light": (0.97, 0.82, 0.71), "medium": (0.80, 0.57, 0.40), "dark": (0.53, 0.36, 0.26)}
HAIR = {"black": (0.11, 0.09, 0.12), "blond": (0.95, 0.80, 0.30), "red": (0.74, 0.22, 0.10)}
SHIRT = np.array([0.36, 0.42, 0.56], np.float32)
WHITE = np.array([0.98, 0.98, 0.97], np.float32)
PUPIL = np.array([0.10, 0.08, 0.10], np.float32)
LIPS = np.array([0.47, 0.06, 0.10], np.float32)


def paint_people(canvas: Canvas, head: Head, *, skin: Array, hair: Array) -> None:
    """Draw one person per picture.

    Shapes: skin and hair [N, 3].
    """
    turn = np.sin(head.yaw)
    below = canvas.rows(0.55, 1.2)
    below.paint(below.ellipse(0.0, 1.18, 0.85, 0.40), SHIRT)
    canvas.paint(canvas.ellipse(-0.08 * turn, -0.14, 0.76, 0.76), hair)
    middle = canvas.rows(-0.25, 0.4)
    for side in SIDES:
        middle.paint(middle.ellipse(side * 0.64 - 0.10 * turn, 0.06, 0.12, 0.17), 0.88 * skin)
    _paint_face(canvas, head, skin)
    _paint_eyes(canvas.rows(-0.6, 0.35), head)
    lower = canvas.rows(-0.2, 0.95)
    nose = head.spot(0.0, NOSE_Y, NOSE_Z)
    lower.paint(lower.ellipse(nose.x, nose.y, 0.085, 0.075), skin * (0.80, 0.62, 0.60))
    paint_mouth(lower, head, LIPS, WHITE)
    paint_glasses(canvas.rows(-0.65, 0.4), head, roundness=0.95)


def _paint_face(canvas: Canvas, head: Head, skin: Array) -> None:
    """Draw the skin below the hairline, lit in the middle of the face."""
    crown = head.spot(0.0, -0.46, 0.40)
    across = canvas.x - crown.x
    hairline = canvas.edge(crown.y + 0.55 * across * across - canvas.y)
    face = hairline * canvas.ellipse(0.0, 0.06, 0.66, 0.76)
    canvas.paint(face, skin)
    middle = head.spot(0.0, 0.05, 0.4)
    light = canvas.glow(middle.x, middle.y, 0.75, 0.85)
    canvas.paint(0.30 * face * (1.0 - light), 0.62 * skin)


def _paint_eyes(canvas: Canvas, head: Head) -> None:
    opening = eyes_opening(canvas, head)
    canvas.paint(opening, WHITE)
    pupils = []
    for side in SIDES:
        spot = head.spot(side * EYE_X, EYE_Y, EYE_Z)
        pupils.append(canvas.dot(spot.x, spot.y, 0.085 * spot.width, 0.6 * EYE_HEIGHT))
    canvas.paint(opening * np.maximum(*pupils), PUPIL)
    paint_lids(canvas, head)
