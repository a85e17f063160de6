"""What commands print with --json: an object with `schema`, `command` and the fields of the command below.

JSON has no NaN and no infinity: such a number is the text "nan", "inf" or "-inf" (`Number`). Within a version of the
schema fields are only added; a field that changes or goes makes a new version.
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, TypedDict

import numpy as np

from steepest.analysis.diagnosis.diagnose import Diagnosis
from steepest.records.config import to_json
from steepest.records.run import Record
from steepest.records.search import RaceResult, Search, Trial
from steepest.records.verdict import Ending, Verdict
from steepest.rules.notation import latex, plain
from steepest.rules.rule import Rule
from steepest.runs.compare import Comparison

JSON_VERSION = 1

Number = float | str


class MeasurementJson(TypedDict):
    """A metric, or the mean loss, on a whole split."""

    t: Annotated[int, "the step after which it was measured"]
    epoch: Annotated[Number, "epochs done then; nan where the loop has not told"]
    split: Annotated[str, "train, validation or test"]
    name: Annotated[str, 'of the metric; "loss" for the mean loss']
    value: Annotated[Number, "measured"]


class EventJson(TypedDict):
    """Something that happened in a run."""

    t: Annotated[int, "the step"]
    kind: Annotated[str, "clip, skip, lower, rewind, stop, stage, failed, interrupted or another"]
    seen: Annotated[str, "the reason"]
    done: Annotated[str, "the action"]
    after: Annotated[str, "what the loss did afterwards; empty until it is known"]


class VerdictNumberJson(TypedDict):
    """A measured number of a verdict."""

    name: Annotated[str, "what it is"]
    value: Annotated[Number, "the estimate"]
    low: Annotated[Number, "lower end of its 95 % interval"]
    high: Annotated[Number, "upper end"]
    reference: Annotated[Number | None, "what it is compared with"]
    words: Annotated[str, "how it was measured"]


class EstimateJson(TypedDict):
    """A number with its interval: 95 % where it was measured, and that of the trend alone where it is extrapolated."""

    value: Annotated[Number, "the estimate"]
    low: Annotated[Number, "lower end"]
    high: Annotated[Number, "upper end"]


class EndingJson(TypedDict):
    """What a run's end means: what holds it there, and what would lower the training loss further."""

    holds: Annotated[str, "rate, noise, flatness or nothing; empty where that cannot be told"]
    lower_lr: Annotated[EstimateJson | None, "decrease of the loss by ten steps at a tenth of the rate, measured"]
    longer: Annotated[EstimateJson | None, "decrease by as many steps again, an estimate from the trend"]
    lower_lr_helps: Annotated[bool | None, "whether that is certain and worth advice; null where it cannot be told"]
    longer_helps: Annotated[bool | None, "the same of longer training"]
    words: Annotated[list[str], "a sentence for each of these that is known"]


class VerdictJson(TypedDict):
    """Where a run ended."""

    kind: Annotated[str, "such as MINIMUM, SADDLE or DESCENDING"]
    sentence: Annotated[str, "the conclusion"]
    advice: Annotated[str, "what to do; may be empty"]
    numbers: Annotated[list[VerdictNumberJson], "that it rests on"]
    products: Annotated[int, "Hessian-vector products that it took"]
    messages: Annotated[list[str], "what was not measured, or not as usual"]
    ending: Annotated[EndingJson | None, "what holds it there; null in verdicts of older versions"]


class RunJson(TypedDict):
    """A run in the list."""

    id: Annotated[str, "unique in its folder"]
    name: Annotated[str, "what the user called it, or the task's name"]
    status: Annotated[str, "running, done, interrupted, stopped, failed or damaged"]
    started: Annotated[str, "when, as ISO 8601 text in UTC"]
    seconds: Annotated[Number, "how long it ran"]
    metric: Annotated[Number | None, "last validation value of `metric_name`; null without one"]
    metric_name: Annotated[str, "the task's first metric, or loss"]
    measurements: Annotated[list[MeasurementJson], "in time order"]
    config: Annotated[dict[str, Any], "every setting of the run; `search` and `verdict` where they were measured"]
    notes: Annotated[str, "the user's words"]
    damage: Annotated[str, "why its row in the store cannot be read; empty where it can"]


