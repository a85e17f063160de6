"""Films of runs and races, from their records: curves, paths on surfaces, events, the verdict."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from steepest.records.per_sample import PER_SAMPLE, is_sum, per_sample
from steepest.records.run import REWIND, History, Path, Record
from steepest.records.search import Curve, RaceResult
from steepest.records.surfaces import LossSurfaces
from steepest.records.verdict import Verdict
from steepest.rules.notation import mathml
from steepest.rules.textbook import RULES
from steepest.view.figures.curves import bucket, size
from steepest.view.film.schema import Film, FilmEvent, Member, Series
from steepest.view.format import event_text

SMOOTHING, MIN_SMOOTHING_BUCKETS = 0.01, 17
"""Window of a curve's running median, as a share of its buckets, and the smallest window in buckets."""


def of_run(
    history: History, surfaces: LossSurfaces | None = None, verdict: Verdict | None = None, live: bool = False
) -> Film:
    """The film of a run.

    Args:
        history: of the run.
        surfaces: of the loss below its path; None where there are none: the film shows the curves.
        verdict: where it ended.
        live: whether the run still goes on.
    """
    record, surfaces = history.record, surfaces or LossSurfaces()
    count = len(record.steps)
    total = (record.config.steps or count) + sum(at - to for at, to in history.back.items())
    return Film(
        "run",
        title=record.name,
        subtitle=_subtitle(record),
        steps=max(count, total) if live else count,
        headline=_headline(record, verdict, live),
        advice="" if verdict is None else verdict.advice.replace("`", ""),
        live=live,
        surfaces=surfaces.grids,
        members={"run": member(history, surfaces, verdict)},
    )


def of_race(race: RaceResult, surfaces: LossSurfaces | None = None, title: str = "race") -> Film:
    """The film of a race: one run of each contender, all from one start and on one surface.

    Args:
        race: its result.
        surfaces: of the loss below the paths, by the names of `display_runs`.
        title: of the film.
    """
    surfaces = surfaces or LossSurfaces()
    curves = display_runs(race)
    seeds = {curve.seed for curve in race.curves}
    return Film(
        "race",
        title=title,
        subtitle=f"{len(race.sides)} contenders · {len(seeds)} seeds each · to a validation loss of {race.target:.3g}",
        steps=max((int(curve.t[-1]) for curve in curves.values() if len(curve.t)), default=0),
        headline=f"{race.verdict.split(' (')[0].rstrip('.')}.",  # the first claim, without the numbers in parentheses
        advice=f"Each at its own best learning rate. Shown: seed {next(iter(curves.values())).seed} of {len(seeds)}.",
        surfaces=surfaces.grids,
        members={name: _contender(name, curve, race, surfaces) for name, curve in curves.items()},
    )


def display_runs(race: RaceResult) -> dict[str, Curve]:
    """One run of each contender, all of the seed whose ends are nearest the median: all start at one point."""
    ranks = {side: sorted(race.of(side), key=lambda curve: curve.final) for side in race.sides}
    distance: dict[int, float] = {}
    for group in ranks.values():
        for rank, curve in enumerate(group):
            distance[curve.seed] = distance.get(curve.seed, 0.0) + abs(rank - (len(group) - 1) / 2)
    seed = min(distance, key=lambda k: distance[k])
    return {side: curve for side, group in ranks.items() for curve in group if curve.seed == seed}


# -- A run -------------------------------------------------------------------------------------------------------------


def member(history: History, surfaces: LossSurfaces, verdict: Verdict | None) -> Member:
    """A run as a member of a film. Without surfaces it has no path."""
    record = history.record
    config = record.config
    hyper = dict(config.stages[0].hypers or {}) if config.stages else {}
    if config.lr is not None:
        hyper["lr"] = config.lr
    return Member(
        record.name,
        " → ".join(stage.rule for stage in config.stages),
        hyper,
        config.schedule,
        mathml="".join(_formula(stage.rule, stage.hypers or {}) for stage in config.stages),
        curves=_curves(per_sample(record)),
        events=tuple(
            FilmEvent(e.t, e.kind, event_text(e), history.back.get(e.t) if e.kind == REWIND else None)
            for e in record.events
        ),
        verdict=verdict,
        eigenvalues=tuple(surfaces.eigenvalues.tolist()) if len(surfaces.eigenvalues) else None,
        **_path(record.id, history.path, surfaces),
    )


def _formula(rule: str, hypers: Mapping[str, Any]) -> str:
    """A built-in rule's formula, without terms that are multiplied by 0."""
    return mathml.to_mathml(RULES[rule], zero=[k for k, v in hypers.items() if v == 0]) if rule in RULES else ""


