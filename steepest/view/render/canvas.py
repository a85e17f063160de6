"""A canvas: pixels, and what is drawn on them."""

import re

import numpy as np

from steepest.view.render.colours import from_hex
from steepest.view.render.fonts import Font, advance, mask
from steepest.view.render.ticks import LOWERED

RAISED = re.compile(f"([{''.join(LOWERED)}]+)")
SMALL, UP = 0.72, 0.34
"""Size of raised digits, and how far they are raised, in sizes of the line."""
MIDDLE = 0.35
"""From a line's middle down to its baseline, in sizes of its font."""


class Canvas:
    """Pixels that are drawn on; a part of a canvas is one.

    Args:
        pixels: [height, width, 3] uint8.
    """

    def __init__(self, pixels: np.ndarray) -> None:
        self.pixels = pixels
        self.height, self.width = pixels.shape[:2]
        self._cover = np.zeros((self.height, self.width), np.float32)

    @classmethod
    def of(cls, width: int, height: int, paper: str) -> "Canvas":
        """An empty one."""
        pixels = np.empty((height, width, 3), np.uint8)
        pixels[:] = np.round(from_hex(paper) * 255).astype(np.uint8)
        return cls(pixels)

    def part(self, left: int, top: int, width: int, height: int) -> "Canvas":
        """A rectangle of it, on the same pixels."""
        return Canvas(self.pixels[top : top + height, left : left + width])

    def stroke(self, points: np.ndarray, width: float, colour: str, alpha: float = 1.0) -> None:
        """A line through points [P, 2], round at joints and ends; NaN interrupts it."""
        from steepest.view.render import strokes

        line = np.ascontiguousarray(points, np.float64)
        strokes.stroke(self.pixels, self._cover, line, float(width), from_hex(colour) * 255, alpha)

    def fill(self, corners: np.ndarray, colour: str, alpha: float = 1.0) -> None:
        """A polygon [C, 2]."""
        from steepest.view.render import strokes

        strokes.fill(self.pixels, np.ascontiguousarray(corners, np.float64), from_hex(colour) * 255, alpha)

    def rectangle(self, left: float, top: float, width: float, height: float, colour: str, alpha: float = 1.0) -> None:
        """A rectangle."""
        from steepest.view.render import strokes

        strokes.fill_box(self.pixels, left, top, left + width, top + height, from_hex(colour) * 255, alpha)

    def write(
        self,
        text: str,
        x: float,
        y: float,
        font: Font,
        colour: str,
        align: str = "left",
        halo: tuple[str, float] | None = None,
    ) -> None:
        """A line of text; superscripts are raised small digits, since few fonts have all of them.

        Args:
            text: the line.
            x, y: where it begins, has its middle or ends, and its baseline.
            font: of letters.
            colour: of letters.
            align: left, center or right.
            halo: colour of a rim around the letters, and its width.
        """
        x -= {"left": 0.0, "center": 0.5, "right": 1.0}[align] * measured(text, font)
        for part, part_font, rise in _parts(text, font):
            if halo:
                self._lay(part, x, y - rise, part_font, *halo, 0.9)
            self._lay(part, x, y - rise, part_font, colour, 0.0, 1.0)
            x += advance(part, part_font)

    def _lay(self, text: str, x: float, y: float, font: Font, colour: str, halo: float, alpha: float) -> None:
        from steepest.view.render import strokes

        quarter = round(x * 4) / 4
        cover, left, top = mask(text, font, halo, quarter % 1)
        strokes.lay(self.pixels, cover, int(quarter // 1) + left, round(y) + top, from_hex(colour) * 255, alpha)


def measured(text: str, font: Font) -> float:
    """The width of a line as `Canvas.write` writes it."""
    return sum(advance(part, part_font) for part, part_font, _ in _parts(text, font))


def _parts(text: str, font: Font) -> list[tuple[str, Font, float]]:
    """A line in parts: text, font and how far it is raised."""
    parts = []
    for k, part in enumerate(RAISED.split(text)):
        if part and k % 2:
            parts.append(("".join(LOWERED[c] for c in part), Font(font.style, font.size * SMALL), font.size * UP))
        elif part:
            parts.append((part, font, 0.0))
    return parts


def dashes(points: np.ndarray, on: float, off: float) -> np.ndarray:
    """A line [P, 2] cut into dashes of a length with gaps between them, for `Canvas.stroke`: NaN between dashes."""
    lengths = np.concatenate(([0.0], np.cumsum(np.hypot(*np.diff(points, axis=0).T))))
    begin = np.arange(0.0, lengths[-1], on + off)
    ends = np.stack((begin, np.minimum(begin + on, lengths[-1]), np.full_like(begin, np.nan)), axis=1).ravel()
    return np.column_stack([np.interp(ends, lengths, points[:, k]) for k in (0, 1)])
