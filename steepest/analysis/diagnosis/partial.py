"""Diagnosis of a log that lacks numbers: what is true whatever the missing numbers are.

Logs of other trainers seldom have ‖Δw‖, many have no ‖∇L‖, and none has the number of weights; so P = Σ ‖Δw‖ ‖∇L‖, the
distance moved and the noise are not known. No number is put in their place. The rules of `diagnose` are asked with each
value that makes a difference to them, on both sides of every bound (BOTH_SIDES): a finding that comes out every time is
known, and one that comes out at times is possible. Only the values that a rule asks for are tried, and only those that
go together: noise has a bound in P, and a loss that rose far was led there by large steps.

A log may begin some steps after the start, with a loss that has fallen already, or has exploded and comes down again.
Without a validation loss before the first step the fall since the start is then unknown. While the learning rate warms
up nothing explodes: there it is at least the fall that the log shows.
"""

import dataclasses
import math
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import numpy as np

from steepest.analysis.diagnosis import findings
from steepest.analysis.diagnosis import thresholds as th
from steepest.analysis.diagnosis.faults import MIN_MEASUREMENTS
from steepest.analysis.diagnosis.findings import (
    DIAGNOSIS_HEADLINES,
    EXPLODING,
    HEALTHY,
    NOISE_LIMITED,
    OSCILLATING,
    PLATEAU,
    TOO_SLOW,
    Finding,
)
from steepest.analysis.diagnosis.symptoms import HIGH_LR_SHARE, RULES_WITH_SECOND_MOMENT, Symptoms
from steepest.records.run import COLUMNS, SIZE_OF_BATCH, SIZE_OF_DATA, SIZE_OF_MODEL, Record, Steps

OF_TRAINING = {TOO_SLOW, PLATEAU, OSCILLATING, NOISE_LIMITED, EXPLODING, HEALTHY}
"""What the training loss can have, and that it has no problem."""
OF_UPDATES = "predicted_decrease", "noise_excess", "decrease_ratio"
"""Symptoms of the slopes ‖Δw‖ ‖∇L‖."""
BOTH_SIDES: dict[str, tuple[Any, ...]] = {
    "predicted_decrease": (1.0, 8.0, 20.0, 100.0),
    "noise_excess": (0.0, 0.05, 0.2, 10.0),
    "decrease_ratio": (0.01, 0.04, 1.0),
    "distance_per_weight": (0.01, 0.1, 0.6, 3.0),
    "coherence": (1.0, 0.03, 0.005),
    "peak_gradient_ratio": (1.0, 100.0),
    "gradient_q05_ratio": (1.0, 0.05),
    "remaining_gain": (0.0, 0.9),
    "trend": (0.0, 1.0),
    "trend_errors": (0.0, 10.0),
    "batch_size": (256.0, 5.0, 1.0),
    "is_full_batch": (False, True),
}
"""Values of each symptom on both sides of every bound in `thresholds`."""
NOISE_PER_STEP = 11.0
"""The noise excess is at most so many times the mean of the steps' ‖Δw‖ ‖∇L‖: ¼ √((1 + β)/(1 − β)) = 1.09 at β = 0.9,
were all of P in the last tenth of the steps."""
FAR_RISE = 1.0
"""From a rise by so much of its initial value on, the steps predict more than PREDICTED_DECREASE_MIN: so it was in all
275 such runs of 24 trainings of DEVELOPMENT in `benchmarks/diagnosis/trainings`, every twelfth from the sixth on."""
PREDICTED_BOUNDS = (th.PREDICTED_SURE, th.PREDICTED_DECREASE_MIN, th.PREDICTED_DECREASE_NOISE_MAX)
DECREASES = (0.05, 0.15, 0.3, 0.6, 0.9)
"""Falls between the bounds on DECREASE."""
MANY_SAMPLES = 1_000_000
"""More training samples than any rule asks for."""
PLACEHOLDER = 1.0
"""In a column that is missing, so that its rows count as finite; no rule sees what follows from it."""


def fill(record: Record) -> Record:
    """The record with a placeholder in the columns that it lacks; as it is where it lacks none."""
    if not record.gaps:
        return record
    columns = {name: getattr(record.steps, name) for name in COLUMNS}
    empty = np.full(len(record.steps), PLACEHOLDER)
    columns |= {name: empty for name in COLUMNS if name in record.gaps}
    columns["epoch"] = np.nan_to_num(columns["epoch"])
    return dataclasses.replace(record, steps=Steps(**columns))


def interval(record: Record) -> int:
    """Steps between two values of a log."""
    return round(float(np.median(np.diff(record.steps.t)))) if len(record.steps) > 1 else 1


def common_findings(record: Record, rules: Callable[[Record, Symptoms], Sequence[Finding]]) -> tuple[Finding, ...]:
    """The findings that the rules come to whatever the missing numbers are, and which others are possible.

    Args:
        record: from `fill`.
        rules: of the diagnosis.
    """
    possible: dict[str, dict[Finding, None]] = {}
    certain: dict[str, None] | None = None
    for one in _sizes(record):
        for candidate in candidates(one):
            outcome = rules(one, candidate)
            for finding in outcome:
                possible.setdefault(finding.kind, {})[finding] = None
            kinds = [finding.kind for finding in outcome]
            certain = dict.fromkeys(kind for kind in (kinds if certain is None else certain) if kind in kinds)
            if not certain and possible.keys() >= OF_TRAINING:
                break  # nothing is certain, and all is possible
    doubtful = tuple(kind for kind in possible if kind not in (certain or ()))
    result = [_without_unknown(possible[kind]) for kind in certain or ()]
    return (*result, findings.cannot_tell_apart(doubtful, record.gaps)) if doubtful else tuple(result)


