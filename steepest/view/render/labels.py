"""Words on a canvas, placed so that they cover neither one another nor what they name."""

import math
from dataclasses import dataclass

import numpy as np

from steepest.view.render.canvas import MIDDLE, Canvas, measured
from steepest.view.render.fonts import Font
from steepest.view.render.theme import Theme

LINE_HEIGHT, MARGIN = 18, 4
CLEAR, AROUND_PATHS = 11, 3
"""Around what is named, and around points of paths."""
NEAR = ((14, 0), (-14, 0), (12, 17), (12, -17), (-12, 17), (-12, -17))
"""Where a label may begin, as seen from what it names: near places first, then farther ones with a line."""
FARTHER = ((40, 32), (-40, 32), (44, -30), (-44, -30), (56, 4), (-56, 4), (8, 44), (8, -44))
FAR = tuple((x * r, y * r) for r in (1, 1.6, 2.3) for x, y in FARTHER)
LONG = 24
"""From this distance on a line leads to what is named."""
HALO = 2.0


@dataclass(frozen=True)
class Label:
    """A word.

    Attributes:
        x, y: what it names.
        text, font, colour: of the word.
        leader: whether it keeps away from paths, and a line leads to what it names.
    """

    x: float
    y: float
    text: str
    font: Font
    colour: str
    leader: bool


@dataclass(frozen=True)
class _Place:
    """Where a label may stand: its box as left, top, right, bottom, and where that is from what it names."""

    box: np.ndarray
    dx: float
    dy: float

    def is_inside(self, canvas: Canvas) -> bool:
        """Whether it is on the canvas."""
        left, top, right, bottom = self.box
        return bool(
            left >= MARGIN and right <= canvas.width - MARGIN and top >= MARGIN and bottom <= canvas.height - MARGIN
        )

    def overlaps(self, others: np.ndarray) -> bool:
        """Whether it covers one of these boxes [B, 4]."""
        left, top, right, bottom = self.box
        across = (left < others[:, 2] + 3) & (others[:, 0] < right + 3)
        return bool((across & (top < others[:, 3]) & (others[:, 1] < bottom)).any())


def draw_labels(canvas: Canvas, labels: list[Label], obstacles: np.ndarray, theme: Theme) -> None:
    """Draws labels, the first ones taking their places first.

    Args:
        canvas: on which.
        labels: the words.
        obstacles: points [P, 2] that labels with a leader keep away from.
        theme: for what is around the letters.
    """
    taken = _around(np.array([(label.x, label.y) for label in labels]).reshape(-1, 2), CLEAR)
    avoided = _around(obstacles, AROUND_PATHS)
    for label in labels:
        places = [_place(label, dx, dy) for dx, dy in (FAR if label.leader else NEAR + FAR)]
        inside = [place for place in places if place.is_inside(canvas)]
        free = [place for place in inside if not place.overlaps(taken)]
        best = [place for place in free if not (label.leader and place.overlaps(avoided))]
        chosen = next(iter(best or free or inside), None)
        if chosen is not None:
            taken = np.vstack((taken, chosen.box))
            _draw(canvas, label, chosen, theme)


def _around(points: np.ndarray, r: float) -> np.ndarray:
    return np.hstack((points - r, points + r))


def _place(label: Label, dx: float, dy: float) -> _Place:
    size = measured(label.text, label.font)
    left = label.x + dx - (size if dx < 0 else 0)
    top = label.y + dy - LINE_HEIGHT / 2
    return _Place(np.array((left, top, left + size, top + LINE_HEIGHT)), dx, dy)


def _draw(canvas: Canvas, label: Label, place: _Place, theme: Theme) -> None:
    x, y, dx, dy = label.x, label.y, place.dx, place.dy
    distance = math.hypot(dx, dy)
    if distance > LONG:
        end = place.box[2] + 4 if dx < 0 else place.box[0] - 4
        line = np.array(((x + dx / distance * 9, y + dy / distance * 9), (end, y + dy)))
        canvas.stroke(line, 1, *theme.edge)
    base = y + dy + MIDDLE * label.font.size
    canvas.write(label.text, place.box[0], base, label.font, label.colour, halo=(theme.paper, HALO))
