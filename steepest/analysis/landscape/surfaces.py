"""The loss surfaces of a film: planes through a descent's end, the loss on each, and the paths projected on them.

All losses, of surfaces and paths, are over one fixed sample, so that a point in a plane lies on its surface.
"""

import contextlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from steepest.analysis.landscape import planes
from steepest.analysis.landscape.grids import estimate_grid, exact_grid
from steepest.analysis.landscape.planes import CELLS, Plane
from steepest.analysis.landscape.watch import Notify, TimeOver, Watch
from steepest.curvature.extremes import Extremes, WatchedMatrix, extremes
from steepest.curvature.loss_function import LossFunction
from steepest.curvature.sample_losses import NOT_TOGETHER, PROBE_SAMPLES, reason
from steepest.curvature.samples import CHUNK_SAMPLES, first_batches, sample_loss_functions
from steepest.curvature.work import Work
from steepest.errors import InputError, SteepestError, TaskError
from steepest.records.surfaces import Grid, LossSurfaces, Mark, Projection
from steepest.tasks import data
from steepest.tasks.task import Task

CURVATURE_PLANE, PRINCIPAL_PLANE, RANDOM_PLANE = "curvature", "principal", "random"
PLANE_KINDS = (CURVATURE_PLANE, PRINCIPAL_PLANE, RANDOM_PLANE)
MAX_SURFACE_SAMPLES, MIN_SURFACE_SAMPLES = 4096, 256
"""Training samples of the surfaces; between the two as many as there is work for."""
SIZES = (CELLS, MIN_SURFACE_SAMPLES), (25, MIN_SURFACE_SAMPLES), (25, 64), (13, 64)
"""Cells along an axis and fewest samples, from the first to the last that there is work for."""
GRID_PASSES = 150
"""Cost of an estimated grid of 51 × 51 cells, in passes over the whole sample, strategies included."""
LANCZOS_PRODUCTS, TRACE_PROBES = 60, 10
"""Hessian-vector products for the extreme eigenvalues, and for the trace."""
LOSS_CHANGE_SHARE = 0.1
"""Change of the loss at the ends of the curvature plane's axes, as a share of the path's total decrease."""
MAX_SHRINKS = 40
"""Divisions of an axis by √2, at most, until the loss at its ends is near the quadratic's."""
ESCAPE_GAINS = 4.0
"""Change of the loss that the plane of a saddle shows, in gains of the escape."""
LOG_HEIGHT_RATIO = 4.0
"""A surface whose range is this many times the highest loss of the paths has a logarithmic height."""
MAX_RESIDUAL_RATIO = 0.01
"""Residual of a Ritz value that is shown as an eigenvalue, as a share of the largest |eigenvalue|; at most."""


@dataclass
class _EndPoint:
    """The end of a descent and its surroundings, as far as all planes need them.

    Attributes:
        surface: the loss, on the sample of the surfaces.
        end: w [N].
        cells: along an axis.
        sentence: which samples the losses are over.
        can_estimate: whether samples can be evaluated together, so that a surface can be estimated from some.
        watch: of the work.
    """

    surface: LossFunction
    end: Tensor
    cells: int
    sentence: str
    can_estimate: bool
    watch: Watch

    @cached_property
    def loss(self) -> float:
        return self.surface.value(self.end)

    @cached_property
    def extremes(self) -> Extremes:
        """Both ends of the Hessian's spectrum."""
        return extremes(
            WatchedMatrix(self.surface.best_hessian(self.end), lambda: self.watch(0)), LANCZOS_PRODUCTS, tolerance=1e-4
        )

    def eigenvalues(self) -> np.ndarray:
        """Those that have converged; none if no plane needed them."""
        if "extremes" not in vars(self):
            return np.empty(0)
        values, residuals = self.extremes.values, self.extremes.residuals
        limit = MAX_RESIDUAL_RATIO * float(values.abs().max())
        return values[(residuals <= limit) & (values.abs() > limit)].double().cpu().numpy()


