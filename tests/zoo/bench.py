"""What the verbs of one case share: a runs folder, a fitted run, plain trainings at several rates."""

import contextlib
import io
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

import steepest as sd
from tests.zoo import plain
from tests.zoo.case import EVERY, Case

RATIOS = (1 / 16, 1 / 4, 1.0, 4.0, 16.0)
"""Rates of the grid, relative to the case's."""


class Trial(NamedTuple):
    """A plain training at one rate: its end loss on the validation split, and the losses of its steps."""

    lr: float
    end: float
    losses: list[float]


class Bench:
    """A case at work.

    Attributes:
        case: the task.
        folder: of its runs.
        task: the last one made.
    """

    def __init__(self, case: Case) -> None:
        self.case = case
        self._home = tempfile.TemporaryDirectory(prefix="zoo-")
        self.home = Path(self._home.name)
        self.runs = self.home / "runs"
        self.task: sd.Task | None = None
        self._fitted: Any = None

    def make(self) -> sd.Task:
        """A fresh task."""
        self.task = self.case.make()
        return self.task

    def fit(self, **settings: Any) -> sd.Run:
        """A run of a fresh task in the case's folder, with a cosine schedule."""
        choices = {"schedule": "cosine", **self.case.settings, "runs": self.runs, **settings}
        return sd.fit(self.make(), **choices)

    @property
    def run(self) -> sd.Run:
        """The case's run; made once, and so is its error."""
        if self._fitted is None:
            try:
                self._fitted = self.fit()
            except Exception as error:
                self._fitted = error
        if isinstance(self._fitted, Exception):
            raise self._fitted
        self.task = self._fitted.task
        return self._fitted

    def system_of(self, run: sd.Run) -> nn.Module:
        """What a plain loop would have trained, at a run's end."""
        return self.case.system(run.model, getattr(run, "loss", None) or run.task.loss)

    # -- plain trainings -----------------------------------------------------------------------------------------------

    @cached_property
    def twin(self) -> plain.Training:
        """The plain training of the run."""
        return plain.train(self.case, schedule=plain.cosine)

    def end(self, training: plain.Training) -> float:
        """torch's validation loss at a training's end."""
        split = training.task.validation
        return plain.value(self.case, training.system, training.task.data if split is None else split)

    @cached_property
    def start(self) -> float:
        """torch's validation loss where all begin."""
        system, task = plain.built(self.case)
        return plain.value(self.case, system, task.data if task.validation is None else task.validation)

    def trial(self, lr: float) -> Trial:
        """A plain training with warmup and cosine."""
        training = plain.train(self.case, lr, plain.warmup_cosine)
        return Trial(lr, self.end(training), training.losses)

    @cached_property
    def grid(self) -> list[Trial]:
        """Plain trainings at five rates."""
        return [self.trial(self.case.lr * ratio) for ratio in RATIOS]

    def gain(self, end: float) -> float:
        """How far an end is below the start; −∞ where it is not finite."""
        return self.start - end if end == end and abs(end) != float("inf") else float("-inf")

    @property
    def best_gain(self) -> float:
        """The grid's best."""
        return max(self.gain(trial.end) for trial in self.grid)


@cache
def bench_of(case_name: str) -> Bench:
    """One bench for each case and process."""
    from tests.zoo.zoo import CASES

    return Bench(CASES[case_name])


@contextlib.contextmanager
def heard() -> Iterator[Callable[[], str]]:
    """What is printed inside the block."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        yield out.getvalue


@contextlib.contextmanager
def inside(folder: Path) -> Iterator[None]:
    """In another working directory."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def is_as_made(bench: Bench) -> bool:
    """Whether the last task's model is still at its start: what a refusal leaves."""
    task = bench.task
    if task is None or not isinstance(task.model, nn.Module):
        return True
    fresh = bench.case.make().model
    now, then = plain.state(task.model), plain.state(fresh)
    return now.keys() == then.keys() and all(same(now[name], then[name]) for name in now)


def same(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors are equal, bit for bit; NaN equals NaN."""
    a, b = (torch.nan_to_num(torch.view_as_real(x) if x.is_complex() else x) for x in (a, b))
    return a.shape == b.shape and torch.equal(a, b)


@dataclass(frozen=True)
class Outcome:
    """How a cell ended: "right", "refused", "wrong" (a number, or silence) or "traceback", with words."""

    kind: str
    words: str = ""


def expected_refusal(case: Case, verb: str) -> tuple[str, str] | None:
    """(regex, reason) of the refusal that is expected of a verb, if any."""
    return case.refuses.get(verb) or case.refuses.get(EVERY)
