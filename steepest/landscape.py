"""The loss on a plane, cell by cell, and along a line.

`exact` evaluates every cell on the whole sample. `estimated` is coarse to fine: the loss on a coarse grid says, by
interpolation (L̂), what it is about to be on the fine one, and only a few samples are looked at to see how far that is
off:

    L(a, b) ≈ L̂(a, b) + mean over some samples i of (ℓᵢ(a, b) − ℓ̂ᵢ(a, b))

which has no bias, and a standard error that is small where losses are smooth. More samples are taken where it is not
small enough. In both, the same samples count in every cell, so that one cell may be compared with another.
"""

import math

import numpy as np
import torch
from torch import Tensor

from steepest.errors import InputError, TaskError
from steepest.grid import Axis, Cut, Grid
from steepest.planes import CELLS, Plane
from steepest.sheet import Sheet
from steepest.surface import Surface

COARSE = 5
"""Cells of the fine grid from one node of the coarse one to the next. On the demo's network 5, 8 and 10 take about the
same time at an error of 1 %, 12 a third more: with fewer nodes more samples are needed."""
FIRST = 32
"""Samples looked at first; then twice as many, where the error is too large."""
AGREES = 1e-4
"""Of a mean of samples' losses and the loss, relative: float32 on a thousand samples rounds to 1e-6."""
TOLERANCE = 0.01
"""A standard error, as a share of the surface's range."""


def exact(surface: Surface, plane: Plane, n: int = CELLS, population: int | None = None) -> Grid:
    """The loss on a plane, every sample in every cell.

    Args:
        surface: the loss, on a frozen sample.
        plane: where to look.
        n: cells along each axis.
        population: how many samples the surface's were drawn from; None: they are all there are. Then the error is
            that of the difference from the centre, sd(ℓᵢ(a, b) − ℓᵢ(0, 0)) / √n, with the correction for a finite
            population.

    Raises:
        InputError: fewer than 2 cells.
    """
    plane, a, b = _laid(plane, n)
    sheet = Sheet(surface, plane)
    if population is None:
        return _grid(plane, sheet.losses(a, b), None)
    each = sheet.each(a, b)
    _check_mean(sheet)
    with np.errstate(invalid="ignore"):
        off = each - sheet.each(np.zeros(1), np.zeros(1))
        error = _standard_error(off.mean(1), np.square(off).sum(1), sheet.samples, population)
    return _grid(plane, each.mean(1), error)


