"""The verdict on a point: the tests that decide it, and its words.

In this order: is the loss finite; is the rule at its edge of stability; does noise keep the loss up; does a step
against the gradient lower it; does a step along a direction of negative curvature; is the gradient flat; can a minimum,
or a maximum, be certified? If no test holds the point is UNDECIDED, "stationary": every good network has some negative
curvature, and a sample seldom certifies a minimum. After Royer, O'Neill and Wright 2020 (the certificate), Frye et al.
2021 (gradient-flat points) and Cohen et al. 2021 (the edge of stability).
"""

import math
from dataclasses import dataclass, field

from torch import nn

from steepest.analysis.location import outlook
from steepest.analysis.location.budget import Budget
from steepest.analysis.location.evidence import FLAT_DIRECTIONS, LOSS_ROUNDING, Layer, PointEvidence
from steepest.analysis.location.rule_in_use import SHARPNESS_BATCHES, SMALL_LR_FACTOR, RuleInUse
from steepest.curvature.gradient_noise import Noise
from steepest.records import verdict as kinds
from steepest.records.verdict import RUN, VERDICT_HEADLINES, Estimate, Number, Verdict, digits
from steepest.rules.stability import Limit
from steepest.tasks.task import Task

MIN_GAIN, MIN_SADDLE_GAIN = 1e-3, 1e-2
"""Share of the loss that a gradient step gains where the loss still descends; that a step off a saddle gains."""
CRITICAL_POINT_TOLERANCE = 1e-4
"""‖g‖ ÷ λmax relative to the point, up to which a point of a task without data is critical."""
FLAT_GRADIENT_MAX = 1e-3
"""‖Hg‖ ÷ (λmax ‖g‖) below which a gradient lies along directions of almost no curvature."""
EDGE_FRACTION = 0.9
"""Sharpness / its stability limit from which a run is at the edge of stability."""
NEAR_ZERO_CURVATURE = 1e-4
"""Share of the largest curvature that counts as none."""
SLIGHT_NEGATIVE_CURVATURE = 0.1
"""Negative curvature, as a share of the largest, that is normal for trained networks."""
MAX_RELATIVE_STEP = 10.0
"""A step longer than this many times 1 + ‖w‖ is not worth a number."""


