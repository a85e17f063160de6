"""Where a point is: a Verdict in words, and the tests behind it.

In this order: is it finite; does the rule sit at its edge of stability; does noise keep it up; does a step against the
gradient go lower; does a step along a direction of negative curvature; is the gradient flat; can a minimum, or a
maximum, be certified? What none of these answers is undecided, and said with its numbers: every good network has some
negative curvature, and a sample seldom certifies a minimum. After Royer, O'Neill and Wright 2020 (the certificate),
Frye et al. 2021 (gradient-flat points) and Cohen et al. 2021 (the edge of stability).
"""

import math
from dataclasses import dataclass

from steepest.analysis.location.evidence import ROUNDING, SURE, Layer, PointEvidence
from steepest.analysis.location.rule_in_use import RuleInUse
from steepest.curvature.gradient_noise import Noise
from steepest.records.verdict import Estimate, Number, Verdict
from steepest.rules.stability import Limit

DESCENDING, NOISE_FLOOR, EDGE_OF_STABILITY = "DESCENDING", "NOISE_FLOOR", "EDGE_OF_STABILITY"
GRADIENT_FLAT, SADDLE, MINIMUM, MAXIMUM = "GRADIENT_FLAT", "SADDLE", "MINIMUM", "MAXIMUM"
UNDECIDED, DIVERGED = "UNDECIDED", "DIVERGED"

WORTH, ESCAPES = 1e-3, 1e-2
"""Of the loss: what a step against the gradient gains where there is a way down; what one off a saddle gains."""
NEAR = 1e-4
"""‖g‖ ÷ λmax relative to the point, up to which a point of a task without data is critical."""
FLAT = 1e-3
"""‖Hg‖ ÷ (λmax ‖g‖) below which a gradient leads along no curvature."""
EDGE = 0.9
"""Of its stability limit: at the edge."""
RELATIVE = 1e-4
"""Of the greatest curvature: what counts as none."""


@dataclass(frozen=True)
class VerdictInputs:
    """Everything that a verdict is decided by.

    Attributes:
        here: what was measured at the point.
        use: what was descending; None where that is not known.
        sharpness: the greatest curvature as the rule sees it, and its limit.
        noise: of the gradient; None without data, or where these bring their own batches.
        calmer: what ten steps at a tenth of the rate gain; None where it was not tried.
        thorough: whether a minimum may be claimed.
        products: Hessian-vector products beside those of `here`.
    """

    here: PointEvidence
    noise: Noise | None = None
    use: RuleInUse | None = None
    sharpness: Estimate | None = None
    calmer: Estimate | None = None
    thorough: bool = False
    products: int = 0

    @property
    def kind(self) -> str:
        """The verdict's name."""
        here, use = self.here, self.use
        if use is not None and use.batch_size is None and self.nearness >= EDGE:
            return EDGE_OF_STABILITY
        if (
            use is not None
            and use.is_still_falling is False
            and self.calmer is not None
            and self.calmer.low > self.worth
        ):
            return NOISE_FLOOR
        if self.descends:
            return DESCENDING
        top = self.top
        if here.exact and here.ends.converged and here.ends.greatest.value + here.ends.greatest.residual < -FLAT * top:
            return MAXIMUM
        leads = here.escape.by.low > self.escapes and here.escape.by.value > here.down.by.value
        if here.lowest.high < -RELATIVE * top and leads:
            return SADDLE
        if here.flatness < FLAT and here.displacement > NEAR and here.squared_norm > 0:
            return GRADIENT_FLAT
        if self.thorough and here.bound > -math.inf and (here.floor or 0.0) <= self.rounding:
            return MINIMUM
        return UNDECIDED

    @property
    def descends(self) -> bool:
        """Whether a step against the gradient gains enough: by itself, or as its unbiased square promises."""
        here, gain = self.here, self.here.down.by
        if here.exact:
            return gain.low > self.worth and here.displacement > NEAR
        promised = 0.0 if self.noise is None or not self.top else self.noise.squared_norm.low / (2 * self.top)
        return gain.low > self.worth or (promised > self.worth and gain.value > self.worth)

    @property
    def top(self) -> float:
        """The greatest curvature, whatever its sign."""
        return max(abs(self.here.ends.greatest.value), abs(self.here.ends.least.value))

    @property
    def nearness(self) -> float:
        """Sharpness ÷ limit; 0 where there is none."""
        return 0.0 if self.limit is None or self.sharpness is None else self.sharpness.value / self.limit.value

    @property
    def limit(self) -> Limit | None:
        """The sharpness that the rule bears; None where that is not known, or there is none."""
        return None if self.use is None else self.use.limit

    @property
    def batch_size(self) -> int | None:
        """In use; None where that is not known, and for full batches."""
        return None if self.use is None else self.use.batch_size

    @property
    def on(self) -> str:
        """What curvature was measured on."""
        return "exact" if self.here.exact else "on samples that were held back"

    @property
    def rounding(self) -> float:
        return ROUNDING * max(1.0, abs(self.here.loss.value))

    @property
    def worth(self) -> float:
        """What a step has to gain."""
        return max(WORTH * abs(self.here.loss.value), self.rounding)

    @property
    def escapes(self) -> float:
        """What a step off a saddle has to gain; without data every gain is one."""
        return self.rounding if self.here.exact else max(ESCAPES * abs(self.here.loss.value), self.rounding)


