"""The runs as a list, in the film page's look: its style is the one that is in the built page."""

import math
from collections.abc import Iterable, Sequence
from datetime import datetime
from html import escape
from urllib.parse import quote

from steepest.records.run import Record
from steepest.runs.server.style import frame_page
from steepest.runs.store import Store
from steepest.view.format import duration, heights, number
from steepest.view.tables import last_metric

PAGE = 100
"""Runs on a page of the list."""
WIDTH, HEIGHT, BUCKETS = 120, 28, 60
"""Of the curve beside each run."""


class RunList:
    """The list of a store's runs; what an ended run looks like is drawn once.

    Args:
        store: of the runs.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._drawn: dict[tuple[str, str, float], tuple[int, str]] = {}

    def page(self, which: int = 1) -> str:
        """A page of it, the newest runs first.

        Args:
            which: from 1; beyond the last one that.
        """
        records = self._store.runs()[::-1]
        if not records:
            return _empty(self._store)
        which = min(max(1, which), -(-len(records) // PAGE))
        shown = records[(which - 1) * PAGE : which * PAGE]
        rows = "".join(self._row(record) for record in shown)
        compare = '<button type="submit">Compare</button><span>those that are ticked, up to six</span>'
        foot = (compare if len(records) > 1 else "") + _turning(which, len(records))
        return frame_page(
            "Runs",
            f'<h1>{_summary(records)}</h1><form action="/compare"><table class="list"><thead><tr>'
            '<th scope="col"><span class="hidden">compare</span></th><th scope="col">run</th><th scope="col">loss</th>'
            '<th scope="col">status</th><th scope="col" class="figure">metric</th>'
            '<th scope="col" class="figure">steps</th><th scope="col">begun</th></tr></thead>'
            f'<tbody>{rows}</tbody></table><div class="foot">{foot}</div></form>',
            str(self._store.folder),
        )

    def _row(self, record: Record) -> str:
        taken, curve = self._curve(record)
        run, running = escape(record.id), record.status == "running"
        metric, value = last_metric(record)
        rate = record.config.lr
        details = " · ".join(
            filter(None, [
                record.name if not record.id.startswith(record.name) else "", record.config.rule,
                f"lr {number(rate)}" if isinstance(rate, float) else "", record.config.schedule,
                record.notes,
            ])
        )  # fmt: skip
        planned = record.config.steps
        of = f" of {planned:,}" if planned and planned != taken else ""
        began = datetime.fromisoformat(record.started).astimezone()
        took = "" if running else f"<small>took {duration(record.seconds)}</small>"
        measured = "" if value is None else f"{number(value)}<small>{escape(metric)}</small>"
        return (
            f'<tr class="is-{escape(record.status)}">'
            f'<td><input class="pick" type="checkbox" name="run" value="{run}" aria-label="compare {run}"></td>'
            f'<td><a class="id" href="/runs/{quote(record.id, safe="")}">{run}</a><small>{escape(details)}</small></td>'
            f'<td class="curve">{curve}</td>'
            f'<td class="state"><span class="{escape(record.status)}">{escape(record.status)}</span></td>'
            f'<td class="metric figure">{measured}</td><td class="steps figure">{taken:,}{of}</td>'
            f'<td class="when"><time datetime="{began.isoformat()}">{began:%-d %b %Y, %H:%M}</time> {took}</td></tr>'
        )

    def _curve(self, record: Record) -> tuple[int, str]:
        """Steps taken, and the loss over them as a picture."""
        key = (record.id, record.status, record.seconds)
        if key in self._drawn:
            return self._drawn[key]
        losses = self._store.losses(record.id)
        found = len(losses), drawn(losses.tolist())
        if record.status != "running":
            self._drawn[key] = found
        return found


def drawn(losses: Sequence[float]) -> str:
    """A curve as a small picture; where it is not finite, a stroke at the top."""
    levels = heights(losses, BUCKETS)
    across = WIDTH / max(1, len(levels) - 1)
    places = [(i * across, HEIGHT * (1 - h)) for i, h in enumerate(levels)]
    line = "".join(
        f"{'L' if i and math.isfinite(levels[i - 1]) else 'M'}{x:.1f} {y:.1f}"
        for i, (x, y) in enumerate(places)
        if math.isfinite(y)
    )
    bad = "".join(f"M{x:.1f} 0v5" for x, y in places if not math.isfinite(y))
    words = f"loss from {number(losses[0])} to {number(losses[-1])}" if len(losses) else "no steps yet"
    return (
        f'<svg class="spark" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'preserveAspectRatio="none" role="img" aria-label="{words}"><path d="{line}"/>'
        f"{f'<path class=bad d={chr(34)}{bad}{chr(34)}/>' if bad else ''}</svg>"
    )


# -- Pages -------------------------------------------------------------------------------------------------------------


def _empty(store: Store) -> str:
    folder = escape(str(store.folder))
    there = f"{folder} has no runs yet." if store.folder.exists() else f"There is no folder {folder} yet."
    begin = f"steepest train digits --runs {folder} --live"
    return frame_page(
        "No runs", f'<h1>{there}</h1><div class="begin"><p>Begin one, and load this page again:</p>'
        f"<code>{begin}</code></div>", str(store.folder),
    )  # fmt: skip


def _summary(records: Sequence[Record]) -> str:
    running = sum(record.status == "running" for record in records)
    words = f"{len(records):,} run{'s' if len(records) > 1 else ''}"
    if not running:
        return f"{words}."
    return (
        f"{words}, {'one of them' if running == 1 else f'{running:,} of them'} running."
        if len(records) > 1
        else ("One run, and it is running.")
    )


def _turning(which: int, count: int) -> str:
    """Links to the pages before and after."""
    links: Iterable[tuple[str, int, bool]] = (
        ("Newer", which - 1, which > 1),
        ("Older", which + 1, which * PAGE < count),
    )
    return "".join(f'<a href="/?page={to}">{words}</a>' for words, to, there in links if there)