class FullRunJson(RunJson):
    """A run with its steps."""

    losses: Annotated[list[Number], "training loss of every step"]
    events: Annotated[list[EventJson], "in order"]
    verdict: Annotated[VerdictJson | None, "where it ended; null without a check"]
    versions: Annotated[dict[str, str], "of Python, packages, platform and processor"]


class RunListJson(TypedDict):
    """`runs`"""

    runs: Annotated[list[RunJson], "oldest first"]


class TrainedRunJson(FullRunJson):
    """`train`, `resume`"""

    folder: Annotated[str, "of the run's files"]
    film: Annotated[str | None, "the page, with --live"]


class ComparisonJson(TypedDict):
    """`compare`"""

    one: Annotated[list[str], "ids of the first group"]
    other: Annotated[list[str], "ids of the second group"]
    metric_name: Annotated[str | None, "the metric that they have in common"]
    values: Annotated[list[list[Number]], "its last validation values, by group"]
    conclusion: Annotated[str, "better or worse (of the second group), tie, or unknown"]
    sentence: Annotated[str, "the conclusion in words"]
    differing: Annotated[dict[str, list[Any]], "settings and versions that differ, of both first runs"]


class EvidenceJson(TypedDict):
    """A number that a finding rests on."""

    words: Annotated[str, "the symptom with its value"]
    value: Annotated[Number, "of this run"]
    limit: Annotated[Number, "where the problem begins"]
    problem: Annotated[str, "on which side of the limit; empty where there is no problem"]


class FindingJson(TypedDict):
    """A problem of a run, or that there is none."""

    kind: Annotated[str, "such as healthy, too slow or oscillating"]
    sentence: Annotated[str, "the finding in words"]
    advice: Annotated[str, "what to change; may be empty"]
    evidence: Annotated[list[EvidenceJson], "the numbers behind it"]


class DiagnosisJson(TypedDict):
    """`diagnose`"""

    run: Annotated[str, "id of the run"]
    steps: Annotated[int, "taken so far"]
    planned: Annotated[int, "of the whole run"]
    findings: Annotated[list[FindingJson], "the one to fix first in front"]
    gaps: Annotated[list[str], "what the log of another trainer lacks; empty for a run"]


class LocationJson(VerdictJson):
    """`locate`"""

    run: Annotated[str, "id of the run"]


class FileJson(TypedDict):
    """`film`, `play`, `export`"""

    file: Annotated[str, "that was written"]


class RemovalJson(TypedDict):
    """`rm`"""

    run: Annotated[str, "id of the run that was deleted"]


class TrialJson(TypedDict):
    """A learning rate that was tried."""

    lr: Annotated[Number, "the rate"]
    steps: Annotated[int, "of its short run"]
    loss: Annotated[Number, "on the validation split at its end"]
    gain: Annotated[Number, "share of the best one's gain"]
    region: Annotated[str, "too small, works, too large or fails"]
    how: Annotated[str, "it failed, in words"]


class SearchJson(TypedDict):
    """`find-lr`"""

    best: Annotated[Number | None, "the rate to train with; null where the search was interrupted"]
    low: Annotated[Number | None, "lower end of the range that works"]
    high: Annotated[Number | None, "upper end"]
    fails: Annotated[Number | None, "the smallest rate that failed; null where none did"]
    rule: Annotated[str | None, "that was searched for"]
    start: Annotated[Number | None, "validation loss where all began"]
    steps: Annotated[int, "taken in all"]
    run_steps: Annotated[int | None, "of the run that it is for"]
    seconds: Annotated[Number | None, "it took"]
    strategy: Annotated[str | None, "together or one after another"]
    why: Annotated[str | None, "that strategy, in words"]
    sentence: Annotated[str, "the outcome in words"]
    interrupted: Annotated[str | None, "how far it was, where Ctrl-C ended it"]
    table: Annotated[list[TrialJson], "all that was tried"]


