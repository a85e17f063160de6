"""Labels on a canvas, placed so that they cover neither one another nor what they name."""

import math
from typing import NamedTuple

import numpy as np

from steepest.view.render.canvas import MIDDLE, Canvas, Font, text_width
from steepest.view.render.theme import CONSTANTS, Theme

LABELS = CONSTANTS["labels"]
"""Offsets of a label from what it names, nearest first; from the distance `long` on, a leader line connects them."""
LABEL_MARGIN, AROUND_PATHS = 4, 3
FAR = [(x * r, y * r) for r in LABELS["reach"] for x, y in LABELS["far"]]


class Label(NamedTuple):
    """A label of what is at (x, y); with a leader it keeps away from paths, and a line may lead to it."""

    x: float
    y: float
    text: str
    font: Font
    colour: str
    has_leader: bool

    def box(self, dx: float, dy: float) -> np.ndarray:
        """Left, top, right and bottom at an offset."""
        width = text_width(self.text, self.font)
        left, top = self.x + dx - (width if dx < 0 else 0), self.y + dy - LABELS["lineHeight"] / 2
        return np.array((left, top, left + width, top + LABELS["lineHeight"]))


def draw_labels(canvas: Canvas, labels: list[Label], obstacles: np.ndarray, theme: Theme) -> None:
    """Draws labels, the most important first: they choose their places first, away from the obstacles [P, 2]."""
    points = np.array([label[:2] for label in labels]).reshape(-1, 2)
    boxes = np.hstack((points - LABELS["clear"], points + LABELS["clear"]))
    avoid = np.hstack((obstacles - AROUND_PATHS, obstacles + AROUND_PATHS))
    limits = np.array((canvas.width, canvas.height)) - LABEL_MARGIN
    for label in labels:
        places = [(at, label.box(*at)) for at in (FAR if label.has_leader else LABELS["near"] + FAR)]
        inside = [(at, box) for at, box in places if (box[:2] >= LABEL_MARGIN).all() and (box[2:] <= limits).all()]
        free = [(at, box) for at, box in inside if not _overlaps(box, boxes)]
        best = [(at, box) for at, box in free if not (label.has_leader and _overlaps(box, avoid))]
        for at, box in (best or free or inside)[:1]:
            boxes = np.vstack((boxes, box))
            y = label.y + at[1]
            distance = math.hypot(*at)
            if distance > LABELS["long"]:
                begin = np.array(label[:2]) + np.array(at) / distance * 9
                end = box[2] + 4 if at[0] < 0 else box[0] - 4
                canvas.stroke(np.array((begin, (end, y))), 1, theme.edge)
            canvas.write(label.text, box[0], y + MIDDLE * label.font.size, label.font, label.colour, halo=theme.paper)


def _overlaps(box: np.ndarray, others: np.ndarray) -> bool:
    left, top, right, bottom = box
    across = (left < others[:, 2] + 3) & (others[:, 0] < right + 3)
    return bool((across & (top < others[:, 3]) & (others[:, 1] < bottom)).any())
