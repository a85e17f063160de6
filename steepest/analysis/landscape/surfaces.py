"""The ground of a film: planes through a descent's end, the loss on each, and where the descents went on them.

All losses, the surfaces' and the paths', are of one frozen sample, so that a point in a plane lies on its surface.
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from steepest.analysis.landscape.evaluate import estimated, exact
from steepest.analysis.landscape.planes import (
    CELLS,
    Plane,
    curvature_plane,
    principal_plane,
    random_plane,
    share_that_misleads,
)
from steepest.curvature.extremes import Extremes, extremes
from steepest.curvature.loss_function import LossFunction, sample_loss_functions
from steepest.errors import InputError, SteepestError, TaskError
from steepest.records.surfaces import Grid, LossSurfaces, Mark, Projection
from steepest.tasks import data
from steepest.tasks.task import Task

CURVATURE_PLANE, PRINCIPAL_PLANE, RANDOM_PLANE = "curvature", "principal", "random"
PLANE_KINDS = (CURVATURE_PLANE, PRINCIPAL_PLANE, RANDOM_PLANE)
SAMPLES, FEWEST = 4096, 256
"""Of the training data, as many as there is time for."""
SECONDS, SLACK = 60.0, 4.0
"""For all surfaces; and how many times as long it has to be, as timed, before samples, cells or points are given up:
the same run has the same film, also on a busy machine."""
COARSE_CELLS = 25
"""Along an axis, where there is no time for more."""
PASSES = 150
"""Over the whole sample that an estimated surface of 51 × 51 cells takes, its first looks at few samples included."""
PRODUCTS, PROBES = 60, 10
"""Hessian-vector products that look for the ends of the spectrum, and that estimate its mean."""
RISE = 0.1
"""Of the loss that the path went down: how far curvature is to change it at the ends of its plane's axes."""
HALVINGS = 40
"""Of a square of an axis at most, until its ends are no higher than was meant."""
BEYOND = 4.0
"""Times the gain of an escape that a saddle's plane shows."""
ABOVE = 4.0
"""Times as high as the highest point of the paths: from there on the height is logarithmic."""
RESOLVED = 0.01
"""Of the greatest |eigenvalue|: a Ritz value whose residual is below that is shown as an eigenvalue."""


@dataclass
class _Ground:
    """What all planes of a survey have in common."""

    surface: LossFunction
    end: Tensor
    cells: int
    words: str
    population: int | None
    said: list[str] = field(default_factory=list)
    ends: Extremes | None = None


def measure_surfaces(
    task: Task,
    model: nn.Module,
    end: Tensor,
    paths: Mapping[str, np.ndarray],
    kinds: Sequence[str] = PLANE_KINDS,
    *,
    verdict: str = "",
    gain: float = 0.0,
    seconds: float = SECONDS,
    seed: int = 0,
) -> LossSurfaces:
    """Looks at the ground around an end.

    Args:
        task: whose loss it is.
        model: with the buffers that hold there.
        end: w [N], the centre.
        paths: points [P, N] by the descents' names.
        kinds: of planes, in the order of showing.
        verdict: what is at the end: a saddle, a minimum or a maximum is marked.
        gain: of the loss, by an escape from a saddle.
        seconds: about how long it may take.
        seed: of the sample and of random directions.

    Raises:
        InputError: a kind that there is none of, or points of another length.
    """
    _check(end, paths, kinds)
    ground = _ground(task, model, end, len(kinds), seconds, seed)
    kept = {name: _affordable(ground, points, seconds) for name, points in paths.items()}
    losses = {name: _losses(ground.surface, paths[name][rows]) for name, rows in kept.items()}
    grids: dict[str, Grid] = {}
    shadows: dict[str, dict[str, Projection]] = {}
    for kind in kinds:
        try:
            plane = _plane(kind, ground, [paths[n][rows] for n, rows in kept.items()], losses, verdict, gain, seed)
            grids[kind] = _marked(_measured(ground, plane, losses), verdict)
            shadows[kind] = {name: plane.shadow(_tensor(paths[name][rows])) for name, rows in kept.items()}
        except SteepestError as error:
            ground.said.append(f"no {kind} plane: {error}")
    return LossSurfaces(grids, shadows, losses, kept, _eigenvalues(ground.ends), tuple(ground.said))


