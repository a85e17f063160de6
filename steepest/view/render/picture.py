"""A picture of a film at one step: what the page shows, without what can only be clicked."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from steepest.errors import InputError, unknown
from steepest.records.surfaces import Grid
from steepest.view.film.document import quantities
from steepest.view.film.numbers import count, short
from steepest.view.film.schema import Film, index_at
from steepest.view.render.canvas import Canvas, Font
from steepest.view.render.curves import Chart, chart_of, draw_chart, lines_of
from steepest.view.render.framing import Frame
from steepest.view.render.map import draw_map, map_of
from steepest.view.render.panels import (
    MEMBER_HEIGHT,
    draw_events,
    draw_header,
    draw_members,
    draw_numbers,
    draw_scale,
    settings_text,
)
from steepest.view.render.stage import Stage
from steepest.view.render.text import balance, draw_lines, draw_text, phrase_colours
from steepest.view.render.theme import CONSTANTS, Theme

LAYOUT, CHARTS, PLACES = (CONSTANTS[key] for key in ("layout", "charts", "places"))
HEADER: int = LAYOUT["header"]
FOOT, TOP, MARGIN = 16, 10, 14
LR, EVENTS, EVENTS_GAP = 112, 84, 12
"""Heights of the learning rate's chart and of the list of events, and the gap above the list."""
MIN_STAGE, MIN_CHART = 120, 150
BENEATH, STRIP = 0.3, 72
"""Share of a narrow picture that the curves take, and height of the scale below its stage."""
ADVICE_WIDTH = 362
"""Of a line of advice over the stage: 42 figures."""
MIN_ADVICE_HEIGHT, MIN_MAP_STAGE = 700, 330
"""Of a narrow picture, and of a stage, from which there is room for advice and for a map."""
CAPTION, SCALE = 40, 140
NUMBER_HEIGHT, MEMBERS_SHARE = 62, 0.45
"""Height of a number, and the largest share of the right column for members."""
PICTURE_TEXT, SMALL = Font("sans", 14), Font("sans", 12)
NO_SURFACE = (
    "This film has no surface: no points were recorded along the path, or the model could not be loaded. "
    "Its curves are complete."
)
NO_FINITE_CELL = "No cell of this surface has a finite loss, so there is nothing to draw. The curves are complete."


class Box(NamedTuple):
    """A rectangle in pixels."""

    left: int
    top: int
    width: int
    height: int


