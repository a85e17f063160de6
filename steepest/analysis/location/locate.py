"""`locate`: where a point is, or where a run ended: what `evidence` and `rule_in_use` measure there, as a verdict."""

import math
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from steepest.analysis.location.evidence import EvaluationSample, bound_min_eigenvalue, measure_point, sharpest_layer
from steepest.analysis.location.rule_in_use import (
    BATCHES,
    RuleInUse,
    batch_sharpness,
    is_still_falling,
    sharpness,
    small_lr_gain,
)
from steepest.analysis.location.verdict import DIVERGED, RELATIVE, UNDECIDED, FullAnalysis, VerdictInputs, make_verdict
from steepest.curvature import gradient_noise
from steepest.curvature.loss_function import CHUNK, LossFunction, sample_loss_functions
from steepest.descent.loop import Descent
from steepest.errors import DivergedError, InputError
from steepest.records.run import Steps
from steepest.records.verdict import Estimate, Verdict
from steepest.rules import stability
from steepest.rules.rule import Rule
from steepest.rules.stability import FINAL_SHARE
from steepest.rules.update import Update
from steepest.tasks import data as sources
from steepest.tasks.space import Space
from steepest.tasks.task import Task

QUICK_PRODUCTS = 60
"""Products of a short look."""
SAMPLES = 4096
"""Of the data that a long look uses at most; the half of them is held back."""
QUICK_SHARE, QUICK_MIN_S = 0.1, 2.0
"""Of a run's time that the short look at its end may take, and what it may take in any case."""
FEWEST, MOST = 64, 1024
"""Samples of a short look."""
PASSES = 200
"""Gradients that take as long as a short look: 60 products, and the noise and steps beside these."""


def quick_check(descent: Descent, steps: Steps, seconds: float) -> Verdict | str:
    """A short look at where a descent is, or why there is none.

    Args:
        descent: after its last step.
        steps: its last tenth.
        seconds: that it may take.
    """
    task, w = descent.task, descent.space.gather()
    samples = MOST if task.data is None or not bool(torch.isfinite(w).all()) else _affordable(descent, w, seconds)
    if samples < FEWEST:
        return f"a look at where it ended would take longer than {seconds:.0f} s"
    return analyse_point(task, w, descent.model, rule_in_use(descent, steps), QUICK_PRODUCTS, samples)


def _affordable(descent: Descent, w: Tensor, seconds: float) -> int:
    """Samples for which a short look takes so many seconds, by the time of a gradient."""
    task = descent.task
    known = sources.length(task.data) or MOST
    batch = next(iter(sources.in_batches(task.data, FEWEST)))
    surface = LossFunction(task, [batch], model=descent.model)
    times = []
    for _ in range(3):  # the first one is slow
        began = time.perf_counter()
        surface.gradient(w.to(surface.device, surface.dtype))
        times.append(time.perf_counter() - began)
    each = min(times) * PASSES
    return min(known, MOST, int(FEWEST * max(1.0, seconds / each)) if each <= seconds else 0)


def rule_in_use(descent: Descent, steps: Steps) -> RuleInUse | None:
    """What a descent uses at its end; None for an optimizer of torch's, or before the first step."""
    update = descent.update
    if not isinstance(update, Update) or not len(steps) or not int(update.t):
        return None
    lr = float(steps.lr.max())
    if not lr > 0:
        return None  # a run of so few steps that its schedule has ended within the last tenth
    hypers = {**descent.hypers_at(descent.t), "lr": lr}
    rule = update.rule(**{name: hypers[name] for name in update.rule.hypers})
    limit = stability.limit(rule, lr)
    scaled = limit is not None and limit.preconditioned
    return RuleInUse(
        rule,
        hypers["lr"],
        _size(descent),
        _scale(update, hypers) if scaled else None,
        int(update.t),
        is_still_falling(steps),
    )


def _size(descent: Descent) -> int | None:
    """Samples of a step; None where it sees all of the data."""
    if descent.batches.steps_per_epoch == 1:
        return None
    if descent.batches.is_iterable:
        data: Any = descent.task.data
        return sources.count(next(iter(data), None))
    size = descent.settings.batch_size
    return size if isinstance(size, int) else None


def _scale(update: Update, hypers: Mapping[str, Any]) -> Tensor | None:
    """What the rule divides each weight's step by; None where a weight has never had a gradient."""
    found = stability.preconditioner(update, hypers)
    return found if bool((found > 0).all()) else None


