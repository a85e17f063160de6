"""What a search for a learning rate starts from."""

import math
from dataclasses import replace
from typing import Any, NamedTuple

from steepest import seeds
from steepest.descent.loop import Descent
from steepest.descent.settings import Settings
from steepest.errors import TaskError
from steepest.search.budget import max_steps
from steepest.tasks.task import Task


class Baseline(NamedTuple):
    """What a search starts from: the run's steps, those of an epoch, the initial validation loss, the rule's usual
    learning rate, and the steps that the search may take in all."""

    steps: int
    steps_per_epoch: int
    loss: float
    usual_lr: float
    max_steps: float


def measure_baseline(task: Task, settings: Settings, budget: int | str | None, report: Any = None) -> Baseline:
    """Measures it on the task's own start.

    Args:
        task: that the run trains.
        settings: of the run.
        budget: of the search, as `max_steps` takes it.
        report: unused; every function that a cluster calls has it.

    Raises:
        TaskError: the initial loss is not finite.
    """
    with seeds.ours(settings.seed, "baseline"):
        descent = Descent(task, replace(settings, lr=None, guard=None), task.copy(settings.seed))
        lr, loss = descent.base_lr, descent.measure()["loss"]
    if not math.isfinite(loss):
        raise TaskError(f"The initial validation loss must be finite, got {loss}. Check model, loss and data.")
    descent.model.train()
    return Baseline(descent.steps, descent.steps_per_epoch, loss, lr, max_steps(budget, descent))
