"""The record of a loop of the user's: steps, events, measurements, and the weights' path."""

import dataclasses
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn
from torch.optim import Optimizer

from steepest.descent.guard.guard import Guard
from steepest.descent.path import PATH_BYTES, POINTS
from steepest.errors import StoreError
from steepest.records.config import Config, StageConfig, to_json
from steepest.records.run import Event, Measurement, Record, Step
from steepest.runs import end_reason
from steepest.runs.config import model_identity
from steepest.runs.store import Store, versions
from steepest.runs.trackers import track
from steepest.tasks import Space, module_state
from steepest.view.format import describe_event

GROWTH, MIN_SPACING, WEIGHTS_PER_STEP = 1.05, 10, 50_000
"""From one point of the path to the next, since nobody knows how long the loop is; at least ten steps, and one for so
many weights: a point is written to disk. 160 points reach beyond step 100,000."""


class LoopRecord:
    """What a loop leaves in the store.

    Attributes:
        store: that holds it.
        id: of the run.

    Args:
        model: that is trained.
        optimizers: of it.
        guard: of the run.
        runs: folder of the runs.
        name: of the run.
        trackers: of it.
    """

    def __init__(
        self, model: nn.Module, optimizers: Sequence[Optimizer], guard: Guard | None, runs: str | Path, name: str,
        trackers: Sequence[Any] = (),
    ) -> None:  # fmt: skip
        self._model, self._space, self.store = model, Space(model), Store(runs)
        rules = [type(optimizer).__name__.lower() for optimizer in optimizers]
        self._config = Config(
            task=name, rule=" → ".join(rules[:1]), stages=(StageConfig(rule=rules[0]),), lr=_first_lr(optimizers[0]),
            guard=guard and guard.describe(), locate=False, weights=self._space.size, better=None,
            parameters=tuple(self._space.names), model=model_identity(model),
        )  # fmt: skip
        as_json = to_json(self._config, None, None)
        writer = self.store.begin(name, as_json, versions(), 0)
        self._writer = track(writer, trackers, as_json, name, 0, self.say)
        self.id, self._start = self._writer.id, time.perf_counter()
        self._points_left = min(POINTS, PATH_BYTES // (4 * max(1, self._space.size)))
        self._next_point, self._last_point = 0, -1
        self._keep(0)

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
        self._last_point = -1

    def event(self, event: Event) -> None:
        """Records an event and shows it."""
        self._writer.event(event)
        self.say(describe_event(event))

    def measure(self, t: int, split: str, name: str, value: float) -> None:
        """Records a measurement; the first one's name is the run's metric."""
        if self._config.metric == "loss" and name != "loss":
            self._configure(metric=name)
        self._writer.measure(Measurement(t, 0.0, split, name, value))

    def say(self, words: str) -> None:
        """Shows words on standard error."""
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
        self._configure(steps=t, end_step=t)
        self._next_point = t
        self._keep(t)
        self._writer.end_point(t, module_state.read(self._model))
        self._writer.close(status, time.perf_counter() - self._start)

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
        self._next_point = max(t + MIN_SPACING, t + self._space.size // WEIGHTS_PER_STEP, int(GROWTH * t))


def _first_lr(optimizer: Optimizer) -> float:
    return float(optimizer.param_groups[0]["lr"])
