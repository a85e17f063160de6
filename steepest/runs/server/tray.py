"""The tray: runs that are ticked for a comparison, on whatever page of the list they are."""

from collections.abc import Collection, Mapping, Sequence
from html import escape

from steepest.runs.server.entry import Entry
from steepest.runs.server.marks import draw_glyph
from steepest.runs.server.query import MAX_SELECTION, Query
from steepest.runs.server.style import template

TRAY = template("tray.html")
SETTINGS = ("rule", "lr", "schedule", "batch", "steps", "seed")
"""Settings that are compared in words; "steps" are those of the whole run."""


def tray(query: Query, selection: Mapping[str, Entry], visible_runs: Collection[str]) -> str:
    """The tray as HTML; empty where nothing is ticked.

    Args:
        query: what the list is asked for.
        selection: the ticked runs that there are, by their stored ids.
        visible_runs: those of the page, which have a box; the form must name the others.
    """
    if not selection:
        return ""
    items = "".join(_item(query, i, e) for i, e in enumerate(selection.values()))
    others = "".join(
        f'<input type="hidden" name="run" value="{escape(run)}">' for run in selection if run not in visible_runs
    )
    is_enough = len(selection) > 1
    button = f"<button>Compare {len(selection)}</button>" if is_enough else ""
    return TRAY.substitute(items=items, why=escape(differing_words(list(selection.values()))), compare=others + button)


def _item(query: Query, member: int, e: Entry) -> str:
    rest = escape(query.address(runs=tuple(run for run in query.runs if run != e.run), page=query.page))
    return (
        f'<li data-key="{escape(e.run)}"><a href="{rest}" aria-label="do not compare {escape(e.id)}" '
        f'title="{escape(e.id)}">{draw_glyph(member)}<span>{escape(e.id)}</span><b aria-hidden="true">×</b></a></li>'
    )


def differing_words(entries: Sequence[Entry]) -> str:
    """In which settings runs differ.

    Args:
        entries: of the runs, at least one.
    """
    if len(entries) == 1:
        return "Tick another run to compare"
    full = f"; {MAX_SELECTION} at most" if len(entries) == MAX_SELECTION else ""
    if len({e.task for e in entries}) > 1:
        return f"different tasks{full}"
    values = {"steps": [e.total for e in entries]}
    names = [n for n in SETTINGS if len({str(v) for v in values.get(n) or [getattr(e, n) for e in entries]}) > 1]
    if not names:
        return f"same task and settings{full}"
    if len(names) == 1:
        return f"same task; only the {names[0]} differs{full}"
    *head, last = names
    return f"same task; {', '.join(head)} and {last} differ{full}"