class Layout(NamedTuple):
    """Places of a picture's parts.

    Attributes:
        left: of the stage, or of the curves of a film without a surface.
        right: beside it; of no width where there is no room.
        beneath: of the curves below the stage, in narrow pictures.
        overlaid: whether the verdict lies over the stage; else the stage begins below it.
        heading, leading: font of the headline, and from line to line.
        measure: width of the headline.
        map, scale: side of the map, width of the colour scale.
        strip: height of the scale below the stage; 0 where it lies over its lower right.
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
    strip: int


def layout_of(width: int, height: int) -> Layout:
    """The layout of a picture of this size."""
    wide, narrow = width >= LAYOUT["wide"], width < LAYOUT["medium"]
    pad, gap, column, heading, leading, scale = LAYOUT["styles"][
        "wide" if wide else "narrow" if narrow else "medium"
    ].values()
    below = height - HEADER - FOOT
    curves = int(BENEATH * below) if narrow else 0
    left = Box(pad, HEADER, width - 2 * pad - gap - column, below - curves)
    right = Box(width - pad - column, HEADER, column, below)
    beneath = Box(pad, HEADER + left.height, left.width, curves)
    measure = min(600, int(0.7 * left.width)) if wide else left.width
    side = LAYOUT["map"] if height >= LAYOUT["tall"] and wide else LAYOUT["smallMap"]
    strip = STRIP if narrow else 0
    return Layout(
        left, right, beneath, wide, Font("serif", heading), leading, measure, side, scale or left.width, strip
    )


class Picture:
    """A film's picture, drawn at any step.

    Args:
        film: to draw.
        surface: the surface's name; None for the first.
        size: width and height in pixels.
        theme: its colours.

    Raises:
        InputError: a surface that the film does not have, or a film without surfaces, points and curves.
    """

    def __init__(self, film: Film, surface: str | None, size: tuple[int, int], theme: Theme) -> None:
        self._film, self._size, self._theme = film, size, theme
        self._members = list(film.members.values())
        self._at = layout_of(*size)
        self.steps = max(1.0, float(film.steps))
        self._name, self._grid = self._find_surface(surface)
        grid = self._grid
        finite = grid is not None and bool(np.isfinite(grid.loss).any())
        self._note = "" if finite else NO_SURFACE if grid is None else NO_FINITE_CELL
        self._advice = film.advice if self._at.right.width or size[1] >= MIN_ADVICE_HEIGHT else ""
        scratch = Canvas(*size, theme.paper)
        self._below = int(self._draw_verdict(scratch))
        self._stage_box = self._at.left
        if not self._at.overlaid:
            foot = self._at.left.top + self._at.left.height
            height = max(MIN_STAGE, foot - self._below - self._at.strip)
            self._stage_box = self._at.left._replace(top=self._below, height=height)
        self._stage = None
        if grid is not None and finite:
            frame = Frame(self._stage_box.width, self._stage_box.height, self._at.overlaid)
            self._stage = Stage(grid, self._name, self._members, self.steps, frame, theme)
            self._map = map_of(self._stage.field, self._at.map, self._at.map, theme)
        self._charts = self._place_charts(self._chart_box(scratch))

    @property
    def is_moving(self) -> bool:
        """Whether anything changes from step to step: a member has a curve, or a path of two points or more."""
        return any(
            any(len(curve.t) > 1 for curve in member.curves.values())
            or (self._stage is not None and self._name in member.on and len(member.t) > 1)
            for member in self._members
        )

    def draw(self, t: float, rotation: float = 0.0) -> np.ndarray:
        """Pixels [height, width, 3] uint8 at a step, the camera rotated by this many radians."""
        theme, film, right = self._theme, self._film, self._at.right
        canvas = Canvas(*self._size, theme.paper)
        if self._stage:
            self._stage.draw(canvas.part(*self._stage_box), t, rotation)
        clock = f"step {count(math.floor(t))} of {count(self.steps)}" if self.is_moving else ""
        draw_header(canvas, self._at.left.left, film.title, film.subtitle, clock, theme)
        self._draw_verdict(canvas)
        if self._stage:
            self._draw_insets(canvas, self._stage, t)
        if right.width:
            self._draw_facts(canvas.part(*right), t)
            top = right.top + right.height - EVENTS + EVENTS_GAP
            draw_events(canvas.part(right.left, top, right.width, EVENTS - EVENTS_GAP), self._members, t, theme)
        for chart, box in self._charts:
            draw_chart(canvas.part(*box), chart, t, theme)
        return canvas.pixels

    # -- Once ----------------------------------------------------------------------------------------------------------

    def _find_surface(self, name: str | None) -> tuple[str, Grid | None]:
        """The name and the surface to draw; None where the film has none."""
        surfaces = self._film.surfaces
        if name is not None and name not in surfaces:
            raise unknown("surface", name, surfaces)
        if not surfaces and not any(member.curves for member in self._members):
            raise InputError(
                "The film must have a surface or a member with a curve, got neither. Make it from a run, a race or a "
                "terrain."
            )
        name = name if name is not None else next(iter(surfaces), "")
        return name, surfaces.get(name)

    def _chart_box(self, scratch: Canvas) -> Box:
        """Place of the curves: beside the stage, beneath it, or instead of it."""
        at = self._at
        if self._stage is None:
            return at.left._replace(
                top=self._below, height=at.left.top + at.left.height + at.beneath.height - self._below
            )
        if not at.right.width:
            return at.beneath
        facts = int(self._draw_facts(scratch.part(*at.right), self.steps))
        events = EVENTS if any(member.events for member in self._members) else 0
        return at.right._replace(top=at.right.top + facts, height=at.right.height - facts - events)

    def _place_charts(self, box: Box) -> list[tuple[Chart, Box]]:
        members, theme = self._members, self._theme
        loss = lines_of(members, "loss", theme) + lines_of(members, "held_out", theme, dots=True)
        lr = lines_of(members, "lr", theme)
        below = LR if lr and box.height >= MIN_CHART + LR else 0
        upper = box._replace(height=box.height - below)
        charts = [(chart_of("Loss", loss, self.steps, CHARTS["lossDecades"]), upper)]
        if below:
            lower = box._replace(top=box.top + upper.height, height=below)
            charts.append((chart_of("Learning rate", lr, self.steps, CHARTS["lrDecades"]), lower))
        return [(chart, place) for chart, place in charts if chart.lines and place.height > 56]

    # -- At every step -------------------------------------------------------------------------------------------------

    def _draw_verdict(self, canvas: Canvas) -> float:
        """Headline, advice, and why there is no surface; returns where the next part may begin."""
        at, theme, film = self._at, self._theme, self._film
        halo = theme.paper if at.overlaid else None
        x, y = at.left.left, HEADER + TOP + 0.8 * at.leading
        if film.headline:
            lines = balance(film.headline, at.heading, at.measure)
            colours = phrase_colours(film.headline, self._phrases(), theme.ink)
            y = draw_lines(canvas, lines, x, y, at.heading, at.leading, colours, halo)
        y -= 0.35 * at.leading
        for text, width in ((self._advice, ADVICE_WIDTH if at.overlaid else at.left.width), (self._note, at.measure)):
            if text:
                y = draw_text(canvas, text, x, y + 14, width, PICTURE_TEXT, 20, theme.ink2, halo)
        return y

    def _phrases(self) -> Sequence[tuple[str, str]]:
        """Phrases of the headline with their colours: where a run ended, or the members' names."""
        names = self._theme.names
        if self._film.kind == "run":
            headline = self._film.headline.lower()
            return [(place, names[0]) for place in sorted(PLACES, key=headline.find) if place in headline][:1]
        return [(member.name, self._theme.name_colour(i)) for i, member in enumerate(self._members)]

    def _draw_facts(self, canvas: Canvas, t: float) -> float:
        """The members, or the verdict's numbers, or the rule's settings; returns the height."""
        members, theme = self._members, self._theme
        if len(members) > 1:
            return draw_members(canvas, members, t, theme, 0, int(MEMBERS_SHARE * canvas.height) // MEMBER_HEIGHT)
        if not members:
            return 0.0
        room = max(0, (canvas.height - 2 * MIN_CHART - LR) // NUMBER_HEIGHT)
        numbers = quantities(members[0].verdict)[:room]
        if numbers:
            return draw_numbers(canvas, numbers, theme.members[0], theme)
        return draw_text(canvas, settings_text(members[0]), 0, 20, canvas.width, SMALL, 16, theme.ink2)

    def _draw_insets(self, canvas: Canvas, stage: Stage, t: float) -> None:
        """The map at the lower left and the scale at the lower right of the stage."""
        assert self._grid is not None
        at, theme, box = self._at, self._theme, self._stage_box
        foot = box.top + box.height
        if at.right.width and box.height >= MIN_MAP_STAGE:
            caption = CAPTION if at.overlaid else 0
            top = foot - MARGIN - caption - at.map
            part = canvas.part(box.left, top, at.map, at.map)
            part.pixels[:] = self._map
            draw_map(part, stage.field, self._grid.marks, self._name, self._members, t, theme)
            if caption:
                words = self._distance(t)
                draw_text(canvas, words, box.left, top + at.map + 20, at.map, SMALL, 16, theme.ink2, theme.paper)
        height = at.strip or SCALE
        scale = canvas.part(box.left + box.width - at.scale, foot + at.strip - height, at.scale, height)
        draw_scale(scale, self._grid, stage.field, theme)

    def _distance(self, t: float) -> str:
        """The distance of the first member's path from the plane at a step, in words."""
        on = self._members[0].on.get(self._name) if self._members else None
        if on is None or not len(on.off):
            return "From above."
        off, most = float(on.off[max(0, index_at(self._members[0].t, t))]), float(on.off.max())
        if not most > 0:
            return "From above. The path lies in this plane."
        return f"Distance of the path from this plane: {short(off, 2)} here, at most {short(most, 2)}."
