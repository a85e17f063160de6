"""`locate`: where a point is, or where a run has ended."""

from typing import Any

import torch
from torch import nn

from steepest.errors import InputError
from steepest.looking import SAMPLES, used
from steepest.looking import locate as judged
from steepest.records.verdict import Verdict
from steepest.resuming import ended
from steepest.rules.rule import Rule
from steepest.rules.stability import END
from steepest.tasks.space import Space
from steepest.tasks.task import Task
from steepest.usage import Use


def locate(
    task: Task,
    point: Any = None,
    *,
    rule: Rule | None = None,
    lr: float | None = None,
    batch_size: int | None = None,
    products: int = 400,
    samples: int = SAMPLES,
    seed: int = 0,
) -> Verdict:
    """Says where a point is: minimum or saddle, how sharp, how noisy, or still on the way.

    Negative curvature is looked for by Lanczos on one half of a sample and measured on the other; what a direction is
    worth is told by actual steps along it. A minimum is claimed only where the least eigenvalue is bounded, with
    probability 0.99, and nothing leads down along directions of no curvature.

    Beside that a long look tells the noise scale, the critical batch size (both heuristics), and, where there are
    products left for all layers, which of these is the sharpest.

    Args:
        task: whose loss it is.
        point: w [N], or a run, whose end it is and whose rule, rate and batches are then known; None is where the
            task's model is.
        rule, lr, batch_size: what was descending, where no run says so; without them nothing is said of its stability.
        products: Hessian-vector products at most; up to 60 are a short look, which never claims a minimum.
        samples: of the training data that are looked at; a half of them is held back. A minimum is claimed only where
            these are all.
        seed: of the samples.

    Returns:
        a Verdict, which prints as words, then numbers.

    Raises:
        SteepestError: a point of another shape, too few samples, a model without second derivatives (says which
            module).

    >>> import steepest as sd
    >>> from steepest.tasks.terrains import TERRAINS
    >>> terrain = TERRAINS["saddle"]
    >>> task = sd.Task(model=terrain.model((0.0, 0.0)), objective=lambda model, batch: model())
    >>> sd.locate(task).kind
    'SADDLE'
    """
    if hasattr(point, "record"):
        return _of_run(task, point, products, samples, seed)
    model = task.model if isinstance(task.model, nn.Module) else task.build(seed)
    w = Space(model).gather() if point is None else torch.as_tensor(point)
    given = None
    if rule is not None or lr is not None:
        if rule is None or lr is None:
            raise InputError("one of rule and lr is given; what a rule bears depends on both: give the other one too")
        given = Use(rule, float(lr), batch_size)
    return judged(task, w, model, given, products, samples, seed)


def _of_run(task: Task, run: Any, products: int, samples: int, seed: int) -> Verdict:
    """At a run's end; of what a rule not of ours remembers nothing is known."""
    model, descent = ended(task, run.store, run.record)
    count = max(1, round(END * len(run.record.steps)))
    use = None if descent is None else used(descent, run.record.steps.last(count))
    return judged(task, Space(model).gather(), model, use, products, samples, seed)
