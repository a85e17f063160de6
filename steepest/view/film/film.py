"""Films of runs and races, from records: curves that keep their spikes, paths on surfaces, events, the verdict.

A film is a document (`view/document.py` has its schema) that the page plays.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from steepest.records.run import REWIND, Event, History, Measurement, Record
from steepest.records.search import Curve, RaceResult
from steepest.records.surfaces import LossSurfaces, Projection
from steepest.records.verdict import Verdict
from steepest.rules.notation import mathml
from steepest.rules.textbook import RULES
from steepest.view.figures.buckets import bucket, size
from steepest.view.film import document

SMOOTHED, NARROWEST = 0.01, 17
"""Of a curve: the window of its middle line, as a share of the buckets, and how many of them it spans at least."""
SHOWN = (
    "largest Hessian eigenvalue",
    "smallest Hessian eigenvalue",
    "sharpness",
    "‖∇L‖², noise removed",
    "noise scale",
)
"""Numbers of a verdict that the page has room for."""
AGAINST_ZERO = ("smallest Hessian eigenvalue", "‖∇L‖², noise removed")

Film = dict[str, Any]


def of_run(
    history: History, survey: LossSurfaces | None = None, verdict: Verdict | None = None, live: bool = False
) -> Film:
    """The film of a run.

    Args:
        history: of the run.
        survey: the ground below its path; None where it is not known: the curves are shown.
        verdict: where it ended.
        live: whether it still goes on.
    """
    record, ground = history.record, survey or LossSurfaces()
    taken = len(record.steps)
    planned = record.config.get("steps", taken) + sum(at - to for at, to in history.back.items())
    return document.film(
        "run",
        title=record.name,
        subtitle=_subtitle(record),
        steps=max(taken, planned) if live else taken,
        headline=_headline(record, verdict, live),
        advice="" if verdict is None else verdict.advice.replace("`", ""),
        live=live,
        surfaces={name: document.surface(grid) for name, grid in ground.grids.items()},
        members={"run": member(history, ground, verdict)},
    )


def of_race(contest: RaceResult, survey: LossSurfaces | None = None, title: str = "race") -> Film:
    """The film of a race: of each side one run, all from one start and on one surface.

    Args:
        contest: the race.
        survey: the ground below their paths, by the names of `runs_shown`.
        title: of it.
    """
    ground = survey or LossSurfaces()
    shown = runs_shown(contest)
    members = {side: _racer(side, curve, contest, ground) for side, curve in shown.items()}
    seeds = {curve.seed for curve in contest.curves}
    longest = max((int(curve.t[-1]) for curve in shown.values() if len(curve.t)), default=0)
    return document.film(
        "race",
        title=title,
        subtitle=f"{len(contest.sides)} sides · {len(seeds)} seeds each · to a validation loss of {contest.target:.4g}",
        steps=longest,
        headline=_claim(contest),
        advice=f"Each at its own best rate. Shown is seed {next(iter(shown.values())).seed} of {len(seeds)}.",
        surfaces={name: document.surface(grid) for name, grid in ground.grids.items()},
        members=members,
    )


def runs_shown(contest: RaceResult) -> dict[str, Curve]:
    """Of each side the run of one seed, so that all begin at one point: the seed whose ends are most in the middle."""
    ranks = {side: sorted(contest.of(side), key=lambda curve: curve.final) for side in contest.sides}
    far: dict[int, float] = {}
    for ordered in ranks.values():
        for rank, curve in enumerate(ordered):
            far[curve.seed] = far.get(curve.seed, 0.0) + abs(rank - (len(ordered) - 1) / 2)
    seed = min(far, key=lambda k: far[k])
    return {side: curve for side, ordered in ranks.items() for curve in ordered if curve.seed == seed}


# -- A run -------------------------------------------------------------------------------------------------------------


def member(history: History, ground: LossSurfaces, verdict: Verdict | None) -> dict[str, Any]:
    """A run as a member of a film."""
    record = history.record
    stages = record.config.get("stages", [])
    rules = [stage["rule"] for stage in stages]
    hyper = dict(stages[0]["hypers"]) if stages else {}
    if record.config.get("lr") is not None:
        hyper["lr"] = record.config["lr"]
    return document.member(
        record.name,
        " → ".join(rules),
        hyper,
        str(record.config.get("schedule") or ""),
        mathml="".join(_formula(stage["rule"], stage["hypers"]) for stage in stages),
        path=_path(record.id, history, ground),
        curves=_curves(record),
        events=[_event(event, history.back) for event in record.events],
        verdict=None if verdict is None else document.verdict(shown(verdict)),
        eigenvalues=ground.eigenvalues.tolist() if len(ground.eigenvalues) else None,
    )


def _formula(rule: str, hypers: Mapping[str, Any]) -> str:
    """A built-in rule's formula, without what is multiplied by 0."""
    return mathml.to_mathml(RULES[rule], zero=[k for k, v in hypers.items() if v == 0]) if rule in RULES else ""


def shown(verdict: Verdict) -> Verdict:
    """A verdict with the numbers that the page has room for."""
    numbers = [
        number._replace(reference=0.0) if number.name in AGAINST_ZERO else number
        for number in verdict.numbers
        if number.name in SHOWN and np.isfinite(number.value)
    ]
    return replace(verdict, numbers=tuple(numbers))


def _path(name: str, history: History, ground: LossSurfaces) -> dict[str, Any]:
    """The points that were looked at; without a survey none, for they are nowhere on the page."""
    if name not in ground.losses:
        return document.path([], [], {})
    t = history.path.t[ground.kept[name]]
    return document.path(t, ground.losses[name], _shadows(name, ground))


