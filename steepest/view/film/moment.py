"""What a film says at a step before its end: how good the run is there, and not how it ended."""

import math

from steepest.view.film.metrics import loss_text, metric_text
from steepest.view.film.numbers import count
from steepest.view.film.schema import Member, Result, Series, index_at

FILM_PARTS = 20
"""Parts of a film after which the sentence changes, where nothing was measured."""


def results_at(member: Member, t: float) -> tuple[Result, ...]:
    """The results as they were at a step; those of the end where the run has ended."""
    if t >= member.last:
        return member.result
    return tuple(_row_at(member, row, t) for row in member.result)


def headline_at(member: Member, t: float, steps: float) -> str:
    """The metric at its last measurement up to a step, as a sentence; empty for a member without results."""
    if not member.result:
        return ""
    row = member.result[0]
    measurement = None if row.label.startswith("Train") else _last_measurement(_metric_curve(member), t)
    if measurement is None and not row.label.startswith("Train"):
        return f"Step {count(math.floor(t))} of {count(steps)}"
    step = math.floor(t / steps * FILM_PARTS) * steps / FILM_PARTS if measurement is None else measurement[0]
    value = _row_at(member, row, step).value
    label = row.label[0].lower() + row.label[1:]
    words = f"{value} {label}" if value.endswith("%") else f"{row.label} {value}"
    return f"{words} at step {count(step)} of {count(steps)}"


def _row_at(member: Member, row: Result, t: float) -> Result:
    if row.label.startswith("Test"):
        return row._replace(value="—", detail="at the end")
    if row.label.startswith("Train"):
        validation = _last_measurement(member.curves.get("held_out"), t)
        detail = f"validation {loss_text(validation[1])}" if validation and "metric" in member.curves else ""
        return row._replace(value=loss_text(member.curves["loss"].at(t)), detail=detail)
    measurement = _last_measurement(_metric_curve(member), t)
    if measurement is None:
        return row._replace(value="—", detail="not measured yet")
    step, value = measurement
    text = loss_text(value) if member.metric is None else metric_text(member.metric, value)
    return row._replace(value=text, detail=f"at step {count(step)}")


def _metric_curve(member: Member) -> Series | None:
    return member.curves.get("held_out" if member.metric is None else "metric")


def _last_measurement(series: Series | None, t: float) -> tuple[float, float] | None:
    """Step and value of the last measurement up to a step; None before the first."""
    k = -1 if series is None else index_at(series.t, t)
    return None if k < 0 or series is None else (float(series.t[k]), float(series.mid[k]))
