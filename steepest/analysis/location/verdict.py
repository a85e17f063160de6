"""The verdict on a point: the tests that decide it, and its words.

In this order: is the loss finite; is the rule at its edge of stability; does noise keep the loss up; does a step
against the gradient lower it; does a step along a direction of negative curvature; is the gradient flat; can a minimum,
or a maximum, be certified? If no test holds the point is UNDECIDED, "stationary": every good network has some negative
curvature, and a sample seldom certifies a minimum. After Royer, O'Neill and Wright 2020 (the certificate), Frye et al.
2021 (gradient-flat points) and Cohen et al. 2021 (the edge of stability).
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

from steepest.analysis.location.evidence import FLAT_DIRECTIONS, LOSS_ROUNDING, Layer, PointEvidence
from steepest.analysis.location.rule_in_use import SHARPNESS_BATCHES, SMALL_LR_FACTOR, RuleInUse
from steepest.curvature.gradient_noise import Noise
from steepest.records.verdict import (
    DESCENDING,
    EDGE_OF_STABILITY,
    GRADIENT_FLAT,
    MAXIMUM,
    MINIMUM,
    NOISE_FLOOR,
    RUN,
    SADDLE,
    UNDECIDED,
    VERDICT_HEADLINES,
    Estimate,
    Number,
    Verdict,
    digits,
)  # fmt: skip
from steepest.rules.stability import Limit

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


class Coverage(NamedTuple):
    """How much an analysis has looked at.

    Attributes:
        is_full: whether it may report a minimum.
        has_all_data: whether its samples are all of the data.
        length: of the training data; None if there are none, or they bring their own batches.
        products: Hessian-vector products that it was allowed.
    """

    is_full: bool = False
    has_all_data: bool = False
    length: int | None = None
    products: int = 0


@dataclass(frozen=True)
class VerdictInputs:
    """Everything that decides a verdict.

    Attributes:
        evidence: measurements at the point.
        coverage: of the analysis.
        rule: that led to the point; None if it is not known.
        noise: of the gradient; None without data, or if these bring their own batches.
        sharpness: the largest curvature as the rule sees it.
        small_lr_gain: decrease by ten steps at a tenth of the learning rate; None if it was not tried.
        extra_products: Hessian-vector products beside those of the evidence.
    """

    evidence: PointEvidence
    coverage: Coverage
    rule: RuleInUse | None = None
    noise: Noise | None = None
    sharpness: Estimate | None = None
    small_lr_gain: Estimate | None = None
    extra_products: int = 0

    @property
    def kind(self) -> str:
        """The verdict's kind."""
        point, rule, top = self.evidence, self.rule, self.top
        if rule is not None and rule.batch_size is None and self.edge_ratio >= EDGE_FRACTION:
            return EDGE_OF_STABILITY
        has_stopped = rule is not None and rule.is_still_falling is False
        if has_stopped and self.small_lr_gain is not None and self.small_lr_gain.low > self.min_gain:
            return NOISE_FLOOR
        if self.is_descending:
            return DESCENDING
        end = point.ends.greatest
        if point.is_exact and point.ends.has_converged and end.value + end.residual < -FLAT_GRADIENT_MAX * top:
            return MAXIMUM
        escape = point.escape.decrease
        leads_down = escape.low > self.min_saddle_gain and escape.value > point.gradient_step.decrease.value
        if point.smallest.high < -NEAR_ZERO_CURVATURE * top and leads_down:
            return SADDLE
        is_flat = point.flatness < FLAT_GRADIENT_MAX and point.relative_newton_step > CRITICAL_POINT_TOLERANCE
        if is_flat and point.squared_norm > 0:
            return GRADIENT_FLAT
        if self.coverage.is_full and point.bound > -math.inf and not self.has_flat_descent:
            return MINIMUM
        return UNDECIDED

    @property
    def is_descending(self) -> bool:
        """Whether a gradient step gains enough: measurably, or as the unbiased gradient norm predicts."""
        point, gain = self.evidence, self.evidence.gradient_step.decrease
        if point.is_exact:
            return gain.low > self.min_gain and point.relative_newton_step > CRITICAL_POINT_TOLERANCE
        predicts = self.noise is not None and self.top and self.noise.squared_norm.low / (2 * self.top) > self.min_gain
        return gain.low > self.min_gain or (bool(predicts) and gain.value > self.min_gain)

    @property
    def has_flat_descent(self) -> bool:
        """Whether a near-flat direction leads down."""
        return (self.evidence.flat_direction_gain or 0.0) > self.rounding

    @property
    def top(self) -> float:
        """The largest curvature, whatever its sign."""
        return max(abs(self.evidence.ends.greatest.value), abs(self.evidence.ends.least.value))

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
    def sample(self) -> str:
        """What curvature was measured on."""
        return "exact" if self.evidence.is_exact else "on the evaluation half"

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


