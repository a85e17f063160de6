"""A canvas: pixels with y downwards, on which matplotlib's Agg draws lines, shapes and text."""

import warnings
from bisect import bisect_left
from functools import lru_cache
from pathlib import Path as Files
from typing import NamedTuple

import numpy as np
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.colors import to_rgba
from matplotlib.font_manager import FontProperties, fontManager
from matplotlib.markers import MarkerStyle
from matplotlib.path import Path
from matplotlib.textpath import TextPath, text_to_path
from matplotlib.transforms import Affine2D, Bbox

Dash = tuple[float, float] | None
"""Lengths of dashes and of the gaps between them; None for a line without gaps."""
MIDDLE = 0.35
"""From the middle of a line of text down to its baseline, in font sizes."""
ALIGN = {"left": 0.0, "center": 0.5, "right": 1.0}
POLYGONS = (4, 0, 1.22), (4, 45, 1.2), (3, 180, 1.3), (6, 30, 1.1)
PLUS = MarkerStyle("P")
MARKERS = (
    Path.unit_circle(),
    *(Affine2D().rotate_deg(a).scale(r).transform_path(Path.unit_regular_polygon(n)) for n, a, r in POLYGONS),
    Affine2D().scale(2).transform_path(PLUS.get_path().transformed(PLUS.get_transform())),
)
"""The members' markers: circle, diamond, square, triangle, hexagon, cross; around 0 for a radius of 1."""
for file in sorted(Files(__file__).with_name("fonts").glob("*.ttf")):
    fontManager.addfont(file)
SANS, SERIF = ["Steepest Sans", "DejaVu Sans"], ["Steepest Serif", "DejaVu Serif"]
FONTS = {
    "sans": FontProperties(family=SANS, size=100),
    "bold": FontProperties(family=SANS, weight="bold", size=100),
    "serif": FontProperties(family=SERIF, size=100),
    "italic": FontProperties(family=SERIF, style="italic", size=100),
}
"""The page's fonts by style, with matplotlib's own where these lack a character."""


class Font(NamedTuple):
    """A font, sans, bold, serif or italic, of a size in pixels."""

    style: str
    size: float