def _shadows(name: str, ground: LossSurfaces) -> dict[str, Projection]:
    return {surface: by_name[name] for surface, by_name in ground.shadows.items()}


def _curves(record: Record) -> dict[str, Any]:
    steps = record.steps
    found = {}
    if len(steps):
        found["loss"] = run_curve(steps.t, steps.loss, log=bool((steps.loss > 0).all()))
        found["lr"] = run_curve(steps.t, steps.lr, log=False, narrowest=1)
        found["grad_norm"] = run_curve(steps.t, steps.grad_norm, log=True)
    held_out = record.series("validation", "loss")
    if held_out:
        found["held_out"] = _measured(held_out)
    return found


def _measured(series: Sequence[Measurement]) -> dict[str, Any]:
    values = np.array([m.value for m in series])
    return document.curve([m.t for m in series], values, values, values, log=bool((values > 0).all()))


def run_curve(t: np.ndarray, values: np.ndarray, log: bool, narrowest: int = NARROWEST) -> dict[str, Any]:
    """A curve in at most 4,096 buckets of least, greatest and middle, so that no spike is lost.

    The middle is a running median, which a spike does not move.

    Args:
        t: steps [n].
        values: at them [n]; what is not finite is left to the greatest.
        log: whether to draw it on a logarithmic axis.
        narrowest: buckets that the middle's window spans at least.
    """
    each = size(len(t))
    lo, middle, hi = bucket(np.where(np.isnan(values), np.inf, values), each)
    return document.curve(t[::each], lo, hi, _smoothed(middle, narrowest), log)


def _smoothed(values: np.ndarray, narrowest: int) -> np.ndarray:
    """A running median, its window shrinking towards the ends."""
    half = max(narrowest, int(len(values) * SMOOTHED)) // 2 if narrowest > 1 else 0
    if not half or len(values) <= 2 * half + 1:
        return values
    windows = np.lib.stride_tricks.sliding_window_view(values, 2 * half + 1)
    middle = np.median(windows, axis=1)
    head = [np.median(values[: 2 * i + 1]) for i in range(half)]
    tail = [np.median(values[len(values) - 2 * i - 1 :]) for i in reversed(range(half))]
    return np.concatenate([head, middle, tail])


def _event(event: Event, back: Mapping[int, int]) -> dict[str, Any]:
    words = "; ".join(part for part in (event.seen, event.done, event.after) if part)
    to = {"to": back[event.t]} if event.kind == REWIND and event.t in back else {}
    return {"t": event.t, "kind": event.kind, "text": words, **to}


def _subtitle(record: Record) -> str:
    config = record.config
    rules = " → ".join(stage["rule"] for stage in config.get("stages", []))
    size = config.get("batch_size")
    known = [
        f"{config['weights']:,} weights" if "weights" in config else "",
        rules,
        f"lr {config['lr']:.3g}" if config.get("lr") is not None else "",
        str(config.get("schedule") or ""),
        f"batch {size}" if size is not None else "",
    ]
    return " · ".join(part for part in known if part)


def _headline(record: Record, verdict: Verdict | None, live: bool) -> str:
    metric = record.config.get("metric", "loss")
    value = record.last("validation", metric)
    if live:
        done, planned = len(record.steps), record.config.get("steps", 0)
        words = f"Step {done:,} of {planned:,}." if planned else f"Step {done:,}."
        return words if value is None else f"{words} Validation {metric} {value:.4g}."
    if verdict is not None:
        return verdict.sentence
    ended = {"done": "Done", "stopped": "Stopped", "interrupted": "Interrupted", "failed": "Failed"}
    words = f"{ended.get(record.status, record.status)} after {len(record.steps):,} steps"
    return f"{words}." if value is None else f"{words}, validation {metric} {value:.4g}."


# -- A race ------------------------------------------------------------------------------------------------------------


def _claim(contest: RaceResult) -> str:
    """What the race claims first, without its p value; the whole stands in its words."""
    first = contest.verdict.split("; ")[0].split(". ")[0].split(" (p ")[0].rstrip(".")
    return f"{first}."


def _racer(side: str, curve: Curve, contest: RaceResult, ground: LossSurfaces) -> dict[str, Any]:
    name = path_name(curve)
    reached = curve.reached(contest.target)
    events = []
    if np.isfinite(reached):
        events.append({"t": int(reached), "kind": "target", "text": f"reached a loss of {contest.target:.4g}"})
    if curve.failed:
        events.append({"t": int(curve.t[-1]) if len(curve.t) else 0, "kind": "diverged", "text": curve.failed})
    rule = RULES.get(side.split(" ")[0])
    walked = next((p for p in contest.paths if p.name == name), None)
    path = None
    if walked is not None and name in ground.losses:
        path = document.path(walked.t[ground.kept[name]], ground.losses[name], _shadows(name, ground))
    loss = np.where(np.isnan(curve.loss), np.inf, curve.loss)
    return document.member(
        side,
        "" if rule is None else rule.name,
        {"lr": curve.lr},
        mathml="" if rule is None else _formula(rule.name, rule.hypers),
        path=path,
        curves={"loss": document.curve(curve.t, loss, loss, loss, log=bool((loss > 0).all()))},
        events=events,
    )


def path_name(curve: Curve) -> str:
    """What a race calls the path of one of its runs."""
    return f"{curve.side}, seed {curve.seed}"
