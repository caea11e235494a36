"""Cats: fur in three tones, ears on top, a muzzle with whiskers, colored eyes with slit pupils."""

import numpy as np

from stylealign.data.procedural.canvas import Array, Canvas
from stylealign.data.procedural.head import (
    EYE_HEIGHT,
    EYE_X,
    EYE_Y,
    EYE_Z,
    MOUTH_Y,
    MOUTH_Z,
    NOSE_Y,
    NOSE_Z,
    SIDES,
    Head,
    eyes_opening,
    mouth_bend,
    paint_glasses,
    paint_lids,
    paint_mouth,
)

FUR = {"light": (0.93, 0.85, 0.74), "medium": (0.82, 0.55, 0.30), "dark": (0.43, 0.36, 0.36)}
EYES = {"amber": (0.98, 0.72, 0.10), "blue": (0.35, 0.68, 0.98), "green": (0.45, 0.85, 0.30)}
PINK = np.array([0.88, 0.50, 0.52], np.float32)
CREAM = np.array([0.99, 0.96, 0.92], np.float32)
PUPIL = np.array([0.06, 0.06, 0.08], np.float32)
MOUTH = np.array([0.30, 0.10, 0.12], np.float32)
TONGUE = np.array([0.97, 0.84, 0.82], np.float32)


def paint_cats(canvas: Canvas, head: Head, *, fur: Array, eyes: Array) -> None:
    """Draw one cat per picture.

    Shapes: fur and eyes [N, 3].
    """
    below = canvas.rows(0.55, 1.2)
    below.paint(below.ellipse(0.0, 1.18, 0.62, 0.42), 0.80 * fur)
    _paint_ears(canvas.rows(-1.1, 0.1), head, fur)
    face = canvas.ellipse(0.0, 0.12, 0.74, 0.68)
    canvas.paint(face, fur)
    middle = head.spot(0.0, 0.05, 0.4)
    light = canvas.glow(middle.x, middle.y, 0.85, 0.80)
    canvas.paint(0.30 * face * (1.0 - light), 0.58 * fur)
    _paint_stripes(canvas.rows(-0.8, 0.0), head, fur)
    _paint_eyes(canvas.rows(-0.6, 0.35), head, eyes)
    _paint_muzzle(canvas.rows(-0.2, 1.0), head, fur)
    paint_glasses(canvas.rows(-0.65, 0.4), head, roundness=0.85)


def _paint_ears(canvas: Canvas, head: Head, fur: Array) -> None:
    turn = 0.10 * np.sin(head.yaw)
    for side in SIDES:
        middle = side * (0.56 - 0.30 * (canvas.y + 0.98)) + turn
        for top, breadth, color in ((-0.98, 0.33, 0.86 * fur), (-0.74, 0.22, PINK)):
            half = breadth * np.sqrt(np.maximum(canvas.y - top, 0.0))
            ear = canvas.edge(np.abs(canvas.x - middle) - half)
            canvas.paint(ear * canvas.edge(top - canvas.y), color)


def _paint_stripes(canvas: Canvas, head: Head, fur: Array) -> None:
    for x, length in ((-0.14, 0.14), (0.0, 0.2), (0.14, 0.14)):
        top = head.spot(x, -0.44, 0.34)
        stripe = canvas.line((top.x, top.y), (top.x, top.y + length), 0.07)
        canvas.paint(stripe, 0.62 * fur)


def _paint_eyes(canvas: Canvas, head: Head, eyes: Array) -> None:
    opening = eyes_opening(canvas, head)
    canvas.paint(opening, eyes)
    slits = []
    for side in SIDES:
        spot = head.spot(side * EYE_X, EYE_Y, EYE_Z)
        slits.append(canvas.dot(spot.x, spot.y, 0.042 * spot.width, 1.1 * EYE_HEIGHT))
    canvas.paint(opening * np.maximum(*slits), PUPIL)
    paint_lids(canvas, head)


def _paint_muzzle(canvas: Canvas, head: Head, fur: Array) -> None:
    mouth = head.spot(0.0, MOUTH_Y, MOUTH_Z)
    nose = head.spot(0.0, NOSE_Y, NOSE_Z)
    pad = 0.5 * (mouth.y + nose.y) + 0.04
    pads = [canvas.ellipse(mouth.x + side * 0.14 * mouth.width, pad, 0.22, 0.21) for side in SIDES]
    canvas.paint(0.8 * np.maximum(*pads), 0.45 * fur + 0.55 * CREAM)
    for side in SIDES:
        for drop in (-0.07, 0.07):
            start = (mouth.x + side * 0.22, pad + 0.4 * drop)
            end = (mouth.x + side * 0.58, pad + 1.6 * drop)
            canvas.paint(0.8 * canvas.line(start, end, 0.025), CREAM)
    lip = mouth.y + 0.45 * mouth_bend(head)
    canvas.paint(canvas.line((nose.x, nose.y), (mouth.x, lip), 0.03), MOUTH)
    paint_mouth(canvas, head, MOUTH, TONGUE)
    canvas.paint(canvas.ellipse(nose.x, nose.y, 0.095, 0.075), PINK * (0.8, 0.6, 0.6))
