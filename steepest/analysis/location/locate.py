"""`locate`: analyses a point, or the end of a run, in stages, and gives a verdict."""

import math
import timeit
from typing import Any

import torch
from torch import Tensor, nn

from steepest.analysis.conclusion import conclude
from steepest.analysis.location import rule_in_use as in_use
from steepest.analysis.location.budget import FULL_PRODUCTS, QUICK_PRODUCTS, SHARPNESS_PRODUCTS, Budget
from steepest.analysis.location.evidence import EvaluationSample, PointEvidence
from steepest.analysis.location.rule_in_use import RuleInUse
from steepest.analysis.location.verdict import NEAR_ZERO_CURVATURE, VerdictInputs, make_verdict
from steepest.curvature import gradient_noise
from steepest.curvature.loss_function import CHUNK_SAMPLES, LossFunction, sample_loss_functions
from steepest.descent.loop import Descent
from steepest.errors import DivergedError, InputError
from steepest.records.run import Steps
from steepest.records.verdict import DIVERGED, UNDECIDED, Estimate, Verdict
from steepest.rules.rule import Rule
from steepest.rules.stability import FINAL_SHARE
from steepest.tasks import data as sources
from steepest.tasks.space import Space
from steepest.tasks.task import Task

FULL_SAMPLES = 4096
"""Samples of a full analysis, at most; half of them are for evaluation."""
QUICK_SHARE, QUICK_MIN_S = 0.1, 2.0
"""Share of a run's time that the quick check at its end may take, and the seconds that it may take in any case."""
QUICK_MIN_SAMPLES, QUICK_MAX_SAMPLES = 64, 1024
QUICK_GRADIENTS = 200
"""Gradients that take as long as a quick check: 60 products, noise and steps."""


def quick_check(descent: Descent, steps: Steps, seconds: float) -> Verdict | str:
    """A quick check of where a descent ended, or why there is none.

    Args:
        descent: after its last step.
        steps: its last tenth.
        seconds: that it may take.
    """
    task, w = descent.task, descent.space.gather()
    is_free = task.data is None or not bool(torch.isfinite(w).all())
    samples = QUICK_MAX_SAMPLES if is_free else _affordable_samples(descent, w, seconds)
    if samples < QUICK_MIN_SAMPLES:
        return f"Skipped the quick check of where the run ended: it would take longer than {seconds:.0f} s."
    return analyse_point(task, w, descent.model, in_use.rule_in_use(descent, steps), QUICK_PRODUCTS, samples)


def _affordable_samples(descent: Descent, w: Tensor, seconds: float) -> int:
    """Samples for which a quick check takes so many seconds, by the time of a gradient."""
    task = descent.task
    length = sources.length(task.data) or QUICK_MAX_SAMPLES
    batch = next(iter(sources.in_batches(task.data, QUICK_MIN_SAMPLES)))
    surface = LossFunction(task, [batch], model=descent.model)
    times = timeit.repeat(lambda: surface.gradient(w), number=1, repeat=3)  # the first one is slow
    fewest_s = min(times) * QUICK_GRADIENTS
    affordable = int(QUICK_MIN_SAMPLES * max(1.0, seconds / fewest_s)) if fewest_s <= seconds else 0
    return min(length, QUICK_MAX_SAMPLES, affordable)


def analyse_point(
    task: Task,
    point: Tensor,
    model: nn.Module,
    rule: RuleInUse | None = None,
    products: int = FULL_PRODUCTS,
    samples: int = FULL_SAMPLES,
    seed: int = 0,
) -> Verdict:
    """The verdict on a point.

    Args:
        task: whose loss it is.
        point: w [N].
        model: with the buffers that hold at the point; it is copied, and its weights do not matter.
        rule: that led to the point; None: what depends on rule, learning rate and batch size is left out.
        products: Hessian-vector products at most; up to 60 are a quick check, which never reports a minimum.
        samples: of the training data; half of them are for evaluation. A minimum is reported only if these are all.
        seed: of the samples.

    Raises:
        InputError: a point of another shape, or too few samples.
        TaskError: a model without second derivatives; says which module.
    """
    budget = Budget.of(task, products, samples)
    search, evaluation = _samples(task, model, samples, seed)
    shape = (search.size,)
    if point.shape != shape:
        raise InputError(f"point must have shape {shape}, one number for each weight, got {tuple(point.shape)}")
    try:
        evidence = PointEvidence(search, evaluation, point, budget.eigenvalues)
    except DivergedError as error:
        advice = "Restart with a lower lr; `steepest find-lr TASK` measures one."
        return Verdict(DIVERGED, f"Diverged: {error}.", advice)
    inputs = VerdictInputs(task, model, seed, evidence, budget, rule)
    gradients = _block_gradients(inputs)
    inputs.noise = None if gradients is None else gradient_noise.gradient_noise(*gradients)
    if rule is not None:
        _measure_rule(inputs, rule)
    if budget.is_full:
        if budget.has_all_data and inputs.kind == UNDECIDED:
            _bound_curvature(inputs)
        _measure_rest(inputs, gradients)
    return make_verdict(inputs)


# -- Stages ------------------------------------------------------------------------------------------------------------


