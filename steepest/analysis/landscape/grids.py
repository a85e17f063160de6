"""Grids of losses on a plane: exact, or estimated with a standard error.

`exact_grid` evaluates every cell on the whole sample. `estimate_grid` is multilevel Monte Carlo (Giles 2008): the whole
sample is evaluated on a coarse grid only, and interpolated (S₀); the corrections by a finer grid (S₁) and by the finest
are means over random samples, fewer on the finer grid:

    L(a, b) ≈ S₀L + mean over some i of (S₁ℓᵢ − S₀ℓᵢ) + mean over fewer i of (ℓᵢ − S₁ℓᵢ)

The estimate is unbiased, and its standard error is small for smooth losses; cells whose error is too large get more
samples. In both grids all cells use the same samples, so that cells can be compared.
"""

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import torch

from steepest.analysis.landscape.plane_loss import PlaneLoss
from steepest.analysis.landscape.planes import CELLS, Plane, Points
from steepest.curvature.loss_function import LossFunction
from steepest.errors import InputError, TaskError
from steepest.records.surfaces import Grid

SPACINGS = 10, 5
"""Cells between neighbouring nodes of the coarse grids."""
MIN_NODES = 4
"""Nodes of a coarse grid along each axis, at least."""
FIRST_SAMPLES, FIRST_SAMPLES_COARSE = 12, 96
"""Samples at first, on the finest grid and on the others; doubled where the error is too large. On two trained networks
and 8 seeds each, 12 give as reliable an error as 16 and 32: 95 % of the cells are within two standard errors."""
COARSE_ERROR_SHARE = 0.8
"""Share of the tolerance that the error of the coarse grids may use."""
MEAN_TOLERANCE = 1e-4
"""Relative difference between the loss and the mean of the samples' losses; float32 rounds to 1e-6 over 1,000."""
TOLERANCE = 0.01
"""Standard error of an estimate, as a share of the surface's range."""


Notify = Callable[[int], None]


def exact_grid(surface: LossFunction, plane: Plane, n: int = CELLS, notify: Notify = lambda points: None) -> Grid:
    """The loss on a plane; every cell uses every sample.

    Args:
        surface: the loss, on a fixed sample.
        plane: the plane.
        n: cells along each axis.
        notify: told of cells as they are evaluated; what it raises ends the evaluation.

    Raises:
        InputError: fewer than 2 cells.
    """
    if n < 2:
        raise InputError(f"n must be at least 2 cells, got {n}")
    plane = plane.with_cells(n)
    return _grid(plane, PlaneLoss(surface, plane, notify).losses(plane.cells()), None)


def estimate_grid(
    surface: LossFunction,
    plane: Plane,
    n: int = CELLS,
    tolerance: float = TOLERANCE,
    seed: int = 0,
    notify: Notify = lambda points: None,
) -> Grid:
    """The loss on a plane with a standard error, for a fraction of the work.

    Args:
        surface: the loss, on a fixed sample in batches of tensors.
        plane: the plane.
        n: cells along each axis, at least 4.
        tolerance: largest standard error of a cell, as a share of the surface's range.
        seed: seed of the choice of samples.
        notify: as in `exact_grid`.

    Raises:
        InputError: too few cells, or a tolerance that is not positive.
        TaskError: the loss is not the mean of its samples' losses.
    """
    if n < MIN_NODES or not tolerance > 0:
        pair = f"n={n}, tolerance={tolerance}"
        raise InputError(f"n must be at least {MIN_NODES} cells and tolerance positive, got {pair}")
    plane = plane.with_cells(n)
    cells, loss = plane.cells(), PlaneLoss(surface, plane, notify)
    grids = _nested_grids(n)
    coarse_values = loss.losses(cells[grids[0].cells])
    _check_mean(loss)
    if not np.isfinite(coarse_values).all():  # interpolation needs finite nodes
        return exact_grid(surface, plane, n, notify)
    if (whole := loss.as_one_batch(cells)) is not None:
        return _grid(plane, whole.losses(cells), None)
    values = grids[0].interpolate(coarse_values)
    variance, limit = np.zeros(n * n), tolerance * float(np.ptp(values))
    random = np.random.default_rng(seed)
    for pair in pairwise(grids):
        share, first = (1.0, FIRST_SAMPLES) if pair[1] is grids[-1] else (COARSE_ERROR_SHARE, FIRST_SAMPLES_COARSE)
        budget, order = (share * limit) ** 2 - variance, random.permutation(loss.samples)
        mean, own_variance = _correction(loss, cells, pair, budget, order, first)
        values += mean
        variance += own_variance
    return _grid(plane, values, np.sqrt(variance))


