"""The record of a loop of the user's: steps, events, measurements, and the weights' path."""

import atexit
import dataclasses
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import nn
from torch.optim import Optimizer

from steepest.descent.guard.guard import Guard
from steepest.descent.path import PATH_BYTES, POINTS
from steepest.distributed.processes import ALONE, Processes
from steepest.errors import StoreError
from steepest.integrations.place import Place, steps_of
from steepest.integrations.start import Start, find_start
from steepest.records.config import Config, StageConfig, to_json
from steepest.records.run import Event, Measurement, Record, Step
from steepest.runs import end_reason
from steepest.runs.config import model_identity
from steepest.runs.no_record import NoRecord
from steepest.runs.store import Store, Writer, path_file, versions
from steepest.runs.trackers import track
from steepest.tasks import Space, module_state
from steepest.tasks.metric import Direction, direction_of_name
from steepest.view.format import describe_event

NOTE = "note"
"""The kind of an event that the user, or a script that was started again, noted."""

GROWTH, MIN_SPACING, WEIGHTS_PER_STEP = 1.05, 10, 20_000
"""From one point of the path to the next, since nobody knows how long the loop is; at least ten steps, and one for so
many weights: a point is written to disk. 160 points reach beyond step 100,000."""


class LoopRecord:
    """What a loop leaves in the store. Of several processes the first one writes.

    Attributes:
        store: that holds it.
        id: of the run.
        is_named: whether the user has given its name.
        attempt, events: the attempt now, and the number of events so far.
        start: where in the record the loop begins.

    Args:
        model: that is trained.
        optimizers: of it.
        guard: of the run.
        runs: folder of the runs.
        name: of the run; None for the model's class, and always a new run.
        place: that the restored optimizer brought.
        step: steps that the loop has taken before, where there is no place; None for what the optimizer counts.
        processes: that train the model together.
        trackers: of it.
    """

    def __init__(
        self, model: nn.Module, optimizers: Sequence[Optimizer], guard: Guard | None, runs: str | Path,
        name: str | None = None, place: Place | None = None, step: int | None = None, processes: Processes = ALONE,
        trackers: Sequence[Any] = (),
    ) -> None:  # fmt: skip
        self._model, self._space, self.store = model, Space(model), Store(runs)
        self._config = _config(name or type(model).__name__, model, self._space, optimizers, guard)
        self._points_left = min(POINTS, PATH_BYTES // (4 * max(1, self._space.size)))
        self._next_point, self._last_point, self.is_named = 0, -1, name is not None
        self._writer: Writer | NoRecord = NoRecord()
        self.id, self.start = processes.from_first(lambda: self._open(name, place, step, steps_of(optimizers[0])))
        self._start_time = time.perf_counter()
        if not isinstance(self._writer, NoRecord):
            as_json = to_json(self._config, None, None)
            self._writer = track(self._writer, trackers, as_json, self._config.task, self.start.t, self.say)
        own = self.start.place
        self.attempt, self.events, self._seconds = (own.attempt, own.events, own.seconds) if own else (0, 0, 0.0)
        self._at_exit = _interruption(self._writer, self._start_time - self._seconds)
        atexit.register(self._at_exit)
        if self.start.words:
            self.say(self.start.words)
        if self.start.last is not None:  # another attempt: the run has later steps in its history, or a gap
            self.go_back(self.start.t)
        if self.start.last and not self.start.t:
            self.event(Event(0, NOTE, "the script began again at step 1", self.start.words.partition("; ")[2]))
        self._keep(self.start.t)

    def _open(self, name: str | None, place: Place | None, step: int | None, count: int) -> tuple[str, Start]:
        """Goes on with a run of that name, or begins one."""
        steps, start = (count if step is None else step), Start()
        if name is not None:
            start = find_start(self.store, name, self._config, place, steps, is_count=step is None)
        if start.place is not None and start.record is not None:
            try:
                self._reopen(start.place, start.record.config, start.last)
                return self._writer.id, start._replace(record=None)
            except StoreError as error:  # another process has gone on with it meanwhile
                start = Start(words=f"A new run begins. {error}")
        self._writer = self.store.begin(self._config.task, to_json(self._config, None, None), versions(), 0)
        return self._writer.id, start

    def _reopen(self, place: Place, config: Config, last: int | None) -> None:
        """Goes on with a run at a place, after the last step before it that is recorded."""
        config = dataclasses.replace(config, end_step=None)
        t = place.t if last is None else last
        self._writer = self.store.reopen(place.run, place.attempt, t, place.events, to_json(config, None, None))
        self._config = config
        points = path_file.read(self._writer.folder, config.weights)["t"]
        self._points_left -= len(points)
        if len(points) and (place.t or last is None):
            self._next_point = self._point_after(int(points[-1]))

    def step(self, step: Step, event: Event | None, t: int) -> None:
        """Records a step and what happened at it.

        Args:
            step: that was taken, or not.
            event: at it.
            t: the step after which the loop goes on: an earlier one after a rewind.
        """
        self._writer.step(step)
        if event is not None:
            self.event(event)
        if t < step.t:
            self.go_back(t)
        else:
            self._keep(t)

    def go_back(self, t: int) -> None:
        """From now on the steps after step t are others."""
        self._writer.go_back(t)
        self.attempt, self._last_point = self.attempt + 1, -1

    def follow_model(self) -> None:
        """The model has other parameters from now on: the path ends, and the point at the end is theirs."""
        self._points_left, self._space = 0, Space(self._model)
        self._configure(parameters=tuple(self._space.names))

    def event(self, event: Event) -> None:
        """Records an event and shows it."""
        self.note(event)
        self.say(describe_event(event))

    def note(self, event: Event) -> None:
        """Records an event."""
        self._writer.event(event)
        self.events += 1

    def place(self, t: int, **state: Any) -> Place:
        """The place after step t; everything until then is on disk when this returns.

        Args:
            t: the step.
            state: of the loop, by the names of the fields of `Place`.
        """
        self._writer.flush()
        return Place(self.id, t, self.attempt, self.events, self._total_seconds(), **state)

    def _total_seconds(self) -> float:
        return self._seconds + time.perf_counter() - self._start_time

    def measure(self, t: int, epoch: float, split: str, name: str, value: float, better: Direction | None) -> None:
        """Records a measurement; the first one that is no loss is the run's metric, of which so much is better."""
        if self._config.metric == "loss" and name != "loss":
            self._configure(metric=name, better=better or direction_of_name(name))
        elif better is not None and self._config.better is None and name == self._config.metric:
            self._configure(better=better)
        self._writer.measure(Measurement(t, epoch, split, name, value))

    def say(self, words: str) -> None:
        """Shows words on standard error."""
        if not isinstance(self._writer, NoRecord):
            print(f"steepest: {words}", file=sys.stderr)

    def read(self) -> Record:
        """The record as it is now."""
        self._writer.flush()
        return self.store.read(self.id)

    def fail(self, t: int, error: BaseException) -> None:
        """Records why the loop ended early."""
        if isinstance(error, Exception):
            self._writer.event(end_reason.failure(t, error))
        else:
            number = signal.SIGINT if isinstance(error, KeyboardInterrupt) else 0
            self._writer.event(end_reason.interruption(t, number))

    def close(self, t: int, status: str) -> None:
        """Ends the record, with the weights at the end."""
        atexit.unregister(self._at_exit)
        if t == self.start.t and status == "done":
            self.say("No step was recorded: run.step(loss) must take the place of optimizer.step().")
        self._configure(steps=t, end_step=t)
        self._next_point = t
        self._keep(t)
        self._writer.end_point(t, module_state.read(self._model))
        self._writer.close(status, self._total_seconds())

    def _configure(self, **values: object) -> None:
        self._config = dataclasses.replace(self._config, **values)  # type: ignore[arg-type]
        self._writer.configure(to_json(self._config, None, None))

    def _keep(self, t: int) -> None:
        """Adds a point to the path where one is due; the loop continues if it cannot be written."""
        if t < self._next_point or not self._points_left or t == self._last_point:
            return
        try:
            self._writer.keep(t, self._space.tensors())
        except StoreError as error:
            self.say(f"{error}; the loop continues")
        self._points_left, self._last_point = self._points_left - 1, t
        self._next_point = self._point_after(t)

    def _point_after(self, t: int) -> int:
        return max(t + MIN_SPACING, t + self._space.size // WEIGHTS_PER_STEP, int(GROWTH * t))


def _interruption(writer: Writer | NoRecord, start: float) -> Callable[[], None]:
    """Ends the record of a loop that the program leaves without `close`: its last steps are written too.

    It holds the writer only, so that the model of a run that nobody has any more is freed.
    """

    def end() -> None:
        try:
            writer.close("interrupted", time.perf_counter() - start)
        except StoreError as error:
            print(f"steepest: {error}", file=sys.stderr)

    return end


def _config(name: str, model: nn.Module, space: Space, optimizers: Sequence[Optimizer], guard: Guard | None) -> Config:
    """What is known of a loop's choices."""
    rules = [type(optimizer).__name__.lower() for optimizer in optimizers]
    return Config(
        task=name, rule=" → ".join(rules[:1]), stages=(StageConfig(rule=rules[0]),), lr=_first_lr(optimizers[0]),
        guard=guard and guard.describe(), locate=False, weights=space.size, better=direction_of_name("loss"),
        parameters=tuple(space.names), model=model_identity(model), device=str(space.tensors()[0].device),
    )  # fmt: skip


def _first_lr(optimizer: Optimizer) -> float:
    """The base learning rate: what a scheduler multiplies, where there is one."""
    group = optimizer.param_groups[0]
    return float(group.get("initial_lr", group["lr"]))
