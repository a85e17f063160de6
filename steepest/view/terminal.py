"""Progress of runs and searches: one live line in a terminal, a few plain lines elsewhere."""

import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from typing import TextIO

from steepest.records.run import CLIP, Event, Measurement, Step
from steepest.records.search import SearchProgress
from steepest.view.format import describe_event, duration, number, sparkline
from steepest.view.plain_text import encodable, visible

REDRAW_S = 0.2
CURVE_POINTS = 512
"""Points of the loss curve; when there are twice as many, neighbours are merged."""
PLAIN_LINES = 20
SEPARATOR = " · "


class Line:
    """A line that is redrawn in place, at most five times a second.

    Attributes:
        is_live: whether the stream is a terminal.
        clock: seconds.

    Args:
        stream: where to write; standard error by default.
        clock: seconds; for tests.
    """

    def __init__(self, stream: TextIO | None, clock: Callable[[], float]) -> None:
        self._stream = sys.stderr if stream is None else stream
        self.is_live = self._stream.isatty() and os.environ.get("TERM") != "dumb"
        self.clock, self._draw_time, self._is_open = clock, 0.0, True

    @property
    def width(self) -> int:
        """Width of the terminal, in characters."""
        return shutil.get_terminal_size().columns if self.is_live else 120

    def is_due(self) -> bool:
        """Whether it should be redrawn now."""
        if not self.is_live:
            return False
        now = self.clock()
        if now - self._draw_time < REDRAW_S:
            return False
        self._draw_time = now
        return True

    def draw(self, words: str, end: str = "") -> None:
        """Replaces the line."""
        self._write("\r" + visible(words)[: max(1, self.width - 1)] + "\x1b[K" + end)

    def say(self, words: str) -> None:
        """Writes a line of its own, above the live one."""
        self._write(("\r\x1b[K" if self.is_live else "") + visible(words, keep="\n") + "\n")

    def _write(self, text: str) -> None:
        if not self._is_open:
            return
        try:
            self._stream.write(encodable(text, self._stream))
            self._stream.flush()
        except (BrokenPipeError, ValueError):  # the stream is closed
            self.is_live = self._is_open = False


class Progress:
    """Shows a run while it trains, redrawn at most five times a second.

    Args:
        steps: of the whole run.
        metric: name of the validation metric to show.
        stream: where to write.
        clock: seconds; for tests.
        start: steps taken before, by a run that is resumed.
    """

    def __init__(
        self,
        steps: int,
        metric: str = "loss",
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.perf_counter,
        start: int = 0,
    ) -> None:
        self.steps, self.metric, self._start = steps, metric, start
        self._line, self._start_time = Line(stream, clock), clock()
        self._plain_lines, self._since, self._clips = 0, 0, 0
        self._curve: list[float] = []
        self._stride, self._peak = 1, float("-inf")
        self._measurement: Measurement | None = None
        self._last: Step | None = None

    def step(self, step: Step) -> None:
        """Takes a step; redraws when it is due."""
        self._last = step
        if not step.loss <= self._peak:  # a NaN is a peak
            self._peak = step.loss
        self._since += 1
        if self._since >= self._stride:
            self._extend_curve()
        if self._line.is_due():
            self._line.draw(self._text(step))

    def measure(self, m: Measurement) -> None:
        """Takes a measurement; without a terminal, writes a line for some of them."""
        if m.split != "validation" or m.name != self.metric:
            return
        self._measurement = m
        due = self._plain_lines == 0 or m.t >= self.steps or m.t >= self.steps * self._plain_lines / PLAIN_LINES
        if not self._line.is_live and self._last is not None and due:
            self._plain_lines = 1 + PLAIN_LINES * m.t // self.steps
            self._line.say(self._text(self._last))

    def end(self, m: Measurement) -> None:
        """Takes the measurement at the weights that are left, for the last line."""
        self._measurement = m

    def event(self, event: Event) -> None:
        """Writes an event; of clipped gradients only the 1st, 2nd, 4th, 8th …, with their count."""
        words = describe_event(event)
        if event.kind == CLIP:
            self._clips += 1
            if self._clips & (self._clips - 1):
                return
            words += f" ({self._clips} clipped so far)" if self._clips > 1 else ""
        self.say(words)

    def say(self, words: str) -> None:
        """Writes a line of its own, above the live one."""
        self._line.say(words)

    def stop(self) -> None:
        """Draws the last state, and ends the live line."""
        if self._line.is_live and self._last is not None:
            self._line.draw(self._text(self._last), "\n")

    def _extend_curve(self) -> None:
        self._curve.append(self._peak)
        self._since, self._peak = 0, float("-inf")
        if len(self._curve) >= 2 * CURVE_POINTS:
            pairs = zip(self._curve[::2], self._curve[1::2], strict=True)
            self._curve = [b if not b <= a else a for a, b in pairs]
            self._stride *= 2

    def _text(self, step: Step) -> str:
        seconds = max(self._line.clock() - self._start_time, 1e-9)
        speed = (step.t - self._start) / seconds
        m, loss = self._measurement, f"train loss {number(step.loss)}"
        parts = [
            f"step {step.t}/{self.steps}",
            loss,
            "" if m is None else f"val {m.name} {number(m.value)}",
            f"lr {number(step.lr)}",
            f"{speed:,.0f} steps/s",
            f"{duration((self.steps - step.t) / max(speed, 1e-9))} left" if step.t < self.steps else duration(seconds),
        ]
        text = _fit(parts, parts[4:5], self._line.width)
        space = self._line.width - len(text) - 2
        curve = sparkline(self._curve, min(20, space)) if space >= 3 else ""
        return text.replace(loss, f"{loss} {curve}", 1) if curve else text


