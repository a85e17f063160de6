"""Runs and searches in the terminal: one live line while they go, a few plain lines where there is no terminal."""

import os
import shutil
import sys
import time
from collections.abc import Callable
from typing import TextIO

from steepest.records.run import Event, Measurement, Step
from steepest.records.search import SearchProgress
from steepest.view.format import duration, number, sparkline

REDRAW_S = 0.2
CURVE = 512
"""Points of the loss curve that are kept; when there are twice as many, neighbours are joined."""
PLAIN_LINES = 20


class Line:
    """A line that is redrawn in its place, at most five times a second.

    Attributes:
        is_live: whether there is a terminal to redraw it in.
        clock: seconds.

    Args:
        stream: where to write; standard error by default.
        clock: seconds; for tests.
    """

    def __init__(self, stream: TextIO | None, clock: Callable[[], float]) -> None:
        self._stream = sys.stderr if stream is None else stream
        self.is_live = self._stream.isatty() and os.environ.get("TERM") != "dumb"
        self.clock, self._drawn, self._closed = clock, 0.0, False

    @property
    def width(self) -> int:
        """Of the terminal, in characters."""
        return shutil.get_terminal_size().columns if self.is_live else 120

    def is_due(self) -> bool:
        """Whether it is to be drawn now."""
        if not self.is_live:
            return False
        now = self.clock()
        if now - self._drawn < REDRAW_S:
            return False
        self._drawn = now
        return True

    def draw(self, words: str, end: str = "") -> None:
        """In place of what stood there."""
        self._write("\r" + words[: max(1, self.width - 1)] + "\x1b[K" + end)

    def say(self, words: str) -> None:
        """A line of its own, above the live one."""
        self._write(("\r\x1b[K" if self.is_live else "") + words + "\n")

    def _write(self, text: str) -> None:
        if self._closed:
            return
        try:
            self._stream.write(text)
            self._stream.flush()
        except (BrokenPipeError, ValueError):  # nobody reads any more
            self.is_live, self._closed = False, True


class Progress:
    """Shows a run as it trains; at most five redraws a second, and none of them on most steps.

    Args:
        steps: of the whole run.
        metric: name of the validation metric to show.
        stream: where to write.
        clock: seconds; for tests.
        done: steps that were done before, by a run that goes on.
    """

    def __init__(
        self,
        steps: int,
        metric: str = "loss",
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.perf_counter,
        done: int = 0,
    ) -> None:
        self.steps, self.metric, self._before = steps, metric, done
        self._line, self._began = Line(stream, clock), clock()
        self._printed, self._since = 0, 0
        self._curve: list[float] = []
        self._stride, self._peak = 1, float("-inf")
        self._measured: Measurement | None = None
        self._every = max(1, steps // 200)
        self._last: Step | None = None
        self._clipped = 0

    def step(self, step: Step) -> None:
        """Takes a step; draws when it is time."""
        self._last = step
        loss = step.loss
        if not loss <= self._peak:  # a NaN is a peak
            self._peak = loss
        self._since += 1
        if self._since >= self._stride:
            self._keep()
        if self._line.is_due():
            self._line.draw(self._told(step))

    def measure(self, m: Measurement) -> None:
        """Takes a measurement; without a terminal, a line for some of them."""
        if m.split != "validation" or m.name != self.metric:
            return
        self._measured = m
        due = self._printed == 0 or m.t >= self.steps or m.t >= self.steps * self._printed / PLAIN_LINES
        if not self._line.is_live and self._last is not None and due:
            self._printed = 1 + PLAIN_LINES * m.t // self.steps
            self._line.say(self._told(self._last))

    def event(self, event: Event) -> None:
        """Says what happened and what was done; of many clipped gradients only how many there were."""
        if event.kind == "clip":
            self._clipped += 1
            if self._clipped & (self._clipped - 1):  # the 1st, 2nd, 4th, 8th, ... is told
                return
            times = f" (the {self._clipped}th)" if self._clipped > 3 else ""
            self.say(f"step {event.t}: {event.kind}{times}: {event.seen}; {event.done}")
            return
        self.say(f"step {event.t}: {event.kind}: {event.seen}; {event.done}")

    def say(self, words: str) -> None:
        """A line of its own, above the live one."""
        self._line.say(words)

    def stop(self) -> None:
        """The last state, and the end of the live line."""
        if self._line.is_live and self._last is not None:
            self._line.draw(self._told(self._last), "\n")

    def _keep(self) -> None:
        self._curve.append(self._peak)
        self._since, self._peak = 0, float("-inf")
        if len(self._curve) >= 2 * CURVE:
            pairs = zip(self._curve[::2], self._curve[1::2], strict=True)
            self._curve = [b if not b <= a else a for a, b in pairs]
            self._stride *= 2

    def _told(self, step: Step) -> str:
        """Everything on one line, what matters most first."""
        spent = max(self._line.clock() - self._began, 1e-9)
        speed = (step.t - self._before) / spent
        left = (self.steps - step.t) / max(speed, 1e-9)
        parts = [f"{step.t}/{self.steps}", f"loss {number(step.loss)}"]
        if self._line.width >= 60:
            parts[1] += f" {sparkline(self._curve, 20)}"
        if self._measured is not None:
            parts.append(f"{self._measured.name} {number(self._measured.value)}")
        parts += [f"lr {number(step.lr)}", f"{speed:.0f} steps/s"]
        parts.append(f"{duration(left)} left" if step.t < self.steps else duration(spent))
        return "  ".join(parts)


class SearchDisplay:
    """Shows a search for a learning rate; without a terminal, a line whenever a set of short runs has ended.

    Args:
        stream, clock: as in `Line`.
    """

    def __init__(self, stream: TextIO | None = None, clock: Callable[[], float] = time.perf_counter) -> None:
        self._line, self._began = Line(stream, clock), clock()
        self._last: SearchProgress | None = None

    def __call__(self, at: SearchProgress) -> None:
        """Takes how far it is; draws when it is time."""
        self._last = at
        if self._line.is_due():
            self._line.draw(self._told(at))
        elif at.is_rung and not self._line.is_live:
            self._line.say(self._told(at))

    def __enter__(self) -> "SearchDisplay":
        return self

    def __exit__(self, *how: object) -> None:
        """The last state, and the end of the live line."""
        if self._line.is_live and self._last is not None:
            self._line.draw(self._told(self._last), "\n")

    def _told(self, at: SearchProgress) -> str:
        spent = max(self._line.clock() - self._began, 1e-9)
        parts = [f"finding the rate {at.steps}/{at.expected}", f"{at.rates} tried"]
        if at.best is not None:
            parts.append(f"best {number(at.best)}, loss {number(at.loss)}")
        left = spent * (at.expected - at.steps) / max(1, at.steps)
        return "  ".join([*parts, f"{duration(left)} left" if left else duration(spent)])
