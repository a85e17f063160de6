"""Measured loss surfaces: arrays and captions, all that a picture needs.

Numpy only, so that a view can be tested with a grid written by hand.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np


class Axis(NamedTuple):
    """One axis of a plane through weight space.

    Attributes:
        name: name of the direction.
        lo, hi: coordinates of its ends; 0 is the plane's origin.
        n: number of cells.
        scale: distance in weight space per unit of the coordinate.
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
    """A marked point of a surface.

    Attributes:
        kind: minimum, saddle, maximum or escape.
        x, y: coordinates.
        loss: loss at the point.
        text: its label.
    """

    kind: str
    x: float
    y: float
    loss: float
    text: str


class Projection(NamedTuple):
    """The projection of points on a plane, [P] each.

    Attributes:
        x, y: coordinates of the nearest point of the plane.
        off: distance to it in weight space; 0 for a point in the plane.
    """

    x: np.ndarray
    y: np.ndarray
    off: np.ndarray


@dataclass(frozen=True)
class Grid:
    """The loss on a plane, cell by cell.

    Attributes:
        kind: terrain, curvature, principal, random or points.
        x, y: the axes.
        loss: [y.n, x.n] float64; infinite where it diverged, NaN where it was not evaluated.
        error: standard error of each cell, likewise; None if every cell uses every sample.
        caption: one or two sentences on what the plane shows and hides.
        height: "linear" or "log".
        source: the text of a function that the user typed.
        marks: marked points.
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
        """Largest minus smallest finite loss."""
        finite = self.loss[np.isfinite(self.loss)]
        return float(np.ptp(finite)) if len(finite) else 0.0


@dataclass(frozen=True)
class LossSurfaces:
    """The loss surfaces of a film, and the paths of descents on them.

    Attributes:
        grids: surfaces by name.
        projections: by surface, the projection of each descent's points on it, by the descent's name.
        losses: loss at each descent's points, on the samples of the surfaces, by the descent's name.
        indices: which points of the descent's path these are, by its name.
        eigenvalues: eigenvalues of the Hessian at the end that have converged [n].
        messages: why surfaces are missing.
    """

    grids: Mapping[str, Grid] = field(default_factory=dict)
    projections: Mapping[str, Mapping[str, Projection]] = field(default_factory=dict)
    losses: Mapping[str, np.ndarray] = field(default_factory=dict)
    indices: Mapping[str, np.ndarray] = field(default_factory=dict)
    eigenvalues: np.ndarray = field(default_factory=lambda: np.empty(0))
    messages: tuple[str, ...] = ()
