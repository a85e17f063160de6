"""The map: a field from above, coloured by height, with contour lines, and the paths on it."""

import numpy as np
from matplotlib.colors import to_rgb

from steepest.records.surfaces import Mark
from steepest.view.film.schema import Member, index_at
from steepest.view.film.way import FORWARD, UNDONE, way_of
from steepest.view.render.canvas import Canvas
from steepest.view.render.colours import SHADES, diverged_colour, ramp
from steepest.view.render.field import DIVERGED_CELL, MISSING_CELL, Field, sample
from steepest.view.render.paths import draw_order
from steepest.view.render.scenery import WHITE, cross
from steepest.view.render.theme import CONSTANTS, Theme

MAP = CONSTANTS["map"]
"""(half width in pixels, darkness) of contour lines, and the levels a pixel from which lines are drawn fainter."""
MAP_MARK_EDGE = "#0A141ACC"
HEAD = 3.3
UNDONE_DASH = (3, 3)


def map_of(field: Field, width: int, height: int, theme: Theme) -> np.ndarray:
    """Pixels [height, width, 3] uint8 of a map of this size."""
    u = (np.arange(width) + 0.5) / width * 2 - 1
    v = 1 - (np.arange(height) + 0.5) / height * 2
    colours = np.vstack((ramp(theme, np.arange(SHADES) / (SHADES - 1)), diverged_colour(theme)))
    cells = [np.floor((at + 1) / 2 * (n - 1) + 0.5).astype(int) for at, n in zip((v, u), field.state.shape)]
    state = field.state[np.ix_(*cells)]
    row = np.floor(sample(field.height, u, v) * (SHADES - 1) + 0.5).astype(int)
    level = sample(field.level, u, v)
    around = np.pad(level, 1, mode="edge")
    across, down = around[1:-1, 2:] - around[1:-1, :-2], around[2:, 1:-1] - around[:-2, 1:-1]
    steep = np.hypot(across, down) / 2 + 1e-5
    nearest = np.floor(level + 0.5)
    is_thick = nearest % field.scale.major == 0
    half, dark = (np.where(is_thick, thick, thin) for thin, thick in zip(MAP["thin"], MAP["thick"]))
    line = np.clip(half + 0.4 - np.abs(level - nearest) / steep, 0, 1) * dark * sample(field.support, u, v)
    line[steep > MAP["dense"]] *= 0.6
    line[state == DIVERGED_CELL] = 0
    pixels = colours[np.where(state == DIVERGED_CELL, SHADES, row)] * (theme.dim * (1 - 0.9 * line))[..., None]
    pixels[state == MISSING_CELL] = to_rgb(theme.paper)
    return (pixels * 255).astype(np.uint8)


def draw_map(
    canvas: Canvas, field: Field, marks: tuple[Mark, ...], surface: str, members: list[Member], t: float, theme: Theme
) -> None:
    """Draws marks, and the members' paths on a surface up to a step, on a canvas that shows the map."""

    def place(x: np.ndarray | float, y: np.ndarray | float) -> np.ndarray:
        across, down = field.world(x, y)
        return np.stack(((across + 1) / 2 * canvas.width, (1 - down) / 2 * canvas.height), axis=-1)

    for mark in (mark for mark in marks if mark.kind != "escape"):
        arms = cross(mark.kind, 4, 3) + place(mark.x, mark.y)
        canvas.stroke(arms, 3.4, MAP_MARK_EDGE)
        canvas.stroke(arms, 1.4, WHITE)
    ends = []
    for i in draw_order(len(members)):
        way = way_of(members[i], surface)
        if way is not None:
            last = max(0, index_at(way.t, t))
            line, state = place(way.on.x[: last + 1], way.on.y[: last + 1]), way.state[: last + 1]
            line[~(np.abs(line) < 1e6).all(axis=1)] = np.nan
            canvas.stroke(_only(line, state, UNDONE), 1.3, theme.colour(i), 1.0, UNDONE_DASH)
            canvas.stroke(_only(line, state, FORWARD), 3.4, theme.casing, 0.8)
            canvas.stroke(_only(line, state, FORWARD), 1.5, theme.colour(i))
            ends.append((i, *line[-1].tolist()))
    for i, x, y in ends:
        if np.isfinite(x + y):
            canvas.marker(i, x, y, HEAD, theme.colour(i), theme.casing)


def _only(line: np.ndarray, state: np.ndarray, kind: int) -> np.ndarray:
    """The line [P, 2] where it is of one state, from the point before each stretch of it; NaN between them."""
    if (state == kind).all():
        return line
    begins = np.append(state[1:] == kind, False) & (state != kind)  # where a stretch sets out
    out = line.copy()
    out[~((state == kind) | begins)] = np.nan
    # A stretch that begins where another of its kind has just ended is parted from it.
    breaks = np.flatnonzero(begins & np.append(False, state[:-1] == kind))
    return np.insert(out, breaks, np.nan, axis=0)