def _without_unknown(same: Collection[Finding]) -> Finding:
    """A finding in the words that all agree on, with the evidence that is known."""
    first = next(iter(same))
    sentences = {finding.sentence for finding in same}
    sentence = first.sentence if len(sentences) == 1 else f"{DIAGNOSIS_HEADLINES[first.kind]}."
    evidence = tuple(one for one in first.evidence if not math.isnan(one.value))
    return first._replace(sentence=sentence, evidence=evidence)


def _sizes(record: Record) -> list[Record]:
    """The record with few training samples, and with many, where a log does not say."""
    if SIZE_OF_DATA not in record.gaps or not math.isfinite(record.last("validation", "loss") or math.nan):
        return [record]
    configs = [dataclasses.replace(record.config, samples=n) for n in (None, MANY_SAMPLES)]
    return [dataclasses.replace(record, config=config) for config in configs]


# -- Candidates -------------------------------------------------------------------------------------------------------


class Candidate(Symptoms):
    """Symptoms of a log; what is not known has one of its values, chosen when a rule asks for it.

    Attributes:
        choices: place of the value among those of `options`, and their number, in the order in which rules asked.

    Args:
        facts: the symptoms that are known.
        options: values of the others.
        script: places to choose first; 0 after them.
    """

    def __init__(self, facts: dict[str, Any], options: dict[str, tuple[Any, ...]], script: Sequence[int]) -> None:
        vars(self).update(facts, options=options, script=script, choices=[])

    def __getattr__(self, name: str) -> Any:
        options = vars(self).get("options", {}).get(name)
        if options is None:
            raise AttributeError(name)
        if name == "noise_excess" and "predicted_decrease" in self.options:
            p = self.predicted_decrease
            most = next((bound for bound in PREDICTED_BOUNDS if p < bound), math.inf)
            options = [x for x in options if x <= NOISE_PER_STEP * most / self.steps]
        k = self.script[len(self.choices)] if len(self.choices) < len(self.script) else 0
        self.choices.append((k, len(options)))
        vars(self)[name] = options[k]
        return options[k]

    @property
    def display(self) -> Symptoms:
        """For evidence: NaN for what is not known."""
        return self.evidence


def candidates(record: Record) -> Iterator[Candidate]:
    """The symptoms of a log with all values of what is not known that the caller's rules ask for, one after another."""
    s = Symptoms(record)
    options = _unknown(record, s)
    facts = {name: x for name, x in vars(s).items() if name not in options}
    fall = {"decrease": s.decrease}  # as far as the log shows it
    facts["steps"] = float(record.steps.t[-1])
    facts["evidence"] = Candidate({**facts, **dict.fromkeys(options, math.nan), **fall}, {}, ())
    script: list[int] | None = []
    while script is not None:
        candidate = Candidate(facts, options, script)
        yield candidate
        script = _next(candidate.choices)


def _next(choices: Sequence[tuple[int, int]]) -> list[int] | None:
    """The next choices in the order of a dictionary; None after the last."""
    for n in reversed(range(len(choices))):
        k, count = choices[n]
        if k + 1 < count:
            return [*(place for place, _ in choices[:n]), k + 1]
    return None


def _unknown(record: Record, s: Symptoms) -> dict[str, tuple[Any, ...]]:
    """The symptoms that a record does not tell, and their possible values."""
    gaps, names = record.gaps, set[str]()
    is_sampled = interval(record) > 1  # a sum over some steps is no sum over all
    if "update_norm" in gaps or "grad_norm" in gaps or is_sampled:
        names |= set(OF_UPDATES)
    if "update_norm" in gaps or SIZE_OF_MODEL in gaps or is_sampled:
        names.add("distance_per_weight")
    if "update_norm" in gaps or "lr" in gaps or SIZE_OF_MODEL in gaps:
        names |= {"coherence"} if not record.config.rule or record.config.rule in RULES_WITH_SECOND_MOMENT else set()
    if "grad_norm" in gaps:
        names |= {"peak_gradient_ratio", "gradient_q05_ratio"}
    if "lr" in gaps:
        names |= {"remaining_gain", "trend", "trend_errors", "noise_excess"}
    if SIZE_OF_BATCH in gaps:
        names |= {"batch_size", "is_full_batch"}
    options = {name: BOTH_SIDES[name] for name in names}
    far = s.max_rise > FAR_RISE if _has_start(record, s) else s.peak_rise > th.PEAK_RISE_MAX
    if far and "predicted_decrease" in options:
        options["predicted_decrease"] = tuple(
            x for x in BOTH_SIDES["predicted_decrease"] if x > th.PREDICTED_DECREASE_MIN
        )  # fmt: skip
    if not _has_start(record, s) and not far:
        least = s.decrease if _warms_up(record) else -math.inf
        options["decrease"] = (s.decrease, *(x for x in DECREASES if x > least))
        values = [m.value for m in record.series("validation", "loss")]
        if math.isnan(s.validation_regain) and len(values) >= MIN_MEASUREMENTS and values[-1] > min(values):
            options["validation_regain"] = (math.nan, 2 * th.REGAINED_ALL)
    return options


def _warms_up(record: Record) -> bool:
    """Whether the learning rate of the first value is below half of the largest one."""
    lr = np.abs(record.steps.lr)
    return "lr" not in record.gaps and bool(lr[0] < HIGH_LR_SHARE * lr.max())


def _has_start(record: Record, s: Symptoms) -> bool:
    """Whether the loss before the first steps is in the log."""
    return record.steps.t[0] <= 1 or math.isfinite(s.validation_decrease)
