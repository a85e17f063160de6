"""What a diagnosis can find: each kind in words, with the numbers behind it and what to change."""

import math
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from steepest.analysis.diagnosis import thresholds as th
from steepest.analysis.diagnosis.symptoms import Symptoms
from steepest.analysis.diagnosis.thresholds import Indicator, Sign, percent
from steepest.records.run import BAD_DATA, COLUMNS, Event, Record
from steepest.records.verdict import FACTORS_AFTER_EXPLOSION, NEVER_WAS_FINITE

TOO_SLOW, PLATEAU, OSCILLATING, NOISE_LIMITED = "too slow", "plateau", "oscillating", "noise floor"
EXPLODING, OVERFITTING, HEALTHY, TOO_SHORT = "exploding", "overfitting", "healthy", "undecided"
NEVER_FINITE, NO_GRADIENT, CANNOT_TELL = "not finite", "no gradient", "cannot tell"
IGNORES_WEIGHTS, MIXED_LABELS = "loss ignores the weights", "labels out of order"
CONTRADICTION, FORGETTING = "metric contradicts the loss", "forgetting"
DIAGNOSIS_HEADLINES = {
    TOO_SLOW: "Learning rate too low",
    PLATEAU: "Stuck on a plateau",
    OSCILLATING: "Learning rate too high",
    NOISE_LIMITED: "Limited by gradient noise",
    EXPLODING: "The loss exploded",
    OVERFITTING: "Overfitting",
    HEALTHY: "No problem found",
    TOO_SHORT: "Too short to diagnose",
    NEVER_FINITE: NEVER_WAS_FINITE,
    NO_GRADIENT: "The gradient is exactly 0",
    CANNOT_TELL: "Cannot tell whether the learning rate is too low",
    IGNORES_WEIGHTS: "The loss ignores the weights",
    MIXED_LABELS: "Labels seem out of order",
    CONTRADICTION: "The metric contradicts the loss",
    FORGETTING: "It forgets what its weights had learned",
}
"""What a person reads first, by kind."""
PLAYBOOK_TITLES = {
    TOO_SLOW: "The loss falls too slowly",
    PLATEAU: "The loss does not move at all",
    OSCILLATING: "The loss goes up and down",
    NOISE_LIMITED: "The loss falls, then stays above its floor",
    EXPLODING: "The loss explodes",
    OVERFITTING: "It learns the training data and nothing else",
    NEVER_FINITE: "The loss is NaN from the first step",
    NO_GRADIENT: "The gradient is zero",
    IGNORES_WEIGHTS: "The loss stays the same to the last digit",
    MIXED_LABELS: "The training loss falls, the validation loss never did",
    CONTRADICTION: "The loss gets better and the metric worse",
    FORGETTING: "Fine-tuning makes it worse than before",
}
"""The page of the manual's playbook that has the neighbours and the cures of a kind."""
DECAY_AT_END = "constant(70%) >> linear"
"""Schedule that ends mini-batch noise: the learning rate falls to 0 over the last 30 %."""
SKIPPED_BATCHES = re.compile(r"(\d+) batches from step (\d+)")


class Finding(NamedTuple):
    """A problem of a run, or that there is none.

    Attributes:
        kind: too slow, plateau, oscillating, noise floor, exploding, overfitting, healthy, undecided, not finite, no
            gradient, cannot tell, loss ignores the weights, labels out of order, metric contradicts the loss or
            forgetting.
        sentence: the finding in words, the conclusion first.
        evidence: the numbers behind it.
        advice: what to change; empty where nothing is to be changed.
    """

    kind: str
    sentence: str
    evidence: tuple[Indicator, ...]
    advice: str = ""

    def words(self) -> str:
        """Sentence and advice, then the evidence, one line each."""
        return "\n  ".join([f"{self.sentence} {self.advice}".rstrip(), *map(str, self.evidence)])


def too_short(record: Record, steps: int) -> Finding:
    """The run has too few finite steps."""
    sentence = f"{DIAGNOSIS_HEADLINES[TOO_SHORT]}: {steps} finite {_rows(record)}, {th.MIN_FINITE_STEPS} needed."
    return Finding(TOO_SHORT, sentence, ())


