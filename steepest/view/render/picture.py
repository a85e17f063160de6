"""A plate: what the film page shows of a film at one step, as a picture."""

import math
from typing import Any

import numpy as np

from steepest.errors import InputError, unknown
from steepest.records.surfaces import Grid
from steepest.view.render.canvas import Canvas, measured
from steepest.view.render.curves import Chart, lines_of
from steepest.view.render.decode import grid_of, index_at, tracks_of
from steepest.view.render.fonts import Font
from steepest.view.render.framing import Frame
from steepest.view.render.layout import EVENTS, HEADER, LEAST_STAGE, RATE, Box, layout_of
from steepest.view.render.legend import draw_header, draw_scale
from steepest.view.render.map import draw_plan, map_of
from steepest.view.render.panels import MEMBER, draw_events, draw_members, draw_numbers
from steepest.view.render.stage import Stage
from steepest.view.render.text import PLACES, Word, balanced, draw_lines, draw_text, words_of
from steepest.view.render.theme import Theme
from steepest.view.render.ticks import count, short

LOSS_DECADES, RATE_DECADES = 12, 3
BODY, SMALL, TITLE = Font("sans", 14), Font("sans", 12), Font("bold", 12)
TOP = 10
ADVICE = 362
"""Greatest width of a line of advice over the stage: 42 figures."""
ADVISED = 700
"""Narrow plates that are lower have no room for advice."""
MAPPED = 330
"""A map covers too much of a stage that is lower."""
CAPTION, SCALE, MARGIN = 40, 140, 14
"""Room for two lines below the map, for the scale with its caption, and below both."""
CHART_TITLE, LEAST_CHART, EVENTS_GAP = 28, 150, 12
NUMBER, MEMBERS_SHARE = 62, 0.45
"""Height of a number, and the greatest share of the right column that members take."""
NOTHING = (
    "This film has no surface: no points were kept along the way, or the model could not be loaded. "
    "Its curves are complete."
)
NOWHERE = "No cell of this surface has a finite loss, so there is nothing to draw. The curves are complete."