class Canvas:
    """Its `pixels` are [height, width, 3] uint8, at first of the paper's colour."""

    def __init__(self, width: int, height: int, paper: str) -> None:
        self._renderer = RendererAgg(width, height, 72)
        self._view(np.asarray(self._renderer.buffer_rgba()), 0, 0, width, height)
        self._buffer.view(np.uint32)[:] = np.round(np.array(to_rgba(paper)) * 255).astype(np.uint8).view(np.uint32)

    def _view(self, buffer: np.ndarray, left: int, top: int, width: int, height: int) -> None:
        self._buffer, self._left, self._top, self.width, self.height = buffer, left, top, width, height
        self.pixels = buffer[top : top + height, left : left + width, :3]
        self._to_renderer = Affine2D().scale(1, -1).translate(left, buffer.shape[0] - top)

    def part(self, left: float, top: float, width: float, height: float) -> "Canvas":
        """A rectangle of it, on the same pixels."""
        part = object.__new__(Canvas)
        part._renderer = self._renderer
        part._view(self._buffer, self._left + round(left), self._top + round(top), round(width), round(height))
        return part

    def stroke(self, points: np.ndarray, width: float, colour: str, alpha: float = 1.0, dash: Dash = None) -> None:
        """A line through points [P, 2], round at joints and ends; NaN interrupts it."""
        self._draw(Path(points), width, colour, alpha, dash)

    def rectangle(self, left: float, top: float, width: float, height: float, colour: str, alpha: float = 1.0) -> None:
        """A filled rectangle."""
        self.shape(Path.unit_rectangle(), left, top, width, height, colour, alpha)

    def marker(
        self, member: int, x: float, y: float, radius: float, colour: str, casing: str | None, alpha: float = 1.0
    ) -> None:
        """A member's marker, in a casing that sets it off from any background."""
        for r, ink in ((radius * 1.37, casing), (radius, colour)):
            if ink:
                self.shape(MARKERS[member % len(MARKERS)], x, y, r, r, ink, alpha)

    def shape(self, path: Path, x: float, y: float, rx: float, ry: float, colour: str, alpha: float = 1.0) -> None:
        """A filled shape, whose 0 comes to (x, y) and whose 1 is rx to the right and ry down."""
        self._draw(Affine2D().scale(rx, ry).translate(x, y).transform_path(path), 0, colour, alpha)

    def write(
        self, text: str, x: float, y: float, font: Font, colour: str, align: str = "left", halo: str | None = None
    ) -> float:
        """A line of text, aligned at x, with its baseline at y and a halo of 2 pixels; returns its width."""
        outline, width = _outline(text, font)
        if outline is not None:
            place = Affine2D().scale(1, -1).translate(x - ALIGN[align] * width, y).transform_path(outline)
            if halo:
                self._draw(place, 4, halo, 0.9)
            self._draw(place, 0, colour, 1.0)
        return width

    def write_lines(
        self, lines: list[str], x: float, y: float, font: Font, leading: float, colour: str, halo: str | None = None
    ) -> float:
        """Lines of text from a baseline on; returns the next baseline."""
        for k, line in enumerate(lines):
            self.write(line, x, y + k * leading, font, colour, halo=halo)
        return y + len(lines) * leading

    def _draw(self, path: Path, width: float, colour: str, alpha: float, dash: Dash = None) -> None:
        """A line of this width; of no width, a filled shape."""
        gc = self._renderer.new_gc()
        gc.set_linewidth(width)
        gc.set_capstyle("round")
        gc.set_joinstyle("round")
        gc.set_snap(False)
        if dash:
            gc.set_dashes(0, dash)
        red, green, blue, opacity = to_rgba(colour)
        gc.set_alpha(alpha * opacity)
        gc.set_foreground((red, green, blue))
        bottom = self._buffer.shape[0] - self._top - self.height
        gc.set_clip_rectangle(Bbox.from_bounds(self._left, bottom, self.width, self.height))
        self._renderer.draw_path(gc, path, self._to_renderer, None if width else (red, green, blue))


def text_width(text: str, font: Font) -> float:
    """The width of a line of text in pixels.

    >>> text_width("saddle", Font("italic", 28)) == 2 * text_width("saddle", Font("italic", 14)) > 0
    True
    """
    return _outline(text, font)[1]


def wrap(text: str, font: Font, width: float) -> list[str]:
    """A text in lines of at most this width, where its words allow it; a number stays with its ±."""
    lines: list[str] = []
    for word in text.replace("± ", "±\u00a0").split(" ") if text else ():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and text_width(longer, font) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def balance(text: str, font: Font, width: int) -> list[str]:
    """The same number of lines, as narrow as they can be."""
    count = len(wrap(text, font, width))
    return wrap(text, font, bisect_left(range(width), -count, key=lambda narrow: -len(wrap(text, font, narrow))))


def shorten(text: str, font: Font, width: float) -> str:
    """A line that fits, cut at its end where it must be."""
    if text_width(text, font) <= width:
        return text
    while text and text_width(text + "…", font) > width:
        text = text[:-1]
    return text.rstrip() + "…"


@lru_cache(4096)
def _outline(text: str, font: Font) -> tuple[Path | None, float]:
    """The outline of a line of text, y upwards from its baseline, and its width. None where nothing is to be drawn."""
    properties = FONTS[font.style]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of characters that no font has: they are drawn as boxes
        width = text_to_path.get_text_width_height_descent(text, properties, ismath=False)[0] * font.size / 100
        return (TextPath((0, 0), text, size=font.size, prop=properties) if text.strip() else None), width
