"""`descend`: a descent as an iterator, whose `for` body takes the place of callbacks."""

import inspect
import signal
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from steepest.descent.guard.guard import Guard
from steepest.descent.path import PathRecorder
from steepest.distributed.group import refuse_several
from steepest.errors import InputError
from steepest.records.arguments import check_arguments
from steepest.records.path import Path as DescentPath
from steepest.records.run import Measurement, Step
from steepest.rules.update import Update
from steepest.runs.live import LiveServer
from steepest.runs.no_record import NoRecord
from steepest.runs.preparation import Preparation, prepare
from steepest.runs.resume import prepare_again
from steepest.runs.run import Run
from steepest.runs.trackers import Trackers
from steepest.tasks import NORMS_AND_BIASES, Task

LOOP_SCHEDULE = "constant"
"""Where neither argument nor recipe has one: in a loop of one's own, lr=0.1 means 0.1."""
NEEDS_RECORD = {"name": None, "notes": None, "live": False, "checkpoint_every": "30 s", "resume": None}
"""Arguments that act on the record, and their defaults."""


class DescentIterator(Iterator[Step]):
    """The steps of a descent, its path and its run.

    A recorded descent ends with its `for` loop: as done when all steps are taken, as interrupted after `break`, an
    exception or Ctrl-C in the body. One without a record ends so when it is closed, and goes on in another loop.

    Args:
        preparation: of the descent, at its start.
    """

    def __init__(self, preparation: Preparation) -> None:
        self._preparation, self._trainer = preparation, preparation.trainer
        self._steps = self._trainer.steps(preparation.on_start, preparation.messages)
        descent = self._trainer.descent
        self._space = descent.space
        self._path = PathRecorder(descent.space, descent.steps) if preparation.store is None else None
        self._name = descent.update.rule.name if isinstance(descent.update, Update) else descent.task.name
        if self._path is not None:
            self._path.add_point()

    def __iter__(self) -> Iterator[Step]:
        return self if self._preparation.store is None else self._loop()

    def _loop(self) -> Generator[Step, None, None]:
        """The steps for one `for` statement, which holds the only reference to this generator and so closes it."""
        try:
            while (step := next(self, None)) is not None:
                yield step
        finally:
            self.close()

    def __next__(self) -> Step:
        if self._path is not None:
            return self._next_without_record(self._path)
        with self._trainer.signals.catch():
            step = next(self._steps, None)
        if step is not None:
            return step
        signals = self._trainer.signals
        if signals.number:  # the step is whole and recorded: now it acts as it does without us
            number, signals.number = signals.number, 0
            signal.raise_signal(number)
        raise StopIteration

    def _next_without_record(self, path: PathRecorder) -> Step:
        descent = self._trainer.descent
        if descent.t == descent.steps:  # the model is then left at the point that the rule reports
            path.add_point()
        step = next(self._steps, None)
        if descent.space is not self._space:
            self._space = descent.space
            path.restart(descent.space)
        if step is None:
            path.add_point()
            raise StopIteration
        path.add_step(step)
        return step

    def close(self) -> None:
        """Ends the descent after its last step; leaves the model at the point that the rule reports."""
        if self._path is not None:
            self._path.add_point()
        if inspect.getgeneratorstate(self._steps) == inspect.GEN_CREATED:
            self._trainer.abandon()
        self._steps.close()

    def __del__(self) -> None:
        if hasattr(self, "_steps"):
            self.close()

    def __enter__(self) -> "DescentIterator":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def run(self) -> Run:
        """The run as it is recorded now.

        Raises:
            InputError: the descent has no record.
        """
        if self._preparation.store is None:
            raise InputError("run needs a record. Pass runs=, a folder.")
        return self._preparation.run()

    @property
    def metrics(self) -> tuple[Measurement, ...]:
        """The measurements so far; without a record and without keep, stop_after or measure_every there are none."""
        record = self._trainer.record
        return tuple(record.measurements) if isinstance(record, NoRecord) else self.run.metrics

    @property
    def path(self) -> DescentPath:
        """The path so far: about 200 points [P, N] at most, evenly spaced, as float32, and their losses."""
        if self._path is not None:
            return self._path.path(self._name)
        assert self._preparation.store is not None
        self._trainer.record.flush()
        return self._preparation.store.history(self._trainer.record.id).path


def descend(
    task: Task,
    rule: Any = None,
    lr: float | str | None = None,
    schedule: Any = None,
    batch_size: int | str | None = None,
    epochs: int | None = None,
    steps: int | None = None,
    *,
    clip: float | None = None,
    accumulate: int = 1,
    average: float | None = None,
    precision: str | None = None,
    groups: Mapping[str, Mapping[str, float]] | None = None,
    no_decay: str | Sequence[str] | None = NORMS_AND_BIASES,
    keep: str = "last",
    stop_after: int | None = None,
    guard: bool | str | Guard = False,
    locate: bool = True,
    start: "Run | str | None" = None,
    resume: "Run | str | None" = None,
    measure_every: int | str | None = None,
    checkpoint_every: int | str = "30 s",
    seed: int = 0,
    device: str = "auto",
    runs: str | Path | None = None,
    name: str | None = None,
    notes: str | None = None,
    live: bool | LiveServer = False,
    trackers: Trackers = (),
) -> DescentIterator:
    """Trains the task's model in place and yields each Step; your `for` body takes the place of callbacks.

    The arguments are those of `fit`. Three defaults differ: nothing is recorded (`runs=None`), there is no guard, and
    the schedule is constant where the task's recipe has none. Everything is checked by the call, before the first step.

    With `runs=`, a folder, the descent is recorded as by `fit`, which is this loop with an empty body. Once all steps
    are taken the run is done; `break`, an exception or Ctrl-C in the body interrupts it after the last whole step, from
    which `resume` goes on.

    Without a record the validation split is measured only for `keep`, `stop_after` or `measure_every`, and no verdict
    is made; `name`, `notes`, `live`, `checkpoint_every` and `resume` need a record.

    Returns:
        an iterator over Steps of plain floats for t = 1 … T. Its `run` is the Run, its `path` holds points of the
        descent, its `metrics` the measurements.

    Raises:
        SteepestError: settings, model or data are invalid; the model is then as it was.

    >>> import torch, steepest as sd
    >>> from steepest.tasks.terrains import TERRAINS
    >>> bowl = sd.Task(model=TERRAINS["bowl"].model(), objective=lambda model, batch: model())
    >>> *_, last = sd.descend(bowl, rule=sd.gradient_descent, lr=0.1, steps=100)
    >>> last.loss < 1e-6
    True
    """
    arguments = check_arguments(locals())
    refuse_several("sd.descend", "Use sd.fit, which trains one run on all of them.")
    if resume is not None and runs is None and not isinstance(resume, str):
        arguments["runs"] = runs = resume.store.folder
    if runs is None:
        _refuse_idle(arguments)
    if resume is not None:
        return DescentIterator(prepare_again(task, arguments, descend, has_body=True))
    return DescentIterator(prepare(task, arguments, has_body=True, default_schedule=LOOP_SCHEDULE))


def _refuse_idle(arguments: Mapping[str, Any]) -> None:
    """Refuses arguments that cannot act without a record."""
    for name, default in NEEDS_RECORD.items():
        if arguments[name] != default:
            raise InputError(f"{name} needs a record. Pass runs=, a folder, or drop {name}.")
