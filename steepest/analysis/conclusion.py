"""A verdict together with the run's record: a verdict measures one point and does not know how the run got there."""

from dataclasses import replace

from steepest.analysis.diagnosis.diagnose import diagnose
from steepest.analysis.diagnosis.findings import EXPLODING, HEALTHY, NEVER_FINITE, NO_GRADIENT, PLATEAU
from steepest.analysis.diagnosis.symptoms import Symptoms, finite
from steepest.records.run import Record
from steepest.records.verdict import (
    CONVERGED,
    DIVERGED,
    DIVERGED_ADVICE,
    RUN,
    UNDECIDED,
    VERDICT_HEADLINES,
    Verdict,
    digits,
)

DIVERGED_RISE = 10.0
"""A run whose loss ends this many times as high as it began has diverged, whatever the surface is like there."""
CONVERGED_DECREASE = 0.5
"""The loss of a converged run has fallen by more than this share of its initial value."""


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
        return replace(verdict, kind=DIVERGED, sentence=sentence, advice=DIVERGED_ADVICE)
    stationary = VERDICT_HEADLINES[UNDECIDED]
    if verdict.sentence.startswith(stationary):
        names = (EXPLODING, NO_GRADIENT, NEVER_FINITE, PLATEAU)
    elif verdict.kind == DIVERGED:
        names = (NEVER_FINITE,)  # which no learning rate has caused
    else:
        return verdict
    diagnosis = diagnose(record)
    for finding in diagnosis.findings:
        if finding.kind in names:
            words = finding.sentence if verdict.kind == DIVERGED else f"{verdict.sentence} {finding.sentence}"
            return replace(verdict, sentence=words, advice=finding.advice)
    if verdict.kind == DIVERGED:
        return verdict
    if diagnosis.kinds == (HEALTHY,) and Symptoms(record).decrease > CONVERGED_DECREASE:
        return replace(verdict, sentence=CONVERGED + verdict.sentence.removeprefix(stationary))
    return verdict
