"""Analyses a point, in stages, and gives a verdict."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from steepest import seeds
from steepest.analysis.location import rule_in_use as in_use
from steepest.analysis.location.budget import (
    FULL_PRODUCTS,
    QUICK_MAX_SAMPLES,
    QUICK_MIN_SAMPLES,
    QUICK_PRODUCTS,
    QUICK_SHARE,
    SHARPNESS_PRODUCTS,
    Budget,
    quick_budget,
)
from steepest.analysis.location.evidence import PointEvidence
from steepest.analysis.location.rule_in_use import RuleInUse
from steepest.analysis.location.samples import block_gradients, draw
from steepest.analysis.location.verdict import NEAR_ZERO_CURVATURE, VerdictInputs, make_verdict
from steepest.curvature import gradient_noise
from steepest.curvature.loss_function import LossFunction
from steepest.curvature.samples import CHUNK_SAMPLES, sample_loss_functions
from steepest.descent.loop import Descent
from steepest.errors import DivergedError, InputError, SteepestError, TaskError
from steepest.records.run import Steps
from steepest.records.verdict import DIVERGED, DIVERGED_ADVICE, UNDECIDED, Estimate, Verdict
from steepest.tasks import data as sources
from steepest.tasks.space import Space
from steepest.tasks.task import Task

FULL_SAMPLES = 4096
"""Samples of a full analysis, at most; half of them are for evaluation."""
Notify = Callable[[str, int, int], None]
"""Told of each stage: its name, Hessian-vector products so far, and the most there can be."""


@seeds.hold()
def quick_check(descent: Descent, steps: Steps) -> Verdict | str:
    """A quick check of where a descent ended, or why there is none.

    It takes a tenth of the run's work, or as much as half a second of one core can do, whichever is more.

    Args:
        descent: after its last step.
        steps: its last tenth.
    """
    task, w = descent.task, descent.space.gather()
    use = in_use.rule_in_use(descent, steps)
    if task.data is None or not bool(torch.isfinite(w).all()):
        return analyse_point(task, w, descent.model, use, QUICK_PRODUCTS, QUICK_MAX_SAMPLES)
    batch = next(iter(sources.in_batches(task.data, QUICK_MIN_SAMPLES)))
    size = sources.count(batch) if descent.batches.is_iterable else descent.settings.batch_size
    length = sources.length(task.data) or QUICK_MAX_SAMPLES
    work = LossFunction(task, [batch], model=descent.model).work()
    quick = quick_budget(work, descent.t, size if isinstance(size, int) else length, length)
    if quick is None:
        return (
            f"Skipped the quick check of where the run ended: it would take more than {QUICK_SHARE:.0%} of the run's "
            f"work. `steepest locate` makes it."
        )
    products, samples = quick
    return analyse_point(task, w, descent.model, use, products, samples)


@seeds.hold()
def analyse_point(
    task: Task,
    point: Tensor,
    model: nn.Module,
    rule: RuleInUse | None = None,
    products: int = FULL_PRODUCTS,
    samples: int = FULL_SAMPLES,
    seed: int = 0,
    notify: Notify = lambda stage, products, total: None,
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
        notify: told of each stage.

    Raises:
        InputError: a point of another shape, or too few samples.
        TaskError: the model cannot be evaluated at the point.
        KeyboardInterrupt: Ctrl-C before anything was measured; later the verdict is from what was measured.
    """
    budget, size = Budget.of(task, products, samples), Space(model).size
    if point.shape != (size,):
        raise InputError(f"point must have shape ({size},), one number for each weight, got {tuple(point.shape)}")
    count = iter(range(products + 1))
    watch = lambda: notify("eigenvalues", next(count, products), products)  # noqa: E731
    watch()
    try:
        search, evaluation = draw(task, model, point, samples, seed)
        evidence = PointEvidence(search, evaluation, point, budget.eigenvalues, watch)
    except DivergedError as error:
        return Verdict(DIVERGED, f"Diverged: {error}.", DIVERGED_ADVICE)
    except SteepestError:
        raise
    except Exception as error:  # the user's model may raise anything
        words = f"The model cannot be evaluated at the point ({type(error).__name__}: {error})."
        raise TaskError(f"{words} Check that loss(model) works in evaluation mode.") from error
    inputs = VerdictInputs(task, model, seed, evidence, budget, rule)
    try:
        _measure_stages(inputs, notify)
    except KeyboardInterrupt:
        inputs.messages.append("Interrupted: the verdict is from what was measured so far.")
    return make_verdict(inputs)


