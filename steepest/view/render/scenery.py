"""What surrounds a path on the stage: the block's edges, axes, critical points, the escape step."""

import math

import numpy as np
from matplotlib.path import Path

from steepest.records.surfaces import Axis, Mark
from steepest.view.film.numbers import linear_ticks, short
from steepest.view.film.way import JUMP
from steepest.view.render.canvas import Font
from steepest.view.render.field import world
from steepest.view.render.labels import Label, Place
from steepest.view.render.paths import Trace, View, position_at
from steepest.view.render.relief import BASE
from steepest.view.render.theme import CONSTANTS

MARK_LIFT, ESCAPE_LIFT = 0.006, 0.012
MARK_EDGE, WHITE = "#0A141AD9", "#FFFFFF"
NARROW: float = CONSTANTS["view"]["narrow"]
AXES = CONSTANTS["axes"]
AXIS_TICK_FONT = Font("sans", 11)
NAME_FONT, WORD_FONT = Font("italic", 15), Font("italic", 14)
EAST, NORTH, FLOOR = np.diag((1.0, 1.0, BASE))
RING = 4.5 * np.asarray(Path.unit_regular_polygon(32).vertices)


def draw_edges(view: View) -> None:
    """The block's upper edges where they are visible."""
    for edge in view.block.edges():
        line = view.project(edge)
        line[np.isnan(line[:, 0]) | ~view.is_visible(line, 0.012)] = np.nan
        view.canvas.stroke(line[:, :2], 1, view.theme.edge)


def axis_labels(view: View, azimuth: float) -> list[Label]:
    """Ticks and names of the two lower edges that face the camera, each in its axis's own units."""
    sx, sy = 1 if math.cos(azimuth) > 0 else -1, 1 if math.sin(azimuth) > 0 else -1
    field = view.block.field
    edges = (field.x, EAST, sy * NORTH), (field.y, NORTH, sx * EAST)
    ticks = [label for edge in edges for label in _tick_labels(view, *edge)]
    return ticks + [_name_label(view, *edge) for edge in edges]


def _beside(view: View, along: np.ndarray, outwards: np.ndarray, u: float, out: float) -> tuple[float, float]:
    """A point of the canvas beside the block at its foot: along an edge, and so far out from it."""
    x, y, _ = view.project(FLOOR + u * along + (1 + out) * outwards).tolist()
    return x, y


def _tick_labels(view: View, axis: Axis, along: np.ndarray, outwards: np.ndarray) -> list[Label]:
    """Numbers at the ticks, the first and the last one before those between."""
    ticks = linear_ticks(axis.lo, axis.hi, 3 if view.canvas.width < NARROW else 5)
    labels = []
    for v in dict.fromkeys((ticks[0], ticks[-1], *ticks)):
        u = float(world(axis, v))
        foot, (x, y), (fx, fy) = (_beside(view, along, outwards, u, out) for out in (0, AXES["out"], AXES["farther"]))
        places: list[Place] = [(0, 0, 0), (fx - x, fy - y, 0)]
        labels.append(Label(x, y, short(v), AXIS_TICK_FONT, view.theme.ink3, places, "tick", foot))
    return labels


def _name_label(view: View, axis: Axis, along: np.ndarray, outwards: np.ndarray) -> Label:
    """An axis's name beside the block and, where it is not 1, its unit in weight space."""
    (x, y), (edge, _) = (_beside(view, along, outwards, 0, out) for out in (AXES["name"], 0))
    side = 0 if len(axis.name) <= 2 or abs(x - edge) < 12 else 1 if x > edge else -1
    places: list[Place] = []
    for out, towards in ((AXES["name"], side), (AXES["below"], 0)):
        for u in (0, AXES["aside"], -AXES["aside"]):
            px, py = _beside(view, along, outwards, u, out)
            places.append((px - x, py - y, towards))
    under = "" if axis.scale == 1 else f"1 is {short(axis.scale, 2)} in weights"
    return Label(x, y, axis.name, NAME_FONT, view.theme.ink2, places, "name", under=under)


def draw_marks(view: View, marks: tuple[Mark, ...]) -> list[Label]:
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
        labels.append(Label(at[0], at[1], mark.text or mark.kind, WORD_FONT, view.theme.ink))
    return labels


def cross(kind: str, upright: float, diagonal: float) -> np.ndarray:
    """The two lines of a critical point's mark around 0: upright for a minimum, slanted for a saddle or a maximum."""
    a, b = (upright, 0.0) if kind == "minimum" else (diagonal, diagonal)
    return np.array(((-a, -b), (a, b), (math.nan, math.nan), (b, -a), (-b, a)))


def draw_start(view: View, trace: Trace) -> list[Label]:
    """Draws a ring at the start of a trace; returns its label."""
    at = position_at(trace, -math.inf)
    if at is None:
        return []
    x, y = view.project(at)[:2].tolist()
    for width, colour in ((4.5, view.theme.casing), (1.6, view.theme.ink)):
        view.canvas.stroke(RING + np.array((x, y)), width, colour)
    return [Label(x, y, "start", WORD_FONT, view.theme.ink)]


def undone_labels(view: View, trace: Trace, t: float) -> list[Label]:
    """A word where a path jumped back the farthest: what led there was undone."""
    k = np.flatnonzero((trace.state == JUMP) & (trace.t <= t))
    k = k[k > 0]
    length = np.linalg.norm(trace.at[k] - trace.at[k - 1], axis=1)
    k, length = k[length > 0], length[length > 0]
    begins = k[np.argsort(-length, kind="stable")][:1] - 1
    points = view.project(trace.at[begins])[:, :2].tolist()
    return [Label(x, y, "undone", WORD_FONT, view.theme.ink) for x, y in points]


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
        labels.append(Label(x, y, mark.text, WORD_FONT, theme.ink))
    return labels
