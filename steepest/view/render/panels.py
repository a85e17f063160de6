"""Text and marks around the stage: header, members with their losses, a verdict's numbers, events, the colour scale."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.colors import LinearSegmentedColormap, to_hex
from matplotlib.path import Path

from steepest.records.surfaces import Grid
from steepest.view.film.document import Quantity
from steepest.view.film.numbers import count, short, two_digits
from steepest.view.film.schema import FilmEvent, Member, Result
from steepest.view.render.canvas import Canvas, Font, shorten, text_width, wrap
from steepest.view.render.colours import diverged_colour
from steepest.view.render.field import DIVERGED_CELL, Field
from steepest.view.render.theme import CONSTANTS, Theme

PANEL_TEXT, PANEL_BOLD, PANEL_SMALL, SMALL_BOLD = Font("sans", 14), Font("bold", 14), Font("sans", 12), Font("bold", 12)
PANEL_TINY, SYMBOL, SUBSCRIPT, LOGO_FONT = Font("sans", 11), Font("serif", 17), Font("serif", 11), Font("bold", 15)
MEMBER_HEIGHT, STATUS = 34, 96
EVENT, MAX_EVENT_LINES = 20, 3
LEADING = 14
RESULT_SHARES, RESULT_HEIGHT, RESULT_FONT = (1.55, 1.0, 1.0), 76, Font("serif", 25)
"""Relative widths of the final numbers, and their height."""
GOOD = 4
"""Index of the member's name colour that means: nothing to do."""
ROW_FONT, ROW_BOLD, READING_HEIGHT, READING_HEAD = Font("sans", 13), Font("bold", 13), 46, 32
LOGO_CURVE = Path(
    [(2, 3), (6, 3), (7.5, 15.5), (13, 15.5), (18.5, 15.5), (19, 8), (24, 8)], [Path.MOVETO, *[Path.CURVE4] * 6]
).to_polygons(closed_only=False)[0]


def draw_header(canvas: Canvas, pad: int, title: str, subtitle: str, clock: str, theme: Theme) -> None:
    """The top line: logo, title and step."""
    base, top = 33, 18
    canvas.stroke(LOGO_CURVE + np.array((pad, top)), 1.7, theme.ink)
    canvas.marker(0, pad + 13, top + 15.5, 2.6, theme.accent, None)
    x = pad + 59 + canvas.write("steepest", pad + 35, base, LOGO_FONT, theme.ink)
    right = canvas.width - pad
    right -= 24 + canvas.write(clock, right, base, PANEL_TEXT, theme.ink2, "right")
    for text, colour in ((title, theme.ink2), (subtitle, theme.ink3)):
        if right - x > 60:
            x += 14 + canvas.write(shorten(text, PANEL_TEXT, right - x), x, base, PANEL_TEXT, colour)


def draw_members(canvas: Canvas, members: list[Member], t: float, theme: Theme, most: int) -> float:
    """A row for each member, at most so many: marker, name, loss at a step and how it ended; returns the height."""
    rows = members if len(members) <= most else members[: most - 1]
    width, y = canvas.width, 0.0
    for i, member in enumerate(rows):
        base = y + MEMBER_HEIGHT / 2 + 5
        canvas.marker(i, 7, y + MEMBER_HEIGHT / 2, 5.2, theme.colour(i), None)
        font, ink = (PANEL_TEXT, theme.ink2) if i else (PANEL_BOLD, theme.ink)
        status, bad = _status(member, t)
        right = width - max(STATUS, text_width(status, PANEL_SMALL) + 10)
        loss = two_digits(member.loss_at(min(t, member.last)))
        canvas.write(status, width, base, PANEL_SMALL, theme.bad if bad else theme.ink2, "right")
        room = right - 30 - canvas.write(loss, right, base, PANEL_TEXT, theme.ink, "right")
        canvas.write(shorten(member.name, font, room), 22, base, font, ink)
        y += MEMBER_HEIGHT
        canvas.rectangle(0, y - 1, width, 1, theme.hair)
    if len(rows) < len(members):
        canvas.write(f"and {len(members) - len(rows)} more", 22, y + MEMBER_HEIGHT / 2 + 5, PANEL_TEXT, theme.ink3)
        y += MEMBER_HEIGHT
    return y


def _status(member: Member, t: float) -> tuple[str, bool]:
    """How a member ended, from the step at which that is known, and whether that is bad."""
    past = {event.kind: event for event in reversed(member.events) if event.t <= t}
    kind = member.verdict.kind if member.verdict and t >= member.last else ""
    if "target" in past:
        return f"reached at {count(past['target'].t)}", False
    if "diverged" in past or kind == "DIVERGED":
        return "diverged", True
    return kind.lower().replace("_", " "), False


