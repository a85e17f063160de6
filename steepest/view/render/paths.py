"""The members' paths over a relief: outlined where visible, dotted where hidden, faint far from the plane."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.path import Path

from steepest.view.film.schema import Member, index_at
from steepest.view.film.way import FORWARD, JUMP, UNDONE, way_of
from steepest.view.render.camera import project
from steepest.view.render.canvas import Canvas
from steepest.view.render.relief import Block
from steepest.view.render.theme import CONSTANTS, Theme

PATH = CONSTANTS["path"]
"""`farOff` is the distance from the plane, as a share of the plot's half width, at which a path is `faintest`."""
LIFT: float = PATH["lift"]
"""Height above the surface, so that the line does not sink between vertices."""
SLACK: float = PATH["slack"]
"""Share of its distance by which a point on the surface may lie behind it and still count as visible."""
DOTS = PATH["hidden"]


class Trace(NamedTuple):
    """A path in world coordinates: steps `t` [P], points `at` [P, 3], NaN outside the plot, of a member by name.

    `near` [P] is 1 in the plane and less far from it; `state` [P] says how each was reached: FORWARD, UNDONE or JUMP.
    """

    t: np.ndarray
    at: np.ndarray
    near: np.ndarray
    name: str
    state: np.ndarray


class View(NamedTuple):
    """What a scene is drawn with."""

    canvas: Canvas
    block: Block
    matrix: np.ndarray
    theme: Theme

    def project(self, points: np.ndarray) -> np.ndarray:
        """Canvas x, y and distance [..., 3] of world points."""
        return project(self.matrix, self.canvas.width, self.canvas.height, points)

    def is_visible(self, points: np.ndarray, slack: float) -> np.ndarray:
        """Mask of projected points [P, 3] that the relief does not hide."""
        return self.block.is_visible(points, self.block.width / self.canvas.width, slack)


def trace_of(member: Member, surface: str, block: Block) -> Trace | None:
    """A member's path over a surface; None where it has none. Positions are rounded as the page gets them."""
    way = way_of(member, surface)
    if way is None:
        return None
    on = way.on
    x, y = block.field.x, block.field.y
    reach = max((x.hi - x.lo) * x.scale, (y.hi - y.lo) * y.scale) / 2
    with np.errstate(over="ignore"):
        px, py, off = (np.asarray(v).astype(np.float32).astype(np.float64) for v in on)
    u, v = block.field.world(px, py)
    inside = (np.abs(u) <= 1) & (np.abs(v) <= 1)
    at = np.full((len(u), 3), np.nan)
    at[inside] = block.above(u[inside], v[inside], LIFT)
    near = np.maximum(PATH["faintest"], 1 - np.abs(np.nan_to_num(off, nan=math.inf)) / (PATH["farOff"] * reach))
    return Trace(way.t, at, near, member.name, way.state)


def position_at(trace: Trace, t: float) -> np.ndarray | None:
    """Position of a trace at a step, between its points; None outside the plot."""
    k = max(0, index_at(trace.t, t))
    after = min(k + 1, len(trace.t) - 1)
    span = trace.t[after] - trace.t[k]
    share = min(1.0, max(0.0, (t - trace.t[k]) / span)) if span > 0 else 0.0
    between = trace.at[k] * (1 - share) + trace.at[after] * share
    place = trace.at[k] if np.isnan(between[0]) else between
    return None if np.isnan(place[0]) else place


class Stretch(NamedTuple):
    """Consecutive points [P, 2] of a path that are drawn alike."""

    visible: bool
    fade: float
    points: np.ndarray
    state: int