@dataclass
class VerdictInputs:
    """Everything that decides a verdict.

    Attributes:
        task, model, seed: as in `analyse_point`.
        evidence: measurements at the point.
        budget: of the analysis.
        rule: that led to the point; None if it is not known.
        noise: of the gradient; None without data, or if these bring their own batches.
        sharpness: the largest curvature as the rule sees it.
        small_lr_gain: decrease by ten steps at a tenth of the learning rate, where the loss had stopped falling; it
            decides. None if it was not tried.
        lower_lr: the same where the loss was still falling, or the learning rate had decayed; it decides nothing.
        extra_products: Hessian-vector products beside those of the evidence.
        batch_sharpness: of mini-batches; this and the rest are measured by a full analysis only.
        critical_batch_size: at which a step gains half of what a noiseless one would; an estimate.
        sharpest_layer: None if it is not known.
        messages: what was not measured, or not as usual, in words.
    """

    task: Task
    model: nn.Module
    seed: int
    evidence: PointEvidence
    budget: Budget
    rule: RuleInUse | None = None
    noise: Noise | None = None
    sharpness: Estimate | None = None
    small_lr_gain: Estimate | None = None
    lower_lr: Estimate | None = None
    extra_products: int = 0
    batch_sharpness: Estimate | None = None
    critical_batch_size: Estimate | None = None
    sharpest_layer: Layer | None = None
    messages: list[str] = field(default_factory=list)

    @property
    def products(self) -> int:
        """Hessian-vector products so far."""
        return self.evidence.products + self.extra_products

    @property
    def kind(self) -> str:
        """The verdict's kind."""
        point, rule, top = self.evidence, self.rule, self.evidence.top
        if rule is not None and rule.batch_size is None and self.edge_ratio >= EDGE_FRACTION:
            return kinds.EDGE_OF_STABILITY
        has_stopped = rule is not None and rule.is_still_falling is False
        if has_stopped and self.small_lr_gain is not None and self.small_lr_gain.low > self.min_gain:
            return kinds.NOISE_FLOOR
        if self.is_descending:
            return kinds.DESCENDING
        end = point.ends.greatest
        if point.is_exact and point.ends.has_converged and end.value + end.residual < -FLAT_GRADIENT_MAX * top:
            return kinds.MAXIMUM
        escape = point.escape.decrease
        leads_down = escape.low > self.min_saddle_gain and escape.value > point.gradient_step.decrease.value
        if point.smallest.high < -NEAR_ZERO_CURVATURE * top and leads_down:
            return kinds.SADDLE
        is_flat = point.flatness < FLAT_GRADIENT_MAX and point.relative_newton_step > CRITICAL_POINT_TOLERANCE
        if is_flat and point.squared_norm > 0:
            return kinds.GRADIENT_FLAT
        if self.budget.is_full and point.bound > -math.inf and not self.has_flat_descent:
            return kinds.MINIMUM
        return kinds.UNDECIDED

    @property
    def is_descending(self) -> bool:
        """Whether a gradient step gains enough: measurably, or as the unbiased gradient norm predicts."""
        point, gain, top = self.evidence, self.evidence.gradient_step.decrease, self.evidence.top
        if point.is_exact:
            return gain.low > self.min_gain and point.relative_newton_step > CRITICAL_POINT_TOLERANCE
        predicts = self.noise is not None and top and self.noise.squared_norm.low / (2 * top) > self.min_gain
        return gain.low > self.min_gain or (bool(predicts) and gain.value > self.min_gain)

    @property
    def has_flat_descent(self) -> bool:
        """Whether a near-flat direction leads down."""
        return (self.evidence.flat_direction_gain or 0.0) > self.rounding

    @property
    def edge_ratio(self) -> float:
        """Sharpness / limit; 0 if there is none."""
        return 0.0 if self.limit is None or self.sharpness is None else self.sharpness.value / self.limit.value

    @property
    def limit(self) -> Limit | None:
        """The sharpness up to which the rule is stable; None if it is not known, or there is none."""
        return None if self.rule is None else self.rule.limit

    @property
    def batch_size(self) -> int | None:
        """In use; None if it is not known, and for full batches."""
        return None if self.rule is None else self.rule.batch_size

    @property
    def rounding(self) -> float:
        return LOSS_ROUNDING * max(1.0, abs(self.evidence.loss.value))

    @property
    def min_gain(self) -> float:
        """What a step has to gain."""
        return max(MIN_GAIN * abs(self.evidence.loss.value), self.rounding)

    @property
    def min_saddle_gain(self) -> float:
        """What a step off a saddle has to gain; without data every gain is one."""
        if self.evidence.is_exact:
            return self.rounding
        return max(MIN_SADDLE_GAIN * abs(self.evidence.loss.value), self.rounding)


# -- Words -------------------------------------------------------------------------------------------------------------

VERDICT_ADVICE = {
    kinds.DESCENDING: f"Train longer: `--start {RUN}`, or more `--epochs`.",
    kinds.NOISE_FLOOR: 'Decay the learning rate to 0 (`schedule="cosine"`), use a larger batch, or average the weights '
    "(`average=0.999`).",
    kinds.EDGE_OF_STABILITY: "Oscillation along the sharpest direction is expected here. Lower lr at the end of the "
    "run to let it settle.",
    kinds.GRADIENT_FLAT: "Raise lr, or use a rule that rescales each weight (`adam`).",
    kinds.SADDLE: "Train on: gradient noise from smaller batches, or a small random perturbation, escapes it. If units "
    "are identical (symmetric initialisation), re-initialise instead.",
    kinds.MAXIMUM: "Any small perturbation leaves it.",
}


def make_verdict(inputs: VerdictInputs) -> Verdict:
    """The verdict in words, then numbers."""
    kind = inputs.kind
    sentence = f"{VERDICT_HEADLINES[kind]}{_sentence(kind, inputs)}."
    advice = VERDICT_ADVICE.get(kind, "")
    if kind == kinds.UNDECIDED:
        sentence, advice = _stationary(inputs)
    elif kind == kinds.MINIMUM:
        sentence, advice = _minimum(inputs.evidence)
    point = inputs.evidence
    messages = dict.fromkeys([*point.search.messages, *point.evaluation.messages, *inputs.messages])
    lower_lr = inputs.small_lr_gain or inputs.lower_lr
    noise = kinds.NOISE if inputs.rule is None or inputs.batch_size is not None else kinds.RATE
    ending = outlook.ending(kind, lower_lr, point.loss.value, noise=noise)
    return Verdict(kind, sentence, advice, _numbers(inputs), inputs.products, tuple(messages), ending)


