"""A surface as the renderer needs it: heights and contour levels at the vertices of a grid."""

import math
from dataclasses import dataclass, replace

import numpy as np

from steepest.records.surfaces import Axis, Grid
from steepest.view.film.numbers import linear_ticks, short
from steepest.view.render.theme import CONSTANTS

THERE, MISSING_CELL, DIVERGED_CELL = 0, 1, 2
"""State of a vertex: finite, not evaluated, infinite."""
SMOOTH_VERTICES = 100
"""Vertices along an axis that look smooth; coarser grids are refined."""
SCALE_CONSTANTS = CONSTANTS["scale"]
"""`soft` is the share of the range below which a logarithmic scale is nearly linear."""


class Linear:
    """Heights proportional to the loss, between its smallest and its largest value.

    `block` is the height of the block in half widths; one contour line in `major` is thick; `ticks` are heights and
    texts of the legend.
    """

    block, major = SCALE_CONSTANTS["linearBlock"], SCALE_CONSTANTS["linearMajor"]

    def __init__(self, lo: float, hi: float) -> None:
        self._lo, self._range = lo, (hi - lo) or 1.0
        steps = linear_ticks(0, self._range, SCALE_CONSTANTS["lines"])
        self._step = steps[1] if len(steps) > 1 else self._range
        self.ticks = [((v - lo) / self._range, short(v)) for v in linear_ticks(lo, hi, 4)]

    def height(self, loss: np.ndarray) -> np.ndarray:
        """0 at the smallest loss, 1 at the largest."""
        return (loss - self._lo) / self._range

    def loss(self, height: np.ndarray) -> np.ndarray:
        """The inverse of `height`."""
        return self._lo + height * self._range

    def level(self, loss: np.ndarray) -> np.ndarray:
        """Contour lines lie where this is an integer."""
        return loss / self._step

    def spacing(self, loss: np.ndarray) -> np.ndarray:
        """Distance in loss between the contour lines around a loss."""
        return np.full_like(loss, self._step)


class Logarithmic:
    """As `Linear`, but proportional to the logarithm of the loss above its smallest value; linear near that value."""

    block, major = SCALE_CONSTANTS["logBlock"], SCALE_CONSTANTS["linesPerDecade"]

    def __init__(self, lo: float, hi: float) -> None:
        self._lo, self._soft = lo, ((hi - lo) or 1.0) * SCALE_CONSTANTS["soft"]
        self._bottom, top = (float(self._log(np.asarray(v))) for v in (lo, hi))
        self._span = (top - self._bottom) or 1.0
        first = math.ceil(math.log10(self._soft * 2.5))
        last = math.floor(math.log10(hi - lo) + 1e-9) if hi > lo else first - 1
        values = [lo, *(10.0**e + lo for e in range(first, last + 1))]
        self.ticks = [(float(self.height(np.asarray(v))), short(v, 2)) for v in values]

    def _log(self, loss: np.ndarray) -> np.ndarray:
        return np.log10(np.maximum(0, loss - self._lo) + self._soft)

    def height(self, loss: np.ndarray) -> np.ndarray:
        return (self._log(loss) - self._bottom) / self._span

    def loss(self, height: np.ndarray) -> np.ndarray:
        return self._lo + 10.0 ** (self._bottom + height * self._span) - self._soft

    def level(self, loss: np.ndarray) -> np.ndarray:
        return self._log(loss) * self.major

    def spacing(self, loss: np.ndarray) -> np.ndarray:
        return (loss - self._lo + self._soft) * math.log(10) / self.major


@dataclass(frozen=True)
class Field:
    """Vertices [y.n, x.n] on two axes, with heights 0 … 1.

    Contour lines lie where `level` is an integer; their opacity is `support`, 0 … 1, low where the standard error
    exceeds their spacing. `state` is THERE, MISSING_CELL or DIVERGED_CELL, uint8; the others are float32.
    """

    x: Axis
    y: Axis
    scale: Linear | Logarithmic
    height: np.ndarray
    level: np.ndarray
    support: np.ndarray
    state: np.ndarray

    def world(self, x: np.ndarray | float, y: np.ndarray | float) -> np.ndarray:
        """World coordinates [2, ...], −1 … 1 within the plot, of places on the axes."""
        return np.stack((world(self.x, x), world(self.y, y)))