class CurveJson(TypedDict):
    """How one of a race's descents went."""

    side: Annotated[str, "the contender"]
    seed: Annotated[int, "of its start and order"]
    lr: Annotated[Number, "its rate"]
    t: Annotated[list[Number], "steps after which it was measured"]
    loss: Annotated[list[Number], "on the validation split then"]
    metric: Annotated[list[Number], "the task's first metric then; empty without one"]
    step_s: Annotated[Number, "seconds of a step"]
    failed: Annotated[str, "why it left early; empty where it did not"]
    batch: Annotated[Number, "samples of a step, in the mean over an epoch"]


class RaceJson(TypedDict):
    """`race`"""

    sides: Annotated[list[str], "the contenders"]
    target: Annotated[Number, "validation loss to reach"]
    is_target_derived: Annotated[bool, "whether the race set the target itself"]
    metric_name: Annotated[str, "the task's first metric; empty without one"]
    sentence: Annotated[str, "the conclusion in words"]
    sentences: Annotated[list[str], "one for each pair of contenders and quantity"]
    search_steps: Annotated[int, "taken to find the rates"]
    curves: Annotated[list[CurveJson], "of every contender and seed"]


class RuleJson(TypedDict):
    """An update rule."""

    name: Annotated[str, "for --rule"]
    summary: Annotated[str, "in one sentence"]
    citation: Annotated[str, "its source"]
    hypers: Annotated[dict[str, Number], "hyperparameters with their defaults; lr is the learning rate"]
    formula: Annotated[str, "as text"]
    latex: Annotated[str, "as LaTeX"]


class RulesJson(TypedDict):
    """`rules`"""

    rules: Annotated[list[RuleJson], "all, or the one that was named"]


class TaskJson(TypedDict):
    """A built-in task."""

    name: Annotated[str, "for `train`"]
    recipe: Annotated[dict[str, Any], "its default settings"]


class TasksJson(TypedDict):
    """`tasks`"""

    tasks: Annotated[list[TaskJson], "that are built in"]


class ServerJson(TypedDict):
    """`serve`"""

    address: Annotated[str, "to open in a browser, with the token where one is needed"]
    runs: Annotated[int, "in the folder"]


COMMANDS: Mapping[str, type] = {
    "compare": ComparisonJson, "diagnose": DiagnosisJson, "export": FileJson, "film": FileJson, "find-lr": SearchJson,
    "locate": LocationJson, "play": FileJson, "race": RaceJson, "resume": TrainedRunJson, "rm": RemovalJson,
    "rules": RulesJson, "runs": RunListJson, "serve": ServerJson, "show": FullRunJson, "tasks": TasksJson,
    "train": TrainedRunJson,
}  # fmt: skip
"""What each command prints."""


def to_text(command: str, fields: Mapping[str, Any]) -> str:
    """The line that a command prints with --json."""
    whole = {"schema": JSON_VERSION, "command": command, **fields}
    return json.dumps(_finite(whole), allow_nan=False)


def _finite(x: Any) -> Any:
    """The value with NaN and infinity as text, and arrays as lists."""
    if isinstance(x, np.ndarray | np.generic):
        x = x.tolist()
    if isinstance(x, Mapping):
        return {str(k): _finite(v) for k, v in x.items()}
    if isinstance(x, list | tuple):
        return [_finite(v) for v in x]
    return x if not isinstance(x, float) or math.isfinite(x) else str(x)


def run(record: Record) -> RunJson:
    """A run of the list."""
    name = record.config.metric
    return {
        "id": record.id, "name": record.name, "status": record.status, "started": record.started,
        "seconds": record.seconds, "metric": record.last("validation", name), "metric_name": name,
        "measurements": [MeasurementJson(**m._asdict()) for m in record.timed_measurements],
        "config": to_json(record.config, record.search, record.verdict), "notes": record.notes,
        "damage": record.damage,
    }  # fmt: skip


