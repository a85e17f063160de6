"""A plate: what the film page shows of a film at one step, as a picture."""

from typing import Any

import numpy as np

from steepest.errors import InputError, unknown
from steepest.grid import Grid
from steepest.view.relief.canvas import Canvas, measured
from steepest.view.relief.curves import Chart, lines_of
from steepest.view.relief.facts import MEMBER, draw_events, draw_members, draw_numbers
from steepest.view.relief.layout import EVENTS, HEADER, LEAST_STAGE, RATE, Box, layout_of
from steepest.view.relief.legend import draw_header, draw_scale
from steepest.view.relief.lettering import Font
from steepest.view.relief.numerals import count, short
from steepest.view.relief.opening import Frame
from steepest.view.relief.plan import draw_plan, map_of
from steepest.view.relief.prose import PLACES, balanced, draw_lines, draw_text, words_of
from steepest.view.relief.stage import Stage
from steepest.view.relief.theme import Theme
from steepest.view.relief.tracks import grid_of, index_at, tracks_of

LOSS_DECADES, RATE_DECADES = 12, 3
BODY, SMALL, TITLE = Font("sans", 14), Font("sans", 12), Font("bold", 12)
TOP = 10
ADVICE = 362
"""Greatest width of a line of advice over the stage: 42 figures."""
CAPTION = 40
"""Room for two lines below the map."""
LEAST_CHART = 150
NUMBER = 62
MARGIN = 14
NOTHING = (
    "This film has no surface: no points were kept along the way, or the model could not be loaded. "
    "Its curves are complete."
)
NOWHERE = "No cell of this surface has a finite loss, so there is nothing to draw. The curves are complete."


