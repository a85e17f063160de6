"""The loss on 51 × 51 cells of a plane, against the package loss-landscapes: the demo's network, all training digits.

Both evaluate the same cells of the same plane, through three points, in float32. The peer's odd rows are shifted by one
cell (it steps before it evaluates, alternating the direction), so the even ones are compared.
"""

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy

import steepest as sd
from benchmarks.report import ABSENT, check, span, table
from benchmarks.timing import seconds
from steepest.analysis.landscape.grids import TOLERANCE, estimate_grid, exact_grid
from steepest.analysis.landscape.planes import Plane, random_plane
from steepest.curvature.loss_function import LossFunction
from steepest.records.surfaces import Axis, Grid
from steepest.tasks import load
from steepest.tasks.space import Space

TITLE = "A loss surface: 51 × 51 cells of the demo's network"

CELLS, ROUNDS = 51, 5
EXACT_SPEEDUP, ESTIMATE_SPEEDUP = 2.0, 8.0
"""Targets, against the peer."""


def measure() -> list[str]:
    """Lines of the report."""
    try:
        import loss_landscapes
        from loss_landscapes.metrics import Loss
    except ImportError:
        return [ABSENT]
    task = load("digits")
    model = task.copy(0)
    task_of_model = sd.Task(model=model, loss=task.loss, data=task.data)
    for _ in sd.descend(task_of_model, rule="adam", lr=3e-3, batch_size=64, epochs=5):
        pass
    x, y = task.data
    surface = LossFunction(task, [(x, y)], torch.float32)
    plane = random_plane(Space(model).gather(), surface.space.shapes)  # filter-normalised
    corners = [_model_at(model, w) for w in (plane.point(-1, -1), plane.point(1, -1), plane.point(-1, 1))]
    cells = _peer_plane(plane)
    results: dict[str, Any] = {}

    def peer() -> None:
        metric = Loss(cross_entropy, x, y)
        results["peer"] = loss_landscapes.planar_interpolation(*corners, metric, steps=CELLS, deepcopy_model=True)

    def exact() -> None:
        results["exact"] = exact_grid(surface, cells, CELLS)

    def estimate() -> None:
        results["estimate"] = estimate_grid(surface, cells, CELLS)

    times = seconds({"peer": peer, "exact": exact, "estimate": estimate}, ROUNDS)
    return _lines(results["peer"], results["exact"], results["estimate"], times)


def _peer_plane(plane: Plane) -> Plane:
    """The plane with the peer's cells: its first axis begins at the corner, its second one step further."""
    step = 2 / CELLS
    x = Axis(plane.x.name, -1.0, -1 + (CELLS - 1) * step, CELLS)
    return replace(plane, x=x, y=Axis(plane.y.name, -1 + step, 1.0, CELLS))


def _model_at(model: torch.nn.Module, w: torch.Tensor) -> torch.nn.Module:
    result = copy.deepcopy(model)
    Space(result).scatter(w)
    return result


def _lines(peer: np.ndarray, exact: Grid, estimate: Grid, times: dict[str, float]) -> list[str]:
    distance = np.abs(exact.loss.T[::2] - peer[::2]).max() / exact.range
    error = estimate.loss - exact.loss
    some = estimate.error > 0
    calibration = np.sqrt(np.mean(np.square(error[some] / estimate.error[some])))
    rows = [["loss-landscapes", span(times["peer"]), "", "", ""]]
    for name, target in (("exact", EXACT_SPEEDUP), ("estimate", ESTIMATE_SPEEDUP)):
        ratio = times["peer"] / times[name]
        rows.append([name, span(times[name]), f"{ratio:.2f} ×", f"≥ {target:g} ×", check(-ratio, -target)])
    return [
        f"1,293 samples in {CELLS} × {CELLS} cells, float32; medians of {ROUNDS}, in turns.",
        "",
        *table(["surface", "time", "speed ÷ the peer's", "target", "met"], rows),
        "",
        f"Exact surface and peer differ by at most {distance:.1e} of the surface's range. The estimate's standard "
        f"errors are at most {estimate.error.max() / exact.range:.2%} of the range (target {TOLERANCE:.0%}); "
        f"its error is at most {np.abs(error).max() / exact.range:.2%}, and {calibration:.2f} of its standard errors "
        "(root mean square).",
    ]
