"""One run of a problem, by a method, with or without a fault; and a folder where the outcomes of many are kept.

Methods are what people do about a loss that explodes. All train by our loop, from the same start, on the same batches:

- plain loop: whatever the gradient is, the step is taken.
- no guard: our loop without its guard; a step whose gradient is not finite is skipped.
- clip 1.0: the same, and gradients longer than 1 are shortened.
- Lightning: the plain loop with Lightning's own `SpikeDetection` at its defaults, fed after each step as its trainer
  feeds it. It raises: the run ends there, and the weights are those of that moment.
- skip-step: the rule of OLMo-core's `SkipStepOptimizer`, which leaves out steps that are outliers. What a step did to
  buffers is undone too, which theirs does not do.
- guard, late: as on a device that nobody waits for: the guard reads up to 16 steps at once.
- guard: our loop with its guard. Snapshots are taken every 50 steps, which is what a run of this size chooses, so that
  nothing depends on the stopwatch.
"""

import argparse
import json
import math
import os
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch

import steepest as sd
from benchmarks.problems.problems import Problem
from steepest.descent import async_loop
from steepest.descent.loop import Descent
from steepest.records.run import STAGE, Step

OFF: dict[str, Any] = {"guard": False}
GUARDED: dict[str, Any] = {"guard": sd.Guard(snapshot_every=50)}


class Stopped(Exception):
    """A method gives the run up."""


class Fault(Protocol):
    """What goes wrong with a run."""

    def begin(self, descent: Descent, seed: int) -> None:
        """Called before the first step."""

    def after(self, step: Step) -> None:
        """Called after each step that was executed."""


class Nothing:
    """No fault: a healthy run."""

    def begin(self, descent: Descent, seed: int) -> None:
        return

    def after(self, step: Step) -> None:
        return


class Seen(NamedTuple):
    """An event of the guard.

    Attributes:
        executed: steps executed until then, replayed ones counted.
        t: the step it happened at.
        kind: of event.
    """

    executed: int
    t: int
    kind: str


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        loss: validation loss at the end; infinite where it is not finite.
        executed: steps, replayed ones counted.
        t: the last step.
        stopped: whether the method gave up before the end.
        events: of the guard; skipped steps too.
        losses: by step t; where one was replayed, the last.
        reached: by step t the count of executed steps when it was first done.
    """

    loss: float
    executed: int
    t: int
    stopped: bool
    events: list[Seen]
    losses: dict[int, float]
    reached: dict[int, int]


def run(problem: Problem, method: str, seed: int, fault: Fault | None = None) -> Outcome:
    """Trains a problem to its end, or to where the method gives up."""
    fault, chosen = fault or Nothing(), METHODS[method]
    descent = problem.descent(seed, **chosen.settings)
    look = chosen.begin(descent)
    fault.begin(descent, seed)
    events: list[Seen] = []
    losses: dict[int, float] = {}
    reached: dict[int, int] = {}
    executed, stopped = 0, False
    try:
        for step in chosen.steps(descent):
            executed += 1
            losses[step.t] = step.loss
            reached.setdefault(step.t, executed)
            if step.event is not None and step.event.kind != STAGE:  # which is the rule's, not the guard's
                events.append(Seen(executed, step.event.t, step.event.kind))
            look(step)
            fault.after(step)
    except Stopped:
        stopped = True
    loss = descent.measure()["loss"]
    loss = loss if math.isfinite(loss) else math.inf
    return Outcome(loss, executed, descent.t, stopped, events, losses, reached)


# -- Methods -----------------------------------------------------------------------------------------------------------

Look = Callable[[Step], None]


@dataclass(frozen=True)
class Method:
    """How a descent is run.

    Attributes:
        begin: puts things around it; gives what looks at every step.
        settings: of the descent.
        steps: its steps.
    """

    begin: Callable[[Descent], Look]
    settings: Mapping[str, Any] = field(default_factory=lambda: OFF)
    steps: Callable[[Descent], Iterable[Step]] = iter


class Around:
    """Something of a descent's, with a part of it done otherwise."""

    def __init__(self, own: Any) -> None:
        self.own = own

    def __getattr__(self, name: str) -> Any:
        return getattr(self.own, name)


def _as_it_is(descent: Descent) -> Look:
    return lambda step: None


class _Taken(Around):
    """An update whose norm is always finite, so that no step is skipped."""

    def norm(self) -> float:
        norm = self.own.norm()
        return norm if math.isfinite(norm) else 0.0


def _plain(descent: Descent) -> Look:
    descent.update = _Taken(descent.update)
    return lambda step: None


class _NoFabric:
    """As much of a Fabric as the detection asks for: one process, on the CPU."""

    global_rank = 0
    root_device = torch.device("cpu")

    @property
    def strategy(self) -> "_NoFabric":
        return self

    def barrier(self) -> None:
        return

    def reduce_boolean_decision(self, decision: bool, all: bool) -> bool:
        return decision


