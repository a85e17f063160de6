"""A training step on digits: ours, the minimal loop, a usual one, and other frameworks.

`sd.fit` is timed as it is: the trainer with descent, store and progress, on a descent that has taken its first `WARM`
steps. So the writing thread, stored points, the final checkpoint and the closing of the store are counted; the seconds
in `Descent.measure` are subtracted. `python -m benchmarks step --against DIR` compares this checkout with another one.
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

from benchmarks.report import ABSENT, check, table
from benchmarks.speed import against, frameworks
from benchmarks.speed.frameworks import BATCH, RATE, WARM
from benchmarks.speed.loops import bare, minimal, plain
from benchmarks.timing import medians
from steepest.descent.loop import Descent
from steepest.descent.settings import resolve
from steepest.records.run import Step
from steepest.runs.config import make_config
from steepest.runs.store import Store, Writer, versions
from steepest.runs.trainer import Trainer
from steepest.tasks.digits import network, task
from steepest.tasks.task import Task
from steepest.view.terminal import Progress

TITLE = "A training step on digits, batches of 64"

STEPS = 2000
FEWER_STEPS = 500
"""Of the other frameworks, which are slower."""
ROUNDS = 9
LIMIT = 1.15
"""Of ours, times the minimal loop."""

BARE = "forward and backward only"
MINIMAL = "minimal loop (index, fused AdamW on weights in one vector)"
FIT = "sd.fit without its guard: descent, store, progress"
FIT_GUARD = "sd.fit with its guard and snapshots"
GUARD_LIMIT = 1.03
"""Of `sd.fit`, times the same without its guard."""
OWN = ("sd.descend, every step to the store", FIT)
FRAMEWORKS = {
    "Lightning": ("lightning", frameworks.lightning),
    "Hugging Face Trainer": ("transformers", frameworks.transformers),
    "skorch": ("skorch", frameworks.skorch),
}


main = against.main


def measure() -> list[str]:
    """Lines of the report."""
    digits = task()
    x, y = digits.data
    contenders: dict[str, Callable[[], float]] = {
        BARE: lambda: _per_step(bare(network(0), x, y, BATCH)),
        MINIMAL: lambda: _per_step(minimal(network(0), x, y, BATCH)),
        OWN[0]: lambda: _descent_and_store(digits),
        FIT: lambda: _fit(digits, guard=False),
        FIT_GUARD: lambda: _fit(digits, guard=True),
        "plain PyTorch (DataLoader, Adam, schedule, clip, log)": lambda: _per_step(plain(network(0), x, y, BATCH)),
    }
    available = {name: f for name, (package, f) in FRAMEWORKS.items() if importlib.util.find_spec(package)}
    for name, train in available.items():
        contenders[name] = lambda train=train: train(network(0), x, y, FEWER_STEPS)
    times = medians({name: _after_collection(call) for name, call in contenders.items()}, ROUNDS)
    rows = [_row(name, seconds, times) for name, seconds in times.items()]
    rows += [[name, ABSENT, "", "", "", ""] for name in FRAMEWORKS if name not in available]
    how = (
        f"Time from the end of step {WARM} to the end ÷ steps, of whole trainings ({STEPS:,} steps; frameworks "
        f"{FEWER_STEPS}) that take turns, {ROUNDS} of each. `sd.fit` includes store, points and progress, without "
        "evaluation and the check at the end; of the frameworks only the steps are counted."
    )
    header = ("a step of", "µs", "÷ forward and backward", "÷ minimal loop", "target", "met")
    return [how, "", *table(header, rows)]


def _row(name: str, seconds: float, times: dict[str, float]) -> list[str]:
    ratio = seconds / times[MINIMAL]
    target = [f"≤ {LIMIT} × minimal loop", check(ratio, LIMIT)] if name in OWN else ["", ""]
    if name == FIT_GUARD:
        guard = seconds / times[FIT]
        target = [f"{guard:.3f} × without guard, ≤ {GUARD_LIMIT}", check(guard, GUARD_LIMIT)]
    return [name, f"{1e6 * seconds:,.0f}", f"{seconds / times[BARE]:.2f}", f"{ratio:.2f}", *target]


def _after_collection(call: Callable[[], float]) -> Callable[[], float]:
    """A contender that does not pay for the garbage of those before it."""

    def measure() -> float:
        gc.collect()
        return call()

    return measure


def _per_step(loop: Iterator[None]) -> float:
    for _ in islice(loop, WARM):
        pass
    start = time.perf_counter()
    for _ in islice(loop, STEPS):
        pass
    return (time.perf_counter() - start) / STEPS


def _descent_and_store(digits: Task) -> float:
    """A user's loop that records every step."""
    with _begin(digits, guard=False) as (descent, writer):
        for _ in range(WARM):
            writer.step(descent.step())
        start = time.perf_counter()
        for step in descent:
            writer.step(step)
        writer.close("done", 0.0)
        return (time.perf_counter() - start) / STEPS


def _fit(digits: Task, guard: bool) -> float:
    """What `sd.fit` does after its first steps, without evaluation."""
    with _begin(digits, guard) as (descent, writer):
        progress = Progress(descent.steps, "accuracy", io.StringIO())
        training = Trainer(descent, writer, progress, make_config(digits, descent, locate=False))
        for _ in range(WARM):
            step: Step = descent.step()
            writer.step(step)
            progress.step(step)
        evaluation = _Stopwatch(descent.measure)
        descent.measure = evaluation
        start = time.perf_counter()
        training.run()
        return (time.perf_counter() - start - evaluation.seconds) / STEPS


@contextmanager
def _begin(digits: Task, guard: bool) -> Iterator[tuple[Descent, Writer]]:
    """A descent before its first step, and a store for it."""
    settings = resolve(digits, rule="adamw", lr=RATE, clip=1.0, steps=WARM + STEPS, batch_size=BATCH, guard=guard)
    with tempfile.TemporaryDirectory() as folder:
        yield Descent(digits, settings, digits.build(0)), Store(folder).begin("bench", {}, versions(), 0)


class _Stopwatch:
    """A function that sums the seconds spent in it."""

    def __init__(self, function: Callable) -> None:
        self.function, self.seconds = function, 0.0

    def __call__(self, *arguments: Any) -> Any:
        start = time.perf_counter()
        try:
            return self.function(*arguments)
        finally:
            self.seconds += time.perf_counter() - start