def measure_surfaces(
    task: Task,
    model: nn.Module,
    end: Tensor,
    paths: Mapping[str, np.ndarray],
    kinds: Sequence[str] = PLANE_KINDS,
    *,
    verdict: str = "",
    gain: float = 0.0,
    seconds: float | None = None,
    seed: int = 0,
    notify: Notify = lambda stage, count, total: None,
) -> LossSurfaces:
    """Measures the loss on planes through the end of a descent, and along the paths.

    A plane that cannot be measured is left out, and said. After Ctrl-C, or when the time is over, the planes that are
    done are returned.

    Args:
        task: the task that defines the loss.
        model: the model, with its buffers at the end.
        end: w [N], the centre.
        paths: points [P, N] by the descents' names.
        kinds: kinds of planes, in the order shown.
        verdict: kind of the end's verdict; saddles, minima and maxima are marked.
        gain: decrease of the loss by an escape from a saddle.
        seconds: for everything, by the clock; None: samples and cells follow from sizes alone, and nothing is cut.
        seed: seed of the sample and of random directions.
        notify: told of each stage, and how much of how much is done.

    Raises:
        InputError: an unknown kind, or points of another length.
    """
    check_kinds(kinds)
    for name, path in paths.items():
        if path.ndim != 2 or path.shape[1] != len(end):
            raise InputError(f"the path of {name} must have shape [points, {len(end)}], got {path.shape}")
    watch = Watch(seconds, notify)
    try:
        end_point = _end_point(task, model, end, len(kinds), watch, seed)
        indices = {name: _affordable_points(end_point.surface, points, watch) for name, points in paths.items()}
        points = {name: _tensor(paths[name][rows]) for name, rows in indices.items()}
        watch.stage("loss along the path", sum(map(len, points.values())))
        losses = {name: _losses(end_point.surface, walk, watch) for name, walk in points.items()}
    except (TimeOver, KeyboardInterrupt) as end_of_work:
        return LossSurfaces(messages=(f"No surfaces: {watch.words(end_of_work)}",))
    make_plane: dict[str, Callable[[], Plane]] = {
        CURVATURE_PLANE: lambda: _curvature_plane(end_point, losses, gain),
        PRINCIPAL_PLANE: lambda: _principal_plane(end_point, points.values()),
        RANDOM_PLANE: lambda: _random_plane(end_point, verdict, seed),
    }
    grids: dict[str, Grid] = {}
    projections: dict[str, dict[str, Projection]] = {}
    messages = []
    for kind in kinds:
        try:
            plane = make_plane[kind]()
            watch.stage(f"{kind} plane", 0 if end_point.can_estimate else end_point.cells**2)
            grid = _mark(_measure(end_point, plane, losses), verdict)
            projections[kind] = {name: plane.project(walk) for name, walk in points.items()}
            grids[kind] = grid
        except (TimeOver, KeyboardInterrupt) as end_of_work:
            rest = list(kinds)[list(kinds).index(kind) :]
            planes_left = f"{' and '.join(filter(None, (', '.join(rest[:-1]), rest[-1])))} plane{'s' * (len(rest) > 1)}"
            messages.append(f"No {planes_left}: {watch.words(end_of_work)}")
            break
        except Exception as error:  # planes evaluate the user's model, which may raise anything
            messages.append(f"No {kind} plane: {describe(error)}")
    messages = [*end_point.surface.messages, *messages]
    return LossSurfaces(grids, projections, losses, indices, end_point.eigenvalues(), tuple(messages))


def describe(error: Exception) -> str:
    """An error in one line; of those that are not ours, with its type."""
    return str(error) if isinstance(error, SteepestError) else f"{type(error).__name__}: {reason(error)}"


def check_kinds(kinds: Sequence[str]) -> None:
    """Refuses unknown kinds of planes.

    Raises:
        InputError: one is unknown.
    """
    for kind in kinds:
        if kind not in PLANE_KINDS:
            raise InputError(f"planes must be some of {', '.join(PLANE_KINDS)}, got {kind!r}")