def not_finite(record: Record, nonfinite: int) -> Finding:
    """The run was not finite from its first step, before a learning rate could do any harm.

    Args:
        record: of the run.
        nonfinite: steps with a non-finite loss, gradient or update.
    """
    steps = record.steps
    if math.isfinite(steps.loss[0]) and math.isfinite(steps.grad_norm[0]):
        what = f"the weights after it, with a gradient of norm {steps.grad_norm[0]:.3g}"
        cause = (
            "The update divides by 0 or overflows in the weights' precision, as Adam's does in float16. Keep the "
            'weights in float32 (model.float()), with precision="bf16" for speed.'
        )
    elif math.isfinite(steps.loss[0]):
        what = f"the gradient, with a loss of {steps.loss[0]:.3g}"
        cause = "A derivative is not finite where the loss is: a square root or a norm at 0, 0 ** a power below 1."
    else:
        what = f"the loss is {steps.loss[0]:.3g}"
        cause = "Look for NaN or infinity in the data and in the initial weights, a log of 0 or below, a division by 0."
    if steps.t[0] > 1:
        sentence = f"Not finite from step {steps.t[0]:,.0f} on, the first one in the log: {what}."
        cause = f"The steps before it, logged too, would tell whether the learning rate is the cause. If not: {cause}"
    else:
        sentence = f"{DIAGNOSIS_HEADLINES[NEVER_FINITE]}: {what}."
    where = f"problem: from step {steps.t[0]:,.0f} on"
    evidence = Indicator(f"non-finite {_rows(record)}: {nonfinite} of {len(steps)}", nonfinite, 1, where)
    kind = NEVER_FINITE if steps.t[0] <= 1 else CANNOT_TELL  # it may have exploded before
    return Finding(kind, sentence, (evidence,), f"{cause} `torch.autograd.set_detect_anomaly(True)` names it.")


def no_gradient(record: Record) -> Finding:
    """The gradient was 0 at every step: the loss does not depend on the weights, or no unit passes it on."""
    n = len(record.steps)
    sentence = f"{DIAGNOSIS_HEADLINES[NO_GRADIENT]} at all {n} steps: no weight was moved by the loss."
    advice = (
        "Look for a loss computed from detached outputs, from numbers or from the targets alone, for rounding or "
        "argmax in between, and for units that are inactive for every sample."
    )
    evidence = Indicator("largest gradient norm: 0", 0.0, 0.0, "problem: 0 at every step")
    return Finding(NO_GRADIENT, sentence, (evidence,), advice)


def ignores_weights(record: Record) -> Finding:
    """The loss stayed the same to the last bit while the weights moved."""
    series = record.series("validation", "loss")
    n, value = (len(series), series[0].value) if series else (len(record.steps), float(record.steps.loss[0]))
    sentence = f"{DIAGNOSIS_HEADLINES[IGNORES_WEIGHTS]}: they moved, and it is exactly {value:.4g} every time."
    advice = (
        "Check what the loss is computed from: the model's output on this batch, and not detached values, constants, "
        "or the output of another model."
    )
    evidence = Indicator(f"different values in {n} measurements: 1", 1.0, 1.0, "problem: the same every time")
    return Finding(IGNORES_WEIGHTS, sentence, (evidence,), advice)


def mixed_labels(s: Symptoms) -> Finding:
    """The training loss fell far, and the validation loss never did."""
    sentence = (
        f"{DIAGNOSIS_HEADLINES[MIXED_LABELS]}: the training loss fell by {percent(s.max_fall)}, the validation loss "
        "never fell."
    )
    advice = (
        "Check that inputs and labels belong together (a shuffle or sort of one of them alone) and that both splits "
        "are prepared alike. Weights that were trained before overfit in this way too."
    )
    evidence = Indicator(
        f"fall of the validation loss at the end: {percent(s.validation_decrease)}", s.validation_decrease, 0.0
    )
    return Finding(MIXED_LABELS, sentence, (evidence,), advice)


def contradiction(record: Record) -> Finding:
    """The metric got worse as the validation loss fell."""
    name, better = record.config.metric, record.config.better
    loss, metric = record.series("validation", "loss"), record.series("validation", name)
    sentence = (
        f"{DIAGNOSIS_HEADLINES[CONTRADICTION]}: the validation loss fell from {loss[0].value:.3g} to "
        f"{loss[-1].value:.3g}, and {name} went from "
        f"{metric[0].value:.3g} to {metric[-1].value:.3g} ({better} is better)."
    )
    advice = (
        f"Check {name}: which direction is better, the axis of an argmax, logits where probabilities are expected, "
        "the order of output and target."
    )
    evidence = Indicator(f"{name}: {metric[-1].value:.3g}", metric[-1].value, metric[0].value, f"{better} is better")
    return Finding(CONTRADICTION, sentence, (evidence,), advice)


