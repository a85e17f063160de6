"""The members' paths over a relief: cased where they are seen, dotted where hidden, faint far off the plane."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from steepest.view.render.camera import project
from steepest.view.render.canvas import Canvas, dashes
from steepest.view.render.decode import Track, index_at
from steepest.view.render.field import world
from steepest.view.render.markers import mark
from steepest.view.render.relief import Block
from steepest.view.render.theme import Theme

LIFT = 0.008
"""Above the surface, so that the line is not buried between vertices."""
FAR_OFF, FAINTEST = 1.0, 0.25
"""Off-plane distance, as a share of the plot's half width, at which a path is at its faintest."""
SLACK = 0.008
"""Share of a distance by which what is drawn on the surface may lie behind it."""
FADES = 5
NEARER = 0.8
"""Points so near the one before on the canvas, in pixels, are left out."""
SELECTED, OTHER = 2.6, 2.1
CASING = 2.6
HIDDEN = {"width": 1.7, "on": 0.1, "off": 4.5, "alpha": 0.75}
OBSTACLES = 60
"""Points of a path that labels keep away from."""


@dataclass(frozen=True)
class Trace:
    """A path in world coordinates.

    Attributes:
        t: steps of its points [P].
        at: x, y, z [P, 3]; NaN outside the plot.
        near: 0 … 1 of each point: how near the plane it lies.
        name: its member's.
    """

    t: np.ndarray
    at: np.ndarray
    near: np.ndarray
    name: str


@dataclass(frozen=True)
class View:
    """What a scene is drawn with."""

    canvas: Canvas
    block: Block
    matrix: np.ndarray
    theme: Theme

    @property
    def zoom(self) -> float:
        """Pixels of the relief a pixel of the canvas."""
        return self.block.width / self.canvas.width

    def seen(self, points: np.ndarray) -> np.ndarray:
        """Canvas x, y and distance [..., 3] of world points."""
        return project(self.matrix, self.canvas.width, self.canvas.height, points)

    def is_visible(self, seen: np.ndarray, slack: float) -> np.ndarray:
        """Which projected points [P, 3] the relief does not hide."""
        return self.block.is_visible(seen, self.zoom, slack)


class Head(NamedTuple):
    """Where a member is on the canvas."""

    x: float
    y: float
    member: int


def trace_of(track: Track, surface: str, block: Block) -> Trace | None:
    """A track's path over a surface; None where it has none."""
    on = track.on.get(surface)
    if on is None or not len(on.x):
        return None
    x, y = block.field.x, block.field.y
    reach = max((x.hi - x.lo) * x.scale, (y.hi - y.lo) * y.scale) / 2
    u, v = world(x, on.x), world(y, on.y)
    inside = (np.abs(u) <= 1) & (np.abs(v) <= 1)
    at = np.full((len(u), 3), np.nan)
    at[inside] = np.column_stack((u, v, block.height_at(np.where(inside, u, 0), np.where(inside, v, 0)) + LIFT))[inside]
    near = np.maximum(FAINTEST, 1 - np.abs(np.nan_to_num(on.off, nan=math.inf)) / (FAR_OFF * reach))
    return Trace(track.t, at, near, track.name)


def position_at(trace: Trace, t: float) -> np.ndarray | None:
    """Where a trace is at a step, between its points; None outside the plot."""
    k = max(0, index_at(trace.t, t))
    following = min(k + 1, len(trace.t) - 1)
    span = trace.t[following] - trace.t[k]
    share = min(1.0, max(0.0, (t - trace.t[k]) / span)) if span > 0 else 0.0
    between = trace.at[k] * (1 - share) + trace.at[following] * share
    place = trace.at[k] if np.isnan(between[0]) else between
    return None if np.isnan(place[0]) else place


class Stretch(NamedTuple):
    """Consecutive points [P, 2] of a path that are drawn alike."""

    visible: bool
    fade: float
    points: np.ndarray


