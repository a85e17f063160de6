"""The bare descent as an iterator, for what needs no record; `sd.descend` can keep one."""

from collections.abc import Generator, Iterator
from typing import Any

from steepest.descent.loop import Descent
from steepest.descent.path import PathRecorder
from steepest.descent.settings import ARGUMENTS, resolve
from steepest.records.run import Path, Step
from steepest.rules.update import Update
from steepest.tasks import Task


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


def descend(task: Task, *arguments: Any, **named: Any) -> DescentIterator:
    """Trains the task's model in place and yields each Step.

    Args:
        task: the task to train.
        arguments, named: choices of the descent (`settings.ARGUMENTS`), in their order or by name.

    Returns:
        an iterator over Steps of plain floats for t = 1 … T. Its `path` holds points of the descent.

    Raises:
        SteepestError: settings, model or data are invalid.
    """
    settings = resolve(task, "constant", **dict(zip(ARGUMENTS, arguments, strict=False)), **named)
    return DescentIterator(Descent(task, settings, task.build(settings.seed)))
