"""The attempts of a run: steps taken, of which a rewind undoes some."""

from collections.abc import Mapping

from steepest.view.film.schema import Attempt


def split(count: int, back: Mapping[int, int]) -> tuple[Attempt, ...]:
    """Spans of steps taken that were kept or undone, one after another; cut at each rewind too.

    Args:
        count: steps taken.
        back: for each rewind, the number of steps taken then and at the step that it went back to.

    >>> [(a.first, a.last, a.is_kept) for a in split(60, {30: 20})]
    [(0, 20, True), (20, 30, False), (30, 60, True)]
    """
    intact: list[tuple[int, int]] = []
    begin = 0
    for at in sorted(t for t in back if 0 < t <= count):
        intact.append((begin, at))
        intact = [(a, min(b, back[at])) for a, b in intact if a < back[at]]
        begin = at
    intact.append((begin, count))
    bounds = sorted({0, count, *(t for t in back if 0 < t < count), *(t for span in intact for t in span)})
    return tuple(
        Attempt(a, b, any(first <= a and b <= last for first, last in intact)) for a, b in zip(bounds, bounds[1:])
    )


def final_length(attempts: tuple[Attempt, ...]) -> int:
    """The number of steps that were kept."""
    return sum(a.last - a.first for a in attempts if a.is_kept)


def own_step(t: int, back: Mapping[int, int]) -> int:
    """The run's own step at a number of steps taken: after a rewind it counts from the step that it went back to.

    >>> own_step(30, {30: 20}), own_step(31, {30: 20})
    (30, 21)
    """
    before = max((at for at in back if at < t), default=None)
    return t if before is None else own_step(back[before], {k: v for k, v in back.items() if k < before}) + t - before
