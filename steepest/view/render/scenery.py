"""What stands around a path on the stage: the block's edges, axes with their scales, critical points, the escape."""

import math

import numpy as np

from steepest.records.surfaces import Axis, Mark
from steepest.view.render.canvas import MIDDLE, dashes, measured
from steepest.view.render.field import world
from steepest.view.render.fonts import Font
from steepest.view.render.labels import Label
from steepest.view.render.markers import SHAPES, mark
from steepest.view.render.paths import Trace, View, position_at
from steepest.view.render.relief import BASE
from steepest.view.render.ticks import linear_ticks, short

LIFT, ESCAPE_LIFT = 0.006, 0.012
DARK, DARK_ALPHA, WHITE = "#0A141A", 0.85, "#FFFFFF"
NARROW = 500
INSET = 240
"""The map over the lower left corner, in pixels of the page."""
TICK, TICK_FONT = 0.28, Font("sans", 11)
NAME_FONT, WORD_FONT = Font("italic", 15), Font("italic", 14)
DOTS = 40


def draw_edges(view: View, edges: list[np.ndarray]) -> None:
    """The block's upper edges where they are seen."""
    for edge in edges:
        seen = view.seen(edge)
        visible = ~np.isnan(seen[:, 0]) & view.is_visible(seen, 0.012)
        seen[~visible] = np.nan
        view.canvas.stroke(seen[:, :2], 1, *view.theme.edge)


def draw_axes(view: View, x: Axis, y: Axis, azimuth: float) -> None:
    """Ticks and names along the two lower edges that face the camera, at each axis's own scale."""
    sx, sy = 1 if math.cos(azimuth) > 0 else -1, 1 if math.sin(azimuth) > 0 else -1
    few = 3 if view.canvas.width < NARROW else 5

    def tick(u: float, v: float, du: float, dv: float, text: str) -> None:
        foot, end = view.seen(np.array(((u, v, BASE), (u + du, v + dv, BASE))))[:, :2]
        view.canvas.stroke(np.stack((foot, foot + (end - foot) * TICK)), 1, view.theme.ink3)
        view.canvas.write(text, end[0], end[1] + MIDDLE * TICK_FONT.size, TICK_FONT, view.theme.ink3, "center")

    for v in linear_ticks(x.lo, x.hi, few):
        tick(float(world(x, np.asarray(v))), sy, 0, sy * 0.15, short(v))
    for v in linear_ticks(y.lo, y.hi, few):
        tick(sx, float(world(y, np.asarray(v))), sx * 0.15, 0, short(v))
    _name(view, x, (0, sy * 1.34), (0, sy))
    _name(view, y, (sx * 1.34, 0), (sx, 0))


def _name(view: View, axis: Axis, at: tuple[float, float], edge: tuple[float, float]) -> None:
    """An axis's name and, where it is not 1, what its unit is in weight space; away from the block."""
    canvas, theme = view.canvas, view.theme
    (x, y), (begin, _) = view.seen(np.array(((*at, BASE), (*edge, BASE))))[:, :2].tolist()
    align = "center" if len(axis.name) <= 2 or abs(x - begin) < 12 else "right" if x < begin else "left"
    unit = "" if axis.scale == 1 else f"1 is {short(axis.scale, 2)} in weights"
    length = max(measured(axis.name, NAME_FONT), measured(unit, TICK_FONT))
    before = {"left": 0.0, "center": length / 2, "right": length}[align]
    beside_map = canvas.width >= NARROW and y >= canvas.height - INSET
    left = min(INSET - 40, 0.26 * canvas.width) if beside_map else 0.0
    inside = min(canvas.width - 6 - length + before, max(6 + before + left, x))
    canvas.write(axis.name, inside, y + MIDDLE * NAME_FONT.size, NAME_FONT, theme.ink2, align)
    canvas.write(unit, inside, y + 16 + MIDDLE * TICK_FONT.size, TICK_FONT, theme.ink3, align)


def draw_marks(view: View, marks: tuple[Mark, ...], x: Axis, y: Axis, verbose: bool) -> list[Label]:
    """Minima as crosses, saddles and maxima as ×, and words for those that have room."""
    labels = []
    for at in marks:
        u, v = world(x, np.asarray(at.x)), world(y, np.asarray(at.y))
        if at.kind == "escape" or abs(u) > 1 or abs(v) > 1:
            continue
        seen = view.seen(np.array([(u, v, view.block.height_at(u, v) + LIFT)]))
        if not view.is_visible(seen, 0.02)[0]:
            continue
        px, py = seen[0, :2].tolist()
        arms = cross(at.kind, 6, 4.6) + seen[0, :2]
        view.canvas.stroke(arms, 5, DARK, DARK_ALPHA)
        view.canvas.stroke(arms, 2, WHITE)
        if verbose:
            labels.append(Label(px, py, at.text or at.kind, WORD_FONT, view.theme.ink, True))
    return labels


def cross(kind: str, upright: float, slanted: float) -> np.ndarray:
    """The two lines of a critical point's mark around 0: upright for a minimum, slanted for a saddle or a maximum."""
    a, b = (upright, 0.0) if kind == "minimum" else (slanted, slanted)
    return np.array(((-a, -b), (a, b), (math.nan, math.nan), (b, -a), (-b, a)))


def draw_start(view: View, trace: Trace, verbose: bool) -> list[Label]:
    """Where the first trace begins."""
    at = position_at(trace, -math.inf)
    if at is None:
        return []
    x, y = view.seen(at)[:2].tolist()
    ring = SHAPES[0][[*range(len(SHAPES[0])), 0]] * 4.5 + (x, y)
    view.canvas.stroke(ring, 4.5, view.theme.casing)
    view.canvas.stroke(ring, 1.6, view.theme.ink)
    return [Label(x, y, "start", WORD_FONT, view.theme.ink, True)] if verbose else []


def draw_escape(view: View, marks: tuple[Mark, ...], x: Axis, y: Axis, begin: np.ndarray) -> list[Label]:
    """The step along the direction of escape, dotted, from where the path ends."""
    canvas, theme = view.canvas, view.theme
    labels = []
    for at in marks:
        if at.kind != "escape":
            continue
        share = np.linspace(0, 1, DOTS + 1)
        u, v = (
            begin[k] + (world(axis, np.asarray(end)) - begin[k]) * share
            for k, axis, end in ((0, x, at.x), (1, y, at.y))
        )
        line = view.seen(np.column_stack((u, v, view.block.height_at(u, v) + ESCAPE_LIFT)))[:, :2]
        canvas.stroke(line, 5, theme.casing)
        canvas.stroke(dashes(line, 1, 6), 2, theme.ink)
        px, py = line[-1].tolist()
        mark(canvas, 0, px, py, 5.4, theme.ink, theme.casing)
        mark(canvas, 0, px, py, 2.8, theme.casing, theme.ink)
        labels.append(Label(px, py, at.text, WORD_FONT, theme.ink, True))
    return labels
