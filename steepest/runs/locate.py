"""`locate`: the verdict on a point, or on the end of a run, with its progress in the terminal."""

import math
from typing import Any

import numpy as np
import torch

from steepest.analysis.conclusion import conclude
from steepest.analysis.location import rule_in_use as in_use
from steepest.analysis.location.budget import FULL_PRODUCTS
from steepest.analysis.location.locate import FULL_SAMPLES, analyse_point
from steepest.analysis.location.rule_in_use import RuleInUse
from steepest.errors import InputError
from steepest.records.arguments import A_WHOLE_NUMBER, KINDS, Kind, check, check_arguments
from steepest.records.verdict import Verdict
from steepest.rules.rule import Rule
from steepest.rules.stability import FINAL_SHARE
from steepest.tasks.space import Space
from steepest.tasks.task import Task
from steepest.view.terminal import StageDisplay


def _are_weights(value: Any) -> bool:
    is_list = isinstance(value, list | tuple) and all(isinstance(one, int | float) for one in value)
    return is_list or isinstance(value, torch.Tensor | np.ndarray)


WEIGHTS = Kind(_are_weights, "a run, or weights [N]")


def locate(
    task: Task,
    point: Any = None,
    *,
    rule: Rule | None = None,
    lr: float | None = None,
    batch_size: int | None = None,
    products: int = FULL_PRODUCTS,
    samples: int = FULL_SAMPLES,
    seed: int = 0,
) -> Verdict:
    """Analyses where a point is: minimum or saddle, how sharp, how noisy, or still descending.

    Negative curvature is searched by Lanczos on one half of a sample and measured on the other; actual steps along a
    direction measure what it gains. A minimum is reported only if the smallest eigenvalue is bounded, with probability
    0.99, and no descent is found along near-flat directions.

    A full analysis also estimates the noise scale and the critical batch size and, if products are left for all layers,
    finds the sharpest layer.

    Args:
        task: whose loss it is.
        point: w [N], or a run, whose end is analysed with its rule, learning rate and batch size; None: the weights of
            the task's model.
        rule, lr, batch_size: that led to the point, if it is not a run; without them the stability limit is left out.
        products: Hessian-vector products at most; up to 60 are a quick check, which never reports a minimum.
        samples: of the training data; half of them are for evaluation. A minimum is reported only if these are all.
        seed: of the samples.

    Returns:
        a Verdict, which prints as words, then numbers. After Ctrl-C it is from what was measured so far. Where the
        loss has no second derivative, curvature is by differences of gradients, and the verdict says so.

    Raises:
        SteepestError: a point of another shape, too few samples, a model that cannot be evaluated.
        KeyboardInterrupt: Ctrl-C before anything was measured.

    >>> import steepest as sd
    >>> from steepest.tasks.terrains import TERRAINS
    >>> terrain = TERRAINS["saddle"]
    >>> task = sd.Task(model=terrain.model((0.0, 0.0)), objective=lambda model, batch: model())
    >>> sd.locate(task).kind
    'SADDLE'
    """
    numbers = check_arguments({"products": products, "samples": samples, "seed": seed, "lr": lr})
    products, samples, seed = numbers["products"], numbers["samples"], numbers["seed"]
    check("task", task, KINDS["task"])
    for name, value in ("products", products), ("samples", samples), ("seed", seed):
        check(name, value, A_WHOLE_NUMBER)
    if not (point is None or hasattr(point, "record")):
        check("point", point, WEIGHTS)
    with StageDisplay("locate") as display:
        if point is not None and hasattr(point, "record"):
            model, descent = point.at_end(task)  # the state of a torch optimizer is not known
            last_tenth = point.record.steps.last(max(1, math.ceil(FINAL_SHARE * len(point.record.steps))))
            use = None if descent is None else in_use.rule_in_use(descent, last_tenth)
            verdict = analyse_point(task, Space(model).gather(), model, use, products, samples, seed, display)
            return conclude(verdict, point.record)
        if (rule is None) != (lr is None):
            raise InputError("Pass both rule and lr (the stability limit needs both), or neither.")
        model = task.build(seed) if task.module is None else task.module
        w = Space(model).gather() if point is None else torch.as_tensor(point)
        use = None if rule is None or lr is None else RuleInUse(rule, float(lr), batch_size)
        return analyse_point(task, w, model, use, products, samples, seed, display)