class Picture:
    """A film's picture, from which it is drawn at any step.

    Args:
        film: as the page takes it.
        surface: the surface's name; None for the first.
        size: width and height in pixels.
        theme: its colours.

    Raises:
        InputError: a surface that the film does not have, or a film without surfaces, points and curves.
    """

    def __init__(self, film: dict[str, Any], surface: str | None, size: tuple[int, int], theme: Theme) -> None:
        self._film, self._size, self._theme = film, size, theme
        self._tracks = tracks_of(film)
        self._at = layout_of(*size)
        self.steps = max(1.0, float(film["steps"]))
        self._name, self._grid = self._surface(surface)
        finite = self._grid is not None and bool(np.isfinite(self._grid.loss).any())
        self._note = "" if finite else NOTHING if self._grid is None else NOWHERE
        self._heading = self._headline()
        self._advice = film["advice"] if self._at.right.width or size[1] >= ADVISED else ""
        scratch = Canvas.of(*size, theme.paper)
        self._paper = scratch.pixels.copy()
        self._below = int(self._draw_verdict(scratch))
        self._stage_box = self._at.left
        if not self._at.overlaid:
            foot = self._at.left.top + self._at.left.height
            height = max(LEAST_STAGE, foot - self._below - self._at.strip)
            self._stage_box = self._at.left._replace(top=self._below, height=height)
        self._stage = self._staged() if finite else None
        self._map = map_of(self._stage.field, self._at.map, self._at.map, theme) if self._stage else None
        self._charts = self._charted(self._chart_box(scratch))

    @property
    def is_moving(self) -> bool:
        """Whether anything changes from step to step: a member has a curve, or a path of two points or more."""
        return any(
            any(len(curve.t) > 1 for curve in track.curves.values())
            or (self._stage is not None and self._name in track.on and len(track.t) > 1)
            for track in self._tracks
        )

    def draw(self, t: float, turned: float = 0.0) -> np.ndarray:
        """Pixels [height, width, 3] uint8 at a step, the camera turned by so many radians."""
        theme, film, right = self._theme, self._film, self._at.right
        canvas = Canvas(self._paper.copy())
        if self._stage:
            self._stage.draw(canvas.part(*self._stage_box), t, turned)
        clock = f"step {count(math.floor(t))} of {count(self.steps)}" if self.is_moving else ""
        draw_header(canvas, self._at.left.left, film["title"], film["subtitle"], clock, theme)
        self._draw_verdict(canvas)
        if self._stage:
            self._draw_insets(canvas, self._stage, t)
        if right.width:
            self._draw_facts(canvas.part(*right), t)
            top = right.top + right.height - EVENTS + EVENTS_GAP
            draw_events(canvas.part(right.left, top, right.width, EVENTS - EVENTS_GAP), self._tracks, t, theme)
        for title, chart, box in self._charts:
            canvas.stroke(np.array(((box.left, box.top + 0.5), (box.left + box.width, box.top + 0.5))), 1, theme.hair)
            canvas.write(title, box.left, box.top + 20, TITLE, theme.ink)
            chart.draw_key(canvas, box.left + measured(title, TITLE) + 14, box.top + 20)
            chart.draw(canvas.part(box.left, box.top + CHART_TITLE, box.width, box.height - CHART_TITLE), t)
        return canvas.pixels

    # -- Made once -----------------------------------------------------------------------------------------------------

    def _surface(self, name: str | None) -> tuple[str, Grid | None]:
        """The name and the surface that is drawn; None where the film has none."""
        surfaces = self._film["surfaces"]
        if name is not None and name not in surfaces:
            raise unknown("surface", name, surfaces)
        if not surfaces and not any(track.curves for track in self._tracks):
            raise InputError(
                "the film has no surface, and no member has a curve, so there is nothing to draw; "
                "expected is a film of a run or a race, or of a terrain"
            )
        chosen = name if name is not None else next(iter(surfaces), "")
        return chosen, grid_of(surfaces[chosen]) if surfaces else None

    def _headline(self) -> list[list[Word]]:
        film, names, font = self._film, self._theme.names, self._at.heading
        phrases = [(track.name, names[i % len(names)]) for i, track in enumerate(self._tracks)]
        if film["kind"] == "run":
            phrases = [(place, names[0]) for place in PLACES]
        words = words_of(film["headline"], phrases, font, self._theme.ink) if film["headline"] else []
        return balanced(words, self._at.measure, measured(" ", font))

    def _staged(self) -> Stage:
        assert self._grid is not None
        box = self._stage_box
        frame = Frame(box.width, box.height, self._at.overlaid)
        return Stage(self._grid, self._name, self._tracks, self.steps, frame, self._theme)

    def _chart_box(self, scratch: Canvas) -> Box:
        """Where the curves are: beside the stage, beneath it, or in its place."""
        at = self._at
        if self._stage is None:
            return at.left._replace(
                top=self._below, height=at.left.top + at.left.height + at.beneath.height - self._below
            )
        if not at.right.width:
            return at.beneath
        facts = int(self._draw_facts(scratch.part(*at.right), self.steps))
        events = EVENTS if any(track.events for track in self._tracks) else 0
        return at.right._replace(top=at.right.top + facts, height=at.right.height - facts - events)

    def _charted(self, box: Box) -> list[tuple[str, Chart, Box]]:
        """The charts with their titles and places."""
        tracks, theme = self._tracks, self._theme
        loss = lines_of(tracks, "loss", theme) + lines_of(tracks, "held_out", theme, dots=True)
        rate = lines_of(tracks, "lr", theme)
        parts = [("Loss", loss, LOSS_DECADES, box)]
        if rate and box.height >= LEAST_CHART + RATE:
            above = box._replace(height=box.height - RATE)
            below = box._replace(top=box.top + above.height, height=RATE)
            parts = [("Loss", loss, LOSS_DECADES, above), ("Rate", rate, RATE_DECADES, below)]
        return [
            (title, Chart(lines, self.steps, decades, place.width, place.height - CHART_TITLE, theme), place)
            for title, lines, decades, place in parts
            if lines and place.height > 2 * CHART_TITLE
        ]

    # -- Drawn at every step -------------------------------------------------------------------------------------------

    def _draw_verdict(self, canvas: Canvas) -> float:
        """The sentence, what to do, and why there is no surface; returns where the next thing may begin."""
        at, theme = self._at, self._theme
        halo = theme.paper if at.overlaid else None
        x, y = at.left.left, HEADER + TOP + 0.8 * at.leading
        y = draw_lines(canvas, self._heading, x, y, at.heading, at.leading, halo) - 0.35 * at.leading
        wide = ADVICE if at.overlaid else at.left.width
        for text, width in ((self._advice, wide), (self._note, at.measure)):
            if text:
                y = draw_text(canvas, text, x, y + 14, width, BODY, 20, theme.ink2, halo)
        return y

    def _draw_facts(self, canvas: Canvas, t: float) -> float:
        """The members, or the verdict's numbers or the rule's settings; returns the height."""
        tracks, theme = self._tracks, self._theme
        if len(tracks) > 1:
            rows = int(MEMBERS_SHARE * canvas.height) // MEMBER
            return draw_members(canvas, tracks, t, theme, 0, rows)
        if not tracks:
            return 0.0
        room = max(0, (canvas.height - 2 * LEAST_CHART - RATE) // NUMBER)
        numbers = (tracks[0].verdict or {}).get("numbers", [])[:room]
        if numbers:
            return draw_numbers(canvas, numbers, theme.members[0], theme)
        return draw_text(canvas, tracks[0].settings, 0, 20, canvas.width, SMALL, 16, theme.ink2)

    def _draw_insets(self, canvas: Canvas, stage: Stage, t: float) -> None:
        """The map at the lower left and the scale at the lower right of the stage."""
        assert self._grid is not None
        at, theme, box = self._at, self._theme, self._stage_box
        foot = box.top + box.height
        if at.right.width and box.height >= MAPPED and self._map is not None:
            caption = CAPTION if at.overlaid else 0
            top = foot - MARGIN - caption - at.map
            plan = canvas.part(box.left, top, at.map, at.map)
            draw_plan(plan, self._map, stage.field, self._grid.marks, self._name, self._tracks, t, theme)
            if caption:
                y = top + at.map + 20
                draw_text(canvas, self._distance(t), box.left, y, at.map, SMALL, 16, theme.ink2, theme.paper)
        tall = at.strip or SCALE
        scale = canvas.part(box.left + box.width - at.scale, foot + at.strip - tall, at.scale, tall)
        draw_scale(scale, self._grid, stage.field, theme)

    def _distance(self, t: float) -> str:
        """How far the first member's path is from the plane at a step, in words."""
        on = self._tracks[0].on.get(self._name) if self._tracks else None
        if on is None or not len(on.off):
            return "From above."
        off, farthest = float(on.off[max(0, index_at(self._tracks[0].t, t))]), float(on.off.max())
        if not farthest > 0:
            return "From above. The path lies in this plane."
        where = f"is {short(off, 2)} off this plane here" if off > 0 else "is in this plane here"
        return f"From above. The path {where}, and {short(farthest, 2)} where it is farthest."
