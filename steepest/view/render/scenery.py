"""What surrounds a path on the stage: the block's edges, axes, critical points, the escape step."""

import math

import numpy as np
from matplotlib.path import Path

from steepest.records.surfaces import Axis, Mark
from steepest.view.film.numbers import linear_ticks, short
from steepest.view.render.canvas import MIDDLE, Font, text_width
from steepest.view.render.field import world
from steepest.view.render.labels import Label
from steepest.view.render.paths import Trace, View, position_at
from steepest.view.render.relief import BASE
from steepest.view.render.theme import CONSTANTS

MARK_LIFT, ESCAPE_LIFT = 0.006, 0.012
MARK_EDGE, WHITE = "#0A141AD9", "#FFFFFF"
NARROW: float = CONSTANTS["view"]["narrow"]
INSET = 240
"""The map over the lower left corner, in pixels of the page."""
TICK, AXIS_TICK_FONT = 0.28, Font("sans", 11)
NAME_FONT, WORD_FONT = Font("italic", 15), Font("italic", 14)
EAST, NORTH, FLOOR = np.diag((1.0, 1.0, BASE))
RING = 4.5 * np.asarray(Path.unit_regular_polygon(32).vertices)


def draw_edges(view: View) -> None:
    """The block's upper edges where they are visible."""
    for edge in view.block.edges():
        line = view.project(edge)
        line[np.isnan(line[:, 0]) | ~view.is_visible(line, 0.012)] = np.nan
        view.canvas.stroke(line[:, :2], 1, view.theme.edge)


def draw_axes(view: View, azimuth: float) -> None:
    """Ticks and names along the two lower edges that face the camera, each in its axis's own units."""
    sx, sy = 1 if math.cos(azimuth) > 0 else -1, 1 if math.sin(azimuth) > 0 else -1
    about = 3 if view.canvas.width < NARROW else 5
    field, canvas, ink = view.block.field, view.canvas, view.theme.ink3
    for axis, along, outwards in ((field.x, EAST, sy * NORTH), (field.y, NORTH, sx * EAST)):
        for v in linear_ticks(axis.lo, axis.hi, about):
            at = FLOOR + outwards + world(axis, v) * along
            foot, end = view.project(np.stack((at, at + 0.15 * outwards)))[:, :2]
            canvas.stroke(np.stack((foot, foot + (end - foot) * TICK)), 1, ink)
            canvas.write(short(v), end[0], end[1] + MIDDLE * AXIS_TICK_FONT.size, AXIS_TICK_FONT, ink, "center")
        _draw_name(view, axis, FLOOR + 1.34 * outwards, FLOOR + outwards)


def _draw_name(view: View, axis: Axis, at: np.ndarray, edge: np.ndarray) -> None:
    """An axis's name beside the block and, where it is not 1, its unit in weight space."""
    canvas, theme = view.canvas, view.theme
    (x, y), (begin, _) = view.project(np.stack((at, edge)))[:, :2].tolist()
    align = "center" if len(axis.name) <= 2 or abs(x - begin) < 12 else "right" if x < begin else "left"
    unit = "" if axis.scale == 1 else f"1 is {short(axis.scale, 2)} in weights"
    length = max(text_width(axis.name, NAME_FONT), text_width(unit, AXIS_TICK_FONT))
    before = {"left": 0.0, "center": length / 2, "right": length}[align]
    beside_map = canvas.width >= NARROW and y >= canvas.height - INSET
    left = min(INSET - 40, 0.26 * canvas.width) if beside_map else 0.0
    inside = min(canvas.width - 6 - length + before, max(6 + before + left, x))
    canvas.write(axis.name, inside, y + MIDDLE * NAME_FONT.size, NAME_FONT, theme.ink2, align)
    canvas.write(unit, inside, y + 16 + MIDDLE * AXIS_TICK_FONT.size, AXIS_TICK_FONT, theme.ink3, align)


def draw_marks(view: View, marks: tuple[Mark, ...], verbose: bool) -> list[Label]:
    """Draws minima as +, saddles and maxima as ×; returns their labels."""
    labels = []
    for mark in (mark for mark in marks if mark.kind != "escape"):
        u, v = view.block.field.world(mark.x, mark.y)
        at = view.project(view.block.above(u, v, MARK_LIFT))
        if abs(u) > 1 or abs(v) > 1 or not view.is_visible(at[None], 0.02)[0]:
            continue
        arms = cross(mark.kind, 6, 4.6) + at[:2]
        view.canvas.stroke(arms, 5, MARK_EDGE)
        view.canvas.stroke(arms, 2, WHITE)
        if verbose:
            labels.append(Label(at[0], at[1], mark.text or mark.kind, WORD_FONT, view.theme.ink, True))
    return labels


def cross(kind: str, upright: float, diagonal: float) -> np.ndarray:
    """The two lines of a critical point's mark around 0: upright for a minimum, slanted for a saddle or a maximum."""
    a, b = (upright, 0.0) if kind == "minimum" else (diagonal, diagonal)
    return np.array(((-a, -b), (a, b), (math.nan, math.nan), (b, -a), (-b, a)))


def draw_start(view: View, trace: Trace, verbose: bool) -> list[Label]:
    """Draws a ring at the start of a trace; returns its label."""
    at = position_at(trace, -math.inf)
    if at is None:
        return []
    x, y = view.project(at)[:2].tolist()
    for width, colour in ((4.5, view.theme.casing), (1.6, view.theme.ink)):
        view.canvas.stroke(RING + np.array((x, y)), width, colour)
    return [Label(x, y, "start", WORD_FONT, view.theme.ink, True)] if verbose else []


def draw_escape(view: View, marks: tuple[Mark, ...], begin: np.ndarray) -> list[Label]:
    """Draws the step along the direction of negative curvature, dotted, from the end of the path; returns its label."""
    canvas, theme, block = view.canvas, view.theme, view.block
    labels = []
    for mark in (mark for mark in marks if mark.kind == "escape"):
        u, v = np.linspace(begin[:2], block.field.world(mark.x, mark.y), 41).T
        line = view.project(block.above(u, v, ESCAPE_LIFT))[:, :2]
        canvas.stroke(line, 5, theme.casing)
        canvas.stroke(line, 2, theme.ink, dash=(1, 6))
        x, y = line[-1].tolist()
        canvas.marker(0, x, y, 5.4, theme.ink, theme.casing)
        canvas.marker(0, x, y, 2.8, theme.casing, theme.ink)
        labels.append(Label(x, y, mark.text, WORD_FONT, theme.ink, True))
    return labels
