"""Where a point is: a Verdict in words, and the tests behind it.

In this order: is it finite; does the rule sit at its edge of stability; does noise keep it up; does a step against the
gradient go lower; does a step along a direction of negative curvature; is the gradient flat; can a minimum, or a
maximum, be certified? What none of these answers is undecided, and said with its numbers: every good network has some
negative curvature, and a sample seldom certifies a minimum. After `reference` Royer, O'Neill and Wright 2020 (the
certificate), Frye et al. 2021 (gradient-flat points), Cohen et al. 2021 (edge of stability).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from steepest import noise, sources
from steepest.errors import DivergedError, InputError
from steepest.evidence import SURE, Evidence, Held, certify, gather
from steepest.record import Estimate, Number, Verdict
from steepest.surface import Surface, sampled
from steepest.task import Task
from steepest.usage import Use, batch_sharpness, calmer, sharpness

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
ROUNDING = 1e-12
"""Of the loss: a gain that may be rounding."""
SHORT = 60
"""Products of a short look."""
SAMPLES = 4096
"""Of the data that a long look uses at most; the half of them is held back."""


@dataclass(frozen=True)
class Findings:
    """Everything that a verdict is decided by.

    Attributes:
        here: what was measured at the point.
        use: what was descending; None where that is not known.
        sharpness: the greatest curvature as the rule sees it, and its limit.
        calmer: what ten steps at a tenth of the rate gain; None where it was not tried.
        thorough: whether a minimum may be claimed.
    """

    here: Evidence
    use: Use | None = None
    sharpness: Estimate | None = None
    calmer: Estimate | None = None
    thorough: bool = False

    @property
    def kind(self) -> str:
        """The verdict's name."""
        here, use = self.here, self.use
        if use is not None and use.batch_size is None and self.nearness >= EDGE:
            return EDGE_OF_STABILITY
        if use is not None and use.fell is False and self.calmer is not None and self.calmer.low > self.worth:
            return NOISE_FLOOR
        if here.down.by.low > self.worth and not (here.exact and here.displacement <= NEAR):
            return DESCENDING
        top = max(abs(here.ends.greatest.value), abs(here.ends.least.value))
        if here.exact and here.ends.converged and here.ends.greatest.value + here.ends.greatest.residual < -FLAT * top:
            return MAXIMUM
        if here.lowest.high < -RELATIVE * top and here.escape.by.low > self.escapes:
            return SADDLE
        if here.flatness < FLAT and here.displacement > NEAR and here.squared_norm > 0:
            return GRADIENT_FLAT
        if self.thorough and here.bound > -math.inf and (here.floor or 0.0) <= self.rounding:
            return MINIMUM
        return UNDECIDED

    @property
    def nearness(self) -> float:
        """Sharpness ÷ limit; 0 where there is none."""
        limit = None if self.use is None else self.use.limit
        return 0.0 if limit is None or self.sharpness is None else self.sharpness.value / limit.value

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


