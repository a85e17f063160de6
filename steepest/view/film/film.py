"""Films of runs and races, from their records: curves, paths on surfaces, events, the verdict."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from steepest.records.per_sample import PER_SAMPLE, is_sum, per_sample
from steepest.records.run import REWIND, Event, History, Path, Record
from steepest.records.search import Curve, RaceResult
from steepest.records.surfaces import LossSurfaces
from steepest.records.verdict import Verdict
from steepest.rules.notation import mathml
from steepest.rules.textbook import RULES
from steepest.view.figures.curves import bucket, size
from steepest.view.film import attempts, summary
from steepest.view.film.metrics import metric_info
from steepest.view.film.schema import Film, FilmEvent, Member, MetricInfo, Series, is_positive
from steepest.view.format import event_text
from steepest.view.running_median import running_median, window_of

NO_DIFFERENCE = "No difference detected"
"""First words of a race's verdict where nothing is claimed."""
TARGET_STEP = re.compile(r"to step \d+")


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
        headline=summary.headline(history, verdict, live),
        advice="" if live else summary.advice(history, verdict),
        live=live,
        no_surface="" if surfaces.grids else summary.no_surface(record, surfaces.messages),
        surfaces=surfaces.grids,
        members={"run": _with_ends(member(history, surfaces, verdict), history, live)},
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
        headline=_race_headline(race),
        advice=f"Each at its own best learning rate. Shown: seed {next(iter(curves.values())).seed} of {len(seeds)}.",
        surfaces=surfaces.grids,
        members={name: _contender(name, curve, race, surfaces) for name, curve in curves.items()},
    )


def _race_headline(race: RaceResult) -> str:
    """The first claim, without the numbers in parentheses; of a tie the names too."""
    claim = race.verdict.split(" (")[0].rstrip(".")
    if claim.startswith(NO_DIFFERENCE):
        *first, last = race.sides
        claim = f"{', '.join(first)} and {last}: {claim[0].lower()}{claim[1:]}"
    return f"{claim}."


def display_runs(race: RaceResult) -> dict[str, Curve]:
    """One run of each contender, all of the seed whose ends are nearest the median: all start at one point."""
    ranks = {side: sorted(race.of(side), key=lambda curve: curve.final) for side in race.sides}
    distance: dict[int, float] = {}
    for group in ranks.values():
        for rank, curve in enumerate(group):
            distance[curve.seed] = distance.get(curve.seed, 0.0) + abs(rank - (len(group) - 1) / 2)
    seed = min(distance, key=lambda k: distance[k])
    return {side: curve for side, group in ranks.items() for curve in group if curve.seed == seed}


def _with_ends(run: Member, history: History, live: bool) -> Member:
    """A run with its best measurement and its end among its events, once it has ended."""
    record = history.record
    ends = [] if live else summary.end_events(per_sample(record))
    return replace(run, events=tuple(sorted((*run.events, *ends), key=lambda event: event.t)))


# -- A run -------------------------------------------------------------------------------------------------------------


def member(history: History, surfaces: LossSurfaces, verdict: Verdict | None) -> Member:
    """A run as a member of a film. Without surfaces it has no path."""
    record = history.record
    config = record.config
    hyper = dict(config.stages[0].hypers or {}) if config.stages else {}
    if config.lr is not None:
        hyper["lr"] = config.lr
    own, spans = per_sample(record), attempts.split(len(record.steps), history.back)
    return Member(
        record.name,
        config.rules,
        hyper,
        config.schedule,
        mathml="".join(_formula(stage.rule, stage.hypers or {}) for stage in config.stages),
        curves=_curves(own, sorted(history.back)),
        events=tuple(_event(e, history.back) for e in record.events),
        verdict=verdict,
        eigenvalues=tuple(surfaces.eigenvalues.tolist()) if len(surfaces.eigenvalues) else None,
        metric=metric_info(record, record.config.metric) if record.config.metric != "loss" else None,
        metrics=_other_metrics(record),
        result=summary.results(own),
        attempts=() if all(span.is_kept for span in spans) else spans,
        has_guard=config.guard is not None,
        **_path(record.id, history.path, surfaces),
    )


