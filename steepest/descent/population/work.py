"""The work of a step, counted, not timed: what follows from it is the same on a busy machine and on a quiet one."""

from typing import Any

from torch.utils.flop_counter import FlopCounterMode

from steepest import seeds
from steepest.descent.loop import Descent
from steepest.tasks import Buffers, data

CALL_WORK = 1e7
"""Floating-point operations in the time that a step's Python and kernel launches take: half a millisecond."""
BACKWARD = 3
"""Operations of a forward and a backward pass ÷ those of the forward pass."""


def step_work(descent: Descent) -> float:
    """Floating-point operations of a step's forward and backward pass, and its fixed cost in operations.

    They are counted on a batch of the validation data, so that no training data is used up. The model stays as it is.
    """
    size = getattr(descent.batches, "batch_size", 1)
    validation = descent.task.validation
    batch = next(iter(data.in_batches(validation, size, descent.device)), None)
    return BACKWARD * _forward_work(descent, batch) + CALL_WORK


def _forward_work(descent: Descent, batch: Any) -> float:
    model = descent.model
    counter, buffers, mode = FlopCounterMode(display=False), Buffers(model), model.training
    buffers.save()
    try:
        with seeds.ours(descent.settings.seed, "work"), counter:
            descent.objective.loss(batch)
        return float(counter.get_total_flops())
    except Exception:  # an operation that cannot be counted: dense layers take 2 operations for each weight and sample
        return 2.0 * descent.space.size * data.count(batch)
    finally:
        buffers.restore()
        model.train(mode)
