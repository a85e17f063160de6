"""The small pictures of the list: curves, intervals, statuses and members' marks, as SVG."""

import math
from collections.abc import Sequence

import numpy as np

from steepest.view.format import heights, number

WIDTH, HEIGHT, SPARKLINE_BUCKETS = 110, 26, 56
"""Size in pixels and points of the curve beside each run."""
SCALE_WIDTH, SCALE_HEIGHT = 120, 12
STATUS_SHAPES = {
    "running": '<circle cx="7" cy="7" r="4" class="solid"/>',
    "done": '<path d="M2.5 7.5l3 3 6-6.500"/>',
    "stopped": '<path d="M3.500 3.500h7v7h-7z"/>',
    "interrupted": '<path d="M4.500 3v8M9.500 3v8"/>',
    "failed": '<path d="M3 3l8 8M11 3l-8 8"/>',
    "damaged": '<path d="M7 2.500v5.500M7 11.200v.300"/>',
}
MEMBER_GLYPHS = (
    '<circle r="4.200"/>', '<path d="M0-5.400 5.400 0 0 5.400-5.400 0Z"/>', '<path d="M-4-4h8v8h-8Z"/>',
    '<path d="M0-5.200 5 3.600H-5Z"/>', '<path d="M-2.700-4.600H2.700L5.300 0 2.700 4.600H-2.700L-5.300 0Z"/>',
    '<path d="M-1.700-5h3.400v3.300H5v3.400H1.700V5h-3.400V1.700H-5v-3.400h3.300Z"/>',
)  # fmt: skip
"""The members' marks, in the order of their colours: circle, diamond, square, triangle, hexagon, cross."""


def draw_curve(losses: Sequence[float] | np.ndarray, share: float = 1.0) -> str:
    """A curve as a small picture; non-finite values are strokes at the top.

    Args:
        losses: of the steps so far.
        share: of the run that they are: the curve has so much of the width.
    """
    levels = heights(_peaks(np.asarray(losses, np.float64)), SPARKLINE_BUCKETS)
    across = WIDTH * share / max(1, len(levels) - 1)
    places = [(i * across, 1 + (HEIGHT - 2) * (1 - h)) for i, h in enumerate(levels)]
    line = "".join(
        f"{'L' if i and math.isfinite(levels[i - 1]) else 'M'}{x:.1f} {y:.1f}"
        for i, (x, y) in enumerate(places)
        if math.isfinite(y)
    )
    bad = "".join(f"M{x:.1f} 0v5" for x, y in places if not math.isfinite(y))
    words = f"train loss from {number(losses[0])} to {number(losses[-1])}" if len(losses) else "no steps yet"
    return (
        f'<svg class="spark" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{words}"><path d="{line}"/>{f"<path class=bad d={chr(34)}{bad}{chr(34)}/>" if bad else ""}</svg>'
    )


def _peaks(losses: np.ndarray) -> list[float]:
    """The largest value of each bucket of the picture, infinite where one is no number."""
    count = min(SPARKLINE_BUCKETS, len(losses))
    starts = [len(losses) * i // count for i in range(count)]
    return np.maximum.reduceat(np.where(np.isnan(losses), np.inf, losses), starts).tolist() if count else []


def draw_interval(value: float, low: float, high: float, scale: tuple[float, float], words: str) -> str:
    """A value and its interval on the list's common scale; an arrow where the value lies outside.

    Args:
        value, low, high: of the metric.
        scale: smallest and largest value of the scale.
        words: the interval in words.
    """
    least, most = scale

    def place(v: float) -> float:
        return SCALE_WIDTH * min(1.0, max(0.0, (v - least) / (most - least)))

    if value < least:
        mark = '<path class="outside" d="M5 2.500 1.500 6 5 9.500"/>'
    else:
        mark = f'<path class="range" d="M{place(low):.1f} 6H{place(high):.1f}"/>'
        mark += f'<circle cx="{place(value):.1f}" cy="6" r="3.500"/>'
    return (
        f'<svg class="interval" width="{SCALE_WIDTH}" height="{SCALE_HEIGHT}" viewBox="0 0 {SCALE_WIDTH} '
        f'{SCALE_HEIGHT}" role="img" aria-label="{words}"><path class="line" d="M0 6H{SCALE_WIDTH}"/>{mark}</svg>'
    )


def draw_status(status: str) -> str:
    """The shape of a status, beside its word."""
    return f'<svg width="14" height="14" viewBox="0 0 14 14" aria-hidden="true">{STATUS_SHAPES[status]}</svg>'


def draw_glyph(member: int) -> str:
    """A member's mark."""
    return (
        f'<svg class="glyph m{member}" width="13" height="13" viewBox="-6.500 -6.500 13 13" aria-hidden="true">'
        f"{MEMBER_GLYPHS[member]}</svg>"
    )


def draw_progress(share: float) -> str:
    """How far a run is."""
    return (
        '<svg class="progress" width="92" height="4" viewBox="0 0 92 4" aria-hidden="true"><path class="line" '
        f'd="M2 2H90"/><path d="M2 2H{2 + 88 * min(1.0, share):.1f}"/></svg>'
    )


def common_scale(values: Sequence[float]) -> tuple[float, float]:
    """The ends of the scale for most of some shares: a run far below the others has an arrow.

    >>> common_scale([0.97, 0.98, 0.95, 0.86, 0.118])
    (0.85, 1.0)
    """
    finite = sorted(v for v in values if math.isfinite(v))
    if not finite:
        return 0.0, 1.0
    least = finite[min(len(finite) - 1, len(finite) // 4)]
    inside = [v for v in finite if 1 - v <= 4 * (1 - least) + 0.01]
    step = next(s for s in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0) if 1 - inside[0] <= 5 * s)
    return max(0.0, round(math.floor((inside[0] - 0.2 * step) / step) * step, 6)), 1.0
