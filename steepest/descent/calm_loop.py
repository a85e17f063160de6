"""The loop on a processor, where no code of the caller's runs between two steps: calm steps in blocks.

What a small network's step needs besides its gradient and update, such as being judged, recorded and shown, takes as
long as the update, because it is not in the processor's caches when its turn comes. Here its turn comes once in several
steps. The result is the same: a step is calm where the guard has nothing to say to it (`guard.calm`), and a block ends
where anything is due.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence

from steepest.descent.loop import Descent
from steepest.records.run import Step

BLOCK_S = 0.02
"""Seconds after which a block ends, so that nobody waits for what is shown. It decides about nothing else."""


def steps(descent: Descent, marks: Sequence[int], must_stop: Callable[[], bool]) -> Iterator[Step]:
    """The steps of a descent, as its iterator gives them.

    Args:
        descent: on the CPU.
        marks: a block ends at every multiple of these, where the caller reads the descent's state.
        must_stop: asked after each step; a block then ends.
    """
    descent.model.train()
    every = (descent.measure_every, 0 if descent.recovery is None else descent.recovery.every, *marks)
    while descent.t < descent.steps and not descent.is_stopped:
        block: list[Step] = []
        try:
            _fill(block, descent, last_step(descent, every), must_stop)
        except BaseException:
            yield from block  # what was done before a step failed
            raise
        yield from block


def last_step(descent: Descent, every: Sequence[int]) -> int:
    """The last step of the next block: where the stage or the descent ends, or at the next multiple of one of these."""
    first = descent.t + 1
    ends = [-(-first // n) * n for n in every if n]
    return min(end for end in (*ends, descent.stage.last, descent.steps) if end >= first)


def _fill(block: list[Step], descent: Descent, last: int, must_stop: Callable[[], bool]) -> None:
    """Takes steps up to the last one, or up to one that is not calm."""
    end, epoch = time.perf_counter() + BLOCK_S, descent.steps_per_epoch
    while True:
        t = descent.t + 1
        if not descent.is_undisturbed(t):
            block.append(descent.step())
            return
        with descent.random.of_step(t):
            batches, loss, norm, lr = descent.measure_step(t)
            if not _is_calm(descent, loss, norm, lr):
                step, call = descent.judge_and_move(t, batches, loss, norm, lr)
                break
            hypers = descent.hypers_at(t, lr)
            step = Step(t, t / epoch, hypers["lr"], loss, norm, descent.move(t, batches, norm, hypers))
        if t == last:
            block.append(step.with_updates(_end(descent, step)))
            return
        descent.t = t
        block.append(step)
        if must_stop() or time.perf_counter() > end:
            return
    block.append(descent.conclude(step, call))


def _end(descent: Descent, step: Step) -> tuple:
    descent.t = step.t
    return descent.after_step(step)


def _is_calm(descent: Descent, loss: float, norm: float, lr: float) -> bool:
    if descent.recovery is None:
        return math.isfinite(norm)
    return descent.recovery.guard.admits(loss, norm, lr)
