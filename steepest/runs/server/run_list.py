"""The list of runs, in the style of the film page."""

import math
from collections.abc import Sequence
from datetime import datetime
from html import escape
from urllib.parse import quote

import numpy as np

from steepest.errors import StoreError
from steepest.records.run import Record
from steepest.runs.server.style import frame_page, template
from steepest.runs.store import Store
from steepest.view.format import duration, heights, number
from steepest.view.tables import last_metric

RUNS_PER_PAGE = 100
"""Runs on a page of the list."""
WIDTH, HEIGHT, SPARKLINE_BUCKETS = 120, 28, 60
"""Size in pixels and points of the curve beside each run."""
EMPTY, LIST, ROW = template("empty.html"), template("list.html"), template("row.html")


class RunList:
    """The list of a store's runs; the curve of an ended run is drawn once.

    Args:
        store: of the runs.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._curves: dict[tuple[str, str, float], tuple[int, str]] = {}

    def page(self, which: int = 1) -> str:
        """A page of the list, the newest runs first.

        Args:
            which: from 1; the last page if there are fewer.
        """
        records = [record for record in self._store.runs() if not record.damage][::-1]
        if not records:
            return _empty(self._store)
        which = min(max(1, which), -(-len(records) // RUNS_PER_PAGE))
        selection = records[(which - 1) * RUNS_PER_PAGE : which * RUNS_PER_PAGE]
        rows = "".join(self._row(record) for record in selection)
        compare = '<button type="submit">Compare</button><span>Select up to six runs to compare</span>'
        newer = f'<a href="/?page={which - 1}">Newer</a>' if which > 1 else ""
        older = f'<a href="/?page={which + 1}">Older</a>' if which * RUNS_PER_PAGE < len(records) else ""
        foot = (compare if len(records) > 1 else "") + newer + older
        content = LIST.substitute(summary=_summary(records), rows=rows, foot=foot)
        return frame_page("Runs", content, str(self._store.folder))

    def _row(self, record: Record) -> str:
        steps, curve = self._curve(record)
        run, is_running = escape(record.id), record.status == "running"
        metric, value = last_metric(record)
        name = "" if record.id.startswith(record.name) else record.name
        rate = f"lr {number(record.config.lr)}" if isinstance(record.config.lr, float) else ""
        details = " · ".join(filter(None, (name, record.config.rule, rate, record.config.schedule, record.notes)))
        total = record.config.steps
        of = f" of {total:,}" if total and total != steps else ""
        date = datetime.fromisoformat(record.started).astimezone()
        took = "" if is_running else f"<small>took {duration(record.seconds)}</small>"
        result = "" if value is None else f"{number(value)}<small>{escape(metric)}</small>"
        return ROW.substitute(
            status=escape(record.status), run=run, path=quote(record.id, safe=""), details=escape(details), curve=curve,
            result=result, steps=f"{steps:,}{of}", iso=date.isoformat(), date=f"{date:%-d %b %Y, %H:%M}", took=took,
        )  # fmt: skip

    def _curve(self, record: Record) -> tuple[int, str]:
        """The number of steps, and the loss curve as a picture."""
        key = (record.id, record.status, record.seconds)
        if key in self._curves:
            return self._curves[key]
        try:
            losses = self._store.losses(record.id)
        except StoreError:  # its page says what is wrong
            losses = np.empty(0)
        result = len(losses), draw_curve(losses.tolist())
        if record.status != "running":
            self._curves[key] = result
        return result


def draw_curve(losses: Sequence[float]) -> str:
    """A curve as a small picture; non-finite values are strokes at the top."""
    levels = heights(losses, SPARKLINE_BUCKETS)
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
    state = f"{folder} has no runs yet." if store.folder.exists() else f"There is no folder {folder} yet."
    return frame_page("No runs", EMPTY.substitute(state=state, folder=folder), str(store.folder))


def _summary(records: Sequence[Record]) -> str:
    count = sum(record.status == "running" for record in records)
    return f"{len(records):,} run{'s' if len(records) > 1 else ''}" + (f", {count:,} running." if count else ".")
