"""Diagnosis of a run from its record alone: which problem it has, the evidence, and what to change.

    too slow      the steps predicted a small decrease and got it, or the weights hardly moved: the lr is too low
    plateau       they predicted enough, or most weights have no gradient, and the loss did not change
    oscillating   they predicted far more than happened, and batch noise is not the cause: the lr is too high
    noise floor   the same, caused by batch noise
    exploding     the loss is not finite, the guard rewound, or large steps gained nothing, and not because of noise
    overfitting   the validation loss rises while the training loss falls
    not finite    the loss or its gradient is NaN or infinite from the first step
    no gradient   the gradient is exactly 0 at every step
    loss ignores the weights, labels out of order, metric contradicts the loss, forgetting: see `faults`
    cannot tell   nothing shows whether a larger learning rate would help
    healthy       none of these

A loss may have an unknown floor (entropy of language, label noise), so that it lies far above 0 proves nothing. The
rule, written before it was tried on fresh trainings: "too slow" needs a run that nothing else limits, and evidence that
the loss follows the steps: they predict a decrease below PREDICTED_SURE, or RATIO_SLOW_MIN of the prediction came true.
A noise floor needs a loss that no longer falls. "Cannot tell" is the answer where a larger learning rate seems to be
needed, this evidence is missing and the loss fell by less than DECREASE_NONE. It may not be given where the loss or the
gradient is not finite or 0, where the steps predict less than PREDICTED_SURE, or where the loss fell by more than
DECREASE_NONE: there the answer is a problem by name, or none. In batches of fewer than NOISY_BATCH_SIZE samples, and in
full batches, the ratio says nothing and is not asked.

`symptoms` computes the numbers, `thresholds` has their bounds. A run can have several problems: the first finding is
the one to fix first.
"""

import math
from dataclasses import dataclass

import numpy as np

from steepest.analysis.diagnosis import faults, findings, partial
from steepest.analysis.diagnosis import thresholds as th
from steepest.analysis.diagnosis.findings import NOISE_LIMITED, Finding
from steepest.analysis.diagnosis.symptoms import TINY_GRADIENT, Symptoms, finite
from steepest.analysis.diagnosis.thresholds import Indicator
from steepest.records import card
from steepest.records.per_sample import per_sample
from steepest.records.run import REWIND, Record


@dataclass(frozen=True)
class Diagnosis:
    """The problems of a run. It prints as words, then numbers.

    Attributes:
        findings: all of them, the one to fix first in front.
        steps: taken so far.
        planned: steps of the whole run.
        gaps: columns and sizes that a log of another trainer lacks.
        interval: steps between two values of the log.
    """

    findings: tuple[Finding, ...]
    steps: int
    planned: int
    gaps: tuple[str, ...] = ()
    interval: int = 1

    @property
    def kind(self) -> str:
        """Of the first finding."""
        return self.findings[0].kind

    @property
    def kinds(self) -> tuple[str, ...]:
        """Of all findings."""
        return tuple(finding.kind for finding in self.findings)

    @property
    def sentence(self) -> str:
        """Of the first finding."""
        return self.findings[0].sentence

    @property
    def evidence(self) -> tuple[Indicator, ...]:
        """Of the first finding."""
        return self.findings[0].evidence

    @property
    def advice(self) -> str:
        """What to change first; empty where nothing is to be changed."""
        return self.findings[0].advice

    def words(self) -> str:
        """All findings: sentence and advice, then their numbers with the bounds of the problem."""
        return self._progress + "\n".join([*(finding.words() for finding in self.findings), *self._gaps()])

    @property
    def _progress(self) -> str:
        return "" if self.steps >= self.planned else f"So far, after {self.steps:,} of {self.planned:,} steps. "

    def _gaps(self) -> list[str]:
        """What a log lacks, in a line."""
        apart = f"; values every {self.interval:,} steps" if self.interval > 1 else ""
        return [f"Not in the log: {', '.join(self.gaps)}{apart}."] if self.gaps else []

    __str__ = words

    def _repr_html_(self) -> str:
        first, *others = self.findings
        rest = (_words(finding, f"{finding.sentence} {finding.advice}") for finding in others)
        return card.card(f"{self._progress}{first.sentence}", _words(first, first.advice), *rest)


def _words(finding: Finding, words: str) -> str:
    """Words about a finding and its numbers, for a notebook."""
    return card.paragraphs(words) + card.table([(i.words, i.problem) for i in finding.evidence])


