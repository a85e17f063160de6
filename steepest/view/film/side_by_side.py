"""Several runs in one film: their curves and events side by side."""

from collections.abc import Sequence
from dataclasses import replace

from steepest.records.run import History, Record
from steepest.records.surfaces import LossSurfaces
from steepest.view.film import film
from steepest.view.film.schema import Film
from steepest.view.format import number

REPEAT_ADVICE = (
    "One run of each: the spread between seeds is not known. There are no surfaces, since each run's would lie around "
    "its own end."
)


def of_runs(histories: Sequence[History]) -> Film:
    """The film of several runs, each a member; it is live while one of them is.

    Args:
        histories: of the runs.
    """
    records = [history.record for history in histories]
    own = [record.name for record in records]
    names = {record.id: record.name if own.count(record.name) == 1 else record.id for record in records}
    live = any(record.status == "running" for record in records)
    longest = max(len(record.steps) for record in records)
    members = {h.record.id: replace(film.member(h, LossSurfaces(), None), name=names[h.record.id]) for h in histories}
    return Film(
        "race",
        title=" vs ".join(names.values()),
        subtitle=f"{len(records)} runs",
        steps=max(longest, *(record.config.steps for record in records)) if live else longest,
        headline=_headline(records, names, live),
        advice=REPEAT_ADVICE,
        live=live,
        surfaces={},
        members=members,
    )


def _headline(records: Sequence[Record], names: dict[str, str], live: bool) -> str:
    metrics = {(r.config.metric, r.config.better) for r in records}
    if len(metrics) > 1:
        return "The runs have different metrics, so only their curves can be compared."
    ((metric, better),) = metrics
    values = {names[r.id]: value for r in records if (value := r.last("validation", metric)) is not None}
    if not values:
        return f"No run has measured the validation {metric} yet."
    texts = {name: number(value) for name, value in values.items()}
    first, *others = sorted(values, key=values.__getitem__, reverse=better == "higher")
    if others and len(set(texts.values())) == 1:
        runs = "Both runs" if len(texts) == 2 else f"All {len(texts)} runs"
        return f"{runs} {'are' if live else 'end'} at the same validation {metric}, {texts[first]}."
    if better is None:
        return f"Validation {metric}: {', '.join(f'{name} {text}' for name, text in texts.items())}."
    words = f"{first} {'is ahead' if live else 'ended best'}: validation {metric} {texts[first]}"
    rest = ", ".join(f"{name} {texts[name]}" for name in others)
    return f"{words}; {rest}." if rest else f"{words}."