@dataclass(frozen=True)
class FullAnalysis:
    """What a full analysis measures beside the verdict; None if it is not known.

    Attributes:
        batch: the sharpness of mini-batches.
        critical: the batch size at which a step gains half of what a noiseless one would; an estimate.
        layer: the sharpest one.
    """

    batch: Estimate | None = None
    critical: Estimate | None = None
    layer: Layer | None = None


# -- Words -------------------------------------------------------------------------------------------------------------

VERDICT_ADVICE = {
    DESCENDING: f"Train longer: `--start {RUN}`, or more `--epochs`.",
    NOISE_FLOOR: 'Decay the learning rate to 0 (`schedule="cosine"`), use a larger batch, or average the weights '
    "(`average=0.999`).",
    EDGE_OF_STABILITY: "Oscillation along the sharpest direction is expected here. Lower lr at the end of the run to "
    "let it settle.",
    GRADIENT_FLAT: "Raise lr, or use a rule that rescales each weight (`adam`).",
    SADDLE: "Train on: gradient noise from smaller batches, or a small random perturbation, escapes it. If units are "
    "identical (symmetric initialisation), re-initialise instead.",
    MAXIMUM: "Any small perturbation leaves it.",
}


def make_verdict(inputs: VerdictInputs, rest: FullAnalysis | None = None) -> Verdict:
    """The verdict in words, then numbers."""
    kind = inputs.kind
    sentence = f"{VERDICT_HEADLINES[kind]}{_sentence(kind, inputs)}."
    advice = VERDICT_ADVICE.get(kind, "")
    if kind == UNDECIDED:
        sentence, advice = _stationary(inputs)
    elif kind == MINIMUM:
        sentence, advice = _minimum(inputs.evidence)
    numbers = _numbers(inputs) + _more_numbers(inputs, rest or FullAnalysis())
    return Verdict(kind, sentence, advice, numbers, inputs.evidence.products + inputs.extra_products)


def _sentence(kind: str, inputs: VerdictInputs) -> str:
    """What supports the headline."""
    point, rule, loss = inputs.evidence, inputs.rule, inputs.evidence.loss.value
    if kind == DESCENDING:
        return _descent(inputs)
    if kind == SADDLE:
        by = point.escape.decrease
        return (
            f": along one direction of curvature {digits(point.smallest.value)} a step of length "
            f"{digits(point.escape.step_length)} lowers the loss, averaged over both signs, "
            f"{_from_to(loss, by.value)}{_interval(by)}"
        )
    if kind == EDGE_OF_STABILITY and rule and rule.limit and inputs.sharpness:
        sharpness = "preconditioned sharpness" if rule.limit.preconditioned else "sharpness"
        return (
            f": the {sharpness}, {digits(inputs.sharpness.value)}, is {digits(100 * inputs.edge_ratio)} % of the limit "
            f"{digits(rule.limit.value)} at which {rule.rule.name} becomes unstable at lr = {digits(rule.lr)} "
            f"({rule.limit.formula})"
        )
    if kind == NOISE_FLOOR and rule and inputs.small_lr_gain:
        gain = inputs.small_lr_gain
        return (
            f": at lr = {digits(rule.lr)} the training loss has stopped falling, but ten steps at lr = "
            f"{digits(SMALL_LR_FACTOR * rule.lr)} lower it by {digits(gain.value)}{_interval(gain, '')}"
        )
    if kind == GRADIENT_FLAT:
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
    bound = digits(point.bound)
    flat = "" if point.flat_direction_gain is None else f", {FLAT_DIRECTIONS} random near-flat directions"
    advice = f"No lower point was found nearby (tried: the gradient, λ_min{flat}); another seed may end lower."
    if point.bound > 0:
        return f"At a strict minimum: with probability 0.99 every Hessian eigenvalue is above {bound}.", advice
    return (
        f"{VERDICT_HEADLINES[MINIMUM]}, as far as can be verified: with probability 0.99 no Hessian eigenvalue is "
        "below "
        f"{bound}, and no descent was found along the near-flat directions tried.",
        advice,
    )


