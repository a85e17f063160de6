"""The loop on a device that runs asynchronously: steps in blocks, whose numbers are read at once.

    t = a … b:   scale ← min(1, bound / ‖g‖);  NaN, which leaves the point as it is, where L or ‖g‖ is not finite
                 w     ← rule(w, scale · g; lr(t))
    then:        read L, ‖g‖, ‖Δw‖ of a … b, judge them in order, return them

So the guard judges a step up to LAG − 1 steps late. What it would do at once is done on the device: a step that is not
finite, or far above the clipping threshold, is skipped, buffers included; one above the threshold is clipped. What
needs the host is late: a lowered learning rate holds from the next block on, and the guard accounts for that; a rewind
discards the rest of its block. While the guard needs every step, a block is one step.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from steepest.descent.calm_loop import last_step
from steepest.descent.guard.backoff import JUMP_RATIO
from steepest.descent.guard.running_stats import NO_LIMITS, GradientLimits
from steepest.descent.loop import Descent
from steepest.records.run import REWIND, STOP, Step
from steepest.rules.update import Update

LAG = 16
"""Maximum steps of a block."""
MAX_LOG_NORM = 700.0
"""Its exponential is above every gradient norm, and finite."""


def steps(descent: Descent, marks: Sequence[int] = (), lag: int = LAG) -> Iterator[Step]:
    """The steps that iterating over the descent gives, read in blocks.

    Between two blocks the descent is at the last step yielded, and its state is consistent; within one, it is ahead.

    Args:
        descent: at its start, or where it resumes.
        marks: a block ends at every multiple of these, where the caller reads the descent's state.
        lag: maximum steps of a block.
    """
    descent.model.train()
    while descent.t < descent.steps and not descent.is_stopped:
        updates = descent.before_step(descent.t + 1)
        if isinstance(descent.update, Update):
            descent.update.keep_on_device()
            first, *later = _block(descent, _last(descent, marks, lag))
        else:
            first, later = descent.step(), []  # a torch optimizer synchronises with the device
        yield first.with_updates(updates)
        yield from later


def _last(descent: Descent, marks: Sequence[int], lag: int) -> int:
    """The last step of the next block."""
    first, recovery = descent.t + 1, descent.recovery
    if recovery is not None and not recovery.guard.is_calm:
        return first
    every = 0 if recovery is None else recovery.every
    last = last_step(descent, (lag, descent.measure_every, every, *marks))
    jumps = (t for t in range(first, last + 1) if t > 1 and _is_jump(descent.schedule(t - 1), descent.schedule(t)))
    return max(first, next(jumps, last + 1) - 1) if recovery is not None else last


def _is_jump(before: float, after: float) -> bool:
    """Whether the guard starts probation at this change of the learning rate: the step is then a block of its own."""
    return after > JUMP_RATIO * before or before > JUMP_RATIO * after


def _block(descent: Descent, last: int) -> list[Step]:
    """The steps up to the last one, or up to one that is rewound."""
    first, recovery = descent.t + 1, descent.recovery
    bounds = NO_LIMITS if recovery is None else recovery.guard.bounds
    lrs, numbers = [], []
    for t in range(first, last + 1):
        hypers = descent.hypers_at(t)
        lrs.append(hypers["lr"])
        with descent.random.of_step(t):
            numbers.append(_step(descent, t, hypers, bounds))
    block = []
    for t, lr, row in zip(range(first, last + 1), lrs, torch.stack(numbers).tolist(), strict=True):
        loss, norm, _ = row
        call = descent.judge(t, loss, norm, bounds, last - t)
        block.append(descent.make_step(t, call, lr, *row))
        if call.kind in (REWIND, STOP):
            return [*block[:-1], descent.rewind(block[-1], call)]
    descent.t = last
    return [*block[:-1], block[-1].with_updates(descent.after_step(block[-1]))]


def _step(descent: Descent, t: int, hypers: dict[str, Any], bounds: GradientLimits) -> Tensor:
    """Takes a step; returns the loss, ‖∇L‖ and ‖Δw‖, float64 [3], on the device."""
    update, skip, clip = descent.update, *(math.exp(min(bound, MAX_LOG_NORM)) for bound in (bounds.skip, bounds.clip))
    assert isinstance(update, Update)
    descent.buffers.save(all=True)
    batches = descent.batches(t)
    descent.statistics.see(batches)
    loss = descent.objective.backward(batches, descent.space.tensors()).double()
    norm = update.norm()
    live = torch.isfinite(loss) & torch.isfinite(norm) & (norm <= skip)
    if descent.recovery is not None and t in descent.recovery.skipped_steps:
        live = torch.zeros_like(live)
    clip = min(clip, descent.settings.clip or math.inf)
    scale = torch.where(norm <= clip, 1.0, clip / (norm + 1e-6))
    update_norm = descent.advance(t, hypers, torch.where(live, scale, math.nan))
    descent.buffers.restore_unless(live)
    return torch.stack([loss, norm, update_norm])
