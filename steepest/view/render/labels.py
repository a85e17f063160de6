"""Labels on a canvas: one placer puts them where they cover neither one another, nor a path, nor what lies over it.

The twin of `page/src/render/labels.ts`.
"""

import math
from typing import Literal, NamedTuple

import numpy as np

from steepest.view.render.canvas import MIDDLE, Canvas, Font, text_width
from steepest.view.render.frame import Area
from steepest.view.render.theme import CONSTANTS, Theme

LABELS = CONSTANTS["labels"]
"""`clear` is half the size of what a label names; from the distance `long` on a leader line connects them."""
Place = tuple[float, float, int]
"""Offset of a label from what it names; it ends there (−1), is centred there (0) or begins there (1)."""
PLACES: list[Place] = [(x, y, (x > 0) - (x < 0)) for x, y in LABELS["places"]]
SMALL, LINE, GAP, TICK_LINE = Font("sans", 11), 15, 3, 0.28


class Label(NamedTuple):
    """A label of what is at (x, y), in the first of its places that is free."""

    x: float
    y: float
    text: str
    font: Font
    colour: str
    places: list[Place] = PLACES
    kind: Literal["thing", "tick", "name"] = "thing"
    foot: tuple[float, float] | None = None
    """Where a tick's line begins."""
    under: str = ""
    """A small second line, which is left out where there is no room."""

    def box(self, place: Place, under: str) -> np.ndarray:
        """Left, top, right and bottom in a place."""
        dx, dy, side = place
        width = max(text_width(self.text, self.font), text_width(under, SMALL) if under else 0.0)
        left = self.x + dx - width * (1 - side) / 2
        half = LABELS["tickHeight" if self.kind == "tick" else "lineHeight"] / 2
        y = self.y + dy
        return np.array((left, y - half, left + width, y + half + (LINE if under else 0)))


def draw_labels(
    canvas: Canvas, labels: list[Label], path_points: np.ndarray, overlays: tuple[Area, ...], theme: Theme
) -> None:
    """Draws labels, the most important first, away from overlays and, but for ticks, from points [P, 2] of paths.

    A label without a free place is left out.
    """
    things = [_around(np.array(label[:2]), LABELS["clear"]) for label in labels if label.kind == "thing"]
    obstacles = np.array([*overlays, *things]).reshape(-1, 4)
    paths = np.hstack((path_points - LABELS["path"], path_points + LABELS["path"]))
    boxes, ticks = np.empty((0, 4)), np.empty((0, 4))
    limits = np.array((canvas.width, canvas.height)) - LABELS["inside"]

    def is_free(label: Label, box: np.ndarray) -> bool:
        if (box[:2] < LABELS["inside"]).any() or (box[2:] > limits).any():
            return False
        if _overlaps(box, obstacles, 0) or _overlaps(box, boxes, GAP):
            return False
        return not (_overlaps(_wide(box), ticks, 0) if label.kind == "tick" else _overlaps(box, paths, 0))

    for label in labels:
        lines = dict.fromkeys((label.under, ""))
        places = [(place, under, label.box(place, under)) for under in lines for place in label.places]
        for place, under, box in [one for one in places if is_free(label, one[2])][:1]:
            boxes = np.vstack((boxes, box))
            if label.kind == "tick":
                ticks = np.vstack((ticks, _wide(box)))
            _draw(canvas, label, place, under, box, theme)


def _draw(canvas: Canvas, label: Label, place: Place, under: str, box: np.ndarray, theme: Theme) -> None:
    dx, dy, side = place
    x, y, distance = label.x + dx, label.y + dy, math.hypot(dx, dy)
    if label.foot is not None:
        foot = np.array(label.foot)
        canvas.stroke(np.stack((foot, foot + (np.array((x, y)) - foot) * TICK_LINE)), 1, label.colour)
    elif label.kind == "thing" and distance > LABELS["long"]:
        begin = np.array((label.x + dx / distance * 9, label.y + dy / distance * 9))
        canvas.stroke(np.stack((begin, (box[2] + 4 if dx < 0 else box[0] - 4, y))), 1, theme.edge)
    for k, (text, font, colour) in enumerate(((label.text, label.font, label.colour), (under, SMALL, theme.ink3))):
        if text:
            left = box[0] + (box[2] - box[0] - text_width(text, font)) * (1 - side) / 2
            canvas.write(text, left, y + k * LINE + MIDDLE * font.size, font, colour, halo=theme.paper)


def _around(point: np.ndarray, size: float) -> np.ndarray:
    return np.concatenate((point - size, point + size))


def _wide(box: np.ndarray) -> np.ndarray:
    """A tick with the room that it keeps to others."""
    half = np.array((LABELS["tickAcross"], LABELS["tickDown"])) / 2
    middle = (box[:2] + box[2:]) / 2
    return np.concatenate((middle - half, middle + half))


def _overlaps(box: np.ndarray, others: np.ndarray, gap: float) -> bool:
    left, top, right, bottom = box
    across = (left < others[:, 2] + gap) & (others[:, 0] < right + gap)
    return bool((across & (top < others[:, 3]) & (others[:, 1] < bottom)).any())