def _stationary(inputs: VerdictInputs) -> tuple[str, str]:
    """Sentence and advice: what kept the analysis from a verdict."""
    point, coverage, loss = inputs.evidence, inputs.coverage, digits(inputs.evidence.loss.value)
    if inputs.has_flat_descent:
        gain = digits(point.flat_direction_gain or 0.0)
        return (
            f"Undecided: a step along a near-flat direction lowers the loss by {gain}: a degenerate saddle or a flat "
            "valley.",
            "Perturb the weights slightly and train on.",
        )
    advice = _how_to_confirm(inputs)
    smallest = point.smallest.value if point.negative is None else point.negative
    if smallest < 0 < point.largest.value:
        ratio = -smallest / point.largest.value
        is_slight = ratio <= SLIGHT_NEGATIVE_CURVATURE
        normal = ": slight negative curvature is normal for trained networks" if is_slight else ""
        where = "" if point.negative is None else " on all data"
        return (
            f"{VERDICT_HEADLINES[UNDECIDED]}: no step tried lowers the loss ({loss}) measurably. The smallest "
            f"eigenvalue{where} is {digits(smallest)}, {digits(100 * ratio)} % of the largest{normal}.",
            advice,
        )
    hedge = "" if coverage.is_full else ", as far as a quick check can tell"
    step = "step tried" if coverage.is_full else "gradient step"
    return (
        f"{VERDICT_HEADLINES[UNDECIDED]}{hedge}: no {step} lowers the loss ({loss}) measurably, and no negative "
        "curvature was "
        "measured.",
        advice,
    )


def _how_to_confirm(inputs: VerdictInputs) -> str:
    """How to find out whether a stationary point is a minimum; empty if negative curvature rules it out."""
    coverage, point = inputs.coverage, inputs.evidence
    if not coverage.is_full:
        return f"To test for a minimum run `steepest locate {RUN}`."
    if not coverage.has_all_data:
        if coverage.length is None:
            return "A minimum can be confirmed only on data without batches of its own: pass tensors or a Dataset."
        n = coverage.length
        return f"A minimum can be confirmed only on all {n:,} training samples: `--samples {n}`."
    if point.negative is None and math.isinf(point.bound):
        return f"Use more products: `--products {2 * coverage.products}`."
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
    point, limit, sample = inputs.evidence, inputs.limit, inputs.sample
    step, escape = point.gradient_step, point.escape
    numbers = [
        Number("training loss", *point.loss, words=sample),
        _exact("gradient norm", math.sqrt(point.squared_norm)),
        Number("largest Hessian eigenvalue", *point.largest, words=sample),
        Number("smallest Hessian eigenvalue", *point.smallest, words=sample),
    ]
    if 0 < step.step_length <= MAX_RELATIVE_STEP * point.size:
        words = f"length {digits(step.step_length)}"
        numbers.append(Number("decrease by the best gradient step", *step.decrease, words=words))
    if escape.step_length > 0 > point.smallest.value:
        words = f"length {digits(escape.step_length)}, mean of both signs"
        numbers.append(Number("decrease along λ_min", *escape.decrease, words=words))
    if point.bound > -math.inf:
        numbers.append(_exact("λ_min lower bound", point.bound, "probability 0.99"))
    if limit is not None and inputs.sharpness is not None:
        numbers.append(Number("sharpness", *inputs.sharpness, reference=limit.value, words=limit.formula))
    if inputs.small_lr_gain is not None:
        numbers.append(Number("decrease by ten steps at lr / 10", *inputs.small_lr_gain))
    if inputs.noise is not None:
        words = "rough estimate of the critical batch size, assuming equal curvatures"
        numbers += [
            Number("‖∇L‖², noise removed", *inputs.noise.squared_norm, words="unbiased, can be negative"),
            Number("noise scale", *inputs.noise.scale, reference=inputs.batch_size, words=words),
        ]
    return tuple(numbers)


def _more_numbers(inputs: VerdictInputs, rest: FullAnalysis) -> tuple[Number, ...]:
    numbers, limit, layer = [], inputs.limit, rest.layer
    if rest.critical is not None:
        words = "estimate; larger batches pay off less and less"
        numbers.append(Number("critical batch size", *rest.critical, reference=inputs.batch_size, words=words))
    if rest.batch is not None:
        reference = None if limit is None or limit.preconditioned else limit.value
        words = limit.formula if limit is not None and reference is not None else f"mean of {SHARPNESS_BATCHES} batches"
        numbers.append(Number("batch sharpness", *rest.batch, reference=reference, words=words))
    if layer is not None:
        rival = "" if layer.rival is None else f", unless {_layer_name(layer.rival)} is"
        words = (
            f"λ_max of {_layer_name(layer.name)}{rival}; of {layer.count} layers, other layers fixed; {inputs.sample}"
        )
        numbers.append(Number("sharpest layer", *layer.curvature, words=words))
    return tuple(numbers)


def _layer_name(layer: str) -> str:
    return layer or "the model's own parameters"


def _exact(name: str, value: float, words: str = "") -> Number:
    return Number(name, value, value, value, words=words)