def locate(
    task: Task,
    point: Tensor,
    model: nn.Module,
    use: Use | None = None,
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
        samples: of the training data; a half is held back from choosing directions.
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
    thorough = products > SHORT
    try:
        here = gather(found, held, point, products // 4 if thorough else products - 15)
    except DivergedError as error:
        return Verdict(DIVERGED, f"Diverged: {error}.", "Lower the rate; the guard does so by itself (guard=True).")
    seen = calm = None
    if use is not None and use.limit is not None:
        seen = sharpness(found, point, use, here.ends.greatest.value, 15)
    if use is not None and use.fell is False and task.data is not None:
        calm = calmer(task, model, held, point, use).by
    findings = Findings(here, use, seen, calm, thorough)
    if thorough and findings.kind == UNDECIDED:
        top = max(abs(here.ends.greatest.value), abs(here.ends.least.value))
        whole = found if here.exact else Surface(task, _all(task), model=model)
        epsilon = RELATIVE * top if top > 0 else RELATIVE
        findings = Findings(certify(here, whole, point, epsilon, products // 2), use, seen, calm, thorough)
    return _told(findings, _numbers(findings, task, model, point, thorough, samples, seed))


def _surfaces(task: Task, model: nn.Module, samples: int, seed: int) -> tuple[Surface, Held]:
    """The sample that directions are looked for in, and the one that is held back."""
    if task.data is None:
        only = Surface(task, [None], model=model)
        return only, Held(only)
    known = sources.length(task.data)
    half = (samples if known is None else min(samples, known)) // 2
    if half < noise.FEWEST:
        raise InputError(
            f"{2 * half} samples are there to look at; expected are at least {2 * noise.FEWEST}, since a half is held "
            "back"
        )
    found, whole = sampled(task, (half, half), seed, model=model)
    held = Held(whole)
    if held.is_by_batch:  # of which there have to be enough for an interval
        held = Held(sampled(task, (half, half), seed, model=model, chunk=max(1, half // noise.BLOCKS))[1])
    return found, held


def _all(task: Task) -> list:
    return list(sources.whole(task.data, 1024))


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


def _told(findings: Findings, numbers: tuple[Number, ...]) -> Verdict:
    kind = findings.kind
    advice = ADVICE[kind]
    if kind == UNDECIDED:
        advice = (
            "Nothing that was tried leads clearly lower; what differs now is generalisation."
            if findings.thorough
            else "A short look cannot tell a minimum: `steepest locate RUN` looks longer."
        )
    return Verdict(kind, _sentence(kind, findings), advice, numbers, findings.here.products)


def _sentence(kind: str, findings: Findings) -> str:
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
    return f"{_floor_words(here)} No step that was tried lowers the loss of {loss:.4g} clearly."


def _floor_words(here: Evidence) -> str:
    """An undecided place: how much negative curvature there is."""
    least, greatest = here.lowest, here.ends.greatest.value
    if greatest <= 0 or least.value >= 0:
        return "Undecided: no curvature is clearly negative."
    share = f"{100 * least.value / greatest:.2g} % of the greatest ({greatest:.3g})"
    return f"On a flat floor: the least curvature is {least.value:.3g}, {share}."


def _change(loss: float, by: Estimate) -> str:
    half = "" if by.low == by.high else f" ± {(by.high - by.value) / SURE:.2g}"
    return f"from {loss:.4g} to {loss - by.value:.4g}{half}"


def _numbers(
    findings: Findings, task: Task, model: nn.Module, w: Tensor, thorough: bool, samples: int, seed: int
) -> tuple[Number, ...]:
    here, use = findings.here, findings.use
    on = "exact" if here.exact else "on samples that were held back"
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
    if use is not None and use.limit is not None and findings.sharpness is not None:
        found.append(Number("sharpness", *findings.sharpness, reference=use.limit.value, words=use.limit.formula))
    if findings.calmer is not None:
        found.append(Number("gain of ten calm steps", *findings.calmer, words="at a tenth of the rate"))
    if task.data is None or sources.is_iterable(task.data):
        return tuple(found)
    return (*found, *_noisy(task, model, w, use, thorough, samples, seed))


def _noisy(
    task: Task, model: nn.Module, w: Tensor, use: Use | None, thorough: bool, samples: int, seed: int
) -> list[Number]:
    """What mini-batches add: the noise of the gradient, and the sharpness that they see."""
    batches = noise.disjoint(task, samples=samples, seed=seed)
    seen = noise.gradient_noise(*noise.block_gradients(task, w, batches, model=model))
    size = None if use is None else use.batch_size
    found = [
        Number("squared norm of the gradient", *seen.squared_norm, words="unbiased"),
        Number("noise scale", *seen.scale, reference=size, words="a heuristic for the critical batch size"),
    ]
    if thorough and size is not None and use is not None:
        limit = use.limit.value if use.limit is not None and not use.limit.preconditioned else None
        sharp = batch_sharpness(task, model, w, size, seed)
        found.append(Number("batch sharpness", *sharp, reference=limit, words="of mini-batches"))
    return found


def is_finite(point: Tensor) -> bool:
    """Whether all of a point is."""
    return bool(torch.isfinite(point).all())


def _exact(name: str, value: float, words: str = "") -> Number:
    return Number(name, value, value, value, words=words)