def stretches(trace: Trace, t: float, view: View) -> list[Stretch]:
    """Cuts a path up to a step into stretches of canvas points."""
    from steepest.view.render import strokes

    last = index_at(trace.t, t)
    if last < 0:
        return []
    head = position_at(trace, t)
    at = trace.at[: last + 1]
    fade = np.round(trace.near[: last + 1] * FADES) / FADES
    if head is not None:
        at, fade = np.vstack((at, head)), np.append(fade, fade[-1])
    seen = view.seen(at)
    kept = strokes.thinned(np.ascontiguousarray(seen[:, :2]), NEARER)
    kept[last:] = True
    seen, fade = seen[kept], fade[kept]
    visible = view.is_visible(seen, SLACK)
    gone = np.isnan(seen[:, 0])
    cuts = np.flatnonzero((np.diff(visible) != 0) | (np.diff(fade) != 0) | (np.diff(gone) != 0)) + 1
    bounds = [0, *cuts.tolist(), len(seen)]
    out = []
    for a, b in zip(bounds, bounds[1:]):
        if not gone[a]:
            begin = a - 1 if a and not gone[a - 1] else a  # from the point before, so that there is no gap
            out.append(Stretch(bool(visible[a]), float(fade[a]), seen[begin:b, :2]))
    return out


def order_of(count: int, selected: int) -> list[int]:
    """Members in the order in which they are drawn: the selected one on top."""
    return sorted(range(count), key=lambda member: member == selected)


def draw_paths(view: View, traces: list[Trace | None], t: float, selected: int) -> list[Head]:
    """Draws all paths up to a step, the selected one on top, and returns where their heads are."""
    order = order_of(len(traces), selected)
    colours = view.theme.members
    for member in order:
        trace = traces[member]
        if trace is not None:
            width = SELECTED if member == selected else OTHER
            _draw_path(view, stretches(trace, t, view), colours[member % len(colours)], width)
    heads = []
    for member in order:
        trace = traces[member]
        at = None if trace is None else position_at(trace, t)
        if at is not None:
            heads.append(_draw_head(view, at, member))
    return heads


def outlines(view: View, traces: list[Trace | None]) -> np.ndarray:
    """Some canvas points [P, 2] of all whole paths: they stay while the film plays, and so do the labels."""
    points = [trace.at[:: max(1, len(trace.at) // OBSTACLES)] for trace in traces if trace is not None]
    seen = view.seen(np.concatenate([np.empty((0, 3)), *points]))[:, :2]
    return seen[~np.isnan(seen[:, 0])]


def _draw_path(view: View, parts: list[Stretch], colour: str, width: float) -> None:
    canvas, theme = view.canvas, view.theme
    for visible, fade, points in parts:
        if not visible:
            dotted = dashes(points, HIDDEN["on"], HIDDEN["off"])
            canvas.stroke(dotted, HIDDEN["width"], colour, HIDDEN["alpha"] * fade)
    seen = [part for part in parts if part.visible]
    for _, fade, points in seen:
        canvas.stroke(points, width + CASING, theme.casing, theme.cased * fade)
    for _, fade, points in seen:
        canvas.stroke(points, width, colour, fade)


def _draw_head(view: View, at: np.ndarray, member: int) -> Head:
    canvas, theme = view.canvas, view.theme
    seen = view.seen(at[None])
    x, y, _ = seen[0].tolist()
    alpha = 1.0 if view.is_visible(seen, SLACK)[0] else 0.55
    a = np.linspace(0, 2 * math.pi, 32, endpoint=False)
    canvas.fill(np.column_stack((x + 2.5 + 8 * np.cos(a), y + 5 + 4 * np.sin(a))), "#000000", 0.22 * alpha)
    mark(canvas, member, x, y, 6, theme.members[member % len(theme.members)], theme.casing, alpha)
    return Head(x, y, member)
