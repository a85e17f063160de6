"""The loop on a device that nobody waits for: steps in blocks, whose numbers are read at once.

    t = a … b:   scale ← min(1, bound / ‖g‖);  NaN, which leaves the point as it is, where L or ‖g‖ is not finite
                 w     ← rule(w, scale · g; rate(t))
    then:        read L, ‖g‖, ‖Δw‖ of a … b, judge them one after another, hand them out

So the guard sees a step up to LAG − 1 steps late. What it would have done at once is done on the device: a step that is
not finite, or far beyond the usual, is not taken, buffers included; one beyond it is clipped. What needs the host comes
late: a lowered rate holds from the next block on, and the guard knows that; a rewind drops the rest of its block, whose
steps are then as if they had never been. While the guard has reason to watch, a block is one step.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from steepest.descent.guard.backoff import JUMP_RATIO
from steepest.descent.guard.recovery import TIMED
from steepest.descent.guard.running_stats import NO_LIMITS, GradientLimits
from steepest.descent.loop import Descent
from steepest.records.run import REWIND, STOP, Step
from steepest.rules.update import Update

LAG = 16
"""Steps of a block at most."""
MOST = 700.0
"""The log of a norm that no gradient reaches, and that is still a number."""


def steps(descent: Descent, marks: Sequence[int] = (), lag: int = LAG) -> Iterator[Step]:
    """The steps of a descent as iterating over it gives them, read in blocks.

    Between two blocks the descent is at the last step handed out, and its state is whole; within one, it is ahead.

    Args:
        descent: at its beginning, or where it goes on.
        marks: a block ends at every multiple of these: where somebody wants to look at the descent.
        lag: steps of a block at most.
    """
    descent.model.train()
    while descent.t < descent.steps and not descent.stopped:
        descent.prepare(descent.t + 1)
        if isinstance(descent.update, Update):
            descent.update.keep_on_device()
            yield from _block(descent, _last(descent, marks, lag))
        else:
            yield descent.step()  # torch's optimizers have numbers of their own


def _last(descent: Descent, marks: Sequence[int], lag: int) -> int:
    """Where the block that begins now ends."""
    first, recovery = descent.t + 1, descent.recovery
    if recovery is not None and not recovery.guard.is_calm:
        return first
    ends = [_multiple(first, n) for n in (lag, descent.steps_per_epoch, *marks) if n]
    if recovery is not None:
        ends += [_multiple(first, recovery.snapshots.every)] if recovery.snapshots.every else TIMED
    last = min(end for end in (*ends, descent.end, descent.steps) if end >= first)
    jumps = (t for t in range(first, last + 1) if t > 1 and _is_jump(descent.schedule(t - 1), descent.schedule(t)))
    return max(first, next(jumps, last + 1) - 1) if recovery is not None else last


def _is_jump(before: float, after: float) -> bool:
    """Whether the guard puts a rate on trial after it: such a step begins a block, and is one of its own."""
    return after > JUMP_RATIO * before or before > JUMP_RATIO * after


def _multiple(t: int, n: int) -> int:
    return -(-t // n) * n


def _block(descent: Descent, last: int) -> list[Step]:
    """The steps up to the last one, which stand, or up to one that is gone back from."""
    first, recovery = descent.t + 1, descent.recovery
    bounds = NO_LIMITS if recovery is None else recovery.guard.bounds
    rates, numbers = [], []
    for t in range(first, last + 1):
        hypers = descent.hypers_at(t)
        rates.append(hypers["lr"])
        descent.random.begin(t)
        try:
            numbers.append(_step(descent, t, hypers, bounds))
        finally:
            descent.random.end()
    found = []
    for t, rate, read in zip(range(first, last + 1), rates, torch.stack(numbers).tolist(), strict=True):
        loss, norm, moved = read
        call = descent.judge(t, loss, norm, bounds, last - t)
        found.append(descent.told(t, rate, loss, norm, moved, call))
        if call.kind in (REWIND, STOP):
            return [*found[:-1], descent.gone_back(found[-1], call)]
    descent.t = last
    descent.settle(found[-1])
    return found


def _step(descent: Descent, t: int, hypers: dict[str, Any], bounds: GradientLimits) -> Tensor:
    """Takes a step; loss, gradient norm and length of the step, float64 [3], on the device."""
    update, skip, clip = descent.update, *(math.exp(min(bound, MOST)) for bound in (bounds.skip, bounds.clip))
    assert isinstance(update, Update)
    descent.buffers.save(all=True)
    loss = descent.objective.backward(descent.batches(t), descent.space.tensors()).double()
    norm = update.norm()
    live = torch.isfinite(loss) & torch.isfinite(norm) & (norm <= skip)
    if descent.recovery is not None and t in descent.recovery.skipped_steps:
        live = torch.zeros_like(live)
    clip = min(clip, descent.settings.clip or math.inf)
    scale = torch.where(norm <= clip, 1.0, clip / (norm + 1e-6))
    moved = descent.advance(t, hypers, torch.where(live, scale, math.nan))
    descent.buffers.restore_unless(live)
    return torch.stack([loss, norm, moved])
