"""A film encoded for the page, and the page with a film in it. The schema is `page/src/film/film.ts`."""

import base64
import html
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from steepest.errors import InputError, StoreError
from steepest.records.surfaces import Axis, Grid
from steepest.records.verdict import Verdict
from steepest.version import own_version
from steepest.view.film.comparison import encode_comparison
from steepest.view.film.quantities import SYMBOLS, Quantity, quantities, rule_words
from steepest.view.film.schema import Film, FilmEvent, Member, MetricInfo, Series

__all__ = ["SYMBOLS", "Quantity", "column", "encode", "page", "quantities", "write"]

FILM_FORMAT = 1
PAGE = Path(__file__).with_name("page.html")
FILM_SLOT = 'id="film">null<'
"""Place of the film in the page."""


# -- Encoding ----------------------------------------------------------------------------------------------------------


def encode(film: Film) -> dict[str, Any]:
    """A film as the page reads it: JSON with columns of base64."""
    return {
        "format": FILM_FORMAT,
        **_fields(film, "kind", "title", "subtitle"),
        "version": own_version(),
        **_fields(film, "steps", "live", "headline", "advice"),
        "surfaces": {name: encode_surface(grid) for name, grid in film.surfaces.items()},
        "members": {key: encode_member(member) for key, member in film.members.items()},
        **({"no_surface": film.no_surface} if film.no_surface else {}),
        **({} if film.comparison is None else {"comparison": encode_comparison(film.comparison)}),
    }


def column(values: ArrayLike, dtype: str = "f4") -> dict[str, Any]:
    """Numbers as base64 of little-endian bytes; NaN was not evaluated, infinity diverged.

    Args:
        values: of any shape.
        dtype: "f4" (float32), or "i4" (int32) for steps.

    >>> column([1, 2], "i4")
    {'dtype': 'i4', 'shape': [2], 'data': 'AQAAAAIAAAA='}
    """
    with np.errstate(over="ignore"):  # what exceeds float32 has diverged for any picture
        array = np.asarray(values).astype(f"<{dtype}")
    return {"dtype": dtype, "shape": list(array.shape), "data": base64.b64encode(array.tobytes()).decode()}


def encode_surface(grid: Grid) -> dict[str, Any]:
    """A surface with its marks."""
    return {
        "kind": grid.kind,
        "x": _axis(grid.x),
        "y": _axis(grid.y),
        "height": grid.height,
        "loss": column(grid.loss),
        "error": None if grid.error is None else column(grid.error),
        **_fields(grid, "source", "caption"),
        "marks": [mark._asdict() for mark in grid.marks if math.isfinite(mark.loss)],
    }


def encode_series(series: Series) -> dict[str, Any]:
    """A quantity over steps."""
    values = {name: column(getattr(series, name)) for name in ("lo", "hi", "mid")}
    return {"t": column(series.t, "i4"), **values, "log": series.log}


def encode_member(member: Member) -> dict[str, Any]:
    """One descent of a film."""
    on = {name: {key: column(v) for key, v in at._asdict().items()} for name, at in member.on.items()}
    return {
        **_fields(member, "name", "rule"),
        "hyper": {k: v if isinstance(v, str) or math.isfinite(v) else str(v) for k, v in member.hyper.items()},
        **_fields(member, "schedule", "mathml", "js"),
        "path": {"t": column(member.t, "i4"), "loss": column(member.loss), "on": on},
        "curves": {name: encode_series(series) for name, series in member.curves.items()},
        "events": [_event(event) for event in member.events],
        "verdict": None if member.verdict is None else encode_verdict(member.verdict, rule_words(member.rule)),
        **_optional_fields(member),
    }


def _event(e: FilmEvent) -> dict[str, Any]:
    """An event; what is empty or unknown is left out."""
    optional = {"to": e.to, "seen": e.seen, "done": e.done, "after": e.after, "step": e.step}
    return {"t": e.t, "kind": e.kind, "text": e.text} | {k: v for k, v in optional.items() if v not in (None, "")}


def _optional_fields(member: Member) -> dict[str, Any]:
    """What older films and films of other kinds have not."""
    fields: dict[str, Any] = {}
    if member.eigenvalues is not None:
        fields["eigenvalues"] = [float(x) for x in member.eigenvalues if math.isfinite(x)]
    if member.metric is not None:
        fields["metric"] = encode_metric(member.metric)
    if member.metrics:
        fields["metrics"] = {name: encode_metric(info) for name, info in member.metrics.items()}
    if member.result:
        fields["result"] = [row._asdict() for row in member.result]
    if member.attempts:
        fields["attempts"] = [{"from": a.first, "to": a.last, "kept": a.is_kept} for a in member.attempts]
    if member.has_guard is not None:
        fields["guard"] = member.has_guard
    return fields


def encode_metric(info: MetricInfo) -> dict[str, Any]:
    """A metric; `better` is null where nobody said."""
    return {**info._asdict(), "better": info.better or None}


def encode_verdict(verdict: Verdict, rule: str = "the rule") -> dict[str, Any]:
    """Where a descent ended, in words and numbers. JSON has no infinity: an end that is not finite is null."""
    numbers = []
    for quantity in quantities(verdict, rule):
        finite = {k: v if math.isfinite(v := float(getattr(quantity, k))) else None for k in ("value", "lo", "hi")}
        reference = {} if quantity.reference is None else {"reference": float(quantity.reference)}
        words = {key: getattr(quantity, key) for key in ("title", "display", "words", "state")}
        numbers.append({"name": quantity.name, **finite, "text": quantity.text, **reference, **words})
    return {"kind": verdict.kind, "text": verdict.sentence, "advice": verdict.advice, "numbers": numbers}


def _fields(value: Film | Grid | Member, *names: str) -> dict[str, Any]:
    """Fields that the page reads as they are."""
    return {name: getattr(value, name) for name in names}


def _axis(axis: Axis) -> dict[str, Any]:
    lo, hi, scale = float(axis.lo), float(axis.hi), float(axis.scale)
    return {"name": axis.name, "lo": lo, "hi": hi, "n": int(axis.n), "scale": scale}


# -- The page ----------------------------------------------------------------------------------------------------------


def page(film: Mapping[str, Any] | None, events: str | None = None, runs: str | None = None) -> str:
    """The page's HTML with a film in it.

    Args:
        film: as `encode` gives it; None where it comes by frames only.
        events: address, on the page's own origin, of the stream of a live film.
        runs: address of the list of runs; None where there is none.

    Raises:
        StoreError: the installed page cannot be read.
    """
    try:
        text = PAGE.read_text(encoding="utf-8")
    except OSError as error:
        raise StoreError(f"Cannot read the page {PAGE} ({error}). Install steepest again.") from None
    document = json.dumps(film, allow_nan=False).replace("<", "\\u003c")
    addresses = {"events": events, "list": runs}
    data = "".join(f' data-{name}="{html.escape(value)}"' for name, value in addresses.items() if value is not None)
    before, after = text.split(FILM_SLOT)
    return f'{before}id="film"{data}>{document}<{after}'


def write(film: Film, out: str | Path) -> Path:
    """Writes the page with a film in it: one file that needs nothing else.

    Args:
        film: to show.
        out: the file; .html.

    Raises:
        InputError: another suffix, or a place where nothing can be written.
    """
    out = Path(out)
    if out.suffix.lower() != ".html":
        raise InputError(f"out must end in .html, got '{out}'")
    try:
        out.write_text(page(encode(film)), encoding="utf-8")
    except OSError as error:
        raise InputError(f"Cannot write the film to '{out}' ({error.strerror}). Choose another out.") from None
    return out
