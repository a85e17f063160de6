"""A surface that was measured, as numbers and words: what a picture of it needs.

Numpy only, as in `record`, so that a view can be tested with a grid written by hand.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np


class Axis(NamedTuple):
    """One axis of a plane through weight space.

    Attributes:
        name: what the direction is, in words.
        lo, hi: coordinates of its ends; 0 is the plane's origin.
        n: cells along it.
        scale: distance in weight space that a coordinate of 1 spans.
    """

    name: str
    lo: float
    hi: float
    n: int
    scale: float = 1.0

    @property
    def at(self) -> np.ndarray:
        """The coordinates of its cells [n]."""
        return np.linspace(self.lo, self.hi, self.n)


class Mark(NamedTuple):
    """A place worth a mark.

    Attributes:
        kind: minimum, saddle, maximum or escape.
        x, y: coordinates.
        loss: there.
        text: in words.
    """

    kind: str
    x: float
    y: float
    loss: float
    text: str


class Projection(NamedTuple):
    """Where points fall on a plane, [P] each.

    Attributes:
        x, y: coordinates of the nearest point of the plane.
        off: distance to it in weight space; 0 for a point in the plane.
    """

    x: np.ndarray
    y: np.ndarray
    off: np.ndarray


class Cut(NamedTuple):
    """The loss along a line.

    Attributes:
        axis: the line.
        loss: [n] float64; infinite where it diverged.
    """

    axis: Axis
    loss: np.ndarray


@dataclass(frozen=True)
class Grid:
    """The loss on a plane, cell by cell.

    Attributes:
        kind: terrain, curvature, principal, random or points.
        x, y: the axes.
        loss: [y.n, x.n] float64; infinite where it diverged, NaN where it was not evaluated.
        error: a standard error for each cell, likewise; None where every sample counted in every cell.
        caption: what the plane shows and what it hides, in words.
        height: "linear" or "log".
        source: of a terrain that was typed in, its text.
        marks: places worth a mark.
    """

    kind: str
    x: Axis
    y: Axis
    loss: np.ndarray
    error: np.ndarray | None
    caption: str
    height: str = "linear"
    source: str | None = None
    marks: tuple[Mark, ...] = ()

    @property
    def range(self) -> float:
        """Greatest less least loss among the cells that did not diverge."""
        finite = self.loss[np.isfinite(self.loss)]
        return float(np.ptp(finite)) if len(finite) else 0.0

    def under(self, x: float, y: float) -> tuple[float, float]:
        """(loss, error) of the surface at a place between cells; NaN outside.

        Bilinear between the four cells around it. The error is what that may be off, |f − p| ≤ (|δ²ₓf| + |δ²ᵧf|)/8
        with the greatest second differences around, and twice the standard error of the cells.

        Args:
            x, y: coordinates.
        """
        (j, u), (i, v) = (_place(axis, at) for axis, at in ((self.x, x), (self.y, y)))
        if j < 0 or i < 0:
            return math.nan, math.nan
        weights = np.outer([1 - v, v], [1 - u, u])
        with np.errstate(invalid="ignore"):
            loss = float((weights * self.loss[i : i + 2, j : j + 2]).sum())
            bent = self._bent(i, j)
        spread = 0.0 if self.error is None else 2 * float(self.error[i : i + 2, j : j + 2].max())
        return loss, bent + spread

    def _bent(self, i: int, j: int) -> float:
        """How far a surface may lie from its bilinear interpolation in the cell whose lower corner is (i, j)."""
        near = self.loss[max(0, i - 1) : i + 3, max(0, j - 1) : j + 3]
        return float(sum(np.abs(np.diff(near, 2, axis)).max() for axis in (0, 1)) / 8)


def _place(axis: Axis, at: float) -> tuple[int, float]:
    """The cell below a coordinate, and how far towards the next it is; (−1, 0) outside."""
    position = (at - axis.lo) / (axis.hi - axis.lo) * (axis.n - 1)
    if not -1e-9 <= position <= axis.n - 1 + 1e-9:
        return -1, 0.0
    below = min(max(math.floor(position), 0), axis.n - 2)
    return below, position - below


@dataclass(frozen=True)
class LossSurfaces:
    """What a film shows of the loss: surfaces, and where descents went on them.

    Attributes:
        grids: surfaces by name.
        shadows: for each surface, where each descent's points fall on it, by the descent's name.
        losses: at each descent's points, on the samples that the surfaces are of, by its name.
        kept: which of a descent's points these are, by its name.
        eigenvalues: of the Hessian at the end, as far as they were found [n].
        said: why a surface is missing, in words.
    """

    grids: Mapping[str, Grid] = field(default_factory=dict)
    shadows: Mapping[str, Mapping[str, Projection]] = field(default_factory=dict)
    losses: Mapping[str, np.ndarray] = field(default_factory=dict)
    kept: Mapping[str, np.ndarray] = field(default_factory=dict)
    eigenvalues: np.ndarray = field(default_factory=lambda: np.empty(0))
    said: tuple[str, ...] = ()