def _check(end: Tensor, paths: Mapping[str, np.ndarray], kinds: Sequence[str]) -> None:
    for kind in kinds:
        if kind not in PLANE_KINDS:
            raise InputError(f"a plane '{kind}' is asked for; expected are some of {', '.join(PLANE_KINDS)}")
    for name, points in paths.items():
        if points.ndim != 2 or points.shape[1] != len(end):
            raise InputError(f"the path of {name} has points of shape {points.shape}; expected is [points, {len(end)}]")


def _ground(task: Task, model: nn.Module, end: Tensor, planes: int, seconds: float, seed: int) -> _Ground:
    """The sample that there is time for, and how fine the surfaces may be."""
    if task.data is None:
        only = LossFunction(task, [None], model=model)
        return _Ground(only, end.to(only.device, only.dtype), CELLS, "", None)
    own = next(p.dtype for p in model.parameters() if p.requires_grad)
    first = LossFunction(task, [next(iter(data.in_batches(task.data, FEWEST)))], own, model)
    each = _seconds(first, first.start) / data.count(first.batches[0])
    known = data.length(task.data)
    count = wanted = min(SAMPLES, SAMPLES if known is None else known)
    fitting = SLACK * seconds / (max(1, planes) * PASSES * each)
    if wanted > fitting:
        count = min(wanted, max(FEWEST, int(fitting / SLACK)))
    cells = CELLS if fitting >= FEWEST else COARSE_CELLS
    (surface,) = sample_loss_functions(task, (count,), seed, dtype=own, model=model)
    taken = sum(data.count(b) for b in surface.batches)
    of = "" if taken == known else f" of {known:,}" if known else ", drawn once"
    words = f"Loss on {taken:,}{of} training samples."
    return _Ground(surface, end.to(surface.device, surface.dtype), cells, words, None if taken == known else known)


def _affordable(ground: _Ground, points: np.ndarray, seconds: float) -> np.ndarray:
    """Which points of a path there is time for, evenly, with both ends; those that are not finite are none."""
    finite = np.flatnonzero([np.isfinite(w).all() for w in points])
    if not len(finite):
        return finite
    once = _seconds(ground.surface, _tensor(points[finite[0]]).to(ground.surface.start))
    most = max(3, int(SLACK * seconds / 4 / once))
    return finite[np.unique(np.linspace(0, len(finite) - 1, min(most, len(finite))).round().astype(int))]


def _seconds(surface: LossFunction, w: Tensor) -> float:
    """Of a loss; the least of three, since the first one is slow."""
    times = []
    for _ in range(3):
        began = time.perf_counter()
        surface.value(w)
        times.append(time.perf_counter() - began)
    return min(times)


def _losses(surface: LossFunction, points: np.ndarray) -> np.ndarray:
    values = np.array([surface.value(_tensor(w).to(surface.start)) for w in points])
    return np.where(np.isfinite(values), values, math.inf)


def _tensor(points: np.ndarray) -> Tensor:
    return torch.from_numpy(np.array(points))


# -- Planes ------------------------------------------------------------------------------------------------------------


def _plane(
    kind: str,
    ground: _Ground,
    points: Sequence[np.ndarray],
    losses: Mapping[str, np.ndarray],
    verdict: str,
    gain: float,
    seed: int,
) -> Plane:
    if kind == CURVATURE_PLANE:
        return _curvature(ground, losses, gain)
    if kind == PRINCIPAL_PLANE:
        walked = [p for p in points if len(p)]
        every = np.concatenate(walked or [np.empty((0, len(ground.end)))])
        return principal_plane(_tensor(every), [len(p) for p in walked])
    plane = random_plane(ground.end, ground.surface.space.shapes, seed)
    words = _misled(ground, seed) if verdict in ("", "SADDLE") else ""
    return replace(plane, caption=f"{plane.caption} {words}".strip())