@dataclass(frozen=True)
class FullAnalysis:
    """What a long look tells beyond its verdict; None where it cannot be told.

    Attributes:
        batch: the sharpness of mini-batches.
        critical: batch size at which a step gains half of what a noiseless one would; a heuristic.
        layer: the sharpest one.
    """

    batch: Estimate | None = None
    critical: Estimate | None = None
    layer: Layer | None = None


# -- Words -------------------------------------------------------------------------------------------------------------

ADVICE = {
    DESCENDING: "Train longer, or begin again here: fit(..., start=run).",
    NOISE_FLOOR: "Lower the rate towards the end (a schedule such as cosine), use larger batches, or average the "
    "weights (average=0.999).",
    EDGE_OF_STABILITY: "It oscillates along its sharpest direction, which is normal; lower the rate at the end.",
    GRADIENT_FLAT: "This is no critical point: the gradient is small, and leads along no curvature. A higher rate, or "
    "a rule that scales each weight (adam), crosses such a plain.",
    SADDLE: "Noise leaves a saddle: smaller batches, or a small random step, and train on. Equal neurons that no batch "
    "tells apart need another start.",
    MINIMUM: "There is nothing below in any direction that was tried; another start may find a lower one.",
    MAXIMUM: "Every direction leads down; a small random step leaves it.",
    UNDECIDED: "",
}


def make_verdict(findings: VerdictInputs, further: FullAnalysis | None = None) -> Verdict:
    """The verdict in words, then numbers."""
    kind = findings.kind
    advice = ADVICE[kind]
    if kind == UNDECIDED:
        advice = (
            "A minimum is claimed only where all of the data bound the curvature; more samples= or products= tell more."
            if findings.thorough
            else "A short look cannot tell a minimum: `steepest locate RUN` looks longer."
        )
    numbers = _numbers(findings) + _numbers_further(findings, further or FullAnalysis())
    return Verdict(kind, _sentence(kind, findings), advice, numbers, findings.here.products + findings.products)


