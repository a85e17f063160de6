"""The rows of the list, and the headings by which it is sorted."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from html import escape
from urllib.parse import quote

from steepest.runs.server.entry import Entry
from steepest.runs.server.marks import common_scale, draw_interval, draw_progress, draw_status
from steepest.runs.server.query import MAX_SELECTION, SORT_COLUMNS, Query
from steepest.runs.server.style import template
from steepest.view.format import capitalise, duration, number

ROW = template("row.html")
HEADINGS = (
    ("run", "run"), ("", "curve"), ("status", "state"), ("metric", "metric figure"), ("", "range"), ("rule", "rule"),
    ("lr", "lr figure"), ("batch", "batch figure"), ("seed", "seed figure"), ("steps", "steps figure"),
    ("started", "when"),
)  # fmt: skip
"""Columns: the key by which a heading sorts, and classes."""
FIRST_YEAR = 1970
"""The year of a start that is not known."""
TAIL = 5
"""Characters at the end of an id that stay where a long one is cut: "-a71e"."""


# -- Headings ----------------------------------------------------------------------------------------------------------


def headings(query: Query, page: Sequence[Entry]) -> str:
    """The headings; each is a link to its order, and the present one says its direction."""
    scale = _scale(page)
    cells = ['<th scope="col" class="tick"><span class="hidden">Compare</span></th>']
    for key, classes in HEADINGS:
        if key:
            cells.append(_heading(query, key, classes, page))
        elif classes == "curve":
            cells.append('<th scope="col" class="curve">Train loss</th>')
        else:
            ends = "" if scale is None else f"<span>{_percent(scale[0])}</span><span>{_percent(scale[1])}</span>"
            cells.append(f'<th scope="col" class="range"><span class="hidden">95 % interval</span>{ends}</th>')
    return "".join(cells)


def _heading(query: Query, key: str, classes: str, page: Sequence[Entry]) -> str:
    words = _metric_heading(page) if key == "metric" else SORT_COLUMNS[key].heading
    is_sorted = query.sort.removeprefix("-") == key
    order = "descending" if query.is_descending else "ascending"
    sort, arrow = (f' aria-sort="{order}"', " ↓" if query.is_descending else " ↑") if is_sorted else ("", "")
    link = escape(query.address(sort=query.next_order(key)))
    return (
        f'<th scope="col" class="{classes}"{sort}><a href="{link}">{escape(words)}'
        f'<span aria-hidden="true">{arrow}</span></a></th>'
    )


def _metric_heading(page: Sequence[Entry]) -> str:
    names = {e.metric for e in page if e.value is not None}
    if len(names) != 1:
        return "Metric"
    (name,) = names
    return "Validation loss" if name == "loss" else capitalise(name)


def _scale(page: Sequence[Entry]) -> tuple[float, float] | None:
    """The ends of the scale on which the intervals are drawn; None where no run has one."""
    lows = [e.low for e in page if e.low is not None]
    return common_scale(lows) if lows else None


# -- Rows --------------------------------------------------------------------------------------------------------------


def rows(page: Sequence[Entry], curves: Mapping[str, str], query: Query) -> Iterator[str]:
    """A row for each run.

    Args:
        page: the runs.
        curves: their losses as pictures.
        query: what the list is asked for.
    """
    scale, has_one_metric = _scale(page), len({e.metric for e in page if e.value is not None}) < 2
    now = datetime.now().astimezone()
    for e in page:
        member = query.runs.index(e.run) if e.run in query.runs else None
        start = e.started.astimezone()
        yield ROW.substitute(
            key=escape(e.run), status=e.status, selected="" if member is None else f" on m{member}",
            tick=_tick(e, query, member), link=_link(e), reason=escape(_reason(e)), about=escape(_about(e)),
            facts=escape(_facts(e)), curve=curves[e.run], state=_state(e), metric=_metric(e, has_one_metric),
            range=_range(e, scale),
            rule=escape(e.rule.replace("_", " ")), lr="" if e.lr is None else number(e.lr),
            batch=_batch(e), seed="" if e.seed is None else e.seed, steps=_steps(e), iso=start.isoformat(),
            date=escape(f"{start:%-d %b %Y, %H:%M}; {_took(e)}"), started=_when(start, now),
        )  # fmt: skip


def _tick(e: Entry, query: Query, member: int | None) -> str:
    if e.status == "damaged":
        return ""
    state = " checked" if member is not None else ""
    state += " disabled" if member is None and len(query.runs) >= MAX_SELECTION else ""
    return f'<input type="checkbox" name="run" value="{escape(e.run)}"{state} aria-label="compare {escape(e.id)}">'


def _link(e: Entry) -> str:
    """The id, whose last characters stay in sight where it is too long."""
    head, tail = e.id[:-TAIL], e.id[-TAIL:]
    words = f'<span>{escape(head)}</span><span class="tail">{escape(tail)}</span>' if head else escape(e.id)
    if e.status == "damaged":
        return f'<b class="id">{words}</b>'
    name = escape(e.id)
    return f'<a class="id" href="/runs/{quote(e.run, safe="")}" aria-label="{name}" title="{name}">{words}</a>'


def _about(e: Entry) -> str:
    """The name where the id does not say it, the schedule and the note."""
    name = "" if e.id.startswith(e.name) else e.name
    return " · ".join(filter(None, (name, e.schedule, e.note)))


def _reason(e: Entry) -> str:
    """Why a run failed, stopped or cannot be read, and what to do about the last."""
    advice = f"Remove it with: steepest rm {e.id}" if e.status == "damaged" else ""
    return " · ".join(filter(None, (e.reason, advice)))


def _facts(e: Entry) -> str:
    """The settings in words, for windows without their columns."""
    if e.status == "damaged":
        return ""
    parts = (
        e.rule.replace("_", " "), "" if e.lr is None else f"lr {number(e.lr)}",
        "" if e.batch is None else f"batch {e.batch}", "" if e.seed is None else f"seed {e.seed}",
        f"{_steps(e)} steps" if e.steps or e.total else "no steps",
    )  # fmt: skip
    return " · ".join(filter(None, parts))


def _state(e: Entry) -> str:
    words = f'<span class="st {e.status}">{draw_status(e.status)}{e.status}</span>'
    if e.status == "running" and e.total:
        words += draw_progress(e.steps / e.total)
    if e.rewinds:
        words += f'<small><span class="tag">{e.rewinds:,} rewind{"s" if e.rewinds > 1 else ""}</span></small>'
    return words


def _metric(e: Entry, has_one_metric: bool) -> str:
    if e.value is None:
        return '<span class="none">–<span class="hidden">not measured</span></span>'
    name = "" if has_one_metric else f"<small>{escape(e.metric)}</small>"
    return escape(e.text) + name + f'<small class="named">{escape(e.metric)}</small>'


def _range(e: Entry, scale: tuple[float, float] | None) -> str:
    if scale is None or e.value is None or e.low is None or e.high is None:
        return ""
    words = f"95 % interval {_percent(e.low)} to {_percent(e.high)}"
    return draw_interval(e.value, e.low, e.high, scale, words)


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _batch(e: Entry) -> str:
    return "" if e.batch is None else "all" if e.batch == "full" else f"{e.batch:,}"


def _steps(e: Entry) -> str:
    of = f" of {e.total:,}" if e.total and e.total != e.steps else ""
    return f"{e.steps:,}{of}"


def _took(e: Entry) -> str:
    return "still running" if e.status == "running" else f"took {duration(e.seconds)}"


def _when(start: datetime, now: datetime) -> str:
    """The time of a run of today, else the day; nothing where it is not known."""
    if start.year <= FIRST_YEAR:
        return ""
    if start.date() == now.date():
        return f"{start:%H:%M}"
    return f"{start:%-d %b}" if start.year == now.year else f"{start:%-d %b %Y}"
