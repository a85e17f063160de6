"""A verdict and a diagnosis together with the run's record: neither of them alone knows what the other one knows.

Where they contradict each other (`contradictions.PAIRS`), one gives way. What carries more weight stands first:

1. what happened: a loss that is not finite, an explosion, a gradient of 0 at every step;
2. what was measured where the run ended: the verdict, the steps at a lower rate, the trend of the loss;
3. what was measured in short runs: the search for the learning rate;
4. what is inferred from the curves: too slow, plateau, oscillating, noise.

A verdict's advice is not measured. It gives way to what happened, to the outlook, and to an inferred problem that the
measurements leave standing.
"""

from dataclasses import replace
from typing import Any

from steepest.analysis.contradictions import (
    RATE_WORKS,
    Claim,
    contradict,
    finding_claims,
    search_claims,
    text_claims,
    verdict_claims,
)
from steepest.analysis.diagnosis.diagnose import Diagnosis, diagnose_record
from steepest.analysis.diagnosis.findings import (
    DIAGNOSIS_HEADLINES,
    EXPLODING,
    HEALTHY,
    NEVER_FINITE,
    NO_GRADIENT,
    NOISE_LIMITED,
    OVERFITTING,
    PLATEAU,
    TOO_SHORT,
    TOO_SLOW,
    Finding,
)
from steepest.analysis.diagnosis.symptoms import Symptoms, finite
from steepest.analysis.location import outlook
from steepest.errors import InputError
from steepest.records.run import ACCEPT, COLUMNS, Record, Steps
from steepest.records.verdict import (
    CONVERGED,
    DESCENDING,
    DIVERGED,
    DIVERGED_ADVICE,
    FLATNESS,
    MINIMUM,
    NOISE,
    NOTHING,
    RATE,
    RUN,
    UNDECIDED,
    VERDICT_HEADLINES,
    Ending,
    Estimate,
    Verdict,
    digits,
)

DIVERGED_RISE = 10.0
"""A run whose loss ends this many times as high as it began has diverged, whatever the surface is like there."""
CONVERGED_DECREASE = 0.5
"""The loss of a converged run has fallen by more than this share of its initial value."""
FACTS = (EXPLODING, NO_GRADIENT, NEVER_FINITE)
"""Findings that no measurement of the end can make undone."""
DECAY_ADVICE = 'Train longer, and let the learning rate decay to 0 at the end (`schedule="cosine"`).'
MEASURE_ADVICE = "Measure a learning rate: `steepest find-lr TASK`."
LAST_LR_LABEL = "decrease by ten steps at lr / 10"


def run_verdict(record: Record) -> Verdict | None:
    """The verdict of a run's end, in the light of its record; None if there is none."""
    return None if record.verdict is None else conclude(record.verdict, record)


def conclude(verdict: Verdict, record: Record) -> Verdict:
    """A verdict on a run's end, in the light of its record.

    "Stationary" becomes "Converged" where the loss has fallen to less than half of its start and `diagnose` finds no
    problem: a network whose units are all inactive is stationary too. An explosion or a plateau is named, and that a
    run was never finite, which no learning rate mends. The advice names the run. Of a run whose loss rose tenfold,
    "still descending" would be true and of no use: it has diverged.

    Args:
        verdict: on the end of the run.
        record: of the run.
    """
    verdict = replace(verdict, advice=verdict.advice.replace(f" {RUN}", f" {record.id}"))
    rise = 1 - Symptoms(record).decrease if finite(record.steps).any() else 1.0
    if verdict.kind != DIVERGED and rise > DIVERGED_RISE:
        sentence = f"{VERDICT_HEADLINES[DIVERGED]}: the loss ends {digits(rise)} times as high as it began."
        return replace(verdict, kind=DIVERGED, sentence=sentence, advice=DIVERGED_ADVICE, ending=None)
    diagnosis = diagnose_record(record)
    if NEVER_FINITE in diagnosis.kinds:  # that is said alone, whatever the few samples of the look gave
        return replace(verdict, sentence=diagnosis.sentence, advice=diagnosis.advice, ending=None)
    if verdict.kind == DIVERGED:
        return _name(verdict, diagnosis, (NEVER_FINITE,)) or verdict
    verdict = replace(verdict, ending=_ending(verdict, record, diagnosis))
    is_stationary = verdict.sentence.startswith(VERDICT_HEADLINES[UNDECIDED])
    explanation = _name(verdict, diagnosis, (*FACTS, PLATEAU) if is_stationary else FACTS)
    if explanation is not None:
        return explanation
    has_arrived = diagnosis.kinds == (HEALTHY,) and Symptoms(record).decrease > CONVERGED_DECREASE
    if is_stationary and has_arrived and not _can_gain(verdict.ending):
        return replace(verdict, sentence=CONVERGED + verdict.sentence.removeprefix(VERDICT_HEADLINES[UNDECIDED]))
    return _with_advice(verdict, record, diagnosis)