def estimated(surface: Surface, plane: Plane, n: int = CELLS, tolerance: float = TOLERANCE, seed: int = 0) -> Grid:
    """The loss on a plane within a standard error, for a fraction of the work.

    Args:
        surface: the loss, on a frozen sample in batches of tensors.
        plane: where to look.
        n: cells along each axis, at least 4.
        tolerance: the standard error that no cell may exceed, as a share of the surface's range.
        seed: which samples are looked at.

    Raises:
        InputError: too few cells, or a tolerance that is not above 0.
    """
    if n < 4 or not tolerance > 0:
        raise InputError(f"n={n}, tolerance={tolerance} are given; expected are at least 4 cells and a share above 0")
    plane, a, b = _laid(plane, n)
    sheet = Sheet(surface, plane)
    nodes = np.unique(np.round(np.linspace(0, n - 1, max(4, (n - 1) // COARSE + 1))).astype(int))
    coarse = (nodes[:, None] * n + nodes).ravel()
    known = sheet.losses(a[coarse], b[coarse])
    _check_mean(sheet)
    if not np.isfinite(known).all():  # nothing can be interpolated from a node that diverged
        return exact(surface, plane, n)
    spline = _Spline(nodes, n)
    guess = spline.along(known)
    loss, error = guess.copy(), np.full(n * n, np.inf)
    error[coarse] = 0.0
    limit = tolerance * float(np.ptp(loss))
    order = np.random.default_rng(seed).permutation(sheet.samples)
    total, squares = np.zeros(n * n), np.zeros(n * n)
    taken = 0
    while taken < sheet.samples and (pending := np.flatnonzero(~(error <= limit))).size:
        chosen = order[taken : max(FIRST, 2 * taken)]
        taken += len(chosen)
        some = sheet.of(torch.from_numpy(chosen))
        off = some.each(a[pending], b[pending]) - spline.along(some.each(a[coarse], b[coarse]))[pending]
        total[pending] += off.sum(1)
        squares[pending] += np.square(off).sum(1)
        mean = total[pending] / taken
        loss[pending] = guess[pending] + mean
        error[pending] = _standard_error(mean, squares[pending], taken, sheet.samples)
    return _grid(plane, loss, error)


def cut(surface: Surface, origin: Tensor, direction: Tensor, axis: Axis) -> Cut:
    """The loss along a line, L(w₀ + a u).

    Args:
        surface: the loss, on a frozen sample.
        origin: w₀ [N].
        direction: u [N].
        axis: its name and coordinates a.
    """
    still = torch.stack([direction, torch.zeros_like(direction)])
    plane = Plane("points", origin, still, axis, Axis("", 0.0, 0.0, 1), "")
    return Cut(axis, _diverged(Sheet(surface, plane).losses(axis.at, np.zeros(axis.n))))


class _Spline:
    """What losses on a coarse grid say of those on the fine one, by cubic splines along both axes.

    Args:
        nodes: places of the coarse grid's cells on the fine one's axes.
        n: cells of the fine grid along each axis.
    """

    def __init__(self, nodes: np.ndarray, n: int) -> None:
        from scipy.interpolate import CubicSpline

        self._weights = CubicSpline(nodes, np.eye(len(nodes)))(np.arange(n))

    def along(self, known: np.ndarray) -> np.ndarray:
        """From [nodes², ...] to [n², ...], the first axis changing slowest."""
        n, m = self._weights.shape
        square = known.reshape(m, m, *known.shape[1:])
        fine = np.einsum("ip,jq,pq...->ij...", self._weights, self._weights, square, optimize=True)
        return fine.reshape(n * n, *known.shape[1:])


def _laid(plane: Plane, n: int) -> tuple[Plane, np.ndarray, np.ndarray]:
    """The plane with n × n cells, and their coordinates, those of the first axis changing slowest."""
    if n < 2:
        raise InputError(f"n={n} is given; expected are at least 2 cells along an axis")
    plane = plane.cells(n)
    a, b = np.meshgrid(plane.x.at, plane.y.at, indexing="ij")
    return plane, a.ravel(), b.ravel()


def _grid(plane: Plane, loss: np.ndarray, error: np.ndarray | None) -> Grid:
    shape = plane.x.n, plane.y.n
    errors = None if error is None else error.reshape(shape).T.copy()
    return Grid(plane.kind, plane.x, plane.y, _diverged(loss).reshape(shape).T.copy(), errors, plane.caption)


def _diverged(loss: np.ndarray) -> np.ndarray:
    """A loss that is no number has diverged."""
    return np.where(np.isfinite(loss), loss, math.inf)


def _standard_error(mean: np.ndarray, squares: np.ndarray, n: int, population: int) -> np.ndarray:
    """Of a mean of n out of a population, from the sum of squares."""
    with np.errstate(invalid="ignore"):
        variance = np.maximum(squares / n - mean**2, 0.0) * n / max(1, n - 1)
    return np.sqrt(variance / n * (1 - n / population))


def _check_mean(sheet: Sheet) -> None:
    """Refuses a loss that is not the plain mean of its samples'."""
    zero = np.zeros(1)
    whole, each = float(sheet.losses(zero, zero)[0]), sheet.each(zero, zero)[0]
    if math.isfinite(whole) and abs(each.mean() - whole) > AGREES * max(abs(whole), np.abs(each).max()):
        raise TaskError(
            f"the loss at the centre is {whole:.6g}, the mean of its samples' losses {each.mean():.6g}; an error needs "
            "a loss that is a mean over samples: use landscape.exact, without population"
        )