@np.errstate(all="ignore")  # a loss may be close to what a float holds; nothing is concluded from what exceeds it
def diagnose_record(record: Record) -> Diagnosis:
    """What the curves of a record show, by the rules above; `conclusion.diagnose` asks verdict and search too."""
    record = partial.fill(per_sample(record))
    finite_steps, rewinds = int(finite(record.steps).sum()), [e for e in record.events if e.kind == REWIND]
    nonfinite = len(record.steps) - finite_steps
    first = finite(record.steps)[: th.MIN_NONFINITE_STEPS]
    if len(first) and not first.any() and (record.steps.t[0] == 1 or is_never_finite(record)):
        results = (findings.not_finite(record, nonfinite),)
    elif faults.loss_ignores_weights(record):
        results = (findings.ignores_weights(record),)
    elif finite_steps and not record.steps.grad_norm.any():
        results = (findings.no_gradient(record),)
    elif nonfinite >= th.MIN_NONFINITE_STEPS or rewinds:  # needs no statistics
        results = (findings.explosion(record, nonfinite, rewinds),)
    else:
        results = _findings(record, finite_steps)
    steps = int(record.steps.t[-1]) if record.gaps and len(record.steps) else len(record.steps)
    every = partial.interval(record) if record.gaps else 1
    return Diagnosis(results, steps, record.config.steps or steps, record.gaps, every)


def is_never_finite(record: Record) -> bool:
    """Whether a log whose first values are not finite had no finite loss before them, as far as it says."""
    return bool(record.gaps) and not any(m.t == 0 and math.isfinite(m.value) for m in record.measurements)


def _findings(record: Record, finite_steps: int) -> tuple[Finding, ...]:
    """The findings of a run that did not explode, as far as its record tells."""
    if finite_steps < th.MIN_FINITE_STEPS:
        return (findings.too_short(record, finite_steps),)
    return partial.common_findings(record, _by_rules) if record.gaps else _by_rules(record, Symptoms(record))


def _by_rules(record: Record, s: Symptoms) -> tuple[Finding, ...]:
    """Training problem and overfitting, the one to fix first in front."""
    if faults.labels_out_of_order(record, s):
        return (findings.mixed_labels(s),)
    problem = _training_problem(record, s)
    if problem is not None and problem.kind == NOISE_LIMITED and still_falls(s):
        problem = None
    training = () if problem is None else (problem,)
    training = ((findings.forgets_start(record),) if faults.forgets_start(record) else ()) + training
    training += (findings.contradiction(record),) if faults.metric_contradicts_loss(record) else ()
    if not (s.validation_regain > th.REGAINED_MAX and s.is_train_falling):
        return training or (findings.healthy(s),)
    lost_all = s.validation_regain > th.REGAINED_ALL and s.decrease > th.DECREASE_NONE_AFTER_PEAK
    has_learned = lost_all or s.decrease > th.DECREASE_GOOD
    overfit = (findings.overfit(s),)
    return overfit + training if has_learned and not had_divergent_step(s) else training + overfit


def _training_problem(record: Record, s: Symptoms) -> Finding | None:
    """The problem of the training loss: at most one, since each excludes the others."""
    if is_plateau(s):
        return findings.plateau(s)
    if could_gain_with_larger_lr(s):
        if follows_steps(s):
            return findings.too_slow(record, s)
        return None if s.decrease > th.DECREASE_NONE else findings.cannot_tell(record, s)
    if s.predicted_decrease < th.PREDICTED_DECREASE_MIN:  # and a larger learning rate would not solve it
        if s.is_full_batch or s.decrease > th.DECREASE_GOOD or not noise_may_dominate(s):
            return None
        return findings.noise_floor(record, s) if s.decrease > th.LEARNED_MIN else findings.plateau(s)
    if s.decrease < th.DECREASE_NONE and not (s.is_full_batch and s.max_rise < th.RISE_MAX):
        return findings.noise_floor(record, s) if is_noise_limited(s) else findings.diverged_without_gain(record, s)
    if s.peak_rise > th.PEAK_RISE_MAX and s.decrease < th.DECREASE_NONE_AFTER_PEAK:
        return findings.diverged_without_gain(record, s)
    if s.decrease > th.DECREASE_GOOD:
        return None
    if s.is_full_batch:
        is_too_high = oscillates(s) or s.remaining_gain < th.REMAINING_GAIN_LARGE
        return findings.oscillation(record, s) if is_too_high else None
    if _diverged_beyond_noise(s):
        return findings.oscillation(record, s)
    is_noisy = had_divergent_step(s) or s.batch_size < th.NOISY_BATCH_SIZE
    is_noisy = is_noisy or s.likely_excess > th.NOISE_EXCESS_LARGE * s.max_fall
    return findings.noise_floor(record, s) if is_noisy else None