def full_run(record: Record, verdict: Verdict | None) -> FullRunJson:
    """A run with its steps."""
    return {
        **run(record), "losses": record.steps.loss.tolist(),
        "events": [EventJson(**event._asdict()) for event in record.events],
        "verdict": None if verdict is None else location(verdict), "versions": record.versions,
    }  # fmt: skip


def location(verdict: Verdict) -> VerdictJson:
    """Where a run ended."""
    return {
        "kind": verdict.kind, "sentence": verdict.sentence, "advice": verdict.advice,
        "numbers": [VerdictNumberJson(**n._asdict()) for n in verdict.numbers], "products": verdict.products,
        "messages": list(verdict.messages), "ending": None if verdict.ending is None else _ending(verdict.ending),
    }  # fmt: skip


def _ending(ending: Ending) -> EndingJson:
    lower_lr, longer = (None if x is None else EstimateJson(**x._asdict()) for x in (ending.lower_lr, ending.longer))
    return EndingJson(**{**ending._asdict(), "lower_lr": lower_lr, "longer": longer, "words": list(ending.words)})


def comparison(pair: Comparison) -> ComparisonJson:
    """Two groups of runs pair."""
    names = {r.record.config.metric for side in pair.sides for r in side}
    return {
        "one": [r.id for r in pair.sides[0]], "other": [r.id for r in pair.sides[1]],
        "metric_name": names.pop() if len(names) == 1 else None,
        "values": [[r.metric for r in side if r.metric is not None] for side in pair.sides],
        "conclusion": pair.conclusion, "sentence": pair.sentence,
        "differing": {key: list(values) for key, values in pair.differing.items()},
    }  # fmt: skip


def diagnosis(run_id: str, result: Diagnosis) -> DiagnosisJson:
    """The problems of a run."""
    findings: list[Any] = [
        {**f._asdict(), "evidence": [EvidenceJson(**i._asdict()) for i in f.evidence]} for f in result.findings
    ]
    gaps = list(result.gaps)
    return {"run": run_id, "steps": result.steps, "planned": result.planned, "findings": findings, "gaps": gaps}


def search(result: Search) -> SearchJson:
    """What a search for a learning rate found."""
    return {
        "best": result.best, "low": result.low, "high": result.high, "fails": result.fails, "rule": result.rule,
        "start": result.start, "steps": result.steps, "run_steps": result.run_steps, "seconds": result.seconds,
        "strategy": result.way, "why": result.why, "sentence": result.sentence, "interrupted": None,
        "table": _trials(result.table),
    }  # fmt: skip


def interrupted_search(words: str, table: Sequence[Trial]) -> SearchJson:
    """A search that Ctrl-C ended: what was tried."""
    return {
        "best": None, "low": None, "high": None, "fails": None, "rule": None, "start": None,
        "steps": sum(trial.steps for trial in table), "run_steps": None, "seconds": None, "strategy": None, "why": None,
        "sentence": words, "interrupted": words, "table": _trials(table),
    }  # fmt: skip


def _trials(table: Sequence[Trial]) -> list[TrialJson]:
    return [TrialJson(**trial._asdict()) for trial in table]


def race(result: RaceResult) -> RaceJson:
    """A race's conclusion and curves."""
    return {
        "sides": list(result.sides), "target": result.target, "is_target_derived": result.derived,
        "metric_name": result.metric, "sentence": result.verdict, "sentences": list(result.words),
        "search_steps": result.search_steps, "curves": [CurveJson(**vars(curve)) for curve in result.curves],
    }  # fmt: skip


def rule(one: Rule) -> RuleJson:
    """An update rule with its formula."""
    return {
        "name": one.name, "summary": one.summary, "citation": one.citation, "hypers": dict(one.hypers),
        "formula": plain.to_text(one), "latex": latex.to_latex(one),
    }  # fmt: skip