class SearchDisplay:
    """Shows a learning-rate search; without a terminal, a line after each set of short runs.

    Args:
        stream, clock: as in `Line`.
    """

    def __init__(self, stream: TextIO | None = None, clock: Callable[[], float] = time.perf_counter) -> None:
        self._line, self._start_time = Line(stream, clock), clock()
        self._last: SearchProgress | None = None

    def __call__(self, at: SearchProgress) -> None:
        """Takes the progress; redraws when it is due."""
        self._last = at
        if self._line.is_due():
            self._line.draw(self._text(at))
        elif at.is_rung and not self._line.is_live:
            self._line.say(self._text(at))

    def __enter__(self) -> "SearchDisplay":
        return self

    def __exit__(self, *error: object) -> None:
        """Draws the last state, and ends the live line."""
        if self._line.is_live and self._last is not None:
            self._line.draw(self._text(self._last), "\n")

    def _text(self, at: SearchProgress) -> str:
        seconds = max(self._line.clock() - self._start_time, 1e-9)
        left = seconds * (at.expected - at.steps) / max(1, at.steps)
        parts = [
            "learning-rate search",
            f"{at.steps:,}/{at.expected:,} steps",
            f"{at.rates} values",
            "" if at.best is None else f"best so far {number(at.best)} (val loss {number(at.loss)})",
            f"{duration(left)} left" if left else duration(seconds),
        ]
        return _fit(parts, (parts[2], parts[0]), self._line.width)


class StageDisplay:
    """Shows work in stages, such as an analysis or the surfaces of a film; only in a terminal.

    Args:
        what: is done.
        stream, clock: as in `Line`.
    """

    def __init__(self, what: str, stream: TextIO | None = None, clock: Callable[[], float] = time.perf_counter) -> None:
        self._what, self._line, self._start_time = what, Line(stream, clock), clock()
        self._has_drawn = False

    def __call__(self, stage: str, count: int, total: int) -> None:
        """Takes a stage's name, and how much of how much is done."""
        if self._line.is_due():
            share = f"{count:,}/{total:,}" if total else ""
            seconds = duration(max(self._line.clock() - self._start_time, 1e-9))
            self._line.draw(_fit([self._what, stage, share, seconds], (), self._line.width))
            self._has_drawn = True

    def __enter__(self) -> "StageDisplay":
        return self

    def __exit__(self, *error: object) -> None:
        """Clears the live line."""
        if self._has_drawn:
            self._line.draw("")


def _fit(parts: Sequence[str], optional: Sequence[str], width: int) -> str:
    """Parts on one line; the optional ones are left out, in their order, while it is too long."""
    rest = [part for part in parts if part]
    for part in optional:
        if len(SEPARATOR.join(rest)) >= width:
            rest.remove(part)
    return SEPARATOR.join(rest)