def _end_point(task: Task, model: nn.Module, end: Tensor, kinds: int, watch: Watch, seed: int) -> _EndPoint:
    """The end, with as many samples and cells as there is work for."""
    if task.data is None:
        only = LossFunction(task, [None], model=model)
        return _EndPoint(only, end.to(only.device, only.dtype), CELLS, "", False, watch)
    own = next(p.dtype for p in model.parameters() if p.requires_grad)
    first = LossFunction(task, [next(iter(data.in_batches(task.data, MIN_SURFACE_SAMPLES)))], own, model)
    why_exact = _why_exact(first)
    total = data.length(task.data)
    most = MAX_SURFACE_SAMPLES if total is None else min(MAX_SURFACE_SAMPLES, total)
    batch_size = data.count(first.batches[0]) if data.is_iterable(task.data) else CHUNK_SAMPLES
    count, cells = _size(first.work(), most, batch_size, not why_exact, watch.work_seconds / max(1, kinds))
    if data.is_iterable(task.data):
        surface = LossFunction(task, first_batches(task.data, count, seed), own, model)
    else:
        (surface,) = sample_loss_functions(task, (count,), seed, dtype=own, model=model)
    if why_exact.strip():
        surface.messages.append(f"{NOT_TOGETHER} ({why_exact}): every cell of a surface uses every sample.")
    n = surface.samples
    part = "" if n == total else f" of {total:,}" if total else ", drawn once"
    sentence = f"Loss on {n:,}{part} training samples{', their sum' if surface.is_sum else ''}."
    return _EndPoint(surface, end.to(surface.device, surface.dtype), cells, sentence, not why_exact, watch)


def _why_exact(first: LossFunction) -> str:
    """Why samples cannot be evaluated together, tried on a few; empty if they can, blank where it needs no words."""
    batch = first.batches[0]
    if not (isinstance(batch, tuple | list) and data.is_tensors(batch)):
        return " "
    try:
        few = data.slice(tuple(batch), 0, PROBE_SAMPLES)
        with torch.no_grad(), first.deterministic():
            first.objective.per_sample_losses(few)
    except Exception as error:  # vmap runs the user's model, and torch and that can raise anything
        return reason(error)
    return ""


def _size(work: Work, most: int, batch_size: int, can_estimate: bool, seconds: float) -> tuple[int, int]:
    """Samples and cells along an axis of a plane that there is work for."""

    def affordable(cells: int) -> int:
        passes = GRID_PASSES if can_estimate else cells**2
        return int(seconds / (passes * work.seconds(batch_size) / batch_size))

    possible = (pair for pair in SIZES if affordable(pair[0]) >= min(pair[1], most))
    cells, least = next(possible, SIZES[-1])
    return min(most, max(least, affordable(cells))), cells


def _affordable_points(surface: LossFunction, points: np.ndarray, watch: Watch) -> np.ndarray:
    """Indices of the finite points of a path that there is work for: evenly spaced, with both ends."""
    finite = np.flatnonzero([np.isfinite(w).all() for w in points])
    if not len(finite):
        return finite
    pass_s = sum(surface.work().seconds(data.count(batch)) for batch in surface.batches)
    count = min(len(finite), max(3, int(watch.work_seconds / 4 / pass_s)))
    return finite[np.unique(np.linspace(0, len(finite) - 1, count).round().astype(int))]


def _losses(surface: LossFunction, points: Tensor, watch: Watch) -> np.ndarray:
    values = []
    for w in points:
        values.append(surface.value(w))
        watch(1)
    return np.where(np.isfinite(values), values, math.inf)


def _tensor(points: np.ndarray) -> Tensor:
    return torch.from_numpy(np.array(points))


# -- Planes ------------------------------------------------------------------------------------------------------------


def _principal_plane(end_point: _EndPoint, walks: Iterable[Tensor]) -> Plane:
    walks = [walk for walk in walks if len(walk)]
    points = torch.cat(walks or [torch.empty(0, len(end_point.end))])
    return planes.principal_plane(points, [len(walk) for walk in walks])


def _random_plane(end_point: _EndPoint, verdict: str, seed: int) -> Plane:
    plane = planes.random_plane(end_point.end, end_point.surface.space.shapes, seed)
    sentence = _describe_random_plane(end_point, seed) if verdict in ("", "SADDLE") else ""
    return replace(plane, caption=f"{plane.caption} {sentence}".strip())