def analyse_point(
    task: Task,
    point: Tensor,
    model: nn.Module,
    use: RuleInUse | None = None,
    products: int = 400,
    samples: int = SAMPLES,
    seed: int = 0,
) -> Verdict:
    """Where a point is.

    Args:
        task: whose loss it is.
        point: w [N].
        model: with the buffers that hold at the point; its weights are not looked at, and it is left as it is.
        use: what was descending; None: what depends on rule, rate and batch is left out.
        products: Hessian-vector products at most; up to 60 are a short look, which never claims a minimum.
        samples: of the training data; a half is held back from choosing directions. A minimum is claimed only where
            these are all.
        seed: of the samples.

    Raises:
        InputError: a point of another shape, or too few samples.
        TaskError: a model without second derivatives; says which module.
    """
    if products < 10:
        raise InputError(f"products={products} are given; a look takes at least 10 Hessian-vector products")
    found, held = _surfaces(task, model, samples, seed)
    if point.shape != (found.size,):
        raise InputError(f"a point of shape {tuple(point.shape)} is given; this task has {found.size} weights")
    thorough = products > QUICK_PRODUCTS
    try:
        here = measure_point(found, held, point, products // 4 if thorough else products - 15)
    except DivergedError as error:
        return Verdict(DIVERGED, f"Diverged: {error}.", "Lower the rate; the guard does so by itself (guard=True).")
    seen, calm, more = None, None, 0
    blocks = _blocks(task, model, point, samples, seed)
    heard = None if blocks is None else gradient_noise.gradient_noise(*blocks)
    if use is not None and use.limit is not None:
        seen, more = sharpness(_seen_by(task, model, found, use, samples, seed), point, use, 15)
    if use is not None and use.is_still_falling is False and task.data is not None:
        calm = small_lr_gain(task, model, held, point, use).by
    findings = VerdictInputs(here, heard, use, seen, calm, thorough, more)
    if thorough and findings.kind == UNDECIDED and (here.exact or _is_within(task, samples)):
        whole = found if here.exact else LossFunction(task, list(sources.in_batches(task.data, CHUNK)), model=model)
        epsilon = RELATIVE * findings.top if findings.top > 0 else RELATIVE
        findings = replace(findings, here=bound_min_eigenvalue(here, whole, point, epsilon, products // 2))
    if not thorough:
        return make_verdict(findings)
    small, critical = None, None
    if use is not None and use.batch_size is not None:
        small, more = batch_sharpness(task, model, point, use.batch_size, seed), more + BATCHES
    if blocks is not None:
        critical, more = _critical(blocks, found, point, use), more + gradient_noise.BLOCKS
    layer = sharpest_layer(found, held, point, products - findings.here.products - more)
    return make_verdict(replace(findings, products=more), FullAnalysis(small, critical, layer))


def _surfaces(task: Task, model: nn.Module, samples: int, seed: int) -> tuple[LossFunction, EvaluationSample]:
    """The sample that directions are looked for in, and the one that is held back."""
    if task.data is None:
        only = LossFunction(task, [None], model=model)
        return only, EvaluationSample(only)
    known = sources.length(task.data)
    half = (samples if known is None else min(samples, known)) // 2
    if half < gradient_noise.FEWEST:
        raise InputError(
            f"{2 * half} samples are there to look at; expected are at least {2 * gradient_noise.FEWEST}, "
            "since a half is held back"
        )
    found, whole = sample_loss_functions(task, (half, half), seed, model=model)
    held = EvaluationSample(whole)
    if held.is_by_batch:  # of which there have to be enough for an interval
        held = EvaluationSample(
            sample_loss_functions(task, (half, half), seed, model=model, chunk=max(1, half // gradient_noise.BLOCKS))[1]
        )
    return found, held


def _blocks(task: Task, model: nn.Module, point: Tensor, samples: int, seed: int) -> tuple[Tensor, list[float]] | None:
    """Gradients of disjoint blocks, whose noise can be told, where the data can be drawn from."""
    if task.data is None or sources.is_iterable(task.data):
        return None
    batches = gradient_noise.disjoint(task, samples=samples, seed=seed)
    return gradient_noise.block_gradients(task, point, batches, model=model)


def _critical(
    blocks: tuple[Tensor, list[float]], found: LossFunction, point: Tensor, use: RuleInUse | None
) -> Estimate | None:
    """The critical batch size of the rule's steps, or of gradient descent's; None where nothing is told of it."""
    if use is not None and use.limit is None:
        return None  # what its steps are scaled by is not known
    scale = None if use is None else use.preconditioner
    hessian = found.hessian(point.to(found.device, found.dtype))
    told = gradient_noise.critical_batch_size(*blocks, hessian, scale)
    return told if told.low > 0 or told.high < math.inf else None


def _seen_by(
    task: Task, model: nn.Module, found: LossFunction, use: RuleInUse, samples: int, seed: int
) -> LossFunction:
    """What the rule's steps see: full batches see all of the data, and a part of it would look sharper."""
    known = None if task.data is None else sources.length(task.data)
    if use.batch_size is not None or known is None:
        return found
    return sample_loss_functions(task, (min(samples, known),), seed, model=model)[0]


def _is_within(task: Task, samples: int) -> bool:
    """Whether all of the data may be looked at: nothing less bounds a curvature."""
    known = sources.length(task.data)
    return known is not None and known <= samples and not sources.is_iterable(task.data)


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
        given = RuleInUse(rule, float(lr), batch_size)
    return analyse_point(task, w, model, given, products, samples, seed)


def _of_run(task: Task, run: Any, products: int, samples: int, seed: int) -> Verdict:
    """At a run's end; of what a rule not of ours remembers nothing is known."""
    model, descent = run.at_end(task)
    count = max(1, round(FINAL_SHARE * len(run.record.steps)))
    use = None if descent is None else rule_in_use(descent, run.record.steps.last(count))
    return analyse_point(task, Space(model).gather(), model, use, products, samples, seed)