def _event(event: Event, back: Mapping[int, int]) -> FilmEvent:
    """An event; where steps were undone, its own words give the run's step and the step as taken."""
    to = back.get(event.t) if event.kind == REWIND else None
    step = attempts.own_step(event.t, back)
    action = event.done
    if to is not None and attempts.own_step(to, back) != to:
        action = TARGET_STEP.sub(lambda words: f"{words[0]} (step {to:,} as taken)", action, count=1)
    own = None if step == event.t else step
    return FilmEvent(event.t, event.kind, event_text(event), to, event.seen, action, event.after, own)


def _other_metrics(record: Record) -> dict[str, MetricInfo]:
    """The metrics besides the run's, by the names of their curves."""
    own = ("loss", record.config.metric)
    names = dict.fromkeys(m.name for m in record.measurements if m.split == "validation" and m.name not in own)
    return {f"metric {name}": info for name in names if (info := metric_info(record, name)) is not None}


def _formula(rule: str, hypers: Mapping[str, Any]) -> str:
    """A built-in rule's formula, without terms that are multiplied by 0."""
    return mathml.to_mathml(RULES[rule], zero=[k for k, v in hypers.items() if v == 0]) if rule in RULES else ""


def _path(name: str, path: Path | None, surfaces: LossSurfaces) -> dict[str, Any]:
    """Steps, losses and projections of the points whose loss was evaluated."""
    if path is None or name not in surfaces.losses or surfaces.indices[name].max(initial=-1) >= len(path.t):
        return {}
    on = {surface: by_name[name] for surface, by_name in surfaces.projections.items()}
    return {"t": path.t[surfaces.indices[name]], "loss": surfaces.losses[name], "on": on}


def _curves(record: Record, breaks: Sequence[int]) -> dict[str, Series]:
    """The curves of a run.

    Args:
        record: its losses per sample.
        breaks: numbers of steps taken at its rewinds.
    """
    steps, curves = record.steps, {}
    if len(steps):
        curves["loss"] = run_series(steps.t, steps.loss, is_positive(steps.loss), breaks)
        curves["lr"] = run_series(steps.t, steps.lr, log=False, window=1)
        curves["grad_norm"] = run_series(steps.t, steps.grad_norm, True, breaks)
    others = {f"metric {name}": name for name in dict.fromkeys(m.name for m in record.measurements)}
    for key, name in {"held_out": "loss", "metric": record.config.metric, **others}.items():
        values = record.series("validation", name)
        is_own = name != "loss" and (key == "metric" or name != record.config.metric)
        if values and (key == "held_out" or is_own):
            curves[key] = Series.of(np.array([m.t for m in values]), np.array([m.value for m in values]))
    return curves


def run_series(
    t: np.ndarray, values: np.ndarray, log: bool, breaks: Sequence[int] = (), window: int | None = None
) -> Series:
    """A curve in at most 4,096 buckets of smallest, largest and middle value, so that no spike is lost.

    The middle is a running median, which a spike does not move. A bucket with NaN is a gap in it.

    Args:
        t: steps [n].
        values: at these steps [n].
        log: whether to draw it on a logarithmic axis.
        breaks: steps after which something else begins, such as rewinds.
        window: of the median in steps; None for that of `window_of`.
    """
    width = size(len(t))
    lo, middle, hi = bucket(values, width)
    starts = t[::width]
    gaps = np.add.reduceat(np.isnan(values), np.arange(0, len(t), width)) if len(t) else np.zeros(0)
    middle = np.where(gaps > 0, np.nan, middle)
    buckets = max(1, (window_of(len(t)) if window is None else window) // width) | 1
    return Series(
        starts, lo, hi, running_median(middle, buckets, np.searchsorted(starts, breaks, "right").tolist()), log
    )


def _subtitle(record: Record) -> str:
    config = record.config
    parts = (
        f"{config.weights:,} weights" if config.weights else "",
        config.rules,
        f"lr {config.lr:.3g}" if config.lr is not None else "",
        config.schedule,
        f"batch {config.batch_size}" if config.batch_size is not None else "",
        "" if config.is_watched else f"seed {config.seed}",
        f"curves: {PER_SAMPLE}" if is_sum(record) else "",
    )
    return " · ".join(filter(None, parts))


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
        curves={"loss": Series.of(curve.t, curve.loss)},
        events=tuple(events),
        **_path(run, next((p for p in race.paths if p.name == run), None), surfaces),
    )


def path_name(curve: Curve) -> str:
    """The name of the path of a race's run."""
    return f"{curve.side}, seed {curve.seed}"