def is_plateau(s: Symptoms) -> bool:
    """Whether there is no slope to descend, and no step diverged away from one."""
    can_tell = not s.is_full_batch and s.batch_size >= th.GRADIENT_Q05_MIN_BATCH and s.coherence == 1
    few_weights = (can_tell and s.gradient_q05_ratio < th.GRADIENT_Q05_MIN) or s.coherence < th.EXPLOSION_COHERENCE
    may_rise = has_risen(s) or s.noise_excess > th.NOISE_EXCESS_SMALL
    rose = may_rise and s.predicted_decrease >= th.PREDICTED_DECREASE_MIN
    most = max(th.DECREASE_NONE, 2 * s.decrease_error) if few_weights else th.DECREASE_NONE
    if rose or s.peak_gradient_ratio > th.PEAK_GRADIENT_MAX or s.decrease > most:
        return False
    no_slope = s.decrease_ratio < th.DECREASE_RATIO_MIN and s.noise_excess < th.NOISE_EXCESS_MAX_ON_PLATEAU
    return few_weights or (no_slope and not s.validation_decrease > th.LEARNED_MIN)


def could_gain_with_larger_lr(s: Symptoms) -> bool:
    """Whether a larger learning rate would have brought the loss lower."""
    moved_far = s.distance_per_weight > th.DISTANCE_LARGE or s.peak_rise > th.PEAK_RISE_MAX
    if s.decrease > th.DECREASE_GOOD or moved_far:
        return False
    if s.distance_per_weight < th.DISTANCE_TINY:
        return True
    if s.predicted_decrease < th.PREDICTED_DECREASE_MIN:
        is_measurable = s.decrease > th.DECREASE_PARTIAL or s.is_full_batch  # else noise hides the remaining gain
        has_more = s.remaining_gain > th.REMAINING_GAIN_LARGE or s.distance_per_weight < th.DISTANCE_SMALL
        return not noise_may_dominate(s) and (has_more or not is_measurable)
    gain = min(s.remaining_gain / max(1 - s.remaining_gain, TINY_GRADIENT) * s.decrease, 1 - s.decrease)
    has_more = s.decrease > th.DECREASE_NONE and s.remaining_gain > th.REMAINING_GAIN_LARGE
    return not s.is_full_batch and has_more and s.noise_excess < th.NOISE_EXCESS_SMALL * gain


def follows_steps(s: Symptoms) -> bool:
    """Whether the loss fell in proportion to the steps; in tiny batches the ratio says nothing."""
    is_sure = s.predicted_decrease < th.PREDICTED_SURE or s.decrease_ratio >= th.RATIO_SLOW_MIN
    return is_sure or s.is_full_batch or s.batch_size < th.NOISY_BATCH_SIZE


def still_falls(s: Symptoms) -> bool:
    """Whether the loss still falls clearly and never rose: noise does not hold it up yet, in batches not tiny."""
    is_clear = s.trend_errors > th.TREND_ERRORS and s.trend > th.TREND_MIN
    return is_clear and not has_risen(s) and s.batch_size >= th.NOISY_BATCH_SIZE


def noise_may_dominate(s: Symptoms) -> bool:
    """Whether noise can keep the loss up by a large share of its fall."""
    return s.noise_excess > th.NOISE_EXCESS_LARGE * s.max_fall


def batches_differ(s: Symptoms) -> bool:
    """Whether the batches' losses differ as they do where noise matters."""
    return not s.is_full_batch and s.batch_spread > th.BATCH_SPREAD_MIN


def is_noise_limited(s: Symptoms) -> bool:
    """Whether noise, and not the learning rate, keeps up a loss that has gained nothing."""
    is_too_far = s.predicted_decrease > th.PREDICTED_DECREASE_NOISE_MAX and has_risen(s)
    without_noise = is_too_far and not batches_differ(s)
    got_worse = s.validation_decrease < -max(s.max_fall, 0.0)
    return not (s.is_full_batch or without_noise or got_worse or had_divergent_step(s))


def has_risen(s: Symptoms) -> bool:
    """Whether the loss rose above its start measurably."""
    return s.max_rise > max(th.RISE_ERRORS_MAX * s.decrease_error, th.RISE_ROUNDING)


def had_divergent_step(s: Symptoms) -> bool:
    """Whether a large step moved the point to where gradients are smaller."""
    has_jump = s.max_rise > th.RISE_MAX and s.peak_gradient_ratio > th.PEAK_GRADIENT_MAX
    return s.peak_rise > th.PEAK_RISE_MAX or s.coherence < th.EXPLOSION_COHERENCE or has_jump


def _diverged_beyond_noise(s: Symptoms) -> bool:
    """Whether a step diverged in a way that noise does not explain."""
    has_jump = s.peak_rise > th.PEAK_RISE_MAX or not batches_differ(s)
    beyond_noise = s.coherence < th.COHERENCE_NOT_NOISE or (has_jump and s.batch_size >= th.NOISY_BATCH_SIZE)
    return had_divergent_step(s) and beyond_noise


def oscillates(s: Symptoms) -> bool:
    """Whether the loss rose above its start, or swings by a noticeable share of its fall."""
    return s.max_rise > th.RISE_MAX or max(s.max_fall - s.decrease, s.oscillation) > th.OSCILLATION_MAX * s.max_fall
