"""A film, decoded: surfaces as grids, members as tracks. The schema is `page/src/film/film.ts`."""

import base64
from dataclasses import dataclass
from typing import Any

import numpy as np

from steepest.errors import InputError
from steepest.records.surfaces import Axis, Grid, Mark, Projection
from steepest.view.render.ticks import short


@dataclass(frozen=True)
class Series:
    """A quantity over steps, in buckets of least, greatest and middle: float64 [n] each."""

    t: np.ndarray
    lo: np.ndarray
    hi: np.ndarray
    mid: np.ndarray
    log: bool

    @property
    def is_banded(self) -> bool:
        """Whether there is more than its middle."""
        return not all(np.array_equal(self.mid, values, equal_nan=True) for values in (self.lo, self.hi))

    def at(self, t: float) -> float:
        """The middle value at a step; NaN where there is none."""
        return float(self.mid[max(0, index_at(self.t, t))]) if len(self.mid) else float("nan")


@dataclass(frozen=True)
class Track:
    """A member of a film.

    Attributes:
        name: what it is called.
        t, loss: steps and losses of the points that were kept, [P].
        on: where they lie, by surface.
        curves: loss, held_out, lr, grad_norm.
        events: as the film has them: t, kind, text.
        verdict: as the film has it: kind, numbers.
        settings: of its rule, in words.
    """

    name: str
    t: np.ndarray
    loss: np.ndarray
    on: dict[str, Projection]
    curves: dict[str, Series]
    events: list[dict[str, Any]]
    verdict: dict[str, Any] | None
    settings: str

    @property
    def last(self) -> float:
        """Its last step."""
        return max((float(t[-1]) for t in (self.t, *(c.t for c in self.curves.values())) if len(t)), default=0.0)

    def loss_at(self, t: float) -> float:
        """The loss at a step: from the curve where there is one, else from the path."""
        if "loss" in self.curves and len(self.curves["loss"].t):
            return self.curves["loss"].at(t)
        return float(self.loss[max(0, index_at(self.t, t))]) if len(self.loss) else float("nan")


def index_at(steps: np.ndarray, t: float) -> int:
    """The last index whose step is at most t; −1 before the first. Steps do not fall."""
    return int(np.searchsorted(steps, t, side="right")) - 1


def numbers(col: dict[str, Any]) -> np.ndarray:
    """The numbers of a column, in one row as float64: steps beyond 2²⁴ stay exact."""
    kind = {"i4": "<i4", "f4": "<f4"}[col["dtype"]]
    return np.frombuffer(base64.b64decode(col["data"]), kind).astype(np.float64)


def grid_of(surface: dict[str, Any]) -> Grid:
    """A surface of a film.

    Raises:
        InputError: an axis without an extent, or another number of cells than the axes say.
    """
    x, y = (Axis(*(surface[name][key] for key in Axis._fields)) for name in ("x", "y"))
    for axis in (x, y):
        if not (axis.n >= 2 and axis.hi > axis.lo):
            raise InputError(
                f"axis {axis.name} has {axis.n} cells from {axis.lo} to {axis.hi}; expected are two or more"
            )
    cells = {"loss": numbers(surface["loss"])}
    if surface["error"]:
        cells["error"] = numbers(surface["error"])
    for name, values in cells.items():
        if values.size != x.n * y.n:
            raise InputError(f"a surface's {name} has {values.size} cells; its axes say {y.n} × {x.n}")
    marks = tuple(Mark(*(mark[key] for key in Mark._fields)) for mark in surface["marks"])
    shaped = {name: values.reshape(y.n, x.n) for name, values in cells.items()}
    return Grid(
        surface["kind"], x, y, shaped["loss"], shaped.get("error"), surface["caption"], surface["height"],
        surface["source"], marks,
    )  # fmt: skip


def tracks_of(film: dict[str, Any]) -> list[Track]:
    """The members of a film."""
    return [_track(member) for member in film["members"].values()]


def _track(member: dict[str, Any]) -> Track:
    path = member["path"]
    on = {name: Projection(*(numbers(at[key]) for key in Projection._fields)) for name, at in path["on"].items()}
    curves = {
        name: Series(**{key: numbers(curve[key]) for key in ("t", "lo", "hi", "mid")}, log=curve["log"])
        for name, curve in member["curves"].items()
    }
    values = [f"{name} {short(v) if isinstance(v, int | float) else v}" for name, v in member["hyper"].items()]
    settings = " · ".join([*values, *filter(None, [member["schedule"]])])
    return Track(
        member["name"], numbers(path["t"]), numbers(path["loss"]), on, curves, member["events"], member["verdict"],
        settings,
    )  # fmt: skip
