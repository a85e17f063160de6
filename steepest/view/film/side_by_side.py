"""Several runs in one film: their curves, how they ended, and whether they differ."""

from collections.abc import Sequence
from dataclasses import replace

from steepest.records.comparison import EndComparison
from steepest.records.run import History
from steepest.records.surfaces import LossSurfaces
from steepest.view.film import film
from steepest.view.film.schema import Film


def of_runs(histories: Sequence[History], ends: EndComparison) -> Film:
    """The film of several runs, each a member; it is live while one of them is.

    Args:
        histories: of the runs.
        ends: how they ended; its groups have the same runs.
    """
    records = [history.record for history in histories]
    names = {run: group.label for group in ends.groups for run in group.runs}
    longest = max(len(record.steps) for record in records)
    members = {h.record.id: replace(film.member(h, LossSurfaces(), None), name=names[h.record.id]) for h in histories}
    return Film(
        "compare",
        title=" vs ".join(group.label for group in ends.groups),
        subtitle=f"{len(records)} runs",
        steps=max(longest, *(record.config.steps for record in records)) if ends.is_live else longest,
        headline=ends.headline,
        advice=" ".join(filter(None, (ends.note, ends.advice))),
        live=ends.is_live,
        surfaces={},
        members=members,
        comparison=ends,
    )
