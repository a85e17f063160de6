"""The members' marks: colour and shape."""

import math

import numpy as np

from steepest.view.render.canvas import Canvas

ARM = 0.36
CASING = 1.37


def _regular(n: int, turn: float, size: float) -> np.ndarray:
    a = turn + np.arange(n) / n * 2 * math.pi
    return np.column_stack((np.cos(a), np.sin(a))) * size


CROSS = np.array(
    [(-ARM, -1), (ARM, -1), (ARM, -ARM), (1, -ARM), (1, ARM), (ARM, ARM),
     (ARM, 1), (-ARM, 1), (-ARM, ARM), (-1, ARM), (-1, -ARM), (-ARM, -ARM)]
)  # fmt: skip
SHAPES = (
    _regular(48, 0, 1.0),
    _regular(4, 0, 1.22),
    _regular(4, math.pi / 4, 1.2),
    _regular(3, -math.pi / 2, 1.3),
    _regular(6, 0, 1.1),
    CROSS,
)
"""Circle, diamond, square, triangle, hexagon, cross: corners around 0 for a radius of 1."""


def mark(
    canvas: Canvas, member: int, x: float, y: float, radius: float, colour: str, casing: str, alpha: float = 1.0
) -> None:
    """A member's mark with a casing, so that it is seen on any ground."""
    shape = SHAPES[member % len(SHAPES)] * radius
    canvas.fill(shape * CASING + np.array((x, y)), casing, alpha)
    canvas.fill(shape + np.array((x, y)), colour, alpha)
