"""A short look at where a descent has ended, as long as its time allows."""

import time
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from steepest import sources, stability
from steepest.descent import Descent
from steepest.record import Steps, Verdict
from steepest.surface import Surface
from steepest.update import Update
from steepest.usage import Use, fell
from steepest.verdict import SHORT, is_finite, locate

SHARE, LEAST_S = 0.1, 2.0
"""Of a run's time that the short look at its end may take, and what it may take in any case."""
FEWEST, MOST = 64, 1024
"""Samples of a short look."""
PASSES = 200
"""Gradients that take as long as a short look: 60 products, and the noise and steps beside these."""


def short(descent: Descent, steps: Steps, seconds: float) -> Verdict | str:
    """A short look at where a descent is, or why there is none.

    Args:
        descent: after its last step.
        steps: its last tenth.
        seconds: that it may take.
    """
    task, w = descent.task, descent.space.gather()
    samples = MOST if task.data is None or not is_finite(w) else _affordable(descent, w, seconds)
    if samples < FEWEST:
        return f"a look at where it ended would take longer than {seconds:.0f} s"
    return locate(task, w, descent.model, used(descent, steps), SHORT, samples)


def _affordable(descent: Descent, w: Tensor, seconds: float) -> int:
    """Samples for which a short look takes so many seconds, by the time of a gradient."""
    task = descent.task
    known = sources.length(task.data) or MOST
    batch = next(iter(sources.whole(task.data, FEWEST)))
    surface = Surface(task, [batch], model=descent.model)
    times = []
    for _ in range(3):  # the first one is slow
        began = time.perf_counter()
        surface.gradient(w.to(surface.device, surface.dtype))
        times.append(time.perf_counter() - began)
    each = min(times) * PASSES
    return min(known, MOST, int(FEWEST * max(1.0, seconds / each)) if each <= seconds else 0)


def used(descent: Descent, steps: Steps) -> Use | None:
    """What a descent uses at its end; None for an optimizer of torch's, or before the first step."""
    update = descent.update
    if not isinstance(update, Update) or not len(steps) or not int(update.t):
        return None
    hypers = {**descent.hypers_at(descent.t), "lr": float(steps.lr.max())}
    rule = update.rule(**{name: hypers[name] for name in update.rule.hypers})
    limit = stability.limit(rule, hypers["lr"])
    scaled = limit is not None and limit.preconditioned
    return Use(
        rule, hypers["lr"], _size(descent), _scale(update, hypers) if scaled else None, int(update.t), fell(steps)
    )


def _size(descent: Descent) -> int | None:
    """Samples of a step; None where it sees all of the data."""
    size = descent.settings.batch_size
    return size if isinstance(size, int) and descent.batches.steps_per_epoch != 1 else None


def _scale(update: Update, hypers: Mapping[str, Any]) -> Tensor | None:
    """What the rule divides each weight's step by; None where a weight has never had a gradient."""
    found = stability.preconditioner(update, hypers)
    return found if bool((found > 0).all()) else None