def _measure_stages(inputs: VerdictInputs, notify: Notify) -> None:
    """All stages after the eigenvalues; a stage that fails is said, and left out."""
    budget, rule = inputs.budget, inputs.rule

    def stage(name: str, run: Callable[[], Any]) -> Any:
        notify(name, inputs.products, budget.products)
        try:
            return run()
        except Exception as error:  # the user's model may raise anything, such as on batches of another size
            inputs.messages.append(f"Not measured: {name} ({error}).")
            return None

    gradients = stage("gradient noise", lambda: _block_gradients(inputs))
    if gradients is not None:
        inputs.noise = stage("gradient noise", lambda: gradient_noise.gradient_noise(*gradients))
    if rule is not None:
        stage("the rule's sharpness", lambda: _measure_rule(inputs, rule))
    if budget.is_full:
        if budget.has_all_data and inputs.kind == UNDECIDED:
            stage("the bound on the smallest eigenvalue", lambda: _bound_curvature(inputs))
        stage("layers and batches", lambda: _measure_rest(inputs, gradients))


# -- Stages ------------------------------------------------------------------------------------------------------------


def _block_gradients(inputs: VerdictInputs) -> gradient_noise.BlockGradients | None:
    """Gradients of disjoint blocks; None if there is no data to draw from."""
    evidence, surface = inputs.evidence, inputs.evidence.evaluation.surface
    return block_gradients(inputs.task, inputs.model, evidence.w, inputs.budget.samples, inputs.seed, surface)


def _measure_rule(inputs: VerdictInputs, rule: RuleInUse) -> None:
    """Sharpness as the rule sees it, and what steps at a lower learning rate gain."""
    task, w = inputs.task, inputs.evidence.w
    if rule.limit is not None:
        surface = _rule_sample(inputs, rule)
        sharpness, inputs.extra_products = in_use.sharpness(surface, w, rule, SHARPNESS_PRODUCTS)
        step_size = rule.batch_size or sources.length(task.data) or surface.samples
        scale = step_size / surface.samples if inputs.evidence.evaluation.surface.is_sum else 1.0
        inputs.sharpness = Estimate(*(scale * x for x in sharpness))
    if task.data is None:
        return
    evaluation = inputs.evidence.evaluation
    if rule.is_still_falling is False:
        inputs.small_lr_gain = in_use.small_lr_gain(task, inputs.model, evaluation, w, rule)
    elif inputs.budget.is_full or _is_cheap(inputs, rule):
        repeats = 1 if rule.batch_size is None else in_use.SMALL_LR_REPEATS
        inputs.lower_lr = in_use.small_lr_gain(task, inputs.model, evaluation, w, rule, repeats)


def _is_cheap(inputs: VerdictInputs, rule: RuleInUse) -> bool:
    """Whether the steps at a lower learning rate fit into a quick check."""
    step_samples = rule.batch_size or sources.length(inputs.task.data)
    if step_samples is None or inputs.evidence.evaluation.is_by_batch:
        return False
    step_s = inputs.evidence.search.work().gradient_seconds(step_samples)
    repeats = 1 if rule.batch_size is None else in_use.SMALL_LR_REPEATS
    seconds = repeats * in_use.SMALL_LR_STEPS * step_s
    return seconds <= max(in_use.SMALL_LR_SHARE * (rule.t or 0) * step_s, in_use.SMALL_LR_MIN_S)


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
    if not evidence.search.has_second_derivative:
        return  # differences of gradients bound nothing
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
    size = gradient_noise.critical_batch_size(*gradients, evidence.search.best_hessian(evidence.w), scale)
    return size if size.low > 0 or size.high < math.inf else None
