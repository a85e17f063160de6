"""The descent as a generator: your `for` body takes the place of callbacks."""

from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any

from steepest.descent.guard.guard import Guard
from steepest.descent.loop import Descent
from steepest.descent.path import PathRecorder
from steepest.descent.settings import resolve
from steepest.records.run import Path, Step
from steepest.rules.update import Update
from steepest.tasks import NORMS_AND_BIASES, Task


class DescentIterator(Iterator[Step]):
    """The steps of a descent, and its path.

    Args:
        descent: at its start.
    """

    def __init__(self, descent: Descent) -> None:
        self._recorder = PathRecorder(descent.space, descent.steps)
        self._name = descent.update.rule.name if isinstance(descent.update, Update) else descent.task.name
        self._steps = _run(descent, self._recorder)

    def __next__(self) -> Step:
        return next(self._steps)

    def close(self) -> None:
        """Ends the descent; leaves the model at the point that the rule reports."""
        self._steps.close()

    @property
    def path(self) -> Path:
        """The path so far: about 200 points [P, N] at most, evenly spaced, as float32, and their losses."""
        return self._recorder.path(self._name)


def _run(descent: Descent, recorder: PathRecorder) -> Generator[Step, None, None]:
    mode = descent.model.training
    recorder.add_point()
    try:
        for step in descent:
            recorder.add_step(step)
            yield step
    finally:
        recorder.add_point()
        descent.finish()
        descent.model.train(mode)


def descend(
    task: Task,
    rule: Any = None,
    lr: float | None = None,
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
    guard: bool | str | Guard = False,
    seed: int = 0,
    device: str = "auto",
) -> DescentIterator:
    """Trains the task's model in place and yields each Step; your `for` body takes the place of callbacks.

    The arguments are those of `fit`; the guard is off by default. Settings are checked by the call, before the first
    step.

    Returns:
        an iterator over Steps of plain floats for t = 1 … T. Its `path` holds points of the descent.

    Raises:
        SteepestError: settings, model or data are invalid.

    >>> import torch, steepest as sd
    >>> from steepest.tasks.terrains import TERRAINS
    >>> bowl = sd.Task(model=TERRAINS["bowl"].model(), objective=lambda model, batch: model())
    >>> *_, last = sd.descend(bowl, rule=sd.gradient_descent, lr=0.1, schedule="constant", steps=100)
    >>> last.loss < 1e-6
    True
    """
    settings = resolve(**locals())
    return DescentIterator(Descent(task, settings, task.build(seed)))