def forgets_start(record: Record) -> Finding:
    """The validation loss stayed above what the weights that the run began with had."""
    values = [m.value for m in record.series("validation", "loss")]
    best = min(values[1:])
    sentence = (
        f"{DIAGNOSIS_HEADLINES[FORGETTING]}: the validation loss was {values[0]:.3g} before the first step, and "
        f"{best:.3g} at best after it."
    )
    advice = (
        f'Measure a rate from this start (`lr="auto"`), or try {_lr(record, 1 / 10, 1 / 100)}; add a warmup, or train '
        "the last layers alone at first."
    )
    evidence = Indicator(f"lowest validation loss after the start: {best:.3g}", best, values[0], "problem: above")
    return Finding(FORGETTING, sentence, (evidence,), advice)


def cannot_tell(record: Record, s: Symptoms) -> Finding:
    """The loss lies far above 0, and nothing shows whether a larger learning rate would lower it."""
    signs = th.DECREASE, th.RATIO_SLOW, th.PREDICTED_SMALL, th.NOISE_EXCESS
    why = "the loss fell less than the steps predict; noise or its lowest possible value may be the cause"
    return _finding(CANNOT_TELL, why, s, signs, "Measure: `steepest find-lr`.")


def cannot_tell_apart(kinds: Sequence[str], gaps: Sequence[str]) -> Finding:
    """A log lacks what would tell these kinds apart.

    Args:
        kinds: that are possible.
        gaps: of the log.
    """
    names = [DIAGNOSIS_HEADLINES[kind] for kind in kinds if kind not in (CANNOT_TELL, HEALTHY)]
    names = [name[0].lower() + name[1:] for name in names] + ["no problem"] * (HEALTHY in kinds)
    columns = [name for name in gaps if name in COLUMNS] or gaps
    possible = f" Possible: {', '.join(names)}." if names else ""
    sentence = f"Cannot tell without {', '.join(columns)}.{possible}"
    return Finding(CANNOT_TELL, sentence, (), "Record the run with `sd.watch`, or with the callback of your trainer.")


def explosion(record: Record, nonfinite: int, rewinds: Sequence[Event]) -> Finding:
    """The run has non-finite steps, or the guard rewound it.

    Args:
        record: of the run.
        nonfinite: steps with a non-finite loss, gradient or update.
        rewinds: events of the guard.
    """
    evidence, sentences, advice, most = [], [], _lower_lr(record), th.MIN_NONFINITE_STEPS
    if nonfinite:
        words = f"non-finite {_rows(record)}: {nonfinite}"
        evidence.append(Indicator(words, nonfinite, most, f"problem: {most} or more"))
    if nonfinite >= most:
        headline = DIAGNOSIS_HEADLINES[EXPLODING]
        sentences.append(f"{headline}: {nonfinite} {_rows(record)} had a non-finite loss, gradient or update.")
    if rewinds:
        evidence.append(Indicator(f"rewinds by the guard: {len(rewinds)}", len(rewinds), 1, "problem: 1 or more"))
        often = "once" if len(rewinds) == 1 else f"{len(rewinds)} times"
        by_data = all(BAD_DATA.search(event.done) for event in rewinds)
        because = " because of bad batches" if by_data else ""
        sentences.append(f"The guard rewound {often}{because}: {rewinds[-1].seen}.")
        advice = _check_data(rewinds) if by_data and nonfinite < most else advice
    return Finding(EXPLODING, " ".join(sentences), tuple(evidence), advice)


def too_slow(record: Record, s: Symptoms) -> Finding:
    """A larger learning rate would have brought the loss lower.

    Up to ten times larger only where the steps predict so little that it is sure: beyond, 16 to 23 % of the runs of
    `benchmarks diagnoses` ended worse with ten times the rate, and 2 to 5 % with three times. Where a log does not tell
    what they predict, it is not sure.
    """
    signs = th.PREDICTED_SMALL, th.DECREASE, th.REMAINING_GAIN, th.NOISE_EXCESS, th.DISTANCE
    why = "the steps were too small to lower the loss as far as it could go"
    larger = _lr(record, 3, 10 if s.display.predicted_decrease < th.PREDICTED_SURE else 3)
    return _finding(TOO_SLOW, why, s, signs, f"Try {larger}, or measure: `steepest find-lr`.")


def plateau(s: Symptoms) -> Finding:
    """The loss did not change, and no step diverged."""
    signs, why = [th.NO_DECREASE, th.DECREASE_RATIO, th.GRADIENT_Q05, th.PEAK_GRADIENT], "the loss did not change"
    if s.predicted_decrease >= th.PREDICTED_DECREASE_MIN:
        signs.insert(3, th.PREDICTED_LARGE)
        why = f"the steps were large enough, but {why}"
    advice = "initialisation scale, inactive or saturated units, unnormalised inputs, shuffled targets"
    return _finding(PLATEAU, why, s, signs, f"Check the start before lr: {advice}.")


