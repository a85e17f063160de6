"""Several runs in one film: their curves and events side by side, and what may be said of them."""

from collections.abc import Sequence
from typing import Any

from steepest.records.run import History, Record
from steepest.records.surfaces import LossSurfaces
from steepest.view.film import document, film
from steepest.view.format import number

ADVICE = (
    "One run of each: noise between seeds cannot be told from a difference. No surfaces, for each run's lie around its "
    "own end."
)


def of_runs(histories: Sequence[History]) -> dict[str, Any]:
    """The film of several runs, each a member; it is live while one of them is.

    Args:
        histories: of the runs.
    """
    records = [history.record for history in histories]
    names = called(records)
    live = any(record.status == "running" for record in records)
    longest = max(len(record.steps) for record in records)
    members = {h.record.id: film.member(h, LossSurfaces(), None) | {"name": names[h.record.id]} for h in histories}
    return document.film(
        "race",
        title=" against ".join(names.values()),
        subtitle=f"{len(records)} runs",
        steps=max(longest, *(record.config.steps for record in records)) if live else longest,
        headline=_headline(records, names, live),
        advice=ADVICE,
        live=live,
        surfaces={},
        members=members,
    )


def called(records: Sequence[Record]) -> dict[str, str]:
    """What to call each run, by its id: its name, or its id where another one has that name."""
    names = [record.name for record in records]
    return {record.id: record.name if names.count(record.name) == 1 else record.id for record in records}


def _headline(records: Sequence[Record], names: dict[str, str], live: bool) -> str:
    metrics = {(r.config.metric, r.config.better) for r in records}
    if len(metrics) > 1:
        return "They are measured by different metrics, so only their curves can be compared."
    ((metric, better),) = metrics
    measured = {names[r.id]: value for r in records if (value := r.last("validation", metric)) is not None}
    if not measured:
        return f"No validation {metric} is measured yet."
    first, *others = sorted(measured, key=measured.__getitem__, reverse=better == "higher")
    words = f"{first} {'is ahead' if live else 'ended best'}: validation {metric} {number(measured[first])}"
    rest = ", ".join(f"{name} {number(measured[name])}" for name in others)
    return f"{words}; {rest}." if rest else f"{words}."
