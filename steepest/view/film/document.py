"""The film as a document: the schema of the page (`page/src/film/film.ts`) as functions, and the page with a film in
it.

Nothing here computes: numbers of records, grids and verdicts become what the page decodes.
"""

import base64
import html
import json
import math
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from steepest.errors import InputError, StoreError
from steepest.records.surfaces import Axis, Grid, Projection
from steepest.records.verdict import Number, Verdict

FORMAT = 1
PAGE = Path(__file__).with_name("page.html")
SYMBOLS = {
    "training loss": "L",
    "gradient norm": "‖∇L‖",
    "‖∇L‖², noise removed": "‖∇L‖^2",
    "largest Hessian eigenvalue": "λ_max",
    "smallest Hessian eigenvalue": "λ_min",
    "λ_min lower bound": "λ_min",
    "sharpness": "λ_P",
    "batch sharpness": "λ_B",
    "decrease by the best gradient step": "ΔL",
    "decrease along λ_min": "ΔL",
    "decrease by ten steps at lr / 10": "ΔL",
    "noise scale": "B",
    "critical batch size": "B_crit",
    "sharpest layer": "λ_layer",
}
"""What a verdict's numbers are called where a symbol has room; the page lowers what follows `_` and raises `^`."""
SLOT = 'id="film">null<'
"""Where in the page the film belongs."""


def column(values: ArrayLike, dtype: str = "f4") -> dict[str, Any]:
    """Numbers as base64 of little-endian bytes; NaN is what was not evaluated, infinity what diverged.

    Args:
        values: of any shape.
        dtype: "f4" (float32), or "i4" (int32) for steps.

    >>> column([1, 2], "i4")
    {'dtype': 'i4', 'shape': [2], 'data': 'AQAAAAIAAAA='}
    """
    with np.errstate(over="ignore"):  # what exceeds float32 has diverged for any picture
        array = np.asarray(values).astype(f"<{dtype}")
    return {"dtype": dtype, "shape": list(array.shape), "data": base64.b64encode(array.tobytes()).decode()}


def surface(grid: Grid) -> dict[str, Any]:
    """A surface to descend on, with its marks."""
    return {
        "kind": grid.kind,
        "x": _axis(grid.x),
        "y": _axis(grid.y),
        "height": grid.height,
        "loss": column(grid.loss),
        "error": None if grid.error is None else column(grid.error),
        "source": grid.source,
        "caption": grid.caption,
        "marks": [mark._asdict() for mark in grid.marks],
    }


def curve(t: ArrayLike, lo: ArrayLike, hi: ArrayLike, mid: ArrayLike, log: bool) -> dict[str, Any]:
    """A quantity over steps, in at most 4,096 buckets.

    Args:
        t: the first step of each bucket [B]; they do not fall.
        lo, hi, mid: its least, greatest and middle value [B] each.
        log: whether to draw it on a logarithmic axis.
    """
    return {"t": column(t, "i4"), "lo": column(lo), "hi": column(hi), "mid": column(mid), "log": log}


def path(t: ArrayLike, loss: ArrayLike, on: Mapping[str, Projection]) -> dict[str, Any]:
    """Points along a descent.

    Args:
        t: their steps [P].
        loss: there [P].
        on: where they fall on each surface, by its name.
    """
    shadows = {name: {key: column(values) for key, values in s._asdict().items()} for name, s in on.items()}
    return {"t": column(t, "i4"), "loss": column(loss), "on": shadows}


def member(
    name: str,
    rule: str = "",
    hyper: Mapping[str, float | str] | None = None,
    schedule: str = "",
    *,
    mathml: str = "",
    js: str = "",
    path: Mapping[str, Any] | None = None,
    curves: Mapping[str, Any] | None = None,
    events: Sequence[Mapping[str, Any]] = (),
    verdict: Mapping[str, Any] | None = None,
    eigenvalues: Sequence[float] | None = None,
) -> dict[str, Any]:
    """One descent of a film; what is not given is not known.

    Args:
        name: that people read.
        rule: its name.
        hyper: values of its hyperparameters; a text is a schedule.
        schedule: of the rate, as text.
        mathml: the rule's formula.
        js: the rule as a program, for a page that descends by itself.
        path: what `path` gives.
        curves: what `curve` gives, by name: loss, held_out, lr, grad_norm.
        events: each `{"t", "kind", "text"}`, a rewind with the step it went back "to".
        verdict: what `verdict` gives.
        eigenvalues: of the Hessian where it ended, in any order.
    """
    known = {} if eigenvalues is None else {"eigenvalues": [float(x) for x in eigenvalues]}
    return {
        "name": name,
        "rule": rule,
        "hyper": dict(hyper or {}),
        "schedule": schedule,
        "mathml": mathml,
        "js": js,
        "path": _nowhere() if path is None else path,
        "curves": dict(curves or {}),
        "events": list(events),
        "verdict": verdict,
        **known,
    }