def diverged_without_gain(record: Record, s: Symptoms) -> Finding:
    """Large steps gained nothing."""
    signs = th.NO_DECREASE, th.PREDICTED_LARGE, th.RISE
    end = f"only {percent(s.decrease)} below" if s.decrease >= 0 else f"{percent(-s.decrease)} above"
    sentence = f"Large steps ruined the run: the loss ends {end} where it began."
    return Finding(EXPLODING, sentence, _evidence(s, signs), _lower_lr(record))


def oscillation(record: Record, s: Symptoms) -> Finding:
    """A lower learning rate would have brought the loss lower, and not because of noise."""
    last = th.COHERENCE if s.coherence < th.EXPLOSION_COHERENCE else th.OSCILLATION
    cause = "the batch is the full data set" if s.is_full_batch else "the gradients have shrunk since a divergent step"
    why = f"the loss oscillates; the steps predicted far more decrease than happened. Noise is not the cause: {cause}"
    advice = f"Try {_lr(record, 1 / 3, 1 / 10)}, or add a warmup."
    return _finding(OSCILLATING, why, s, (th.DECREASE, th.PREDICTED_LARGE, last), advice)


def noise_floor(record: Record, s: Symptoms) -> Finding:
    """A learning rate that decays, or a larger batch, would have brought the loss lower.

    The decay is advised first: a lower learning rate from the start may be too slow, and a decay at the end is not.
    """
    signs = th.NOISE_EXCESS, th.BATCH_SPREAD, th.BATCH_SIZE, th.DECREASE, th.PREDICTED_LARGE
    batch = record.config.batch_size
    larger = f"batch size {8 * batch} (now {batch})" if isinstance(batch, int) else "8× larger batches"
    decay = f'Let the learning rate decay to 0 at the end (`schedule="{DECAY_AT_END}"`)'
    advice = f"{decay}, or use {larger}, or {_lr(record, 1 / 3, 1 / 10)}."
    why = "mini-batch noise keeps the loss above what a smaller lr would reach"
    return _finding(NOISE_LIMITED, why, s, signs, advice)


def overfit(s: Symptoms) -> Finding:
    """The validation loss rises while the training loss falls."""
    regain = percent(s.validation_regain)
    why = f"the validation loss regained {regain} of its fall while the training loss kept falling"
    advice = (
        'Keep the best point (`keep="best"`), stop early (`stop_after=`), or use weight decay, augmentation, more data.'
    )
    return _finding(OVERFITTING, why, s, (th.REGAIN, th.DECREASE), advice)


def healthy(s: Symptoms) -> Finding:
    """No problem; the numbers have no bounds."""
    evidence = _evidence(s, (th.DECREASE, th.PREDICTED_LARGE, th.NOISE_EXCESS))
    return Finding(HEALTHY, f"{DIAGNOSIS_HEADLINES[HEALTHY]}.", tuple(one._replace(problem="") for one in evidence))


def _finding(kind: str, why: str, s: Symptoms, signs: Sequence[Sign], advice: str) -> Finding:
    return Finding(kind, f"{DIAGNOSIS_HEADLINES[kind]}: {why}.", _evidence(s, signs), advice)


def _evidence(s: Symptoms, signs: Sequence[Sign]) -> tuple[Indicator, ...]:
    return _indicators(s.display, tuple(signs))


@lru_cache(maxsize=16)  # thousands of readings of a log show the same
def _indicators(s: Symptoms, signs: tuple[Sign, ...]) -> tuple[Indicator, ...]:
    return tuple(sign.indicator(s) for sign in signs)


def _rows(record: Record) -> str:
    """What a record has a row of: every step, or those that a log has."""
    return "logged values" if record.gaps else "steps"


def _lr(record: Record, first: float, last: float) -> str:
    """The base learning rate times these factors, where it is known."""
    lr = record.config.lr
    if isinstance(lr, int | float):
        rates = f"{first * lr:.2g}" if first == last else f"{first * lr:.2g} to {last * lr:.2g}"
        return f"lr = {rates} (now {lr:.3g})"
    if first < 1:
        return f"lr ÷ {1 / first:.3g} to ÷ {1 / last:.3g}"
    return f"{first:g}× the lr" if first == last else f"{first:g}–{last:g}× the lr"


def _lower_lr(record: Record) -> str:
    return f"Try {_lr(record, *FACTORS_AFTER_EXPLOSION)}, `find-lr`, a warmup, or `clip=`."


def _check_data(rewinds: Sequence[Event]) -> str:
    """Which batches the guard skipped."""
    batches = [match.groups() for event in rewinds if (match := SKIPPED_BATCHES.search(event.done))]
    where = ", ".join(f"{count} batches from step {step}" for count, step in batches)
    return f"Check the data of the batches that the guard skipped{where and f': {where}'}."
