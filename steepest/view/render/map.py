"""The map: a field from above, coloured by height, with its contour lines, and the paths on it."""

import numpy as np

from steepest.records.surfaces import Mark
from steepest.view.render.canvas import Canvas
from steepest.view.render.colours import diverged_colour, from_hex, ramp
from steepest.view.render.decode import Track, index_at
from steepest.view.render.field import DIVERGED, MISSING, Field, sample, world
from steepest.view.render.markers import mark
from steepest.view.render.paths import order_of
from steepest.view.render.scenery import DARK, WHITE, cross
from steepest.view.render.theme import Theme

THIN, THICK = (0.38, 0.28), (0.62, 0.5)
"""Half width of a contour line in pixels, and how dark it is."""
DENSE = 0.6
"""Levels a pixel from which lines are drawn fainter."""
ROWS = 256
NEARER = 0.5
HEAD = 3.3


def map_of(field: Field, width: int, height: int, theme: Theme) -> np.ndarray:
    """Pixels [height, width, 3] uint8 of a map of this size."""
    u = (np.arange(width) + 0.5) / width * 2 - 1
    v = 1 - (np.arange(height) + 0.5) / height * 2
    colours = np.vstack((ramp(theme.look, np.arange(ROWS) / (ROWS - 1)), diverged_colour(theme.look, theme.bad)))
    nearest = [np.floor((at + 1) / 2 * (n - 1) + 0.5).astype(int) for at, n in zip((v, u), field.state.shape)]
    state = field.state[np.ix_(*nearest)]
    row = np.floor(sample(field.height, u, v) * (ROWS - 1) + 0.5).astype(int)
    line = _lines(sample(field.level, u, v), field.scale.major) * sample(field.support, u, v)
    line[state == DIVERGED] = 0
    ground = colours[np.where(state == DIVERGED, ROWS, row)] * (theme.dim * (1 - 0.9 * line))[..., None]
    ground[state == MISSING] = from_hex(theme.paper)
    return (ground * 255).astype(np.uint8)


def _lines(level: np.ndarray, major: int) -> np.ndarray:
    """How dark the contour line through each pixel is, from the level's differences around it."""
    near = np.pad(level, 1, mode="edge")
    across, down = near[1:-1, 2:] - near[1:-1, :-2], near[2:, 1:-1] - near[:-2, 1:-1]
    steep = np.hypot(across, down) / 2 + 1e-5
    line = np.floor(level + 0.5)
    width, dark = (np.where(line % major == 0, thick, thin) for thin, thick in zip(THIN, THICK))
    cover = np.clip(width + 0.4 - np.abs(level - line) / steep, 0, 1) * dark
    return np.where(steep > DENSE, cover * 0.6, cover)


def draw_plan(
    canvas: Canvas, ground: np.ndarray, field: Field, marks: tuple[Mark, ...], name: str, tracks: list[Track], t: float,
    theme: Theme, selected: int = 0,
) -> None:  # fmt: skip
    """The map with marks, and paths up to a step.

    Args:
        canvas: of the map's size.
        ground: its pixels, as `map_of` gives them.
        field: what it is of.
        marks: critical points.
        name: of the surface.
        tracks: the members.
        t: the step.
        theme: its colours.
        selected: the member on top.
    """

    def place(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        across, down = (world(field.x, x) + 1) / 2, (1 - world(field.y, y)) / 2
        return np.stack((across * canvas.width, down * canvas.height), axis=-1)

    canvas.pixels[:] = ground
    for at in marks:
        if at.kind != "escape":
            arms = cross(at.kind, 4, 3) + place(np.asarray(at.x), np.asarray(at.y))
            canvas.stroke(arms, 3.4, DARK, 0.8)
            canvas.stroke(arms, 1.4, WHITE)
    heads = []
    for member in order_of(len(tracks), selected):
        on = tracks[member].on.get(name)
        if on is None or not len(on.x):
            continue
        last = max(0, index_at(tracks[member].t, t))
        line = _thinned(place(on.x[: last + 1], on.y[: last + 1]))
        colour = theme.members[member % len(theme.members)]
        canvas.stroke(line, 3.4, theme.casing, 0.8)
        canvas.stroke(line, 1.5, colour)
        heads.append((member, line[-1].tolist(), colour))
    for member, (x, y), colour in heads:
        if np.isfinite(x + y):
            mark(canvas, member, x, y, HEAD, colour, theme.casing)


def _thinned(line: np.ndarray) -> np.ndarray:
    from steepest.view.render import strokes

    kept = strokes.thinned(np.ascontiguousarray(line), NEARER)
    kept[-1] = True
    return line[kept]