def _sentence(kind: str, inputs: VerdictInputs) -> str:
    """What supports the headline."""
    point, rule, loss = inputs.evidence, inputs.rule, inputs.evidence.loss.value
    if kind == kinds.DESCENDING:
        return _descent(inputs)
    if kind == kinds.SADDLE:
        by, length = point.escape.decrease, digits(point.escape.step_length)
        return (
            f": along one direction of curvature {digits(point.smallest.value)} a step of length {length} lowers the "
            f"loss, averaged over both signs, {_from_to(loss, by.value)}{_interval(by)}"
        )
    if kind == kinds.EDGE_OF_STABILITY and rule and rule.limit and inputs.sharpness:
        sharpness = "preconditioned sharpness" if rule.limit.preconditioned else "sharpness"
        return (
            f": the {sharpness}, {digits(inputs.sharpness.value)}, is {digits(100 * inputs.edge_ratio)} % of the limit "
            f"{digits(rule.limit.value)} at which {rule.rule.name} becomes unstable at lr = {digits(rule.lr)} "
            f"({rule.limit.formula})"
        )
    if kind == kinds.NOISE_FLOOR and rule and inputs.small_lr_gain:
        gain = inputs.small_lr_gain
        return (
            f": at lr = {digits(rule.lr)} the training loss has stopped falling, but ten steps at lr = "
            f"{digits(SMALL_LR_FACTOR * rule.lr)} lower it by {digits(gain.value)}{_interval(gain, '')}"
        )
    if kind == kinds.GRADIENT_FLAT:
        return (
            f", not a critical point: the gradient ({digits(math.sqrt(point.squared_norm))}) lies along directions of "
            "almost no curvature, and no step along it lowers the loss by 0.1 %"
        )
    return f": every Hessian eigenvalue is at most {digits(point.ends.greatest.value)}"


def _descent(inputs: VerdictInputs) -> str:
    point, by = inputs.evidence, inputs.evidence.gradient_step.decrease
    length, change = digits(point.gradient_step.step_length), _from_to(point.loss.value, by.value)
    if by.low > 0 or inputs.noise is None:
        return f": one gradient step of length {length} lowers the training loss {change}{_interval(by)}"
    norm = inputs.noise.squared_norm
    return (
        f": the gradient is measurably non-zero (‖∇L‖² {digits(norm.value)}, {digits(norm.low)}–{digits(norm.high)}); "
        f"a step of length {length} lowers the loss {change} on average, within noise"
    )


def _minimum(point: PointEvidence) -> tuple[str, str]:
    """Sentence and advice."""
    flat = "" if point.flat_direction_gain is None else f", {FLAT_DIRECTIONS} random near-flat directions"
    advice = f"No lower point was found nearby (tried: the gradient, λ_min{flat}); another seed may end lower."
    if point.bound > 0:
        claim = f"At a strict minimum: with probability 0.99 every Hessian eigenvalue is above {digits(point.bound)}."
    else:
        claim = (
            "At a minimum, as far as can be verified: with probability 0.99 no Hessian eigenvalue is below "
            f"{digits(point.bound)}, and no descent was found along the near-flat directions tried."
        )
    return claim, advice


def _stationary(inputs: VerdictInputs) -> tuple[str, str]:
    """Sentence and advice: what kept the analysis from a verdict."""
    point, loss, headline = inputs.evidence, digits(inputs.evidence.loss.value), VERDICT_HEADLINES[kinds.UNDECIDED]
    if inputs.has_flat_descent:
        gain = digits(point.flat_direction_gain or 0.0)
        claim = f"a step along a near-flat direction lowers the loss by {gain}: a degenerate saddle or a flat valley."
        return f"Undecided: {claim}", "Perturb the weights slightly and train on."
    smallest = point.smallest.value if point.negative is None else point.negative
    if smallest < 0 < point.largest.value:
        ratio = -smallest / point.largest.value
        is_slight = ratio <= SLIGHT_NEGATIVE_CURVATURE
        normal = ": slight negative curvature is normal for trained networks" if is_slight else ""
        where = "" if point.negative is None else " on all data"
        claim = (
            f": no step tried lowers the loss ({loss}) measurably. The smallest eigenvalue{where} is "
            f"{digits(smallest)}, {digits(100 * ratio)} % of the largest{normal}."
        )
    else:
        hedge, step = "", "step tried"
        if not inputs.budget.is_full:
            hedge, step = ", as far as a quick check can tell", "gradient step"
        claim = f"{hedge}: no {step} lowers the loss ({loss}) measurably, and no negative curvature was measured."
    return headline + claim, _how_to_confirm(inputs)


