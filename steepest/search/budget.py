"""What a search for a learning rate may cost: the time of the run that it is for, and what is allowed of it."""

import dataclasses
import math
import time

from steepest.descent.loop import Descent
from steepest.descent.settings import Settings
from steepest.errors import InputError, TaskError
from steepest.tasks.task import Task

TIMED = 4
"""Steps by which the time of a run is told."""
LONG_RUN_S, LONG_RUN_SHARE = 600.0, 0.15
"""A run that takes longer than this has a search that takes at most this share of it."""


def looked_at(task: Task, settings: Settings) -> tuple[int, float, float, float]:
    """(steps of the run, validation loss at the start, the rule's usual rate, seconds of a step)."""
    usual = dataclasses.replace(settings, lr=None, guard=None)
    descent = Descent(task, usual, task.copy(settings.seed))
    rate = descent.base_rate
    start = descent.measure()["loss"]
    if not math.isfinite(start):
        raise TaskError(f"the validation loss at the start is {start}; a rate can be found where it is finite")
    descent.model.train()
    step_s = math.inf
    for _ in range(min(TIMED, descent.steps)):
        began = time.perf_counter()
        descent.step()
        step_s = min(step_s, time.perf_counter() - began)
    return descent.steps, start, rate, step_s


def allowed(budget: int | str | None, run_steps: int, step_s: float) -> float:
    """Steps that a search may take in all."""
    if budget is None:
        return math.inf if run_steps * step_s <= LONG_RUN_S else LONG_RUN_SHARE * run_steps
    try:
        given = float(budget.removesuffix("s").strip()) / step_s if isinstance(budget, str) else float(budget)
    except (ValueError, TypeError):
        given = math.nan
    if not given >= 1:
        raise InputError(f"budget={budget!r} is given; expected is a number of steps, or seconds such as '60 s'")
    return given
