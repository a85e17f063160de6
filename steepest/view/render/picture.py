"""A picture of a film at one step: what the page shows, without what can only be clicked."""

import math
from itertools import groupby
from typing import NamedTuple

import numpy as np

from steepest.errors import InputError, unknown
from steepest.records.surfaces import Grid
from steepest.view.film.moment import headline_at, results_at
from steepest.view.film.numbers import count, short
from steepest.view.film.quantities import Quantity, quantities, rule_words
from steepest.view.film.schema import Film, index_at
from steepest.view.render import panels
from steepest.view.render.canvas import Canvas, Font, balance, wrap
from steepest.view.render.curves import Chart, has_curve
from steepest.view.render.field import field_of
from steepest.view.render.frame import Area, Frame
from steepest.view.render.map import draw_map, map_of
from steepest.view.render.stage import Stage
from steepest.view.render.theme import CONSTANTS, Theme

LAYOUT, PLACES = CONSTANTS["layout"], CONSTANTS["places"]
HEADER: int = LAYOUT["header"]
FOOT, TOP, MARGIN = 16, 10, 14
LR, EVENTS, EVENTS_GAP = 112, 84, 12
"""Heights of the learning rate's chart and of the list of events, and the gap above the list."""
MIN_STAGE, MIN_CHART, MIN_ANY_CHART = 120, 150, 56
BENEATH, STRIP = 0.3, 72
"""Share of a narrow picture that the curves take, and height of the scale below its stage."""
ADVICE_WIDTH = 362
"""Of a line of advice over the stage: 42 figures."""
CLEAR = 6
"""Between the block and what lies over the stage."""
MIN_ADVICE_HEIGHT, MIN_MAP_STAGE = 700, 330
"""Of a narrow picture, and of a stage, from which there is room for advice and for a map."""
CAPTION, SCALE = 40, 140
METRIC_SHARE, MEMBERS_SHARE = 0.42, 0.45
"""Shares of the curves' height for the metric, and the largest of the right column for members."""
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


class Layout:
    """Places of a picture's parts, of which one with no width or height is left out."""

    def __init__(self, width: int, height: int) -> None:
        wide, narrow = width >= LAYOUT["wide"], width < LAYOUT["medium"]
        style = LAYOUT["styles"]["wide" if wide else "narrow" if narrow else "medium"]
        pad, column, below = style["pad"], style["column"], height - HEADER - FOOT
        curves = int(BENEATH * below) if narrow else 0
        self.stage = Box(pad, HEADER, width - 2 * pad - style["gap"] - column, below - curves)
        self.right = Box(width - pad - column, HEADER, column, below)
        self.beneath = Box(pad, HEADER + self.stage.height, self.stage.width, curves)
        self.is_overlaid = wide  # the verdict lies over the stage; else the stage begins below it
        self.heading, self.leading = Font("serif", style["heading"]), style["leading"]
        self.measure = min(600, int(0.7 * self.stage.width)) if wide else self.stage.width
        self.map = LAYOUT["map"] if height >= LAYOUT["tall"] and wide else LAYOUT["smallMap"]
        self.scale = style["scale"] or self.stage.width
        self.strip = STRIP if narrow else 0  # for the scale, below the stage


