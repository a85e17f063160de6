"""Medians of things that take turns, so that a noisy machine is noisy for all of them."""

import statistics
import time
from collections.abc import Callable, Mapping

Call = Callable[[], object]


def medians(sides: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """The median of what each side's calls return; in each round every side is called once."""
    found: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, measured in sides.items():
            found[name].append(measured())
    return {name: statistics.median(values) for name, values in found.items()}


def seconds(sides: Mapping[str, Call], rounds: int, before: Mapping[str, Call] | None = None) -> dict[str, float]:
    """Seconds that a call of each side takes, the first one left out.

    Args:
        sides: what is timed.
        rounds: timed calls of each.
        before: by the sides' names what is done before each of their calls, untimed; it decides what the caches hold.
    """
    clocked = {name: _clocked(call, (before or {}).get(name)) for name, call in sides.items()}
    medians(clocked, 1)
    return medians(clocked, rounds)


def _clocked(call: Call, before: Call | None) -> Callable[[], float]:
    def measured() -> float:
        if before is not None:
            before()
        began = time.perf_counter()
        call()
        return time.perf_counter() - began

    return measured
