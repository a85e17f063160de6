"""LiveServer the relief: the members with their losses, the verdict's numbers with their intervals, what happened."""

import math
import re
from typing import Any

import numpy as np

from steepest.view.render.canvas import Canvas, measured
from steepest.view.render.decode import Track
from steepest.view.render.fonts import Font
from steepest.view.render.markers import SHAPES
from steepest.view.render.text import draw_text, shortened
from steepest.view.render.theme import Theme
from steepest.view.render.ticks import count, decimal, short

BODY, BODY_BOLD, SMALL, SYMBOL = Font("sans", 14), Font("bold", 14), Font("sans", 12), Font("serif", 17)
MEMBER = 34
STATUS = 96
WHISKER = 120
ROOM = 0.2
EVENT = 20
EVENTS = 3


def draw_members(canvas: Canvas, tracks: list[Track], t: float, theme: Theme, selected: int, most: int) -> float:
    """A row for each member: mark, name, loss at a step and how it ended; returns the height.

    Args:
        canvas: as wide as the rows.
        tracks: the members.
        t: the step.
        theme: its colours.
        selected: the member that is set off.
        most: rows there is room for.
    """
    shown = tracks if len(tracks) <= most else tracks[: most - 1]
    width, y = canvas.width, 0.0
    for i, track in enumerate(shown):
        base = y + MEMBER / 2 + 5
        canvas.fill(SHAPES[i % len(SHAPES)] * 5.2 + (7, y + MEMBER / 2), theme.members[i % len(theme.members)])
        font, ink = (BODY_BOLD, theme.ink) if i == selected else (BODY, theme.ink2)
        status, bad = _status(track, t)
        beside = width - max(STATUS, measured(status, SMALL) + 10)
        loss = decimal(track.loss_at(min(t, track.last)))
        room = beside - 22 - measured(loss, BODY) - 8
        canvas.write(shortened(track.name, font, room), 22, base, font, ink)
        canvas.write(loss, beside, base, BODY, theme.ink, "right")
        canvas.write(status, width, base, SMALL, theme.bad if bad else theme.ink2, "right")
        y += MEMBER
        _rule(canvas, y, theme)
    if len(shown) < len(tracks):
        canvas.write(f"and {len(tracks) - len(shown)} more", 22, y + MEMBER / 2 + 5, BODY, theme.ink3)
        y += MEMBER
    return y


def _status(track: Track, t: float) -> tuple[str, bool]:
    """How a member ended, from the step at which that is known, and whether that is bad."""
    past = {event["kind"]: event for event in reversed(track.events) if event["t"] <= t}
    kind = track.verdict["kind"] if track.verdict and t >= track.last else ""
    if "target" in past:
        return f"reached at {count(past['target']['t'])}", False
    if "diverged" in past or kind == "DIVERGED":
        return "diverged", True
    return kind.lower().replace("_", " "), False


def draw_numbers(canvas: Canvas, numbers: list[dict[str, Any]], colour: str, theme: Theme) -> float:
    """A row for each quantity: its symbol, its value with an interval, a whisker, and why; returns the height."""
    y = 0.0
    for quantity in numbers:
        _symbol(canvas, quantity["name"], y + 23, theme.ink)
        canvas.write(with_interval(quantity), 56, y + 23, BODY_BOLD, theme.ink)
        _whisker(canvas, quantity, y + 18, colour, theme)
        y = draw_text(canvas, quantity["text"], 56, y + 42, canvas.width - 56, SMALL, 16, theme.ink2) - 4
        _rule(canvas, y, theme)
    return y


def _symbol(canvas: Canvas, name: str, y: float, ink: str) -> None:
    """A quantity's name: what follows `_` is lowered, what follows `^` is raised."""
    x = 0.0
    for part in re.findall("[_^]?[^_^]+", name):
        moved = {"_": 4, "^": -7}.get(part[0], 0)
        font, text = (Font("serif", 11), part[1:]) if moved else (SYMBOL, part)
        canvas.write(text, x, y + moved, font, ink)
        x += measured(text, font)


def with_interval(quantity: dict[str, Any]) -> str:
    """A value and its interval, in words.

    >>> with_interval({"value": 412, "lo": 406, "hi": 418}), with_interval({"value": 2250, "lo": 1900, "hi": 2700})
    ('412 ± 6', '1,900 – 2,700')
    >>> with_interval({"value": 2250, "lo": 1900, "hi": None})  # no upper end is known
    '1,900 – ∞'
    """
    value, lo, hi = _ends(quantity)
    if not hi > lo:
        return short(value)
    half = (hi - lo) / 2
    if not abs(value - lo - half) < 0.05 * half:
        return f"{short(lo)} – {short(hi)}"
    digits = max(1, math.ceil(math.log10(abs(value) / half)) + 1) if value else 1
    return f"{short(value, min(6, digits))} ± {short(half, 2)}"


def _ends(quantity: dict[str, Any]) -> tuple[float, float, float]:
    """A quantity's value and the ends of its interval, infinite where there is none."""
    known = (
        (quantity[key], otherwise) for key, otherwise in (("value", math.inf), ("lo", -math.inf), ("hi", math.inf))
    )
    value, lo, hi = (otherwise if x is None else float(x) for x, otherwise in known)
    return value, lo, hi


def _whisker(canvas: Canvas, quantity: dict[str, Any], y: float, colour: str, theme: Theme) -> None:
    """The interval on a line, with a tick where the reference is."""
    reference = quantity.get("reference")
    value, lo, hi = _ends(quantity)
    marks = [v for v in (lo, hi, value, reference) if v is not None and math.isfinite(v)]
    left, least, greatest = canvas.width - WHISKER, min(marks, default=0.0), max(marks, default=0.0)
    room = (greatest - least or 1) * ROOM

    def x(v: float) -> float:
        return left + min(1.0, max(0.0, (v - least + room) / (greatest - least + 2 * room))) * WHISKER

    canvas.rectangle(left, y - 1, WHISKER, 2, theme.hair)
    if reference is not None:
        canvas.rectangle(x(reference) - 0.75, y - 6, 1.5, 12, theme.ink)
    canvas.rectangle(x(lo), y - 2.5, max(x(hi) - x(lo), 1.5), 5, colour)


def draw_events(canvas: Canvas, tracks: list[Track], t: float, theme: Theme) -> None:
    """The last things that happened up to a step, as many as have room."""
    past = sorted(
        ((event["t"], i, event["text"]) for i, track in enumerate(tracks) for event in track.events if event["t"] <= t),
        key=lambda event: event[0],
    )
    for k, (at, i, text) in enumerate(past[-EVENTS:]):
        base = k * EVENT + 14
        step = count(at)
        canvas.write(step, 0, base, Font("bold", 12), theme.ink)
        x = max(41.0, measured(step, Font("bold", 12)) + 8)
        if len(tracks) > 1:
            who = tracks[i].name
            canvas.write(who, x, base, Font("bold", 12), theme.names[i % len(theme.names)])
            x += measured(who + " ", Font("bold", 12))
        canvas.write(shortened(text, SMALL, canvas.width - x), x, base, SMALL, theme.ink2)


def _rule(canvas: Canvas, y: float, theme: Theme) -> None:
    canvas.stroke(np.array(((0.0, y - 0.5), (canvas.width, y - 0.5))), 1, theme.hair)
