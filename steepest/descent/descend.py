"""The descent as a generator: your `for` body is what others need callbacks for."""

from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any

from steepest.descent.guard.guard import Guard
from steepest.descent.loop import Descent
from steepest.descent.path import PathRecorder
from steepest.descent.settings import resolve
from steepest.records.run import Path, Step
from steepest.rules.update import Update
from steepest.tasks.space import NORMS_AND_BIASES
from steepest.tasks.task import Task


class Descending(Iterator[Step]):
    """A descent that is looped over.

    Args:
        descent: at its start.
    """

    def __init__(self, descent: Descent) -> None:
        self._kept = PathRecorder(descent.space, descent.steps)
        self._name = descent.update.rule.name if isinstance(descent.update, Update) else descent.task.name
        self._steps = _run(descent, self._kept)

    def __next__(self) -> Step:
        return next(self._steps)

    def close(self) -> None:
        """Ends it here: the model is left at the point that the rule reports."""
        self._steps.close()

    @property
    def path(self) -> Path:
        """Where it went so far: at most some 200 points [P, N] as float32, evenly thinned, and the losses there."""
        return self._kept.path(self._name)


def _run(descent: Descent, kept: PathRecorder) -> Generator[Step, None, None]:
    training = descent.model.training
    kept.add()
    try:
        for step in descent:
            kept.note(step)
            yield step
    finally:
        kept.add()
        descent.finish()
        descent.model.train(training)


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
) -> "Descending":
    """Trains the task's model in place, one Step after another; your `for` body is the callback.

    The arguments are those of `fit`; the guard is off unless asked for. Settings are checked when it is called, before
    the first step.

    Returns:
        an iterator of frozen Steps of plain floats for t = 1 … T, whose `path` is where it went.

    Raises:
        SteepestError: settings, model or data that cannot be used.

    >>> import torch, steepest as sd
    >>> from steepest.tasks.terrains import TERRAINS
    >>> bowl = sd.Task(model=TERRAINS["bowl"].model(), objective=lambda model, batch: model())
    >>> *_, last = sd.descend(bowl, rule=sd.gradient_descent, lr=0.1, schedule="constant", steps=100)
    >>> last.loss < 1e-6
    True
    """
    settings = resolve(
        task, rule=rule, lr=lr, schedule=schedule, batch_size=batch_size, epochs=epochs, steps=steps, clip=clip,
        accumulate=accumulate, average=average, precision=precision, groups=groups, no_decay=no_decay,
        guard=guard, seed=seed, device=device,
    )  # fmt: skip
    return Descending(Descent(task, settings, task.build(seed)))