def verdict(found: Verdict | None) -> dict[str, Any] | None:
    """Where a descent ended, in words and numbers."""
    if found is None:
        return None
    numbers = [_quantity(number) for number in found.numbers]
    return {"kind": found.kind, "text": found.sentence, "advice": found.advice, "numbers": numbers}


def film(
    kind: str,
    *,
    title: str,
    subtitle: str,
    steps: int,
    headline: str = "",
    advice: str = "",
    live: bool = False,
    surfaces: Mapping[str, Any],
    members: Mapping[str, Any],
) -> dict[str, Any]:
    """The whole film.

    Args:
        kind: "run", "race" or "play".
        title, subtitle: of the page.
        steps: its length.
        headline, advice: the sentence above the relief and what follows from it; a play writes its own.
        live: whether it is still being made.
        surfaces: what `surface` gives, by name; the first is shown first.
        members: what `member` gives, by an id that does not change.
    """
    return {
        "format": FORMAT,
        "kind": kind,
        "title": title,
        "subtitle": subtitle,
        "version": _version(),
        "steps": steps,
        "live": live,
        "headline": headline,
        "advice": advice,
        "surfaces": dict(surfaces),
        "members": dict(members),
    }


def page(film: Mapping[str, Any] | None, events: str | None = None, runs: str | None = None) -> str:
    """The page's HTML with a film in it.

    Args:
        film: None where it only comes by frames.
        events: address, on the page's own origin, of the stream that a live film comes from.
        runs: address of the list of runs that it is one of; None where there is no way back.

    Raises:
        StoreError: the page is not where it is installed.
    """
    try:
        text = PAGE.read_text(encoding="utf-8")
    except OSError as error:
        raise StoreError(f"the page {PAGE} cannot be read ({error}); install steepest again") from None
    document = json.dumps(film, allow_nan=False).replace("<", "\\u003c")
    known = {"events": events, "list": runs}
    said = "".join(f' data-{name}="{html.escape(value)}"' for name, value in known.items() if value is not None)
    before, after = text.split(SLOT)
    return f'{before}id="film"{said}>{document}<{after}'


def write(film: Mapping[str, Any], out: str | Path) -> Path:
    """Writes the page with a film in it: one file that needs nothing else.

    Args:
        film: what `film` gives.
        out: where to; .html.

    Raises:
        InputError: another suffix, or a place where nothing can be written.
    """
    out = Path(out)
    if out.suffix.lower() != ".html":
        raise InputError(f"a film '{out}' is asked for; its name must end in .html")
    try:
        out.write_text(page(film), encoding="utf-8")
    except OSError as error:
        raise InputError(f"the film cannot be written to '{out}': {error.strerror}") from None
    return out


def _axis(axis: Axis) -> dict[str, Any]:
    lo, hi, scale = float(axis.lo), float(axis.hi), float(axis.scale)
    return {"name": axis.name, "lo": lo, "hi": hi, "n": int(axis.n), "scale": scale}


def _nowhere() -> dict[str, Any]:
    return path([], [], {})


def _quantity(number: Number) -> dict[str, Any]:
    """A number of a verdict; an end that is not finite is null, for JSON has no infinity."""
    name = SYMBOLS.get(number.name, number.name)
    text = number.words if name == number.name else "; ".join(filter(None, (number.name, number.words)))
    value, lo, hi = (float(x) if math.isfinite(x) else None for x in (number.value, number.low, number.high))
    reference = {} if number.reference is None else {"reference": float(number.reference)}
    return {"name": name, "value": value, "lo": lo, "hi": hi, "text": text, **reference}


def _version() -> str:
    try:
        return installed("steepest")
    except PackageNotFoundError:
        return ""
