"""What survives which fault: the guard, no guard, clipping, Lightning's spike detection, a skip-step rule.

Every fault begins when 40 % of the run are done. Rate, weights: something happens to the run at a moment, and a step
that is replayed later does not see it again (a lasting rate belongs to all later steps t). The rate is raised in the
schedule, where a guard that knows the schedule can see it, or beneath it, unseen: then only losses and gradients tell.
Data: some steps t have bad batches, and a step that is replayed has the same bad batch. All inputs are numbers (text is
one-hot vectors), so the same faults go everywhere; targets stay, but for shuffled labels.

A run survives where its validation loss at the end is at most that of the unfaulted run of the same seed without a
guard, plus 5 % of it or one standard deviation of that loss between seeds, whichever is more. A fault counts, problem
by problem and seed by seed, where one of the two unguarded runs (plain loop, no guard) ends worse than the unfaulted
one by more than that deviation.

    python -m benchmarks.guard.faults --problems dense-adam --seeds 0 1 2 --out DIR    # a part; adds to what is in DIR
    python -m benchmarks.guard.faults --report DIR [--details]                         # the table of what is in DIR
"""

import math
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.guard import trials
from benchmarks.guard.survivors import BEGIN, KEY, Lab, lines
from benchmarks.guard.trials import METHODS, Around, Fault, Kept, Nothing
from benchmarks.problems.problems import GROUPS, Problem, find
from steepest import seeds
from steepest.descent.loop import Descent
from steepest.records.run import Step

TITLE = "Faults, and who survives them"

LASTS = 50
"""Steps that a transient rate and shuffled labels last."""
SEEDS = (0, 1, 2)
SPREAD_SEEDS = range(5)
"""Of the unfaulted runs whose deviation is the spread."""


def _last_healthy(descent: Descent) -> int:
    return math.floor(BEGIN * descent.steps)


# -- Another rate -------------------------------------------------------------------------------------------


class _Raised(Around):
    """A bound schedule, raised where the fault says so."""

    def __init__(self, own: Any, factor: Callable[[int], float]) -> None:
        super().__init__(own)
        self._factor = factor

    def __call__(self, t: int) -> float:
        return self._factor(t) * self.own(t)


def _in_the_schedule(descent: Descent, factor: Callable[[int], float]) -> None:
    """The rate that the loop knows of is multiplied."""
    descent.schedule = _Raised(descent.schedule, factor)


class _Farther(Around):
    """An update at a rate that is not the one it is told."""

    def __init__(self, own: Any, factor: Callable[[], float]) -> None:
        super().__init__(own)
        self._factor = factor

    def advance(self, hypers: Mapping[str, Any], scale: float = 1.0) -> float:
        return self.own.advance({**hypers, "lr": self._factor() * hypers["lr"]}, scale)


def _unseen(descent: Descent, factor: Callable[[int], float]) -> None:
    """The steps are longer than the loop knows, as where the loss's curvature has grown: only numbers can tell."""
    descent.update = _Farther(descent.update, lambda: factor(descent.t + 1))


Place = Callable[[Descent, Callable[[int], float]], None]


class LastingRate:
    """The rate of all steps from a certain one on is multiplied."""

    def __init__(self, factor: float, place: Place = _in_the_schedule) -> None:
        self.factor, self.place = factor, place

    def begin(self, descent: Descent, seed: int) -> None:
        last = _last_healthy(descent)
        self.place(descent, lambda t: self.factor if t > last else 1.0)

    def after(self, step: Step) -> None:
        return


class StepLess:
    """One step is done at a rate of 0: no fault, and yet another run. What differs then is chance."""

    def begin(self, descent: Descent, seed: int) -> None:
        last = _last_healthy(descent)
        descent.schedule = _Raised(descent.schedule, lambda t: 0.0 if t == last + 1 else 1.0)

    def after(self, step: Step) -> None:
        return


class TransientRate:
    """The rate is multiplied for 50 steps as they are executed, whichever they are, and once only."""

    def __init__(self, factor: float, place: Place = _in_the_schedule) -> None:
        self.factor, self.place = factor, place

    def begin(self, descent: Descent, seed: int) -> None:
        self._last, self._left, self._on = _last_healthy(descent), LASTS, False
        self.place(descent, lambda t: self.factor if self._on else 1.0)

    def after(self, step: Step) -> None:
        if self._on:
            self._left -= 1
        self._on = self._left > 0 and (self._on or step.t >= self._last)


# -- Bad data ----------------------------------------------------------------------------------------------------------

Batch = tuple[Tensor, Tensor]


class _Corrupted(Around):
    """Batches, of which some are corrupted."""

    def __init__(self, own: Any, steps: range, change: Callable[[Batch, torch.Generator], Batch]) -> None:
        super().__init__(own)
        self._steps, self._change = steps, change

    def __call__(self, t: int) -> list[Any]:
        parts = self.own(t)
        if t not in self._steps:
            return parts
        return [self._change(part, seeds.generator(self.own.seed, "fault", t, i)) for i, part in enumerate(parts)]


