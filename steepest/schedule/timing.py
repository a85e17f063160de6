"""Where the parts of a schedule lie in a run.

Boundaries are added up exactly, in fractions of a step, and only then rounded up to whole steps. So shares that make
100% fill a run of any length, a warmup at its beginning has at least one step, and a later part of a very short run
may have none: it is then left out.
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple, Protocol

from steepest.errors import ScheduleError
from steepest.schedule.lengths import Extent, Length


@dataclass(frozen=True)
class Span:
    """A stretch of a run: its exact beginning and end, and the run it lies in.

    Attributes:
        begin: exact steps of the run before it.
        end: exact steps of the run up to its end.
        T: steps of the whole run.
        steps_per_epoch: steps of one epoch.

    >>> span = Span(Fraction(3, 2), Fraction(30), T=30, steps_per_epoch=10)
    >>> span.start, span.n, span.steps("10%")
    (2, 28, 3)
    """

    begin: Fraction
    end: Fraction
    T: int
    steps_per_epoch: int

    @property
    def start(self) -> int:
        """Whole steps before it: its local step s is step start + s of the run."""
        return math.ceil(self.begin)

    @property
    def n(self) -> int:
        """Whole steps in it: s = 1 … n."""
        return math.ceil(self.end) - self.start

    def steps(self, length: Extent) -> int:
        """A length in whole steps, in this run."""
        return Length.parse(length).resolve(self.T, self.steps_per_epoch)

    def until(self, end: Fraction) -> "Span":
        """The stretch from the same beginning to another end."""
        return Span(self.begin, end, self.T, self.steps_per_epoch)


class Controller(Protocol):
    """What needs to see the losses, and remembers."""

    def observe(self, loss: float) -> None: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class Watch(NamedTuple):
    """A controller and the stretch in which it is the active part."""

    span: Span
    controller: Controller


class Curve(NamedTuple):
    """A schedule laid on a span: its factor at local step s = 1 … n, and what in it must see the losses."""

    factor: Callable[[int], float]
    watches: tuple[Watch, ...] = ()


class Timed(Protocol):
    """What can be laid on a span: a part, a sequence or a product."""

    @property
    def pieces(self) -> Sequence["Timed"]: ...

    def extent(self, T: int, steps_per_epoch: int) -> Fraction | None: ...

    def over(self, span: Span) -> Curve: ...


def lay(parts: Sequence[Timed], span: Span) -> list[Span]:
    """Gives each part of a sequence its stretch of the span, exactly and in order.

    A part without a length takes what the others leave; of these there is at most one.

    Raises:
        ScheduleError: if a part ends after the span does.
    """
    extents = [part.extent(span.T, span.steps_per_epoch) for part in parts]
    rest = max(Fraction(0), span.end - span.begin - sum(extent for extent in extents if extent is not None))
    spans, begin = [], span.begin
    for index, extent in enumerate(extents):
        end = begin + (rest if extent is None else extent)
        if end > span.end:
            raise _too_long(parts, index, end - begin, span.end - begin, span.T)
        spans.append(Span(begin, end, span.T, span.steps_per_epoch))
        begin = end
    return spans


def _too_long(parts: Sequence[Timed], index: int, asked: Fraction, left: Fraction, T: int) -> ScheduleError:
    text = " >> ".join(str(part) for part in parts)
    position = len("".join(f"{part} >> " for part in parts[:index]))
    problem = (
        f"{parts[index]} lasts {float(asked):.10g} steps, but only {float(left):.10g} of the run's {T} are left "
        "for it; shorten it, train longer, or give it a share of the run, such as 5%"
    )
    return ScheduleError(text, position, problem)


def sequence(parts: Sequence[Timed], span: Span) -> Curve:
    """The parts one after another on a span; past the last one its last value is held.

    Each part counts its own steps from 1.
    """
    spans = lay(parts, span)
    if not any(own.n for own in spans):  # all of it within one step: the first part has that step
        spans[0] = spans[0].until(spans[0].begin + 1)
    live = [(part, own) for part, own in zip(parts, spans) if own.n]
    curves = [part.over(own) for part, own in live]
    watches = tuple(watch for curve in curves for watch in curve.watches)
    if len(live) == 1 and live[0][1].n == span.n:
        return curves[0]
    starts = [own.start - span.start for _, own in live]
    return Curve(_joined([curve.factor for curve in curves], starts, live[-1][1].n), watches)


def _joined(factors: list[Callable[[int], float]], starts: list[int], last: int) -> Callable[[int], float]:
    end = starts[-1] + last

    def factor(s: int) -> float:
        s = min(s, end)
        active = bisect_left(starts, s) - 1  # the last part with start < s
        return factors[active](s - starts[active])

    return factor
