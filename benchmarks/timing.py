"""Times of contenders that take turns, so that a noisy machine is noisy for all of them."""

import statistics
import time
from collections.abc import Callable, Mapping

Call = Callable[[], object]


def samples(contenders: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """What each contender's calls return; in each round every contender is called once."""
    values: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, measure in contenders.items():
            values[name].append(measure())
    return values


def medians(contenders: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """The median of what each contender's calls return."""
    return {name: statistics.median(values) for name, values in samples(contenders, rounds).items()}


def seconds(contenders: Mapping[str, Call], rounds: int, before: Mapping[str, Call] | None = None) -> dict[str, float]:
    """Median time of a call of each contender, in seconds, without the first one.

    Args:
        contenders: what is timed.
        rounds: timed calls of each.
        before: by contender, an untimed call before each of its calls; it decides what the caches hold.
    """
    clocks = {name: clock(call, (before or {}).get(name)) for name, call in contenders.items()}
    samples(clocks, 1)
    return medians(clocks, rounds)


def clock(call: Call, before: Call | None = None) -> Callable[[], float]:
    """A function that makes a call and returns how many seconds it took; `before` is called first, untimed."""

    def measure() -> float:
        if before is not None:
            before()
        start = time.perf_counter()
        call()
        return time.perf_counter() - start

    return measure