def _ends(ground: _Ground) -> Extremes:
    """Both ends of the spectrum, looked for once."""
    if ground.ends is None:
        ground.ends = extremes(ground.surface.hessian(ground.end), PRODUCTS, tolerance=1e-4)
    return ground.ends


def _curvature(ground: _Ground, losses: Mapping[str, np.ndarray], gain: float) -> Plane:
    ends = _ends(ground)
    here = ground.surface.value(ground.end)
    finite = [x for mine in losses.values() for x in mine if math.isfinite(x)]
    descended = max([*finite, 2 * here]) - here
    change = BEYOND * gain if gain > 0 else RISE * descended
    change = change or 1.0
    directions = torch.stack([ends.greatest.vector, ends.least.vector]).to(ground.end)
    curvatures = ends.greatest.value, ends.least.value
    bent = curvature_plane(ground.end, directions, curvatures, change)
    one, two = (_reach(ground, v, axis.hi, change) for v, axis in zip(bent.directions, (bent.x, bent.y), strict=True))
    return curvature_plane(ground.end, directions, curvatures, change, (one, two))


def _reach(ground: _Ground, direction: Tensor, half: float, change: float) -> float:
    """How far along a direction the loss changes by no more than twice what its curvature would make of it."""
    here = ground.surface.value(ground.end)
    for _ in range(HALVINGS):
        there = [ground.surface.value(ground.end + side * half * direction) for side in (1, -1)]
        if all(abs(x - here) <= 2 * change for x in there):
            break
        half /= math.sqrt(2)
    return half


def _misled(ground: _Ground, seed: int) -> str:
    """How misleading a random plane is; nothing where there are no second derivatives."""
    try:
        hessian, least = ground.surface.hessian(ground.end), _ends(ground).least.value
    except TaskError:
        return ""
    generator = torch.Generator().manual_seed(seed)
    n, trace, squares = len(ground.end), 0.0, 0.0
    for _ in range(PROBES):
        v = (torch.randint(0, 2, (n,), generator=generator) * 2 - 1).to(ground.end)
        product = hessian @ v
        trace, squares = trace + float(v @ product) / PROBES, squares + float(product @ product) / PROBES
    return share_that_misleads(trace, squares, n, least)


def _measured(ground: _Ground, plane: Plane, losses: Mapping[str, np.ndarray]) -> Grid:
    """The loss on a plane; within an error where that can be had.

    Where the surface rises far above where the paths ever were, its height is logarithmic, so as not to hide what they
    saw; an error that is a share of its range would be too large then.
    """
    highest = max((float(mine.max()) for mine in losses.values() if len(mine)), default=math.inf)
    grid = _estimated(ground, plane)
    if grid is None or grid.range > ABOVE * highest:
        grid = exact(ground.surface, plane, ground.cells)
    height = "log" if grid.range > ABOVE * highest else "linear"
    return replace(grid, height=height, caption=f"{grid.caption} {ground.words}".strip())


def _estimated(ground: _Ground, plane: Plane) -> Grid | None:
    """The loss within an error; None where the sample cannot be taken apart."""
    if not all(_is_tensors(batch) for batch in ground.surface.batches):
        return None
    try:
        return estimated(ground.surface, plane, ground.cells)
    except TaskError:  # the loss is no mean over samples
        return None


def _is_tensors(batch: Any) -> bool:
    return isinstance(batch, tuple | list) and all(isinstance(x, Tensor) for x in batch)


def _marked(grid: Grid, verdict: str) -> Grid:
    """With what is at the centre, and with the way down from a saddle."""
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


def _eigenvalues(ends: Extremes | None) -> np.ndarray:
    if ends is None:
        return np.empty(0)
    limit = RESOLVED * float(ends.values.abs().max())
    return ends.values[(ends.residuals <= limit) & (ends.values.abs() > limit)].double().cpu().numpy()