class Plate:
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
        self._finite = self._grid is not None and bool(np.isfinite(self._grid.loss).any())
        self._heading = self._headline()
        self._stage, self._map = self._staged()
        self._charts = self._charted()

    def draw(self, t: float, turned: float = 0.0) -> np.ndarray:
        """Pixels [height, width, 3] uint8 at a step, the camera turned by so many radians."""
        theme, film = self._theme, self._film
        canvas = Canvas.of(*self._size, theme.paper)
        clock = f"step {count(np.floor(t))} of {count(self.steps)}"
        if self._stage:
            stage, box = self._stage
            stage.draw(canvas.part(*box), t, turned)
        draw_header(canvas, self._at.left.left, film["title"], film["subtitle"], clock, theme)
        self._draw_verdict(canvas)
        if self._stage:
            self._draw_insets(canvas, t)
        if self._at.right.width:
            self._draw_facts(canvas.part(*self._at.right), t)
        for title, chart, box in self._charts:
            canvas.stroke(np.array(((box.left, box.top + 0.5), (box.left + box.width, box.top + 0.5))), 1, theme.hair)
            canvas.write(title, box.left, box.top + 20, TITLE, theme.ink)
            chart.draw(canvas.part(box.left, box.top + 28, box.width, box.height - 28), t)
        if self._at.right.width and any(track.events for track in self._tracks):
            right = self._at.right
            draw_events(canvas.part(right.left, self._foot(right) + EVENTS - 72, right.width, 72), self._tracks, t, theme)
        return canvas.pixels

    # -- Made once ------------------------------------------------------------------------------------------------------

    def _surface(self, name: str | None) -> tuple[str, Grid | None]:
        """The name and the surface that is drawn; None where the film has none."""
        surfaces = self._film["surfaces"]
        if name is not None and name not in surfaces:
            raise unknown("surface", name, surfaces)
        if not surfaces and not any(track.curves for track in self._tracks):
            raise InputError(
                "the film has no surface, and no member has a curve, so there is nothing to draw; expected is a film of "
                "a run or a race, or of a terrain"
            )
        chosen = name if name is not None else next(iter(surfaces), "")
        return chosen, grid_of(surfaces[chosen]) if surfaces else None

    def _headline(self) -> list[Any]:
        film, names, font = self._film, self._theme.names, self._at.heading
        phrases = [(track.name, names[i % len(names)]) for i, track in enumerate(self._tracks)]
        if film["kind"] == "run":
            phrases = [(place, names[0]) for place in PLACES]
        words = words_of(film["headline"], phrases, font, self._theme.ink) if film["headline"] else []
        return balanced(words, self._at.measure, measured(" ", font))

    def _staged(self) -> tuple[tuple[Stage, Box] | None, np.ndarray]:
        """The stage and where it is, and the map's pixels."""
        if self._grid is None or not self._finite:
            return None, np.empty(0)
        box = self._at.left
        if not self._at.overlaid:
            scratch = Canvas.of(*self._size, self._theme.paper)
            top = int(self._draw_verdict(scratch))
            box = Box(box.left, top, box.width, max(1, box.top + box.height - top))
        frame = Frame(box.width, box.height, self._at.overlaid)
        stage = Stage(self._grid, self._name, self._tracks, self.steps, frame, self._theme)
        return (stage, box), map_of(stage.field, self._at.map, self._at.map, self._theme)

    def _charted(self) -> list[tuple[str, Chart, Box]]:
        """The charts with their titles and places; they stand on the left where there is no surface."""
        at, tracks, theme = self._at, self._tracks, self._theme
        loss = lines_of(tracks, "loss", theme) + lines_of(tracks, "held_out", theme, dots=True)
        rate = lines_of(tracks, "lr", theme)
        box = at.beneath
        if self._stage is None or at.right.width:
            box = at.right if self._stage else Box(at.left.left, at.left.top, at.left.width, at.left.height + at.beneath.height)
            scratch = Canvas.of(*self._size, theme.paper)
            top = self._draw_facts(scratch.part(*at.right), self.steps) + at.right.top if self._stage else self._draw_verdict(scratch)
            box = Box(box.left, int(top), box.width, (self._foot(box) if self._stage else box.top + box.height) - int(top))
        parts = [("Loss", loss, LOSS_DECADES, box)]
        if rate and box.height >= LEAST_CHART + RATE:
            parts = [
                ("Loss", loss, LOSS_DECADES, box._replace(height=box.height - RATE)),
                ("Rate", rate, RATE_DECADES, box._replace(top=box.top + box.height - RATE, height=RATE)),
            ]
        return [
            (title, Chart(lines, self.steps, decades, place.width, place.height - 28, theme), place)
            for title, lines, decades, place in parts
            if lines and place.height > 60
        ]

    def _foot(self, box: Box) -> int:
        """Where the events begin."""
        return box.top + box.height - (EVENTS if any(track.events for track in self._tracks) else 0)

    # -- Drawn at every step --------------------------------------------------------------------------------------------

    def _draw_verdict(self, canvas: Canvas) -> float:
        """The sentence, and what to do; returns where the next thing may begin."""
        at, theme = self._at, self._theme
        halo = theme.paper if at.overlaid else None
        x = at.left.left
        y = draw_lines(canvas, self._heading, x, HEADER + TOP + 0.8 * at.leading, at.heading, at.leading, halo)
        y -= 0.35 * at.leading
        wide = min(at.measure, ADVICE) if at.overlaid else at.left.width
        y = draw_text(canvas, self._film["advice"], x, y + 14, wide, BODY, 20, theme.ink2, halo)
        if self._stage is None and hasattr(self, "_stage"):
            note = NOTHING if self._grid is None else NOWHERE
            y = draw_text(canvas, note, x, y + 14, at.left.width, BODY, 20, theme.ink2)
        return y

    def _draw_facts(self, canvas: Canvas, t: float) -> float:
        """The members, or the verdict's numbers and the rule's settings; returns the height."""
        tracks, theme = self._tracks, self._theme
        if len(tracks) > 1:
            return 6 + draw_members(canvas.part(0, 6, canvas.width, canvas.height - 6), tracks, t, theme, 0, int(0.45 * canvas.height) // MEMBER)
        if not tracks:
            return 0.0
        room = max(0, (canvas.height - 2 * LEAST_CHART - RATE) // NUMBER)
        numbers = (tracks[0].verdict or {}).get("numbers", [])[:room]
        y = draw_numbers(canvas, numbers, theme.members[0], theme)
        return y if numbers else draw_text(canvas, tracks[0].settings, 0, 20, canvas.width, SMALL, 16, theme.ink2)

    def _draw_insets(self, canvas: Canvas, t: float) -> None:
        """The map at the lower left and the scale at the lower right of the stage."""
        assert self._stage and self._grid
        stage, box = self._stage
        at, theme = self._at, self._theme
        foot = box.top + box.height
        if at.right.width and box.height >= LEAST_STAGE:
            below = CAPTION if at.overlaid else 0
            top = foot - MARGIN - below - at.map
            draw_plan(canvas.part(box.left, top, at.map, at.map), self._map, stage.field, self._grid.marks, self._name, self._tracks, t, theme)
            if below:
                draw_text(canvas, self._distance(t), box.left, foot - MARGIN - below + 20, at.map, SMALL, 16, theme.ink2, theme.paper)
        tall = min(box.height, 110)
        draw_scale(canvas.part(box.left + box.width - at.scale, foot - tall, at.scale, tall), self._grid, stage.field, theme)

    def _distance(self, t: float) -> str:
        """How far the first member's path is from the plane at a step, in words."""
        on = self._tracks[0].on.get(self._name) if self._tracks else None
        if on is None or not len(on.off):
            return "From above."
        off = float(on.off[max(0, index_at(self._tracks[0].t, t))])
        return f"From above. The path is {short(off, 2)} off this plane here." if off > 0 else "From above. The path lies in this plane."