def field_of(grid: Grid) -> Field:
    """The field of a surface that has a finite cell. NaN cells are holes, infinite ones a plateau at the top.

    The loss is rounded to float32 first, as the page gets it: both draw the same picture.
    """
    with np.errstate(over="ignore"):
        loss = grid.loss.astype(np.float32).astype(np.float64)
    finite = loss[np.isfinite(loss)]
    lo, hi = float(finite.min()), float(finite.max())
    scale = Logarithmic(lo, hi) if grid.height == "log" else Linear(lo, hi)
    values = np.where(np.isnan(loss), lo, np.clip(loss, lo, hi))
    state = np.where(np.isnan(loss), MISSING_CELL, np.where(np.isinf(loss), DIVERGED_CELL, THERE)).astype(np.uint8)
    support = np.ones(loss.shape, np.float32)
    if grid.error is not None:
        error = grid.error.astype(np.float32).astype(np.float64)
        # Lines one standard error apart are not drawn; from three on they are opaque.
        support[error > 0] = np.clip((scale.spacing(values)[error > 0] / error[error > 0] - 1) / 2, 0, 1)
    height, level = (f(values).astype(np.float32) for f in (scale.height, scale.level))
    return Field(grid.x, grid.y, scale, height, level, support, state)


def world(axis: Axis, v: np.ndarray | float) -> np.ndarray | float:
    """World coordinate, −1 … 1, of a value on an axis."""
    return (v - axis.lo) / (axis.hi - axis.lo) * 2 - 1


def sample(values: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Bilinear values of vertices [ny, nx] on the lattice of world coordinates u [c] and v [r]: [r, c]."""
    rows, columns = (_linear((at + 1) / 2 * (n - 1), n) for at, n in zip((v, u), values.shape))
    return rows @ values.astype(np.float64) @ columns.T


def refine(field: Field) -> Field:
    """The field on a finer grid, for a smooth picture.

    Cubic (Catmull and Rom) between the vertices, which keep their values; linear next to missing or diverged vertices.
    """
    factor = math.ceil(SMOOTH_VERTICES / (max(field.x.n, field.y.n) - 1))
    if factor < 2:
        return field
    places = [np.arange((n - 1) * factor + 1) / factor for n in field.height.shape]
    rows, columns = (_cubic(at, n) for at, n in zip(places, field.height.shape))
    across = (field.height.astype(np.float64) @ columns.T).astype(np.float32)
    height = (rows @ across.astype(np.float64)).astype(np.float32)
    straight_rows, straight = (_linear(at, n) for at, n in zip(places, field.height.shape))
    near = _worst(field.state, places, 1) != THERE
    height[near] = (straight_rows @ field.height.astype(np.float64) @ straight.T)[near]
    height = np.clip(height, 0, 1)
    level = field.scale.level(field.scale.loss(height.astype(np.float64))).astype(np.float32)
    support = (straight_rows @ field.support.astype(np.float64) @ straight.T).astype(np.float32)
    y, x = (axis._replace(n=len(at)) for axis, at in zip((field.y, field.x), places))
    return Field(x, y, field.scale, height, level, support, _worst(field.state, places, 0))


def coarse(field: Field, stride: int) -> Field:
    """One vertex in `stride` along both axes."""
    x, y = (axis._replace(n=len(axis.at[::stride]), hi=float(axis.at[::stride][-1])) for axis in (field.x, field.y))
    names = "height", "level", "support", "state"
    arrays = {name: np.ascontiguousarray(getattr(field, name)[::stride, ::stride]) for name in names}
    return replace(field, x=x, y=y, **arrays)


def _linear(at: np.ndarray, n: int) -> np.ndarray:
    """Weights [places, n] of n vertices for values between them; places beyond the ends are clamped."""
    return np.maximum(0, 1 - np.abs(np.clip(at, 0, n - 1)[:, None] - np.arange(n)))


def _cubic(at: np.ndarray, n: int) -> np.ndarray:
    """The same for Catmull and Rom's cubic, continued linearly beyond the ends."""
    d = np.abs(at[:, None] - np.arange(-1, n + 1))  # one vertex more before and one behind
    four = np.where(d < 1, 1 + d * d * (1.5 * d - 2.5), np.where(d < 2, 2 + d * (d * (2.5 - 0.5 * d) - 4), 0))
    weights = four[:, 1:-1].copy()
    weights[:, [0, 1]] += four[:, :1] * (2, -1)
    weights[:, [-1, -2]] += four[:, -1:] * (2, -1)
    return weights


def _worst(state: np.ndarray, places: list[np.ndarray], margin: int) -> np.ndarray:
    """The worst state of the vertices around each place, up to `margin` vertices away: missing, then diverged."""
    rows, columns = (np.abs(at[:, None] - np.arange(n)) < margin + 1.0 for at, n in zip(places, state.shape))
    is_missing, has_diverged = (
        rows.astype(float) @ (state == kind) @ columns.T > 0 for kind in (MISSING_CELL, DIVERGED_CELL)
    )
    return np.where(is_missing, MISSING_CELL, np.where(has_diverged, DIVERGED_CELL, THERE)).astype(np.uint8)