class Picture:
    """A film's picture, drawn at any step: of a surface by its name, or of the first one.

    Raises:
        InputError: a surface that the film does not have, or a film without surfaces, points and curves.
    """

    def __init__(self, film: Film, surface: str | None, size: tuple[int, int], theme: Theme) -> None:
        self._film, self._size, self._theme = film, size, theme
        self._members = list(film.members.values())
        self._at = at = Layout(*size)
        self.steps = max(1.0, float(film.steps))
        self._name, self._grid = self._find_surface(surface)
        finite = self._grid is not None and bool(np.isfinite(self._grid.loss).any())
        self._note = "" if finite else NO_SURFACE if self._grid is None else NO_FINITE_CELL
        self._readings: list[Quantity] = []
        self._advice = film.advice if at.right.width or size[1] >= MIN_ADVICE_HEIGHT else ""
        scratch = Canvas(*size, theme.paper)
        below, foot = int(self._draw_verdict(scratch)), at.stage.top + at.stage.height
        under = Box(at.stage.left, below, at.stage.width, foot - below)
        self._box = at.stage if at.is_overlaid else under._replace(height=max(MIN_STAGE, under.height - at.strip))
        self._stage = None
        if self._grid is not None and finite:
            frame = Frame(self._box.width, self._box.height, self._overlays(scratch))
            self._stage = Stage(self._grid, self._name, self._members, self.steps, frame, theme)
            self._map = map_of(self._stage.field, at.map, at.map, theme)
            charts = self._beside(scratch) if at.right.width else at.beneath
        else:
            charts = under._replace(height=under.height + at.beneath.height)
        self._charts = self._place_charts(charts)

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
            self._stage.draw(canvas.part(*self._box), t, rotation)
        clock = f"step {count(math.floor(t))} of {count(self.steps)}" if self.is_moving else ""
        panels.draw_header(canvas, self._at.stage.left, film.title, film.subtitle, clock, theme)
        self._draw_verdict(canvas, t)
        if self._stage:
            self._draw_insets(canvas, self._stage, t)
        if right.width:
            self._draw_facts(canvas.part(*right), t)
            top = right.top + right.height - EVENTS + EVENTS_GAP
            events = canvas.part(right.left, top, right.width, EVENTS - EVENTS_GAP)
            panels.draw_events(events, self._members, t, theme)
            if self._readings and t >= self.steps:  # no end is told before it
                height = panels.readings_height(self._readings)
                below = EVENTS if any(member.events for member in self._members) else 0
                part = right._replace(top=right.top + right.height - below - height, height=height)
                panels.draw_readings(canvas.part(*part), self._readings, theme.members[0], theme)
        for chart, box in self._charts:
            chart.draw(canvas.part(*box), t)
        return canvas.pixels

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

    def _beside(self, scratch: Canvas) -> Box:
        """Place of the curves beside the stage: between facts, readings and events."""
        right = self._at.right
        facts = int(self._draw_facts(scratch.part(*right), self.steps))
        self._readings = self._find_readings(right.height - facts)
        events = EVENTS if any(member.events for member in self._members) else 0
        readings = panels.readings_height(self._readings)
        return right._replace(top=right.top + facts, height=right.height - facts - events - readings)

    def _place_charts(self, box: Box) -> list[tuple[Chart, Box]]:
        """The charts that have curves and for which there is room."""
        has = {name: any(has_curve(m, name) for m in self._members) for name in ("loss", "metric", "lr")}
        metric = max(MIN_CHART, int(METRIC_SHARE * box.height)) if has["metric"] and box.height >= 2 * MIN_CHART else 0
        rate = LR if has["lr"] and box.height >= MIN_CHART + metric + LR else 0
        places, top = [], box.top
        for name, height in (("loss", box.height - metric - rate), ("metric", metric), ("lr", rate)):
            if has[name] and height > MIN_ANY_CHART:
                place = box._replace(top=top, height=height)
                places.append((Chart(self._members, name, self.steps, place[2:], self._theme), place))
            top += height
        return places

    def _sentence(self, t: float) -> str:
        """The headline; before the end of a run what holds then, since no end is told while it plays."""
        film = self._film
        if film.kind != "run" or film.live or t >= self.steps or not self._members:
            return film.headline
        return headline_at(self._members[0], t, self.steps) or film.headline

    def _draw_verdict(self, canvas: Canvas, t: float = math.inf) -> float:
        """Headline, advice, and why there is no surface; returns where the next part may begin."""
        at, theme, headline = self._at, self._theme, self._sentence(t)
        halo = theme.paper if at.is_overlaid else None
        x, y = at.stage.left, HEADER + TOP + 0.8 * at.leading
        colours = iter(self._headline_colours(headline))
        for line in balance(headline, at.heading, at.measure):
            end = x
            for colour, run in groupby(f"{line} ", key=lambda _: next(colours)):
                end += canvas.write("".join(run), end, y, at.heading, colour, halo=halo)
            y += at.leading
        y -= 0.35 * at.leading
        narrow = ADVICE_WIDTH if at.is_overlaid else at.stage.width
        advice = self._advice if headline == self._film.headline else ""
        parts = [(line.replace("`", ""), narrow) for line in advice.split("\n")]
        for text, width in (*parts, (self._note, at.measure)):
            if text:
                lines = wrap(text, panels.PANEL_TEXT, width)
                y = canvas.write_lines(lines, x, y + 14, panels.PANEL_TEXT, 20, theme.ink2, halo)
        return y

    def _headline_colours(self, headline: str) -> list[str]:
        """The colour of each character of the headline: of its metric, of where a run ended, of the members' names."""
        headline, theme = headline.lower(), self._theme
        colours = [theme.ink] * (len(headline) + 1)
        if self._film.kind == "run":
            row = self._members[0].result[0] if self._members and self._members[0].result else None
            end = headline.find(" at step ") if " at step " in headline else headline.find(",")
            is_metric = row is not None and end > 0 and row.label.lower() in headline[:end]
            places = [headline[:end]] if is_metric else [place for place in PLACES if place in headline]
            phrases = dict.fromkeys(sorted(places, key=headline.find)[:1], theme.names[0])
        else:
            phrases = {member.name.lower(): theme.name_colour(i) for i, member in enumerate(self._members)}
        for phrase in sorted(phrases, key=len):  # a name may begin like a longer one
            at = headline.find(phrase)
            if at >= 0:
                colours[at : at + len(phrase)] = [phrases[phrase]] * len(phrase)
        return colours

    def _draw_facts(self, canvas: Canvas, t: float) -> float:
        """The members, or the run's results, or the rule's settings; returns the height."""
        members, theme = self._members, self._theme
        if len(members) > 1:
            most = int(MEMBERS_SHARE * canvas.height) // panels.MEMBER_HEIGHT
            return panels.draw_members(canvas, members, t, theme, most)
        if not members:
            return 0.0
        member = members[0]
        if member.result and self._film.kind == "run":
            return panels.draw_results(canvas, results_at(member, t), theme)
        return panels.draw_settings(canvas, member, theme)

    def _find_readings(self, height: float) -> list[Quantity]:
        """The numbers of the only member's verdict for which there is room beside two charts."""
        member = self._members[0] if len(self._members) == 1 else None
        if member is None or member.verdict is None:
            return []
        room = max(0, int(height - 2 * MIN_CHART - EVENTS - panels.READING_HEAD) // panels.READING_HEIGHT)
        return quantities(member.verdict, rule_words(member.rule))[:room]

    def _draw_insets(self, canvas: Canvas, stage: Stage, t: float) -> None:
        """The map at the lower left and the scale at the lower right of the stage."""
        assert self._grid is not None
        at, theme = self._at, self._theme
        if place := self._map_box:
            part = canvas.part(*place)
            part.pixels[:] = self._map
            draw_map(part, stage.field, self._grid.marks, self._name, self._members, t, theme)
            if at.is_overlaid:
                lines = wrap(self._distance(t), panels.PANEL_SMALL, at.map)
                below = place.top + at.map + 20
                canvas.write_lines(lines, place.left, below, panels.PANEL_SMALL, 16, theme.ink2, theme.paper)
        panels.draw_scale(canvas.part(*self._scale_box), self._grid, stage.field, theme)

    @property
    def _map_box(self) -> Box | None:
        at, box = self._at, self._box
        if not at.right.width or box.height < MIN_MAP_STAGE:
            return None
        caption = CAPTION if at.is_overlaid else 0
        return Box(box.left, box.top + box.height - MARGIN - caption - at.map, at.map, at.map)

    @property
    def _scale_box(self) -> Box:
        at, box = self._at, self._box
        height = at.strip or SCALE
        return Box(box.left + box.width - at.scale, box.top + box.height + at.strip - height, at.scale, height)

    def _overlays(self, scratch: Canvas) -> tuple[Area, ...]:
        """What lies over the stage: the verdict, which is on this canvas, the map with its words, and the scale."""
        assert self._grid is not None
        box = self._box
        areas = [_ink_area(scratch.part(*box), self._theme.paper)] if self._at.is_overlaid else []
        if place := self._map_box:
            top, left = place.top - box.top, place.left - box.left
            areas.append(Area(left, top, left + place.width, box.height))
        scale = Canvas(*self._size, self._theme.paper)
        panels.draw_scale(scale.part(*self._scale_box), self._grid, field_of(self._grid), self._theme)
        areas.append(_ink_area(scale.part(*box), self._theme.paper))
        return tuple(
            Area(area.left - CLEAR, area.top - CLEAR, area.right + CLEAR, area.bottom + CLEAR)
            for area in areas
            if area.right > area.left
        )

    def _distance(self, t: float) -> str:
        """The distance of the first member's path from the plane at a step, in words."""
        on = self._members[0].on.get(self._name) if self._members else None
        if on is None or not len(on.off):
            return "From above."
        off, most = float(on.off[max(0, index_at(self._members[0].t, t))]), float(on.off.max())
        if not most > 0:
            return "From above. The path lies in this plane."
        return f"Distance of the path from this plane: {short(off, 2)} here, at most {short(most, 2)}."


def _ink_area(canvas: Canvas, paper: str) -> Area:
    """What of a canvas is not paper; an empty area where all of it is."""
    rows, columns = np.nonzero((canvas.pixels != Canvas(1, 1, paper).pixels).any(axis=-1))
    if not len(rows):
        return Area(0, 0, 0, 0)
    return Area(int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1)