def diagnose(run: Any) -> Diagnosis:
    """Diagnoses a run from its record: the problem, the evidence, and what to change.

    Let P = Σ ‖Δw‖ ‖∇L‖ be the decrease that the steps predict and F the fall of the loss. P near F: the learning rate
    is too low, if there is more to gain. P ≫ F: batch noise, where it can keep the loss up by ¼ κ ‖Δw‖ ‖∇L‖; else the
    learning rate is too high. Whatever the loss says, the learning rate was too low if the weights hardly moved, and
    gradients of one or two components mean a plateau. A problem that costs less than a fifth of the possible gain is
    not reported.

    A finding that is inferred from the curves gives way where the look at the run's end, or the search for its rate,
    measured otherwise. What was measured is then said instead.

    Args:
        run: a run, or its record; finished or not. The log of another trainer is a record too: `sd.read_log`.

    Returns:
        the Diagnosis; with fewer than 20 finite steps it is "undecided". Of a log that lacks numbers, such as the norm
        of updates, it has what is true whatever they are, and else "cannot tell" with the findings that are possible.

    Raises:
        InputError: this is no run.

    >>> import numpy as np
    >>> from steepest.records.config import Config
    >>> from steepest.records.run import Record, Steps
    >>> t = np.arange(1.0, 101.0)
    >>> loss = 2 - 1e-4 * t                 # w ← w − 10⁻⁴ ∇L, ‖∇L‖ = 1: a hundred steps predict a decrease of 0.01
    >>> steps = Steps(t, t, 1e-4 + 0 * t, loss, 1 + 0 * t, 1e-4 + 0 * t)
    >>> print(diagnose(Record("id", "name", "done", "", 0.0, Config(), {}, steps)).kind)
    too slow
    """
    record: Record = getattr(run, "record", run)
    if not isinstance(record, Record):
        advice = "Read the log of another trainer first: sd.diagnose(sd.read_log(path))."
        raise InputError(f"run must be a run or its record, got {run!r:.80}. {advice}")
    diagnosis, verdict = diagnose_record(record), run_verdict(record)
    evidence = search_claims(record.search, record.config.lr)
    if verdict is not None:
        evidence += verdict_claims(verdict)
    left = [_within(finding, evidence) for finding in diagnosis.findings]
    findings = tuple(one for one in left if one.kind in FACTS or not contradict(finding_claims(one), evidence))
    return replace(diagnosis, findings=findings or (_gives_way(diagnosis.findings[0], verdict),))


# -- What gives way ----------------------------------------------------------------------------------------------------


def _name(verdict: Verdict, diagnosis: Diagnosis, kinds: tuple[str, ...]) -> Verdict | None:
    """The verdict with the first finding of these kinds, whose advice it takes; None if there is none."""
    for finding in diagnosis.findings:
        if finding.kind in kinds:
            words = finding.sentence if verdict.kind == DIVERGED else f"{verdict.sentence} {finding.sentence}"
            return replace(verdict, sentence=words, advice=finding.advice)
    return None


def _can_gain(ending: Ending | None) -> bool:
    """Whether a lower rate or longer training would lower the loss by a relevant share."""
    return ending is not None and bool(ending.lower_lr_helps or ending.longer_helps)