@dataclass(frozen=True)
class Data:
    """Batches of some steps are changed."""

    change: Callable[[Batch, torch.Generator], Batch]
    steps: int = 1

    def begin(self, descent: Descent, seed: int) -> None:
        first = _last_healthy(descent) + 1
        descent.batches = _Corrupted(descent.batches, range(first, first + self.steps), self.change)

    def after(self, step: Step) -> None:
        return


def _scaled(batch: Batch, random: torch.Generator) -> Batch:
    return 1000 * batch[0], batch[1]


def _with(value: float) -> Callable[[Batch, torch.Generator], Batch]:
    """One number of one sample becomes this value."""

    def change(batch: Batch, random: torch.Generator) -> Batch:
        x = batch[0].clone()
        x.view(-1)[x.numel() // 2] = value
        return x, batch[1]

    return change


def _noise(batch: Batch, random: torch.Generator) -> Batch:
    x, y = batch
    return 30 * x.std() * torch.randn(x.shape, generator=random), y


def _shuffled(batch: Batch, random: torch.Generator) -> Batch:
    x, y = batch
    return x, y.flatten()[torch.randperm(y.numel(), generator=random)].view(y.shape)


# -- A broken weight ---------------------------------------------------------------------------------------------------


class BrokenWeight:
    """A weight of the last matrix becomes NaN between two steps, once."""

    def begin(self, descent: Descent, seed: int) -> None:
        self._descent, self._done = descent, False

    def after(self, step: Step) -> None:
        if self._done or step.t < _last_healthy(self._descent):
            return
        *_, weights = (p for p in self._descent.space.tensors() if p.dim() > 1)
        with torch.no_grad():
            weights.view(-1)[weights.numel() // 2] = math.nan
        self._done = True


FAULTS: dict[str, Callable[[], Fault]] = {
    "nothing": Nothing,
    "a step at rate 0": StepLess,
    "rate × 10, lasting": lambda: LastingRate(10),
    "rate × 10, 50 steps": lambda: TransientRate(10),
    "rate × 100, lasting": lambda: LastingRate(100),
    "rate × 100, 50 steps": lambda: TransientRate(100),
    "unseen rate × 10, lasting": lambda: LastingRate(10, _unseen),
    "unseen rate × 10, 50 steps": lambda: TransientRate(10, _unseen),
    "unseen rate × 100, lasting": lambda: LastingRate(100, _unseen),
    "unseen rate × 100, 50 steps": lambda: TransientRate(100, _unseen),
    "a batch × 1000": lambda: Data(_scaled),
    "NaN in a batch": lambda: Data(_with(math.nan)),
    "inf in a batch": lambda: Data(_with(math.inf)),
    "5 batches of noise": lambda: Data(_noise, 5),
    "labels shuffled, 50 steps": lambda: Data(_shuffled, LASTS),
    "a weight is NaN": BrokenWeight,
}


# -- Doing -------------------------------------------------------------------------------------------------------------


def work(
    kept: Kept, problems: Iterable[Problem], faults: Sequence[str], methods: Sequence[str], seeds: Sequence[int]
) -> None:
    """Does the trials that are not there yet, and the unfaulted runs that are needed beside them."""
    for problem in problems:
        healthy = [("nothing", "no guard", seed) for seed in sorted({*SPREAD_SEEDS, *seeds})]
        faulted = [(fault, method, seed) for seed in seeds for fault in faults for method in methods]
        for fault, method, seed in healthy + faulted:
            trial = dict(zip(KEY, (problem.name, fault, method, seed), strict=True))
            kept.add(trial, lambda p=problem, f=fault, m=method, s=seed: _outcome(p, f, m, s))


def _outcome(problem: Problem, fault: str, method: str, seed: int) -> dict[str, Any]:
    found = trials.run(problem, method, seed, FAULTS[fault]())
    onset = found.reached.get(math.floor(BEGIN * problem.steps) + 1)
    return {
        "loss": found.loss,
        "executed": found.executed,
        "stopped": found.t if found.stopped else None,
        "events": found.events,
        "onset": onset,
    }


# -- Commands ---------------------------------------------------------------------------------------------------------


def measure() -> list[str]:
    """Lines of the report: all of it, from nothing. It takes about an hour."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        kept = Kept(Path(folder), *KEY)
        problems = GROUPS["reported"]
        work(kept, problems, list(FAULTS), list(METHODS), SEEDS)
        return lines(Lab(kept, [p.name for p in problems], list(FAULTS)))


def main() -> None:
    """The command line."""
    parser = trials.parser(__doc__)
    parser.add_argument("--group", choices=GROUPS, default="reported")
    parser.add_argument("--faults", nargs="*", default=list(FAULTS), choices=list(FAULTS))
    parser.add_argument("--methods", nargs="*", default=list(METHODS), choices=list(METHODS))
    given = parser.parse_args()
    problems, kept = find(given.problems, GROUPS[given.group]), trials.kept(given, KEY)
    if given.report is None:
        work(kept, problems, given.faults, given.methods, SEEDS if given.seeds is None else given.seeds)
    text = lines(Lab(kept, [p.name for p in problems], list(FAULTS)), given.details)
    trials.told(given, "faults", text, kept)


if __name__ == "__main__":
    main()