def _curvature_plane(end_point: _EndPoint, losses: Mapping[str, np.ndarray], gain: float) -> Plane:
    ends, loss = end_point.extremes, end_point.loss
    finite = [x for path in losses.values() for x in path if math.isfinite(x)]
    decrease = max([*finite, 2 * loss]) - loss
    change = (ESCAPE_GAINS * gain if gain > 0 else LOSS_CHANGE_SHARE * decrease) or 1.0
    directions = torch.stack([ends.greatest.vector, ends.least.vector]).to(end_point.end)
    curvatures = ends.greatest.value, ends.least.value
    plane = planes.curvature_plane(end_point.end, directions, curvatures, change)
    x, y = (_shrink(end_point, v, axis.hi, change) for v, axis in zip(plane.directions, (plane.x, plane.y)))
    return planes.curvature_plane(end_point.end, directions, curvatures, change, (x, y))


def _shrink(end_point: _EndPoint, direction: Tensor, half: float, change: float) -> float:
    """Half an axis, shortened until the loss changes by at most twice what its curvature predicts."""
    for _ in range(MAX_SHRINKS):
        losses = [end_point.surface.value(end_point.end + sign * half * direction) for sign in (1, -1)]
        if all(abs(x - end_point.loss) <= 2 * change for x in losses):
            break
        half /= math.sqrt(2)
    return half


def _describe_random_plane(end_point: _EndPoint, seed: int) -> str:
    """What a random plane hides, by Hutchinson's estimates of tr H and tr H²; empty without second derivatives."""
    try:
        smallest = end_point.extremes.least.value
        hessian = WatchedMatrix(end_point.surface.best_hessian(end_point.end), lambda: end_point.watch(0))
    except (TimeOver, InputError):
        return ""
    generator = torch.Generator().manual_seed(seed)
    n, trace, squares = len(end_point.end), 0.0, 0.0
    for _ in range(TRACE_PROBES):
        v = (torch.randint(0, 2, (n,), generator=generator) * 2 - 1).to(end_point.end)
        product = hessian @ v
        trace += float(v @ product) / TRACE_PROBES
        squares += float(product @ product) / TRACE_PROBES
    return planes.describe_random_plane(trace, squares, n, smallest)


# -- Grids -------------------------------------------------------------------------------------------------------------


def _measure(end_point: _EndPoint, plane: Plane, losses: Mapping[str, np.ndarray]) -> Grid:
    """The loss on a plane: estimated if possible, otherwise exact.

    A surface that rises far above all paths gets a logarithmic height, so that the paths' region stays visible. It is
    exact, because the error of an estimate is a share of its range.
    """
    highest = max((float(path.max()) for path in losses.values() if len(path)), default=math.inf)
    surface, watch, grid = end_point.surface, end_point.watch, None
    if end_point.can_estimate and len({_shapes(batch) for batch in surface.batches}) == 1:
        with contextlib.suppress(TaskError):  # the loss is not a mean over samples
            grid = estimate_grid(surface, plane, end_point.cells, notify=watch)
    if grid is None or grid.range > LOG_HEIGHT_RATIO * highest:
        grid = exact_grid(surface, plane, end_point.cells, watch)
    if not np.isfinite(grid.loss).any():
        raise InputError("no loss on it is finite")
    height = "log" if grid.range > LOG_HEIGHT_RATIO * highest else "linear"
    return replace(grid, height=height, caption=f"{grid.caption} {end_point.sentence}".strip())


def _shapes(batch: Sequence[Tensor]) -> tuple[Any, ...]:
    """Of the samples of a batch: sequences that were padded to different lengths are not joined."""
    return tuple(x.shape[1:] for x in batch)


def _mark(grid: Grid, verdict: str) -> Grid:
    """The grid with a mark at its centre, and one at the escape from a saddle."""
    kind = verdict.lower()
    if kind not in ("saddle", "minimum", "maximum") or grid.kind == PRINCIPAL_PLANE:
        return grid
    i, j = (int(np.abs(axis.at).argmin()) for axis in (grid.y, grid.x))
    marks = [Mark(kind, 0.0, 0.0, float(grid.loss[i, j]), kind)]
    if kind == "saddle" and grid.kind == CURVATURE_PLANE:
        column = np.where(np.isfinite(grid.loss[:, j]), grid.loss[:, j], math.inf)
        k = int(column.argmin())
        marks.append(Mark("escape", 0.0, float(grid.y.at[k]), float(column[k]), f"{column[k]:.3g}"))
    return replace(grid, marks=tuple(marks))