def draw_results(canvas: Canvas, results: Sequence[Result], theme: Theme) -> float:
    """The final numbers beside one another: label, value, detail; returns the height."""
    if not results:
        return 0.0
    shares = RESULT_SHARES[: len(results)] if len(results) > 2 else (1.0,) * len(results)
    widths = [canvas.width * share / sum(shares) for share in shares]
    x = 0.0
    for result, width in zip(results, widths):
        room = width - 12
        canvas.write(shorten(result.label, PANEL_SMALL, room), x, 16, PANEL_SMALL, theme.ink2)
        canvas.write(shorten(result.value, RESULT_FONT, room), x, 44, RESULT_FONT, theme.ink)
        canvas.write(shorten(result.detail, PANEL_SMALL, room), x, 63, PANEL_SMALL, theme.ink3)
        x += width
    return RESULT_HEIGHT


def draw_readings(canvas: Canvas, numbers: Sequence[Quantity], colour: str, theme: Theme) -> float:
    """A row for each quantity: what it is, its value, what it means; returns the height."""
    width = canvas.width
    canvas.rectangle(0, 0, width, 1, theme.hair)
    end = canvas.write("At the last step", 0, 23, ROW_BOLD, theme.ink)
    canvas.write("95 % intervals", end + 8, 23, PANEL_SMALL, theme.ink3)
    y = float(READING_HEAD)
    for quantity in numbers:
        member = 1 if quantity.state == "act" else 0
        canvas.marker(member, 4, y + 12, 3.6, colour if member else theme.names[GOOD], None)
        canvas.write(quantity.title, 16, y + 16, ROW_FONT, theme.ink)
        canvas.write(quantity.display, width, y + 16, ROW_BOLD, theme.ink, "right")
        canvas.write(shorten(quantity.words, PANEL_SMALL, width), 0, y + 34, PANEL_SMALL, theme.ink2)
        y += READING_HEIGHT
        if quantity is not numbers[-1]:
            canvas.rectangle(0, y - 1, width, 1, theme.hair)
    return y


def readings_height(numbers: Sequence[Quantity]) -> int:
    """Height of `draw_readings`."""
    return READING_HEAD + READING_HEIGHT * len(numbers) if numbers else 0


def draw_events(canvas: Canvas, members: list[Member], t: float, theme: Theme) -> None:
    """The last events up to a step, as many as there is room for."""
    past = [(i, event) for i, member in enumerate(members) for event in member.events if event.t <= t]
    for k, (i, event) in enumerate(sorted(past, key=lambda pair: pair[1].t)[-MAX_EVENT_LINES:]):
        base = k * EVENT + 14
        x = max(41.0, 8 + canvas.write(count(event.t), 0, base, SMALL_BOLD, theme.ink))
        if len(members) > 1:
            x += canvas.write(members[i].name + " ", x, base, SMALL_BOLD, theme.name_colour(i))
        canvas.write(shorten(event_line(event), PANEL_SMALL, canvas.width - x), x, base, PANEL_SMALL, theme.ink2)


def event_line(event: FilmEvent) -> str:
    """An event on one line."""
    action, *details = event.done.split("; ")
    if event.to is None:
        return event.done or event.text
    return "; ".join((f"back to step {count(event.to)}", *details)) if action else event.text


def draw_scale(canvas: Canvas, grid: Grid, field: Field, theme: Theme) -> None:
    """The surface's caption, a bar of the ramp and its ticks, at the foot of a canvas of the scale's width."""
    width, foot = canvas.width, canvas.height
    caption = grid.caption or ("loss" if grid.kind == "terrain" else f"loss, {CONSTANTS['planes'][grid.kind]}")
    lines = wrap(caption, PANEL_TINY, width)
    extra = LEADING if (field.state == DIVERGED_CELL).any() else 0
    canvas.write_lines(lines, 0, foot - 25 - LEADING * len(lines) - extra, PANEL_TINY, LEADING, theme.ink2, theme.paper)
    if extra:
        canvas.rectangle(0, foot - 28 - LEADING - 5, 8, 8, to_hex(tuple(diverged_colour(theme))))
        canvas.write("diverged", 13, foot - 28 - LEADING + 3, PANEL_TINY, theme.ink2)
    ramp = LinearSegmentedColormap.from_list("ramp", theme.ramp, N=width)
    canvas.pixels[foot - 28 : foot - 22] = ramp(np.arange(width), bytes=True)[:, :3]
    end = -math.inf
    for share, text in field.scale.ticks:
        x = share * (width - text_width(text, PANEL_TINY))
        if x > end:
            end = x + 8 + canvas.write(text, x, foot - 8, PANEL_TINY, theme.ink2)


def draw_settings(canvas: Canvas, member: Member, theme: Theme) -> float:
    """The settings of a member's rule; returns the height."""
    values = [f"{name} {short(v) if isinstance(v, int | float) else v}" for name, v in member.hyper.items()]
    lines = wrap(" · ".join([*values, *filter(None, [member.schedule])]), PANEL_SMALL, canvas.width)
    return canvas.write_lines(lines, 0, 20, PANEL_SMALL, 16, theme.ink2)
