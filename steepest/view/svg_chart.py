"""Charts of a notebook's cards: lines against a common axis, as SVG in the card's colours."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from steepest.records.card import text
from steepest.view.film.numbers import count, linear_ticks, log_ticks, tick_text

SVG_WIDTH, SVG_LEFT, SVG_RIGHT, SVG_TOP, SVG_BOTTOM = 720, 58, 8, 24, 22
"""Of a chart, in its own pixels."""
WIDE_RATIO, LOG_DECADES = 30.0, 6
"""The ratio of values from which an axis is logarithmic, and how far down it goes."""


class Line(NamedTuple):
    """A curve of a chart.

    Attributes:
        x, y: its points; what is not finite is a gap.
        colour: of the card.
        low, high: a band around it; None without one.
        is_points: open circles on a thin line.
        name: in the legend; empty for none.
        width: of the line.
    """

    x: np.ndarray
    y: np.ndarray
    colour: str = "c0"
    low: np.ndarray | None = None
    high: np.ndarray | None = None
    is_points: bool = False
    name: str = ""
    width: float = 1.8


class Chart:
    """Lines against a common axis, as SVG.

    Args:
        title: what is shown, above the axis.
        lines: the curves.
        height: in pixels.
        x_name: of the x axis; empty where another chart has it.
        x_ends: places that the x axis reaches at least.
        is_share: whether the values are shares, written in percent.
        from_zero: whether the axis begins at 0.
        log_x: whether the x axis is logarithmic.
        target: a level that is marked.
    """

    def __init__(
        self, title: str, lines: Sequence[Line], height: int, x_name: str = "step",
        x_ends: Sequence[float] = (), is_share: bool = False, from_zero: bool = False, log_x: bool = False,
        target: float | None = None,
    ) -> None:  # fmt: skip
        self._title, self._lines, self._height, self._log_x, self._x_name = title, lines, height, log_x, x_name
        self._x = _ends(np.append(np.concatenate([line.x for line in lines]), list(x_ends)), log_x)
        values = np.concatenate([np.ravel(v) for line in lines for v in (line.y, line.low, line.high) if v is not None])
        self._target, self._scale = target, 100.0 if is_share else 1.0
        self._is_empty = not np.isfinite(values).any()
        values = np.append(values, [] if target is None else [target])
        finite = values[np.isfinite(values)]
        lowest = _lowest(np.concatenate([line.y for line in lines]))
        is_wide = 0 < WIDE_RATIO * lowest < finite.max(initial=0.0)
        self._log_y = bool(is_wide and finite.min() >= 0 and not from_zero)
        if self._log_y:
            finite = np.maximum(finite, max(lowest / 3, float(finite.max()) / 10**LOG_DECADES))
        elif from_zero:
            finite = np.append(finite, 0.0)
        self._y = _ends(finite if len(finite) else np.zeros(1), self._log_y)
        self._foot = SVG_TOP + height

    def svg(self, marks: Sequence[float] = (), names: Sequence[Any] = ()) -> str:
        """The chart.

        Args:
            marks: places on the x axis, such as those of events.
            names: places on the x axis with a name each.
        """
        parts = [self._axes(), *(self._mark(x) for x in marks), *(self._name(x, words) for x, words in names)]
        if self._target is not None and not self._is_empty:
            y = self._at_y(np.array([self._target]))[0]
            parts.append(_line(SVG_LEFT, y, SVG_WIDTH - SVG_RIGHT, y, "ink3", ' stroke-dasharray="4 3"'))
        parts += [self._draw(line) for line in self._lines]
        total = self._foot + (SVG_BOTTOM if self._x_name else 4)
        label = f'role="img" aria-label="{text(self._title)}"'
        return f'<svg viewBox="0 0 {SVG_WIDTH} {total}" {label} font-size="11">{"".join(parts)}</svg>'

    def _at_x(self, x: np.ndarray) -> np.ndarray:
        return SVG_LEFT + (SVG_WIDTH - SVG_LEFT - SVG_RIGHT) * _share(x, self._x, self._log_x)

    def _at_y(self, y: np.ndarray) -> np.ndarray:
        return self._foot - self._height * _share(y, self._y, self._log_y)

    def _axes(self) -> str:
        parts = [f'<text x="0" y="10" fill="var(--ink2)" font-weight="600">{text(self._title)}</text>', self._legend()]
        if self._is_empty:
            middle = SVG_TOP + self._height / 2
            parts.append(f'<text x="{SVG_LEFT}" y="{middle:.0f}" fill="var(--bad)">no value is a finite number</text>')
        about = max(3, round(self._height / 40))
        low, high = self._scale * self._y[0], self._scale * self._y[1]
        for value in [] if self._is_empty else (log_ticks if self._log_y else linear_ticks)(low, high, about):
            y, unit = self._at_y(np.array([value / self._scale]))[0], " %" if self._scale > 1 else ""
            words = f'<text x="{SVG_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end" fill="var(--ink3)">'
            parts.append(_line(SVG_LEFT, y, SVG_WIDTH - SVG_RIGHT, y, "hair"))
            parts.append(f"{words}{text(tick_text(value, self._log_y) + unit)}</text>")
        if not self._x_name:
            return "".join(parts)
        at = (log_ticks if self._log_x else linear_ticks)(*self._x, 6)
        for x, value in zip(self._at_x(np.array(at)), at, strict=True):
            words = tick_text(value, True) if self._log_x else count(value)
            parts.append(
                f'<text x="{x:.1f}" y="{self._foot + 16}" text-anchor="middle" fill="var(--ink3)">{text(words)}</text>'
            )
        place = f'x="{SVG_WIDTH - SVG_RIGHT}" y="10" text-anchor="end"'
        return "".join([*parts, f'<text {place} fill="var(--ink3)">{text(self._x_name)} →</text>'])

    def _legend(self) -> str:
        parts, x = [], 12 + 7 * len(self._title)
        for line in self._lines:
            if line.name:
                sign = f'<circle cx="{x}" cy="6" r="3.5" fill="none" stroke="var(--{line.colour})"/>'
                if not line.is_points:
                    sign = _line(x - 6, 6, x + 6, 6, line.colour, ' stroke-width="2"')
                parts.append(f'{sign}<text x="{x + 11}" y="10" fill="var(--ink2)">{text(line.name)}</text>')
                x += 32 + 6.4 * len(line.name)
        return "".join(parts)

    def _mark(self, x: float) -> str:
        at = self._at_x(np.array([x]))[0]
        return _line(at, SVG_TOP, at, self._foot, "bad", ' stroke-width="1" opacity="0.55"')

    def _name(self, x: float, words: str) -> str:
        at = self._at_x(np.array([x]))[0]
        anchor, shift = ("end", -5) if at > SVG_WIDTH / 2 else ("start", 5)
        place = f'x="{at + shift:.1f}" y="{SVG_TOP + 10}" text-anchor="{anchor}"'
        label = f'<text {place} fill="var(--ink)" font-weight="600">{text(words)}</text>'
        return _line(at, SVG_TOP, at, self._foot, "ink", ' stroke-width="1.4"') + label

    def _draw(self, line: Line) -> str:
        if self._is_empty:
            return ""
        x, parts = self._at_x(line.x), []
        if line.low is not None and line.high is not None:
            fine = np.isfinite(line.low) & np.isfinite(line.high)
            edge = [*zip(x[fine], self._at_y(line.high[fine])), *zip(x[fine][::-1], self._at_y(line.low[fine])[::-1])]
            points = " ".join(f"{a:.1f},{b:.1f}" for a, b in edge)
            parts.append(f'<polygon points="{points}" fill="var(--{line.colour})" opacity="0.22"/>')
        y = np.where(np.isfinite(line.y), self._at_y(line.y), np.nan)
        width = 1 if line.is_points else line.width
        opacity = "" if line.width > 1 else ' opacity="0.45"'
        stroke = f'fill="none" stroke="var(--{line.colour})" stroke-width="{width}"{opacity}'
        parts.append(f'<path d="{_path(x, y)}" {stroke} stroke-linejoin="round"/>')
        if line.is_points:
            circle = f'r="3" fill="var(--paper)" stroke="var(--{line.colour})" stroke-width="1.2"'
            parts += [f'<circle cx="{a:.1f}" cy="{b:.1f}" {circle}/>' for a, b in zip(x, y) if math.isfinite(b)]
        return "".join(parts)


def _path(x: np.ndarray, y: np.ndarray) -> str:
    """A path that leaves out what is not finite."""
    parts, command = [], "M"
    for a, b in zip(x, y, strict=True):
        if math.isfinite(b):
            parts.append(f"{command}{a:.1f} {b:.1f}")
        command = "L" if math.isfinite(b) else "M"
    return "".join(parts)


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, more: str = "") -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="var(--{colour})"{more}/>'


def _ends(values: np.ndarray, is_log: bool) -> tuple[float, float]:
    """The ends of an axis: those of the values, and a little more."""
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
    if high <= low:
        return (low / 2, low * 2) if is_log else (low - (abs(low) or 1.0) / 2, low + (abs(low) or 1.0) / 2)
    return (low / 1.05, high * 1.05) if is_log else (low, high)


def _lowest(values: np.ndarray) -> float:
    """The lowest of the usual values above 0: a few of nearly 0 do not set the foot of an axis."""
    values = values[np.isfinite(values) & (values > 0)]
    return float(np.quantile(values, 0.02)) if len(values) else 0.0


def _share(values: np.ndarray, ends: tuple[float, float], is_log: bool) -> np.ndarray:
    low, high = ends
    with np.errstate(all="ignore"):
        if is_log:
            return np.log(np.clip(values, low, None) / low) / math.log(high / low)
        return (values - low) / (high - low)