class _Nodes:
    """The nodes of a coarse grid among the cells of the finest, with cubic-spline interpolation to all cells.

    Args:
        at: positions of the nodes on the finest grid's axes [m].
        n: cells of the finest grid along each axis.

    Attributes:
        cells: indices of the nodes among all cells [m²]; the second axis changes fastest.
    """

    def __init__(self, at: np.ndarray, n: int) -> None:
        from scipy.interpolate import CubicSpline

        self.cells = (at[:, None] * n + at).ravel()
        self._weights = None if len(at) == n else CubicSpline(at, np.eye(len(at)))(np.arange(n))

    def sources(self, cells: np.ndarray) -> np.ndarray:
        """The cells from which the values of `cells` are computed."""
        return cells if self._weights is None else self.cells

    def values(self, source_cells: np.ndarray, losses: np.ndarray, cells: np.ndarray) -> np.ndarray:
        """Values at `cells` from losses at `source_cells`, which are sorted."""
        if self._weights is None:
            return losses[np.searchsorted(source_cells, cells)]
        return self.interpolate(losses[np.searchsorted(source_cells, self.cells)])[cells]

    def interpolate(self, losses: np.ndarray) -> np.ndarray:
        """From the nodes [m², ...] to all cells [n², ...]."""
        if self._weights is None:
            return losses
        n, m = self._weights.shape
        square = losses.reshape(m, m, *losses.shape[1:])
        fine = np.einsum("ip,jq,pq...->ij...", self._weights, self._weights, square, optimize=True)
        return fine.reshape(n * n, *losses.shape[1:])


def _nested_grids(n: int) -> list[_Nodes]:
    """From the coarsest grid to the finest, which has all cells; each contains the nodes of the one before."""
    nodes = [np.arange(n)]
    for spacing in reversed(SPACINGS):
        finer = nodes[0]
        m = min(len(finer), max(MIN_NODES, (n - 1) // spacing + 1))
        nodes.insert(0, finer[np.round(np.linspace(0, len(finer) - 1, m)).astype(int)])
    return [_Nodes(at, n) for at in nodes]


def _correction(
    loss: PlaneLoss, cells: Points, pair: tuple[_Nodes, _Nodes], max_variance: np.ndarray, order: np.ndarray, first: int
) -> tuple[np.ndarray, np.ndarray]:
    """The mean difference between a coarse grid and a finer one, and its variance, in each cell [n²].

    Args:
        loss: on the plane.
        cells: all.
        pair: the coarse grid and the finer one.
        max_variance: above which a cell gets more samples [n²].
        order: of the samples.
        first: samples at first.
    """
    coarse, fine = pair
    mean, variance = np.zeros(len(cells)), np.full(len(cells), np.inf)
    variance[coarse.cells] = 0.0
    total, squares = np.zeros(len(cells)), np.zeros(len(cells))
    count = 0
    while count < loss.samples and (open_cells := np.flatnonzero(~(variance <= max_variance))).size:
        rows = order[count : max(first, 2 * count)]
        count += len(rows)
        sources = np.union1d(fine.sources(open_cells), coarse.cells)
        losses = loss.subset(torch.from_numpy(rows)).per_sample_losses(cells[sources])
        difference = fine.values(sources, losses, open_cells) - coarse.values(sources, losses, open_cells)
        total[open_cells] += difference.sum(1)
        squares[open_cells] += np.square(difference).sum(1)
        mean[open_cells] = total[open_cells] / count
        with np.errstate(invalid="ignore"):
            spread = np.maximum(squares[open_cells] / count - mean[open_cells] ** 2, 0.0) * count / max(1, count - 1)
        variance[open_cells] = spread / count * (1 - count / loss.samples)  # drawn from a finite population
    return mean, variance


def _grid(plane: Plane, losses: np.ndarray, errors: np.ndarray | None) -> Grid:
    """A grid from values by cell; a loss that is not finite has diverged and becomes infinite."""
    shape = plane.x.n, plane.y.n
    errors = None if errors is None else errors.reshape(shape).T.copy()
    losses = np.where(np.isfinite(losses), losses, math.inf).reshape(shape).T.copy()
    return Grid(plane.kind, plane.x, plane.y, losses, errors, plane.caption)


def _check_mean(loss: PlaneLoss) -> None:
    """Raises a TaskError unless the loss is the mean of its samples' losses."""
    centre = Points(np.zeros(1), np.zeros(1))
    whole, samples = float(loss.losses(centre)[0]), loss.per_sample_losses(centre)[0]
    if math.isfinite(whole) and abs(samples.mean() - whole) > MEAN_TOLERANCE * max(abs(whole), np.abs(samples).max()):
        raise TaskError(
            f"An estimate needs a loss that is a mean over samples, got {whole:.6g} for the loss at the centre and "
            f"{samples.mean():.6g} for the mean of its samples' losses. Use exact_grid."
        )
