"""The colours' scale with a surface's caption, and what the top line says."""

import numpy as np

from steepest.records.surfaces import Grid
from steepest.view.render.canvas import Canvas, measured
from steepest.view.render.colours import diverged_colour, from_hex
from steepest.view.render.field import DIVERGED, Field
from steepest.view.render.fonts import Font
from steepest.view.render.markers import SHAPES
from steepest.view.render.text import broken, draw_text, shortened, words_of
from steepest.view.render.theme import Theme

TINY, BODY = Font("sans", 11), Font("sans", 14)
LEADING = 14
KINDS = {
    "terrain": "terrain", "curvature": "plane of curvature", "principal": "principal plane", "random": "random plane",
    "points": "three points",
}  # fmt: skip
ACCENT = {"light": "#B5340C", "dark": "#F0533F"}


def draw_scale(canvas: Canvas, grid: Grid, field: Field, theme: Theme) -> None:
    """The caption, a bar of the ramp and its ticks, at the foot of a canvas of the scale's width."""
    width, foot = canvas.width, canvas.height
    caption = grid.caption or ("loss" if grid.kind == "terrain" else f"loss, {KINDS[grid.kind]}")
    tall = LEADING * len(broken(words_of(caption, [], TINY, theme.ink2), width, measured(" ", TINY)))
    extra = LEADING if (field.state == DIVERGED).any() else 0
    y = foot - 28 - tall - extra
    draw_text(canvas, caption, 0, y + 3, width, TINY, LEADING, theme.ink2, theme.paper)
    if extra:
        ground = diverged_colour(theme.look, theme.bad)
        canvas.rectangle(0, foot - 28 - LEADING - 5, 8, 8, _hex(ground))
        canvas.write("diverged", 13, foot - 28 - LEADING + 3, TINY, theme.ink2)
    stops = np.array([from_hex(stop) for stop in theme.look.ramp]) * 255
    at = (np.arange(width) + 0.5) / width * (len(stops) - 1)
    bar = np.column_stack([np.interp(at, np.arange(len(stops)), stops[:, k]) for k in range(3)])
    canvas.pixels[foot - 28 : foot - 22] = bar
    for share, text in _spaced(field.scale.ticks):
        canvas.write(text, share * (width - measured(text, TINY)), foot - 8, TINY, theme.ink2)


def _spaced(ticks: list[tuple[float, str]]) -> list[tuple[float, str]]:
    """Ticks that have room beside the ones before them."""
    kept: list[tuple[float, str]] = []
    for at, text in ticks:
        if not kept or at - kept[-1][0] > 0.05 + 0.02 * (len(kept[-1][1]) + len(text)):
            kept.append((at, text))
    return kept


def _hex(rgb: np.ndarray) -> str:
    return "#" + "".join(f"{round(float(c) * 255):02X}" for c in rgb)


def draw_header(canvas: Canvas, pad: int, title: str, subtitle: str, clock: str, theme: Theme) -> None:
    """The top line: the mark, what this is, and the step."""
    s = np.linspace(0, 1, 16)[:, None]
    first, second = (
        _bezier(s, *points)
        for points in (((2, 3), (6, 3), (7.5, 15.5), (13, 15.5)), ((13, 15.5), (18.5, 15.5), (19, 8), (24, 8)))
    )
    base, top = 33, 18
    canvas.stroke(np.vstack((first, second)) + np.array((pad, top)), 1.7, theme.ink)
    canvas.fill(SHAPES[0] * 2.6 + (pad + 13, top + 15.5), ACCENT[theme.name])
    name = Font("bold", 15)
    canvas.write("steepest", pad + 35, base, name, theme.ink)
    x = pad + 35 + measured("steepest", name) + 24
    right = canvas.width - pad
    canvas.write(clock, right, base, BODY, theme.ink2, "right")
    right -= measured(clock, BODY) + 24
    for text, colour in ((title, theme.ink2), (subtitle, theme.ink3)):
        shown = shortened(text, BODY, right - x) if right - x > 60 else ""
        canvas.write(shown, x, base, BODY, colour)
        x += measured(shown, BODY) + 14


def _bezier(s: np.ndarray, *points: tuple[float, float]) -> np.ndarray:
    a, b, c, d = (np.array(point, np.float64) for point in points)
    return (1 - s) ** 3 * a + 3 * (1 - s) ** 2 * s * b + 3 * (1 - s) * s * s * c + s**3 * d
