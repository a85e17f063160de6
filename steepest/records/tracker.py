"""`Tracker`: what sends a run's numbers to another program while it trains, or afterwards.

    class Printer(sd.Tracker):
        def measure(self, m):
            print(m.t, m.split, m.name, m.value)

    sd.fit(task, epochs=20, trackers=["tensorboard", Printer()])

A tracker is told of everything once, in the order in which it happens. It need not be a subclass: any object with these
six methods is one. It cannot harm the training: one that raises an exception is named, and hears no more of the run.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from steepest.records.run import Event, Measurement, Step


class RunStart(NamedTuple):
    """What a tracker is told first.

    Attributes:
        id: of the run; empty where the run is not recorded.
        name: of the run.
        config: every setting, as JSON.
        folder: of the run, for a tracker that was given no other place; None where the run is not recorded.
        t: the step that the run goes on from: 0, or that of the checkpoint of a resumed run. What a tracker has of
            later steps is void.
    """

    id: str
    name: str
    config: Mapping[str, Any]
    folder: Path | None
    t: int = 0


class Tracker:
    """Takes the numbers of a run. These methods do nothing: override those that you need.

    >>> import steepest as sd
    >>> from steepest.tasks.terrains import TERRAINS
    >>> class Lowest(sd.Tracker):
    ...     loss = float("inf")
    ...     def step(self, step):
    ...         self.loss = min(self.loss, step.loss)
    >>> bowl = sd.Task(model=TERRAINS["bowl"].model(), objective=lambda model, batch: model())
    >>> lowest = Lowest()
    >>> for step in sd.descend(bowl, sd.gradient_descent, lr=0.1, steps=100, trackers=[lowest]):
    ...     pass
    >>> lowest.loss == step.loss
    True
    """

    def begin(self, run: RunStart) -> None:
        """The run begins, or is resumed; before its first step."""

    def step(self, step: Step) -> None:
        """A step is done: loss, learning rate, norms."""

    def measure(self, m: Measurement) -> None:
        """A metric or loss was measured on a whole split."""

    def event(self, event: Event) -> None:
        """Something happened, such as an action of the guard."""

    def go_back(self, t: int) -> None:
        """The run has gone back to step t: the steps and measurements after it are undone, and others follow."""

    def end(self, status: str) -> None:
        """The run has ended: done, interrupted, stopped or failed."""


TRACKER_METHODS = ("begin", "step", "measure", "event", "go_back", "end")
