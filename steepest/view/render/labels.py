"""Labels on a canvas, placed so that they cover neither one another nor what they name."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from steepest.view.render.canvas import MIDDLE, Canvas, Font, text_width
from steepest.view.render.theme import CONSTANTS, Theme

LABELS = CONSTANTS["labels"]
"""Offsets of a label from what it names, nearest first; from the distance `long` on, a leader line connects them."""
LABEL_MARGIN, AROUND_PATHS = 4, 3
FAR = [(x * r, y * r) for r in LABELS["reach"] for x, y in LABELS["far"]]


@dataclass(frozen=True)
class Label:
    """A label.

    Attributes:
        x, y: position of what it names.
        text, font, colour: of the label.
        leader: whether it keeps away from paths, with a leader line to what it names.
    """

    x: float
    y: float
    text: str
    font: Font
    colour: str
    leader: bool


class _Place(NamedTuple):
    """A possible place of a label: its box as left, top, right, bottom, and the offset."""

    box: np.ndarray
    dx: float
    dy: float


def draw_labels(canvas: Canvas, labels: list[Label], obstacles: np.ndarray, theme: Theme) -> None:
    """Draws labels; earlier ones choose their places first.

    Args:
        canvas: to draw on.
        labels: in the order of their importance.
        obstacles: points [P, 2] that labels with a leader keep away from.
        theme: its colours.
    """
    boxes = _around(np.array([(label.x, label.y) for label in labels]).reshape(-1, 2), LABELS["clear"])
    avoid = _around(obstacles, AROUND_PATHS)
    limits = np.array((canvas.width, canvas.height)) - LABEL_MARGIN
    for label in labels:
        places = [_place(label, dx, dy) for dx, dy in (FAR if label.leader else LABELS["near"] + FAR)]
        inside = [p for p in places if (p.box[:2] >= LABEL_MARGIN).all() and (p.box[2:] <= limits).all()]
        free = [p for p in inside if not _overlaps(p.box, boxes)]
        best = [p for p in free if not (label.leader and _overlaps(p.box, avoid))]
        for place in (best or free or inside)[:1]:
            boxes = np.vstack((boxes, place.box))
            _draw(canvas, label, place, theme)


def _around(points: np.ndarray, r: float) -> np.ndarray:
    return np.hstack((points - r, points + r))


def _overlaps(box: np.ndarray, others: np.ndarray) -> bool:
    left, top, right, bottom = box
    across = (left < others[:, 2] + 3) & (others[:, 0] < right + 3)
    return bool((across & (top < others[:, 3]) & (others[:, 1] < bottom)).any())


def _place(label: Label, dx: float, dy: float) -> _Place:
    width = text_width(label.text, label.font)
    left, top = label.x + dx - (width if dx < 0 else 0), label.y + dy - LABELS["lineHeight"] / 2
    return _Place(np.array((left, top, left + width, top + LABELS["lineHeight"])), dx, dy)


def _draw(canvas: Canvas, label: Label, place: _Place, theme: Theme) -> None:
    x, y, dx, dy = label.x, label.y, place.dx, place.dy
    distance = math.hypot(dx, dy)
    if distance > LABELS["long"]:
        end = place.box[2] + 4 if dx < 0 else place.box[0] - 4
        line = np.array(((x + dx / distance * 9, y + dy / distance * 9), (end, y + dy)))
        canvas.stroke(line, 1, theme.edge)
    base = y + dy + MIDDLE * label.font.size
    canvas.write(label.text, place.box[0], base, label.font, label.colour, halo=theme.paper)
