"""The list of runs: found by words and conditions, in any order, a page at a time, with a tray for comparisons."""

import math
import threading
from collections.abc import Sequence
from html import escape
from pathlib import Path

from steepest.runs.server import rows
from steepest.runs.server.entry import LIST_STATUSES, Entry, entry
from steepest.runs.server.marks import draw_curve
from steepest.runs.server.query import SORT_COLUMNS, Query, Search
from steepest.runs.server.style import template
from steepest.runs.server.tray import tray
from steepest.runs.store import Store
from steepest.runs.store.counts import Counts
from steepest.view.plain_text import visible

RUNS_PER_PAGE = 100
"""Runs on a page of the list."""
CHIPS = ("running", "done", "stopped", "failed")
"""Statuses that always have a chip; the others have one where there are such runs."""
EMPTY, LIST = template("empty.html"), template("list.html")


class RunList:
    """The list of a store's runs. What has not changed is neither read nor drawn again.

    Args:
        store: of the runs.
    """

    def __init__(self, store: Store) -> None:
        self._store, self._lock = store, threading.Lock()
        self._curves: dict[str, tuple[tuple[str, float, int], str]] = {}
        self._stamp: tuple = ()
        self._entries: list[Entry] = []

    def content(self, query: Query) -> str:
        """The list as HTML, without the page around it.

        Args:
            query: what is asked for.
        """
        entries = self._read_entries()
        if not entries:
            return _empty(self._store)
        search = Search(query.text)
        matches = [e for e in entries if search.matches(e) and query.rule in ("", e.rule)]
        result = query.order([e for e in matches if query.status in ("", e.status)])
        which = min(max(1, query.page), max(1, -(-len(result) // RUNS_PER_PAGE)))
        page = result[(which - 1) * RUNS_PER_PAGE : which * RUNS_PER_PAGE]
        curves = self._read_curves(page)
        selection = {run: e for run in query.runs for e in entries if e.run == run}
        return LIST.substitute(
            summary=_summary(entries, result), text=escape(query.text), chips=_chips(query, matches),
            rules=_rules(query, entries), orders=_orders(query), kept=_hidden_fields(query), state=_state_fields(query),
            hint=escape(search.problem), headings=rows.headings(query, page),
            rows="".join(rows.rows(page, curves, query)), nothing="" if page else _nothing(query),
            pages=_pages(query, which, len(result)), tray=tray(query, selection, {e.run for e in page}),
        )  # fmt: skip

    def _read_entries(self) -> list[Entry]:
        """All runs; read again where the database has changed, or a run may have ended without a word."""
        stamp = _stamp(self._store)
        with self._lock:
            if stamp and stamp == self._stamp and not any(e.status == "running" for e in self._entries):
                return self._entries
        counts = self._store.counts()
        entries = [entry(record, counts.get(record.id, Counts())) for record in self._store.runs()]
        with self._lock:
            self._stamp, self._entries = stamp, entries
        return entries

    def _read_curves(self, page: Sequence[Entry]) -> dict[str, str]:
        """The loss curves of some runs as pictures."""
        keys = {e.run: (e.status, e.seconds, _size(e)) for e in page}
        with self._lock:
            curves = {run: self._curves[run][1] for run, key in keys.items() if self._curves.get(run, ((),))[0] == key}
        rest = [e for e in page if e.run not in curves]
        losses = self._store.losses_of([e.run for e in rest if e.status != "damaged"]) if rest else {}
        for e in rest:
            own = losses.get(e.run, [])
            share = min(1.0, len(own) / e.total) if e.status != "done" and e.total else 1.0
            curves[e.run] = draw_curve(own, share)
        with self._lock:
            self._curves |= {e.run: (keys[e.run], curves[e.run]) for e in rest}
        return curves


def _stamp(store: Store) -> tuple:
    """What changes with the database; empty where there is none."""
    try:
        files = [Path(f"{store.folder / 'runs.db'}{end}") for end in ("", "-wal")]
        return tuple((file.stat().st_mtime_ns, file.stat().st_size) for file in files if file.exists())
    except OSError:
        return ()


def _size(e: Entry) -> int:
    """The number of steps; of a run that goes on, within 2 %: a long one is not read again for every step."""
    return int(math.log(max(1, e.steps)) / math.log(1.02)) if e.status == "running" else e.steps


# -- Parts -------------------------------------------------------------------------------------------------------------


def _empty(store: Store) -> str:
    folder = escape(visible(str(store.folder)))
    state = f"{folder} has no runs yet." if store.folder.exists() else f"There is no folder {folder} yet."
    return EMPTY.substitute(state=state, folder=folder)


def _summary(entries: Sequence[Entry], result: Sequence[Entry]) -> str:
    count = sum(e.status == "running" for e in entries)
    total = f"{len(entries):,} run{'s' if len(entries) > 1 else ''}"
    if len(result) < len(entries):
        return f"{len(result):,} of {total}."
    return f"{total}, {'one' if count == 1 else f'{count:,}'} training now." if count else f"{total}."


def _chips(query: Query, matches: Sequence[Entry]) -> str:
    """Statuses with the number of runs that have them, among those that the search and the rule leave."""
    counts = {status: sum(e.status == status for e in matches) for status in LIST_STATUSES}
    offers = [("", "All", len(matches))]
    offers += [(s, s.capitalize(), n) for s, n in counts.items() if n or s in CHIPS or s == query.status]
    offers.sort(key=lambda offer: (*("", "running", "done", "stopped", "failed"), *LIST_STATUSES).index(offer[0]))
    return "".join(
        f'<a data-key="{status}" href="{escape(query.address(status=status))}"'
        f"{' aria-current=true' if status == query.status else ''}>{word}<b>{count:,}</b></a>"
        for status, word, count in offers
    )


def _rules(query: Query, entries: Sequence[Entry]) -> str:
    names = sorted({e.rule for e in entries} | ({query.rule} if query.rule else set()), key=str.lower)
    options = [("", "Every rule"), *((name, name.replace("_", " ")) for name in names if name)]
    return _options(options, query.rule)


def _orders(query: Query) -> str:
    """The orders of the columns, for windows that have no headings."""
    options = []
    for key, column in SORT_COLUMNS.items():
        first, second = (f"-{key}", key) if column.is_descending else (key, f"-{key}")
        options += list(zip((first, second), (words[0].upper() + words[1:] for words in column.words), strict=True))
    return _options(options, query.sort)


def _options(options: Sequence[tuple[str, str]], current: str) -> str:
    return "".join(
        f'<option value="{escape(value)}"{" selected" if value == current else ""}>{escape(words)}</option>'
        for value, words in options
    )


def _hidden_fields(query: Query) -> str:
    """What the search form keeps of the address."""
    fields = [("status", query.status)] if query.status else []
    fields += [("run", run) for run in query.runs]
    return "".join(f'<input type="hidden" name="{name}" value="{escape(value)}">' for name, value in fields)


def _state_fields(query: Query) -> str:
    """What the address asks for, for a form that keeps the ticked runs without a script."""
    fields = {"q": query.text, "status": query.status, "rule": query.rule, "sort": query.sort}
    return "".join(f'<input type="hidden" name="{k}" value="{escape(v)}">' for k, v in fields.items() if v)


def _nothing(query: Query) -> str:
    address = escape(query.address(text="", status="", rule=""))
    return f'<p class="nothing">No run matches. <a href="{address}">Show all runs</a></p>'


def _pages(query: Query, which: int, count: int) -> str:
    if count <= RUNS_PER_PAGE:
        return ""
    first, last = (which - 1) * RUNS_PER_PAGE + 1, min(count, which * RUNS_PER_PAGE)
    before = f'<a rel="prev" href="{escape(query.address(page=which - 1))}">Previous</a>' if which > 1 else ""
    after = f'<a rel="next" href="{escape(query.address(page=which + 1))}">Next</a>' if last < count else ""
    return f"<span>{first:,} – {last:,} of {count:,}</span>{before}{after}"
