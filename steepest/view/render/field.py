"""A surface as the renderer needs it: heights and contour levels at the vertices of a grid."""

import math
from dataclasses import dataclass, replace

import numpy as np

from steepest.records.surfaces import Axis, Grid
from steepest.view.render.scale import Linear, Logarithmic, scale_of

THERE, MISSING_CELL, DIVERGED_CELL = 0, 1, 2
"""State of a vertex: finite, not evaluated, infinite."""

SMOOTH_VERTICES = 100
"""Vertices along an axis that look smooth; coarser grids are refine."""


@dataclass(frozen=True)
class Field:
    """Vertices, [y.n, x.n] each.

    Attributes:
        x, y: the axes.
        scale: from losses to heights.
        height: 0 … 1, float32.
        level: contour lines lie where it is an integer, float32.
        support: opacity of contour lines, 0 … 1, float32: low where the standard error exceeds their spacing.
        state: THERE, MISSING or DIVERGED, uint8.
    """

    x: Axis
    y: Axis
    scale: Linear | Logarithmic
    height: np.ndarray
    level: np.ndarray
    support: np.ndarray
    state: np.ndarray


def field_of(grid: Grid) -> Field:
    """The field of a surface that has a finite cell. NaN cells are holes, infinite ones a plateau at the top.

    The loss is rounded to float32 first, as the page gets it: both draw the same picture.
    """
    with np.errstate(over="ignore"):
        loss = grid.loss.astype(np.float32).astype(np.float64)
    finite = loss[np.isfinite(loss)]
    lo, hi = float(finite.min()), float(finite.max())
    scale = scale_of(grid.height, lo, hi)
    values = np.where(np.isnan(loss), lo, np.clip(loss, lo, hi))
    state = np.where(np.isnan(loss), MISSING_CELL, np.where(np.isinf(loss), DIVERGED_CELL, THERE)).astype(np.uint8)
    support = np.ones(loss.shape, np.float32)
    if grid.error is not None:
        error = grid.error.astype(np.float32).astype(np.float64)
        # Lines one standard error apart are not drawn; from three on they are opaque.
        support[error > 0] = np.clip((scale.spacing(values)[error > 0] / error[error > 0] - 1) / 2, 0, 1)
    height, level = (f(values).astype(np.float32) for f in (scale.height, scale.level))
    return Field(grid.x, grid.y, scale, height, level, support, state)


def world(axis: Axis, v: np.ndarray) -> np.ndarray:
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
    shape = field.height.shape
    places = [np.arange((n - 1) * factor + 1) / factor for n in shape]
    rows, columns = (_cubic(at, n) for at, n in zip(places, shape))
    across = (field.height.astype(np.float64) @ columns.T).astype(np.float32)
    height = (rows @ across.astype(np.float64)).astype(np.float32)
    straight_rows, straight = (_linear(at, n) for at, n in zip(places, shape))
    state = _worst(field.state, places, 0)
    near = _worst(field.state, places, 1) != THERE
    height[near] = (straight_rows @ field.height.astype(np.float64) @ straight.T)[near]
    height = np.clip(height, 0, 1)
    loss = field.scale.loss(height.astype(np.float64))
    support = (straight_rows @ field.support.astype(np.float64) @ straight.T).astype(np.float32)
    y, x = (axis._replace(n=len(at)) for axis, at in zip((field.y, field.x), places))
    return Field(x, y, field.scale, height, field.scale.level(loss).astype(np.float32), support, state)


def coarse(field: Field, stride: int) -> Field:
    """One vertex in `stride` along both axes."""

    def thin(axis: Axis) -> Axis:
        n = (axis.n - 1) // stride + 1
        return axis._replace(n=n, hi=axis.lo + (axis.hi - axis.lo) * (n - 1) * stride / (axis.n - 1))

    arrays = {
        name: np.ascontiguousarray(getattr(field, name)[::stride, ::stride])
        for name in ("height", "level", "support", "state")
    }
    return replace(field, x=thin(field.x), y=thin(field.y), **arrays)


def _linear(at: np.ndarray, n: int) -> np.ndarray:
    """Weights [places, n] of n vertices for values between them; places beyond the ends are clamped."""
    return np.column_stack([np.interp(at, np.arange(n), vertex) for vertex in np.eye(n)])


def _cubic(at: np.ndarray, n: int) -> np.ndarray:
    """The same for Catmull and Rom's cubic, continued linearly beyond the ends."""
    i = np.clip(np.floor(at).astype(int), 0, n - 2)
    s = at - i
    four = np.zeros((len(at), n + 2))  # one vertex more before and one behind
    every = np.arange(len(at))
    four[every, i] = 0.5 * s * (s * (2 - s) - 1)
    four[every, i + 1] = 1 + 0.5 * s * s * (3 * s - 5)
    four[every, i + 2] = 0.5 * s * (1 + s * (4 - 3 * s))
    four[every, i + 3] = 0.5 * s * s * (s - 1)
    weights = four[:, 1:-1].copy()
    weights[:, [0, 1]] += four[:, :1] * (2, -1)
    weights[:, [-1, -2]] += four[:, -1:] * (2, -1)
    return weights


def _worst(state: np.ndarray, places: list[np.ndarray], margin: int) -> np.ndarray:
    """The worst state of the vertices around each place, up to `margin` vertices away: missing, then diverged."""
    window = [
        (np.arange(n) >= np.floor(at + 1e-9)[:, None] - margin) & (np.arange(n) <= np.ceil(at - 1e-9)[:, None] + margin)
        for at, n in zip(places, state.shape)
    ]
    rows, columns = (w.astype(np.float32) for w in window)
    is_missing, has_diverged = (
        rows @ (state == kind).astype(np.float32) @ columns.T > 0 for kind in (MISSING_CELL, DIVERGED_CELL)
    )
    return np.where(is_missing, MISSING_CELL, np.where(has_diverged, DIVERGED_CELL, THERE)).astype(np.uint8)