def _with_advice(verdict: Verdict, record: Record, diagnosis: Diagnosis) -> Verdict:
    """The verdict with advice that fits the outlook, and a problem that the measurements leave standing."""
    evidence = verdict_claims(replace(verdict, advice=""))
    evidence += search_claims(record.search, record.config.lr)
    advice = verdict.advice
    for finding in diagnosis.findings:
        one = _within(finding, evidence)
        claims = finding_claims(one)
        if one.advice and contradict(claims, text_claims("verdict", advice)) and not contradict(claims, evidence):
            return replace(verdict, advice=one.advice)
    if verdict.kind == DESCENDING and verdict.ending is not None and verdict.ending.lower_lr_helps:
        return replace(verdict, advice=DECAY_ADVICE)
    if contradict(text_claims("verdict", advice), evidence):
        left = [part for part in advice.split(". ") if not contradict(text_claims("verdict", part), evidence)]
        advice = " ".join(part.rstrip(".") + "." for part in left)
        if verdict.kind == DESCENDING:  # a step would lower the loss, and the run's own steps do not
            advice = MEASURE_ADVICE
    return replace(verdict, advice=advice)


def _within(finding: Finding, evidence: list[Claim]) -> Finding:
    """A finding about noise without other rates, where a search has chosen the rate: larger batches are left."""
    if finding.kind != NOISE_LIMITED or RATE_WORKS not in {claim.says for claim in evidence}:
        return finding
    batch, _, schedule = (part.strip() for part in finding.advice.partition(", or lr"))
    return finding._replace(advice=f"{batch}, or{schedule.rpartition(', or')[2]}")


def _gives_way(finding: Finding, verdict: Verdict | None) -> Finding:
    """What is said instead of a finding that measurements contradict."""
    where = "the search for the learning rate" if verdict is None else "the check of its end"
    if verdict is not None and (verdict.headline == CONVERGED or verdict.kind == MINIMUM):
        sentence = f"{DIAGNOSIS_HEADLINES[HEALTHY]}: the check of its end finds the run {verdict.headline.lower()}."
        return Finding(HEALTHY, sentence, finding.evidence)
    looks = DIAGNOSIS_HEADLINES[finding.kind]
    sentence = f"Cannot tell: the curves look like “{looks[0].lower()}{looks[1:]}”, but {where} measured otherwise."
    return Finding(TOO_SHORT, sentence, finding.evidence)


# -- The outlook -------------------------------------------------------------------------------------------------------


def _ending(verdict: Verdict, record: Record, diagnosis: Diagnosis) -> Ending | None:
    """What the end means, with the trend of the record; a verdict of an older version has a part of it."""
    loss = next((n for n in verdict.numbers if n.name == "training loss"), None)
    if loss is None or verdict.kind == DIVERGED or not finite(record.steps).any():
        return verdict.ending
    lower_lr = None if verdict.ending is None else verdict.ending.lower_lr
    if lower_lr is None and (before := verdict.number(LAST_LR_LABEL)) is not None:
        lower_lr = Estimate(*before[1:4])
    noise = RATE if Symptoms(record).is_full_batch else NOISE
    has_exploded = any(kind in FACTS for kind in diagnosis.kinds)  # so the rate that it ended with is not its own
    at_end = None if has_exploded else lower_lr
    trend = outlook.Trend.of(_since_change(record))
    return outlook.ending(verdict.kind, at_end, loss.value, trend, _holds(diagnosis), noise)._replace(lower_lr=lower_lr)


def _since_change(record: Record) -> Steps:
    """The steps since the guard last saw another objective or other data: what was before is no trend of these."""
    first = max((e.t for e in record.events if e.kind == ACCEPT), default=0)
    since = record.steps.t > first
    return Steps(*(getattr(record.steps, name)[since] for name in COLUMNS)) if since.any() else record.steps


def _holds(diagnosis: Diagnosis) -> str:
    """What holds a run that neither its verdict nor a lower rate decides."""
    by_kind = {TOO_SLOW: RATE, PLATEAU: FLATNESS, NO_GRADIENT: FLATNESS, HEALTHY: NOTHING, OVERFITTING: NOTHING}
    return by_kind.get(diagnosis.kind, "")