def _path(name: str, path: Path | None, surfaces: LossSurfaces) -> dict[str, Any]:
    """Steps, losses and projections of the points whose loss was evaluated."""
    if path is None or name not in surfaces.losses or surfaces.indices[name].max(initial=-1) >= len(path.t):
        return {}
    on = {surface: by_name[name] for surface, by_name in surfaces.projections.items()}
    return {"t": path.t[surfaces.indices[name]], "loss": surfaces.losses[name], "on": on}


def _curves(record: Record) -> dict[str, Series]:
    steps = record.steps
    curves = {}
    if len(steps):
        curves["loss"] = run_series(steps.t, steps.loss, log=bool((steps.loss > 0).all()))
        curves["lr"] = run_series(steps.t, steps.lr, log=False, min_window=1)
        curves["grad_norm"] = run_series(steps.t, steps.grad_norm, log=True)
    validation = record.series("validation", "loss")
    if validation:
        curves["held_out"] = Series.of(np.array([m.t for m in validation]), np.array([m.value for m in validation]))
    return curves


def run_series(t: np.ndarray, values: np.ndarray, log: bool, min_window: int = MIN_SMOOTHING_BUCKETS) -> Series:
    """A curve in at most 4,096 buckets of smallest, largest and middle value, so that no spike is lost.

    The middle is a running median, which a spike does not move.

    Args:
        t: steps [n].
        values: at these steps [n]; NaN counts as the largest.
        log: whether to draw it on a logarithmic axis.
        min_window: smallest window of the median in buckets.
    """
    width = size(len(t))
    lo, middle, hi = bucket(np.where(np.isnan(values), np.inf, values), width)
    return Series(t[::width], lo, hi, _smooth(middle, min_window), log)


def _smooth(values: np.ndarray, min_window: int) -> np.ndarray:
    """A running median, its window shrinking towards the ends."""
    half = max(min_window, int(len(values) * SMOOTHING)) // 2 if min_window > 1 else 0
    if not half or len(values) <= 2 * half + 1:
        return values
    windows = np.lib.stride_tricks.sliding_window_view(values, 2 * half + 1)
    middle = np.median(windows, axis=1)
    head = [np.median(values[: 2 * i + 1]) for i in range(half)]
    tail = [np.median(values[len(values) - 2 * i - 1 :]) for i in reversed(range(half))]
    return np.concatenate([head, middle, tail])


def _subtitle(record: Record) -> str:
    config = record.config
    parts = (
        f"{config.weights:,} weights" if config.weights else "",
        " → ".join(stage.rule for stage in config.stages),
        f"lr {config.lr:.3g}" if config.lr is not None else "",
        config.schedule,
        f"batch {config.batch_size}" if config.batch_size is not None else "",
        f"curves: {PER_SAMPLE}" if is_sum(record) else "",
    )
    return " · ".join(filter(None, parts))


def _headline(record: Record, verdict: Verdict | None, live: bool) -> str:
    metric = record.config.metric
    value = record.last("validation", metric)
    if live:
        count, total = len(record.steps), record.config.steps
        words = f"Step {count:,} of {total:,}." if total else f"Step {count:,}."
        return words if value is None else f"{words} Validation {metric} {value:.3g}."
    if verdict is not None:
        return verdict.sentence
    states = {"done": "Done", "stopped": "Stopped", "interrupted": "Interrupted", "failed": "Failed"}
    words = f"{states.get(record.status, record.status)} after {len(record.steps):,} steps"
    return f"{words}." if value is None else f"{words}, validation {metric} {value:.3g}."


# -- A race ------------------------------------------------------------------------------------------------------------


def _contender(name: str, curve: Curve, race: RaceResult, surfaces: LossSurfaces) -> Member:
    step = curve.reached(race.target)
    events = []
    if np.isfinite(step):
        events.append(FilmEvent(int(step), "target", f"reached a loss of {race.target:.3g}"))
    if curve.failed:
        events.append(FilmEvent(int(curve.t[-1]) if len(curve.t) else 0, "diverged", curve.failed))
    rule = RULES.get(name.split(" ")[0])
    run = path_name(curve)
    return Member(
        name,
        "" if rule is None else rule.name,
        {"lr": curve.lr},
        mathml="" if rule is None else _formula(rule.name, rule.hypers),
        curves={"loss": Series.of(curve.t, np.where(np.isnan(curve.loss), np.inf, curve.loss))},
        events=tuple(events),
        **_path(run, next((p for p in race.paths if p.name == run), None), surfaces),
    )


def path_name(curve: Curve) -> str:
    """The name of the path of a race's run."""
    return f"{curve.side}, seed {curve.seed}"