def _samples(task: Task, model: nn.Module, samples: int, seed: int) -> tuple[LossFunction, EvaluationSample]:
    """The sample on which directions are chosen, and the one on which they are measured."""
    if task.data is None:
        only = LossFunction(task, [None], model=model)
        return only, EvaluationSample(only)
    length, fewest = sources.length(task.data), 2 * gradient_noise.MIN_BLOCKS
    count = samples if length is None else min(samples, length)
    half = count // 2
    if 2 * half < fewest:
        raise InputError(f"locate needs at least {fewest} samples (half are for evaluation), got {count}.")
    search, other = sample_loss_functions(task, (half, half), seed, model=model)
    evaluation = EvaluationSample(other)
    if evaluation.is_by_batch:  # an interval needs several batches
        chunk = max(1, half // gradient_noise.BLOCKS)
        other = sample_loss_functions(task, (half, half), seed, model=model, chunk=chunk)[1]
        evaluation = EvaluationSample(other)
    return search, evaluation


def _block_gradients(inputs: VerdictInputs) -> gradient_noise.BlockGradients | None:
    """Gradients of disjoint blocks, which show the noise; None if there is no data to draw from."""
    if inputs.budget.length is None:
        return None
    blocks = gradient_noise.disjoint(inputs.task, samples=inputs.budget.samples, seed=inputs.seed)
    return gradient_noise.block_gradients(inputs.task, inputs.evidence.w, blocks, model=inputs.model)


def _measure_rule(inputs: VerdictInputs, rule: RuleInUse) -> None:
    """Sharpness as the rule sees it, and what steps at a lower learning rate gain."""
    task, w = inputs.task, inputs.evidence.w
    if rule.limit is not None:
        surface = _rule_sample(inputs, rule)
        inputs.sharpness, inputs.extra_products = in_use.sharpness(surface, w, rule, SHARPNESS_PRODUCTS)
    if rule.is_still_falling is False and task.data is not None:
        inputs.small_lr_gain = in_use.small_lr_gain(task, inputs.model, inputs.evidence.evaluation, w, rule)


def _rule_sample(inputs: VerdictInputs, rule: RuleInUse) -> LossFunction:
    """The loss that the rule's steps see: full batches see all data, and a part of it would look sharper."""
    length = sources.length(inputs.task.data)
    if rule.batch_size is not None or length is None:
        return inputs.evidence.search
    size = min(inputs.budget.samples, length)
    return sample_loss_functions(inputs.task, (size,), inputs.seed, model=inputs.model)[0]


def _bound_curvature(inputs: VerdictInputs) -> None:
    """Whether a minimum can be certified: a bound on the smallest eigenvalue, on all data."""
    task, evidence = inputs.task, inputs.evidence
    whole = evidence.search
    if task.data is not None:
        whole = LossFunction(task, list(sources.in_batches(task.data, CHUNK_SAMPLES)), model=inputs.model)
    epsilon = NEAR_ZERO_CURVATURE * evidence.top if evidence.top > 0 else NEAR_ZERO_CURVATURE
    evidence.bound_min_eigenvalue(whole, epsilon, inputs.budget.products // 2)


def _measure_rest(inputs: VerdictInputs, gradients: gradient_noise.BlockGradients | None) -> None:
    """What a full analysis measures beside the verdict: batch sharpness, critical batch size, sharpest layer."""
    evidence, size = inputs.evidence, inputs.batch_size
    if size is not None:
        inputs.batch_sharpness = in_use.batch_sharpness(inputs.task, inputs.model, evidence.w, size, inputs.seed)
        inputs.extra_products += in_use.SHARPNESS_BATCHES
    if gradients is not None:
        inputs.critical_batch_size = _critical_batch_size(evidence, inputs.rule, gradients)
        inputs.extra_products += gradient_noise.BLOCKS
    left = inputs.budget.products - evidence.products - inputs.extra_products
    inputs.sharpest_layer = evidence.sharpest_layer(left)


def _critical_batch_size(
    evidence: PointEvidence, rule: RuleInUse | None, gradients: gradient_noise.BlockGradients
) -> Estimate | None:
    """Of the rule's steps, or of gradient descent's; None if it is not known."""
    if rule is not None and rule.limit is None:
        return None  # the scale of its steps is not known
    scale = None if rule is None else rule.preconditioner
    size = gradient_noise.critical_batch_size(*gradients, evidence.search.hessian(evidence.w), scale)
    return size if size.low > 0 or size.high < math.inf else None


# -- Public ------------------------------------------------------------------------------------------------------------


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
        model, descent = point.at_end(task)  # the state of a torch optimizer is not known
        last_tenth = point.record.steps.last(max(1, round(FINAL_SHARE * len(point.record.steps))))
        use = None if descent is None else in_use.rule_in_use(descent, last_tenth)
        verdict = analyse_point(task, Space(model).gather(), model, use, products, samples, seed)
        return conclude(verdict, point.record)
    if (rule is None) != (lr is None):
        raise InputError("Pass both rule and lr (the stability limit needs both), or neither.")
    model = task.build(seed) if task.module is None else task.module
    w = Space(model).gather() if point is None else torch.as_tensor(point)
    use = None if rule is None or lr is None else RuleInUse(rule, float(lr), batch_size)
    return analyse_point(task, w, model, use, products, samples, seed)