def _lightning(descent: Descent) -> Look:
    from lightning.fabric.utilities.spike import SpikeDetection, TrainingSpikeException

    look, fabric = _plain(descent), _NoFabric()
    folder = tempfile.TemporaryDirectory()
    detection = SpikeDetection(exclude_batches_path=folder.name)

    def after(step: Step) -> None:
        look(step)
        try:
            detection.on_train_batch_end(fabric, torch.tensor(step.loss), None, step.t - 1)  # type: ignore
        except TrainingSpikeException as spike:
            folder.cleanup()
            raise Stopped from spike

    return after


class SkipStep:
    """OLMo-core's rule, at its defaults: a step is left out where its loss or norm is 6 deviations from the mean.

    Mean and deviation are those of the last 128 steps, whether they were taken or not; from the 64th step on.
    """

    WINDOW, SIGMAS = 128, 6.0

    def __init__(self) -> None:
        self.losses: deque[float] = deque(maxlen=self.WINDOW + 1)
        self.norms: deque[float] = deque(maxlen=self.WINDOW + 1)

    def takes(self, loss: float, norm: float) -> bool:
        """Whether the step is taken."""
        self.losses.append(loss)
        self.norms.append(norm)
        if len(self.losses) < self.WINDOW // 2:
            return True
        return self._usual(self.losses) and self._usual(self.norms)

    def _usual(self, values: deque[float]) -> bool:
        *before, last = values
        with np.errstate(all="ignore"):
            return bool(abs(last - np.mean(before)) / np.std(before, ddof=1) <= self.SIGMAS)


class _Heard(Around):
    """An objective that remembers the last loss."""

    last = math.nan

    def gradient(self, *arguments: Any) -> float:
        self.last = self.own.gradient(*arguments)
        return self.last


class _Skipping(Around):
    """An update whose norm is NaN where the rule leaves the step out, so that the loop skips it."""

    def __init__(self, own: Any, objective: _Heard) -> None:
        super().__init__(own)
        self.objective, self.rule = objective, SkipStep()

    def norm(self) -> float:
        norm = self.own.norm()
        return norm if self.rule.takes(self.objective.last, norm) else math.nan


def _skip_step(descent: Descent) -> Look:
    heard = _Heard(descent.objective)
    descent.objective = heard
    descent.update = _Skipping(descent.update, heard)
    return lambda step: None


METHODS = {
    "plain loop": Method(_plain),
    "no guard": Method(_as_it_is),
    "clip 1.0": Method(_as_it_is, {"clip": 1.0, **OFF}),
    "Lightning": Method(_lightning),
    "skip-step": Method(_skip_step),
    "guard": Method(_as_it_is, GUARDED),
    "guard, late": Method(_as_it_is, GUARDED, async_loop.steps),
}


# -- Outcomes in a folder ----------------------------------------------------------------------------------------------


class Kept:
    """Outcomes as JSON lines in a folder; every process writes a file of its own, and reads all of them.

    Args:
        folder: where they are.
        key: names of the entries that say which trial it is.
    """

    def __init__(self, folder: Path, *key: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self._key = folder, key
        self._file = folder / f"{time.time_ns()}-{os.getpid()}.jsonl"
        self._known = {self._which(found) for found in self}

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for path in sorted(self.folder.glob("*.jsonl")):
            *lines, _ = path.read_text().split("\n")  # what follows the last newline was cut off
            yield from map(json.loads, lines)

    def add(self, trial: Mapping[str, Any], done: Callable[[], Mapping[str, Any]]) -> None:
        """Does a trial and keeps its outcome, unless that is there."""
        if self._which(trial) in self._known:
            return
        began = time.perf_counter()
        line = json.dumps({**trial, **done(), "seconds": round(time.perf_counter() - began, 3)})
        self._known.add(self._which(trial))
        with self._file.open("a") as file:
            file.write(line + "\n")

    def _which(self, found: Mapping[str, Any]) -> tuple[Any, ...]:
        return tuple(found[name] for name in self._key)


# -- The command line of a laboratory ----------------------------------------------------------------------------------


def parser(words: str | None) -> argparse.ArgumentParser:
    """What laboratories are told: which problems and seeds, and where the outcomes are."""
    made = argparse.ArgumentParser(description=words, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--problems", nargs="*", default=[])
    made.add_argument("--seeds", nargs="*", type=int, help="by default as many as the report has")
    made.add_argument("--out", type=Path, help="folder of outcomes; by default a new temporary one")
    made.add_argument("--report", type=Path, help="only print what is in this folder")
    made.add_argument("--details", action="store_true", help="single runs too")
    made.add_argument("--write", action="store_true", help="put the table into REPORT.md")
    return made


def kept(given: argparse.Namespace, key: Sequence[str]) -> Kept:
    """The outcomes that a command line names; says where they are."""
    torch.set_num_threads(1)
    found = Kept(given.report or given.out or Path(tempfile.mkdtemp(prefix="outcomes-")), *key)
    if given.report is None:
        print(f"outcomes in {found.folder}")
    return found


def told(given: argparse.Namespace, section: str, text: Sequence[str], outcomes: Kept) -> None:
    """Prints the lines, and writes them into the report where that is asked for."""
    print("\n".join(text))
    if given.write:
        from benchmarks.__main__ import write

        write(section, text, sum(outcome["seconds"] for outcome in outcomes))