def _sentence(kind: str, findings: VerdictInputs) -> str:
    here, use = findings.here, findings.use
    loss, least, greatest = here.loss.value, here.lowest, here.ends.greatest.value
    if kind == DESCENDING:
        return (
            f"Still descending: a step of {here.down.distance:.3g} against the gradient lowers the loss "
            f"{_change(loss, here.down.by)}."
        )
    if kind == SADDLE:
        return (
            f"At a saddle: moving {here.escape.distance:.3g} to either side along a direction of curvature "
            f"{least.value:.3g} lowers the loss {_change(loss, here.escape.by)}."
        )
    if kind == EDGE_OF_STABILITY and use and use.limit and findings.sharpness:
        return (
            f"At the edge of stability: the greatest curvature {findings.sharpness.value:.4g} is "
            f"{findings.nearness:.2f} × what {use.rule.name} bears at a rate of {use.lr:.3g} "
            f"({use.limit.formula} = {use.limit.value:.4g})."
        )
    if kind == NOISE_FLOOR and use and findings.calmer:
        return (
            f"On the noise floor: at a rate of {use.lr:.3g} the loss falls no more, and ten steps at a tenth of it "
            f"lower it {_change(loss, findings.calmer)}."
        )
    if kind == GRADIENT_FLAT:
        return f"On a plain: the gradient is {math.sqrt(here.squared_norm):.3g} and leads along no curvature."
    if kind == MAXIMUM:
        return f"At a maximum: every curvature is at most {greatest:.3g}."
    if kind == MINIMUM:
        return (
            f"At a minimum, as far as can be told: no curvature below {here.bound:.3g} with probability 0.99, and no "
            "way down along directions of none."
        )
    return f"No step that was tried lowers the loss of {loss:.4g} clearly{_bent(here)}: undecided."


def _bent(here: PointEvidence) -> str:
    """How much negative curvature an undecided place has."""
    least, greatest = here.lowest.value, here.sharpest.value
    if least >= 0 or greatest <= 0:
        return ", and no curvature is clearly negative"
    return f", on a floor whose least curvature is {least:.2g}, {100 * least / greatest:.2g} % of the greatest"


def _change(loss: float, by: Estimate) -> str:
    half = "" if by.low == by.high else f" ± {(by.high - by.value) / SURE:.2g}"
    return f"from {loss:.4g} to {loss - by.value:.4g}{half}"


def _numbers(findings: VerdictInputs) -> tuple[Number, ...]:
    here, limit, on = findings.here, findings.limit, findings.on
    found = [
        Number("loss", *here.loss, words=on),
        _exact("gradient norm", math.sqrt(here.squared_norm)),
        Number("greatest curvature", *here.sharpest, words=on),
        Number("least curvature", *here.lowest, words=on),
        Number("gain of a step down", *here.down.by, words=f"{here.down.distance:.3g} long"),
        Number("gain of an escape", *here.escape.by, words=f"{here.escape.distance:.3g} to both sides"),
    ]
    if here.bound > -math.inf:
        found.append(_exact("least curvature is above", here.bound, "probability 0.99"))
    if limit is not None and findings.sharpness is not None:
        found.append(Number("sharpness", *findings.sharpness, reference=limit.value, words=limit.formula))
    if findings.calmer is not None:
        found.append(Number("gain of ten calm steps", *findings.calmer, words="at a tenth of the rate"))
    if findings.noise is not None:
        words = "a heuristic for the critical batch size, as if all curvatures were equal"
        found += [
            Number("squared norm of the gradient", *findings.noise.squared_norm, words="unbiased"),
            Number("noise scale", *findings.noise.scale, reference=findings.batch_size, words=words),
        ]
    return tuple(found)


def _numbers_further(findings: VerdictInputs, further: FullAnalysis) -> tuple[Number, ...]:
    found, limit, layer = [], findings.limit, further.layer
    if further.critical is not None:
        words = "a heuristic: beyond it a larger batch gains less than it costs"
        found.append(Number("critical batch size", *further.critical, reference=findings.batch_size, words=words))
    if further.batch is not None:
        bears = None if limit is None or limit.preconditioned else limit.value
        found.append(Number("batch sharpness", *further.batch, reference=bears, words="of mini-batches"))
    if layer is not None:
        rival = "" if layer.rival is None else f", unless {_called(layer.rival)} is"
        words = f"{_called(layer.name)} is the sharpest of {layer.count} layers{rival}; {findings.on}"
        found.append(Number("greatest curvature of one layer", *layer.curvature, words=words))
    return tuple(found)


def _called(layer: str) -> str:
    return f"layer {layer}" if layer else "the model itself"


def _exact(name: str, value: float, words: str = "") -> Number:
    return Number(name, value, value, value, words=words)