def _how_to_confirm(inputs: VerdictInputs) -> str:
    """How to find out whether a stationary point is a minimum; empty if negative curvature rules it out."""
    budget, point = inputs.budget, inputs.evidence
    if not budget.is_full:
        return f"To test for a minimum run `steepest locate {RUN}`."
    if not budget.has_all_data:
        if budget.length is None:
            return "A minimum can be confirmed only on data without batches of its own: pass tensors or a Dataset."
        n = budget.length
        return f"A minimum can be confirmed only on all {n:,} training samples: `--samples {n}`."
    if not point.search.has_second_derivative:
        return "A minimum can be confirmed only for a loss with a second derivative."
    if point.negative is None and math.isinf(point.bound):
        return f"Use more products: `--products {2 * budget.products}`."
    return ""


def _from_to(loss: float, decrease: float) -> str:
    """Both losses, with the digits that tell them apart."""
    pairs = [(f"{loss:.{n}g}", f"{loss - decrease:.{n}g}") for n in range(3, 16)]
    before, after = next((pair for pair in pairs if pair[0] != pair[1]), pairs[0])
    return f"from {before} to {after}"


def _interval(by: Estimate, what: str = "decrease ") -> str:
    return "" if by.low == by.high else f" ({what}{digits(by.low)}–{digits(by.high)})"


# -- Numbers -----------------------------------------------------------------------------------------------------------


def _numbers(inputs: VerdictInputs) -> tuple[Number, ...]:
    """What was measured; the last three by a full analysis only."""
    point, limit, noise, layer = inputs.evidence, inputs.limit, inputs.noise, inputs.sharpest_layer
    step, escape, norm, bound = point.gradient_step, point.escape, math.sqrt(point.squared_norm), point.bound
    half = "on the evaluation half" if point.evaluation.is_held_back else "on all samples"
    sample = "exact" if point.is_exact else half
    numbers: list[Number] = []

    def add(name: str, x: Estimate | None, words: str = "", reference: float | None = None) -> None:
        if x is not None:
            numbers.append(Number(name, *x, reference, words))

    add("training loss", point.loss, sample)
    add("gradient norm", Estimate(norm, norm, norm))
    add("largest Hessian eigenvalue", point.largest, sample)
    add("smallest Hessian eigenvalue", point.smallest, sample)
    if 0 < step.step_length <= MAX_RELATIVE_STEP * point.size:
        add("decrease by the best gradient step", step.decrease, f"length {digits(step.step_length)}")
    if escape.step_length > 0 > point.smallest.value:
        add("decrease along λ_min", escape.decrease, f"length {digits(escape.step_length)}, mean of both signs")
    if bound > -math.inf:
        add("λ_min lower bound", Estimate(bound, bound, bound), "probability 0.99")
    if limit is not None:
        add("sharpness", inputs.sharpness, limit.formula, limit.value)
    add("decrease by ten steps at lr / 10", inputs.small_lr_gain)
    if noise is not None:
        add("‖∇L‖², noise removed", noise.squared_norm, "unbiased, can be negative")
        words = "rough estimate of the critical batch size, assuming equal curvatures"
        add("noise scale", noise.scale, words, inputs.batch_size)
    words = "an estimate; beyond it larger batches pay off less and less"
    add("critical batch size", inputs.critical_batch_size, words, inputs.batch_size)
    if limit is None or limit.preconditioned:
        add("batch sharpness", inputs.batch_sharpness, f"mean of {SHARPNESS_BATCHES} batches")
    else:
        add("batch sharpness", inputs.batch_sharpness, limit.formula, limit.value)
    if layer is not None:
        name, rival = (f"layer {part}" if part else "the model's own parameters" for part in (layer.name, layer.rival))
        unless = "" if layer.rival is None else f" (or {rival}: their intervals overlap)"
        words = f"λ_max of {name}{unless}, of {layer.layers} layers, with the others fixed; {sample}"
        add("sharpest layer", layer.curvature, words)
    return tuple(numbers)
