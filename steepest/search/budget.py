"""The steps that a search for a learning rate may take in all, by its budget or by the work of the run."""

import math

from steepest.descent.loop import Descent
from steepest.descent.population.work import CALL_WORK, step_work
from steepest.errors import InputError

SECOND_CPU, SECOND_DEVICE = 2e10, 2e13
"""Floating-point operations (`population.work`) in a second of a budget: of a processor core, and of an accelerator."""
LONG_RUN_WORK, LONG_RUN_SHARE = 1.2e13, 0.15
"""The search for a run with more work (`population.work`; ten minutes of a processor core) takes at most this share of
it. By work, not by a clock: the same search tries the same values."""


def max_steps(budget: int | str | None, descent: Descent) -> float:
    """Steps that a search may take in all."""
    if budget is None:
        is_long = descent.steps * step_work(descent) > LONG_RUN_WORK
        return LONG_RUN_SHARE * descent.steps if is_long else math.inf
    try:
        steps = float(budget) if not isinstance(budget, str) else _steps_in(float(budget.removesuffix("s")), descent)
    except (ValueError, TypeError):
        steps = math.nan
    if not steps >= 1:
        raise InputError(f"budget must be a number of steps ≥ 1, or seconds such as '60 s', got {budget!r}")
    return steps


def _steps_in(seconds: float, descent: Descent) -> float:
    """Steps in so many seconds, by the work of a step: a clock would give other steps on every call."""
    speed = SECOND_CPU if descent.device.type == "cpu" else SECOND_DEVICE
    return seconds / (CALL_WORK / SECOND_CPU + (step_work(descent) - CALL_WORK) / speed)
