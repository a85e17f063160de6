"""A training step on digits, batches of 64: ours, the least loop there is, a plain one, and other frameworks.

A side is a whole short training, in which the time from the end of step `WARM` to the end of the last step is divided
by the steps between; sides take turns by trainings. Of `sd.fit` it is the real thing that is timed: `training.Training`
with descent, store and progress, on a descent that has taken its first `WARM` steps. So the thread that writes, the
points on the way and at the end, the checkpoint at the end, and the closing of the store are all counted; with the
guard its snapshots too. Evaluation is not: the seconds spent in `Descent.measure` are summed and subtracted. Of the
other frameworks only the steps are counted, not what they do at the end.
"""

import gc
import importlib.util
import io
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

from benchmarks.report import MISSING, met, table
from benchmarks.speed import frameworks
from benchmarks.speed.frameworks import BATCH, RATE, WARM
from benchmarks.speed.loops import bare, least, plain
from benchmarks.speed.timing import medians
from steepest.descent.loop import Descent
from steepest.descent.settings import resolve
from steepest.records.run import Step
from steepest.runs.config import Request, make_config
from steepest.runs.store import Store, Writer, versions
from steepest.runs.trainer import Trainer
from steepest.tasks.digits import network, task
from steepest.tasks.task import Task
from steepest.view.terminal import Progress

TITLE = "A training step on digits, batches of 64"

STEPS = 2000
FEWER_STEPS = 500
"""Of the frameworks, which are slower."""
ROUNDS = 9
LIMIT = 1.15
"""Times the least loop, for ours."""

LEAST = "least loop (index, fused AdamW on flat weights)"
FIT = "sd.fit without its guard: descent, store, progress"
GUARDED = "sd.fit as it is, guard and snapshots too"
GUARD_LIMIT = 1.03
"""Times `sd.fit` without its guard."""
OWN = ("sd.descend, every step to the store", FIT)
FRAMEWORKS = {
    "Lightning": ("lightning", frameworks.lightning),
    "Hugging Face Trainer": ("transformers", frameworks.transformers),
    "skorch": ("skorch", frameworks.skorch),
}


def measure() -> list[str]:
    """Lines of the report."""
    digits = task()
    x, y = digits.data
    sides: dict[str, Callable[[], float]] = {
        "forward and backward alone": lambda: _per_step(bare(network(0), x, y, BATCH)),
        LEAST: lambda: _per_step(least(network(0), x, y, BATCH)),
        OWN[0]: lambda: _descent_and_store(digits),
        FIT: lambda: _fit(digits, guard=False),
        GUARDED: lambda: _fit(digits, guard=True),
        "plain PyTorch (DataLoader, Adam, schedule, clip, log)": lambda: _per_step(plain(network(0), x, y, BATCH)),
    }
    installed = {name: f for name, (package, f) in FRAMEWORKS.items() if importlib.util.find_spec(package)}
    for name, trained in installed.items():
        sides[name] = lambda trained=trained: trained(network(0), x, y, FEWER_STEPS)
    found = medians({name: _after_collection(side) for name, side in sides.items()}, ROUNDS)
    rows = [_row(name, seconds, found) for name, seconds in found.items()]
    rows += [[name, MISSING, "", "", "", ""] for name in FRAMEWORKS if name not in installed]
    how = (
        f"Time from the end of step {WARM} to the end ÷ steps, of whole trainings ({STEPS:,} steps; of the frameworks "
        f"{FEWER_STEPS}) that take turns, {ROUNDS} of each. Of `sd.fit` store, points and progress lines are counted, "
        "evaluation and the look at the end are not; of the frameworks the steps alone."
    )
    header = ("a step of", "µs", "÷ forward and backward", "÷ least loop", "target", "met")
    return [how, "", *table(header, rows)]


def _row(name: str, seconds: float, found: dict[str, float]) -> list[str]:
    base, floor = found["forward and backward alone"], found[LEAST]
    ratio = seconds / floor
    target = [f"≤ {LIMIT} × least loop", met(ratio, LIMIT)] if name in OWN else ["", ""]
    if name == GUARDED:
        guard = seconds / found[FIT]
        target = [f"{guard:.3f} × without, ≤ {GUARD_LIMIT}", met(guard, GUARD_LIMIT)]
    return [name, f"{1e6 * seconds:,.0f}", f"{seconds / base:.2f}", f"{ratio:.2f}", *target]


def _after_collection(side: Callable[[], float]) -> Callable[[], float]:
    """A side that does not pay for the garbage of those before it."""

    def measured() -> float:
        gc.collect()
        return side()

    return measured


def _per_step(loop: Iterator[None]) -> float:
    for _ in islice(loop, WARM):
        pass
    began = time.perf_counter()
    for _ in islice(loop, STEPS):
        pass
    return (time.perf_counter() - began) / STEPS


# -- Ours --------------------------------------------------------------------------------------------------------------


def _descent_and_store(digits: Task) -> float:
    """A `for` body of one's own that records every step."""
    with _begun(digits, guard=False) as (descent, writer):
        for _ in range(WARM):
            writer.step(descent.step())
        began = time.perf_counter()
        for step in descent:
            writer.step(step)
        writer.close("done", 0.0)
        return (time.perf_counter() - began) / STEPS


def _fit(digits: Task, guard: bool) -> float:
    """What `sd.fit` does after its first steps, but evaluation."""
    with _begun(digits, guard) as (descent, writer):
        progress = Progress(descent.steps, "accuracy", io.StringIO())
        training = Trainer(descent, writer, progress, make_config(digits, descent, Request(locate=False)))
        for _ in range(WARM):
            step: Step = descent.step()
            writer.step(step)
            progress.step(step)
        evaluation = _Summed(descent.measure)
        descent.measure = evaluation
        began = time.perf_counter()
        training.run()
        return (time.perf_counter() - began - evaluation.seconds) / STEPS


@contextmanager
def _begun(digits: Task, guard: bool) -> Iterator[tuple[Descent, Writer]]:
    """A descent before its first step, and a store for it."""
    settings = resolve(digits, rule="adamw", lr=RATE, clip=1.0, steps=WARM + STEPS, batch_size=BATCH, guard=guard)
    with tempfile.TemporaryDirectory() as folder:
        yield Descent(digits, settings, digits.build(0)), Store(folder).begin("bench", {}, versions(), 0)


class _Summed:
    """A function that sums the seconds spent in it."""

    def __init__(self, function: Callable) -> None:
        self.function, self.seconds = function, 0.0

    def __call__(self, *arguments: Any) -> Any:
        began = time.perf_counter()
        try:
            return self.function(*arguments)
        finally:
            self.seconds += time.perf_counter() - began
