"""A canvas: pixels with y downwards, on which matplotlib's Agg draws lines, shapes and text."""

import warnings
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path as Files
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.colors import to_rgb, to_rgba
from matplotlib.font_manager import FontProperties, fontManager
from matplotlib.path import Path
from matplotlib.textpath import TextPath, text_to_path
from matplotlib.transforms import Affine2D, Bbox

MIDDLE = 0.35
"""From the middle of a line of text down to its baseline, in font sizes."""
ALIGN = {"left": 0.0, "center": 0.5, "right": 1.0}
ARM = 0.36
CROSS = np.array(
    [(-ARM, -1), (ARM, -1), (ARM, -ARM), (1, -ARM), (1, ARM), (ARM, ARM),
     (ARM, 1), (-ARM, 1), (-ARM, ARM), (-1, ARM), (-1, -ARM), (-ARM, -ARM)]
)  # fmt: skip


@dataclass(frozen=True)
class Font:
    """A font of a size.

    Attributes:
        style: sans, bold, serif or italic.
        size: in pixels.
    """

    style: str
    size: float


class Canvas:
    """Pixels that are drawn on. A part of a canvas draws on the same pixels.

    Args:
        width, height: in pixels.
        paper: colour of the background.

    Attributes:
        pixels: [height, width, 3] uint8.
    """

    def __init__(self, width: int, height: int, paper: str) -> None:
        self._renderer = RendererAgg(width, height, 72)
        self._view(np.asarray(self._renderer.buffer_rgba()), 0, 0, width, height)
        self.pixels[:] = np.round(np.array(to_rgb(paper)) * 255)

    def _view(self, buffer: np.ndarray, left: int, top: int, width: int, height: int) -> None:
        self._buffer, self._left, self._top, self.width, self.height = buffer, left, top, width, height
        buffer[..., 3] = 255
        self.pixels = buffer[top : top + height, left : left + width, :3]
        self._to_renderer = Affine2D().scale(1, -1).translate(left, buffer.shape[0] - top)

    def part(self, left: float, top: float, width: float, height: float) -> "Canvas":
        """A rectangle of it, on the same pixels."""
        part = object.__new__(Canvas)
        part._renderer = self._renderer
        part._view(self._buffer, self._left + round(left), self._top + round(top), round(width), round(height))
        return part

    def stroke(
        self, points: np.ndarray, width: float, colour: str, alpha: float = 1.0, dash: tuple[float, float] | None = None
    ) -> None:
        """A line through points [P, 2], round at joints and ends; NaN interrupts it.

        Args:
            points: in pixels.
            width: in pixels.
            colour: as matplotlib takes it.
            alpha: opacity, times that of the colour.
            dash: lengths of dashes and of the gaps between them.
        """
        self._draw(Path(points), width, colour, alpha, dash)

    def fill(self, corners: np.ndarray, colour: str, alpha: float = 1.0) -> None:
        """A polygon [C, 2]."""
        self._draw(Path(corners), 0, colour, alpha, is_filled=True)

    def rectangle(self, left: float, top: float, width: float, height: float, colour: str, alpha: float = 1.0) -> None:
        """A rectangle."""
        right, bottom = left + width, top + height
        self.fill(np.array(((left, top), (right, top), (right, bottom), (left, bottom))), colour, alpha)

    def ellipse(
        self, x: float, y: float, rx: float, ry: float, colour: str, alpha: float = 1.0, width: float = 0.0
    ) -> None:
        """A filled ellipse around a point; one of a line, where a width is given."""
        path = Affine2D().scale(rx, ry).translate(x, y).transform_path(Path.unit_circle())
        self._draw(path, width, colour, alpha, is_filled=not width)

    def marker(
        self, member: int, x: float, y: float, radius: float, colour: str, casing: str | None, alpha: float = 1.0
    ) -> None:
        """A member's marker, in a casing that sets it off from any background."""
        shape = SHAPES[member % len(SHAPES)] * radius
        if casing:
            self.fill(shape * 1.37 + np.array((x, y)), casing, alpha)
        self.fill(shape + np.array((x, y)), colour, alpha)

    def write(
        self, text: str, x: float, y: float, font: Font, colour: str, align: str = "left", halo: str | None = None
    ) -> float:
        """A line of text; returns its width.

        Args:
            text: the line.
            x, y: its left end, middle or right end, and its baseline.
            font: of the letters.
            colour: of the letters.
            align: left, center or right.
            halo: colour of an outline of 2 pixels around the letters.
        """
        outline, width = _outline(text, font)
        if outline is not None:
            place = Affine2D().scale(1, -1).translate(x - ALIGN[align] * width, y).transform_path(outline)
            if halo:
                self._draw(place, 4, halo, 0.9)
            self._draw(place, 0, colour, 1.0, is_filled=True)
        return width

    def _draw(
        self, path: Path, width: float, colour: str, alpha: float, dash: Any = None, is_filled: bool = False
    ) -> None:
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
        self._renderer.draw_path(gc, path, self._to_renderer, (red, green, blue) if is_filled else None)


def text_width(text: str, font: Font) -> float:
    """The width of a line of text in pixels.

    >>> text_width("saddle", Font("italic", 28)) == 2 * text_width("saddle", Font("italic", 14)) > 0
    True
    """
    return _outline(text, font)[1]


@lru_cache(4096)
def _outline(text: str, font: Font) -> tuple[Path | None, float]:
    """The outline of a line of text, y upwards from its baseline, and its width. None where nothing is to be drawn."""
    properties = _properties()[font.style]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of characters that no font has: they are drawn as boxes
        width = text_to_path.get_text_width_height_descent(text, properties, ismath=False)[0] * font.size / 100
        return (TextPath((0, 0), text, size=font.size, prop=properties) if text.strip() else None), width


@cache
def _properties() -> dict[str, FontProperties]:
    """The page's fonts by style, with matplotlib's own where these lack a character."""
    for file in sorted(Files(__file__).with_name("fonts").glob("*.ttf")):
        fontManager.addfont(file)
    sans, serif = ["Steepest Sans", "DejaVu Sans"], ["Steepest Serif", "DejaVu Serif"]
    return {
        "sans": FontProperties(family=sans, size=100),
        "bold": FontProperties(family=sans, weight="bold", size=100),
        "serif": FontProperties(family=serif, size=100),
        "italic": FontProperties(family=serif, style="italic", size=100),
    }


def _regular(n: int, turn: float, size: float) -> np.ndarray:
    a = turn + np.arange(n) / n * 2 * np.pi
    return np.column_stack((np.cos(a), np.sin(a))) * size


SHAPES = (
    _regular(48, 0, 1.0),
    _regular(4, 0, 1.22),
    _regular(4, np.pi / 4, 1.2),
    _regular(3, -np.pi / 2, 1.3),
    _regular(6, 0, 1.1),
    CROSS,
)
"""Circle, diamond, square, triangle, hexagon, cross: corners around 0 for a radius of 1."""
