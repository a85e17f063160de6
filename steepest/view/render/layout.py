"""Where what is on a plate: the page's three layouts, without what can only be clicked."""

from dataclasses import dataclass
from typing import NamedTuple

from steepest.view.render.fonts import Font

HEADER, FOOT = 56, 16
WIDE, MEDIUM = 1180, 820
LARGE_MAP, SMALL_MAP, TALL = 184, 128, 760
RATE, EVENTS = 112, 84
LEAST_STAGE = 120
BENEATH, STRIP = 0.3, 72
"""Share of a narrow plate that the curves take, and the height of the scale below its stage."""


class Box(NamedTuple):
    """A rectangle in pixels."""

    left: int
    top: int
    width: int
    height: int


@dataclass(frozen=True)
class Layout:
    """Sizes of a plate's parts.

    Attributes:
        left: where the stage is, or the curves of a film without a surface.
        right: beside it; of no width where there is no room.
        beneath: below it, on narrow plates.
        overlaid: whether the verdict lies over the stage; else the stage begins below it.
        heading, leading: font of the headline, and from line to line.
        measure: greatest width of a headline's line.
        map: side of the map.
        scale: width of the colours' scale.
        strip: height that it takes below the stage; 0 where it lies over its lower right.
    """

    left: Box
    right: Box
    beneath: Box
    overlaid: bool
    heading: Font
    leading: int
    measure: int
    map: int
    scale: int
    strip: int = 0


def layout_of(width: int, height: int) -> Layout:
    """The layout of a plate of this size."""
    below = height - HEADER - FOOT
    side = LARGE_MAP if height >= TALL and width >= WIDE else SMALL_MAP
    if width >= MEDIUM:
        wide = width >= WIDE
        pad, gap, column = (28, 32, 372) if wide else (20, 24, 308)
        left = Box(pad, HEADER, width - 2 * pad - gap - column, below)
        right = Box(width - pad - column, HEADER, column, below)
        nothing = Box(pad, height, 0, 0)
        if wide:
            return Layout(left, right, nothing, True, Font("serif", 29), 36, min(600, int(0.7 * left.width)), side, 190)
        return Layout(left, right, nothing, False, Font("serif", 24), 30, left.width, side, 150)
    pad = 18
    curves = int(BENEATH * below)
    left = Box(pad, HEADER, width - 2 * pad, below - curves)
    beneath = Box(pad, HEADER + left.height, left.width, curves)
    return Layout(
        left, Box(width, HEADER, 0, 0), beneath, False, Font("serif", 23), 29, left.width, side, left.width, STRIP
    )