def stretches(trace: Trace, t: float, view: View) -> list[Stretch]:
    """Cuts a path up to a step into stretches of canvas points."""
    from steepest.view.render.raster import thin

    last = index_at(trace.t, t)
    if last < 0:
        return []
    head = position_at(trace, t)
    at = trace.at[: last + 1]
    fade = np.round(trace.near[: last + 1] * PATH["fades"]) / PATH["fades"]
    state = trace.state[: last + 1]
    if head is not None:
        after = trace.state[min(last + 1, len(trace.state) - 1)]
        at, fade = np.vstack((at, head)), np.append(fade, fade[-1])
        state = np.append(state, UNDONE if after == JUMP else after)
    points = view.project(at)
    mask = thin(np.ascontiguousarray(points[:, :2]), PATH["near"])
    mask[last:] = True
    turns = np.diff(state) != 0
    mask[1:] |= turns
    mask[:-1] |= turns
    points, fade, state = points[mask], fade[mask], state[mask]
    visible = view.is_visible(points, SLACK)
    outside = np.isnan(points[:, 0])
    changes = [np.diff(values.astype(float)) != 0 for values in (visible, fade, outside, state)]
    cuts = np.flatnonzero(np.logical_or.reduce(changes)) + 1
    bounds = [0, *cuts.tolist(), len(points)]
    out = []
    for a, b in zip(bounds, bounds[1:]):
        if not outside[a]:
            begin = a - 1 if a and not outside[a - 1] else a  # from the point before, so that there is no gap
            out.append(Stretch(bool(visible[a]), float(fade[a]), points[begin:b, :2], int(state[a])))
    return out


def draw_order(count: int) -> list[int]:
    """Members in the order in which they are drawn: the first one on top."""
    return sorted(range(count), key=lambda member: member == 0)


def draw_paths(view: View, traces: Sequence[Trace | None], t: float) -> dict[int, tuple[float, float]]:
    """Draws all paths up to a step, the first one on top, and returns where the members are on the canvas."""
    theme = view.theme
    paths = {member: trace for member in draw_order(len(traces)) if (trace := traces[member]) is not None}
    for member, trace in paths.items():
        colour, width = theme.colour(member), PATH["selected"] if member == 0 else PATH["other"]
        _draw_stretches(view, stretches(trace, t, view), colour, width)
    heads = {member: at for member, trace in paths.items() if (at := position_at(trace, t)) is not None}
    return {member: _draw_head(view, at, member) for member, at in heads.items()}


def _draw_stretches(view: View, parts: Sequence[Stretch], colour: str, width: float) -> None:
    """Jumps, then what is hidden, then what was undone, and the steps that were kept on top."""
    canvas, theme, undone, jump = view.canvas, view.theme, PATH["undone"], PATH["jump"]
    for part in (part for part in parts if part.state == JUMP):
        alpha = jump["alpha"] if part.visible else jump["alpha"] / 2
        canvas.stroke(part.points, jump["width"], theme.ink, alpha, jump["dash"])
    for part in (part for part in parts if not part.visible and part.state != JUMP):
        canvas.stroke(part.points, DOTS["width"], colour, DOTS["alpha"] * part.fade, DOTS["dash"])
    styles = (
        (UNDONE, undone["width"] + undone["casing"], theme.casing, theme.opacity, None),
        (UNDONE, undone["width"], colour, 1.0, undone["dash"]),
        (FORWARD, width + PATH["casing"], theme.casing, theme.opacity, None),
        (FORWARD, width, colour, 1.0, None),
    )
    for state, line, ink, alpha, dash in styles:
        for part in (part for part in parts if part.visible and part.state == state):
            canvas.stroke(part.points, line, ink, alpha * part.fade, dash)


def outline_points(view: View, traces: Sequence[Trace | None]) -> np.ndarray:
    """Some canvas points [P, 2] of all whole paths, from which labels keep away while the film plays."""
    points = [trace.at[:: max(1, len(trace.at) // PATH["obstacles"])] for trace in traces if trace is not None]
    points = view.project(np.concatenate([np.empty((0, 3)), *points]))[:, :2]
    return points[~np.isnan(points[:, 0])]


def _draw_head(view: View, at: np.ndarray, member: int) -> tuple[float, float]:
    point = view.project(at)
    x, y, _ = point.tolist()
    alpha = 1.0 if view.is_visible(point[None], SLACK)[0] else 0.55
    view.canvas.shape(Path.unit_circle(), x + 2.5, y + 5, 8, 4, "#000000", 0.22 * alpha)
    view.canvas.marker(member, x, y, 6, view.theme.colour(member), view.theme.casing, alpha)
    return x, y
