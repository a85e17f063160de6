"""The work of a step, counted, not timed: what follows from it is the same on a busy machine and on a quiet one."""

from typing import Any

from steepest import seeds
from steepest.curvature.work import measure_work
from steepest.descent.loop import Descent
from steepest.errors import TaskError
from steepest.tasks import data
from steepest.tasks.module_copy import copy_module

CALL_WORK = 1e7
"""Floating-point operations in the time that a step's Python and kernel launches take: half a millisecond."""
BACKWARD = 3
"""Operations of a forward and a backward pass ÷ those of the forward pass."""
USUAL_BATCH = 32
"""Samples of a batch where the data bring their own batches and do not say how large these are."""


def step_work(descent: Descent) -> float:
    """Floating-point operations of a step's forward and backward pass, and its fixed cost in operations.

    They are counted on a batch of the validation data, so that no training data is used up, and on a copy of the model,
    so that nothing that it keeps between batches comes from there.
    """
    batch = next(iter(data.in_batches(descent.task.validation, _batch_size(descent), descent.device)), None)
    return BACKWARD * _forward_work(descent, batch) + CALL_WORK


def _batch_size(descent: Descent) -> int:
    size = getattr(descent.batches, "batch_size", None)
    return size or max(data.batch_sizes(descent.task.data, 1), default=USUAL_BATCH)


def _forward_work(descent: Descent, batch: Any) -> float:
    samples, weights = _samples(batch), descent.space.size
    try:
        model = copy_module(descent.model)
    except Exception:  # deepcopy runs the user's code
        return 2.0 * weights * samples
    objective = descent.objective.with_model(model)
    with seeds.ours(descent.settings.seed, "work"):
        return measure_work(lambda: objective.loss(batch), samples, weights).product_flops


def _samples(batch: Any) -> int:
    try:
        return 1 if batch is None else data.count(batch)
    except TaskError:
        return 1
