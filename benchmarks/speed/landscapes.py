"""The loss on 51 × 51 cells of a plane, beside the package loss-landscapes: the demo's network, all training digits.

Both evaluate the same cells of the same plane, through three points, at float32. The peer's odd rows are shifted by one
cell (it steps before it evaluates, and back on the way back), so the even ones are compared.
"""

import copy
from dataclasses import replace

import numpy as np
import torch
from torch.nn.functional import cross_entropy

import steepest as sd
from benchmarks.report import MISSING, met, span, table
from benchmarks.speed.timing import seconds
from steepest.analysis.landscape.grids import TOLERANCE, estimate_grid, exact_grid
from steepest.analysis.landscape.planes import Plane, random_plane
from steepest.curvature.loss_function import LossFunction
from steepest.records.surfaces import Axis, Grid
from steepest.tasks import load
from steepest.tasks.space import Space

TITLE = "A surface: 51 × 51 cells of the demo's network"

CELLS, ROUNDS = 51, 5
EXACT, ESTIMATED = 2.0, 8.0
"""How many times faster than the peer."""


def measure() -> list[str]:
    """Lines of the report."""
    try:
        import loss_landscapes
        from loss_landscapes.metrics import Loss
    except ImportError:
        return [MISSING]
    task = load("digits")
    model = task.copy(0)
    for _ in sd.descend(
        sd.Task(model=model, loss=task.loss, data=task.data), rule="adam", lr=3e-3, batch_size=64, epochs=5
    ):
        pass
    x, y = task.data
    surface = LossFunction(task, [(x, y)], torch.float32)
    plane = _plane(model, surface)
    corners = [_at(model, w) for w in (plane.point(-1, -1), plane.point(1, -1), plane.point(-1, 1))]
    cells = _as_the_peer(plane)
    found: dict[str, Grid | np.ndarray] = {}

    def peer() -> None:
        metric = Loss(cross_entropy, x, y)
        found["peer"] = loss_landscapes.planar_interpolation(*corners, metric, steps=CELLS, deepcopy_model=True)

    def exact() -> None:
        found["exact"] = exact_grid(surface, cells, CELLS)

    def estimated() -> None:
        found["estimated"] = estimate_grid(surface, cells, CELLS)

    took = seconds({"peer": peer, "exact": exact, "estimated": estimated}, ROUNDS)
    return _lines(found, took)


def _plane(model: torch.nn.Module, surface: LossFunction) -> Plane:
    """Filter-normalised, through the trained network."""
    return random_plane(Space(model).gather(), surface.space.shapes)


def _as_the_peer(plane: Plane) -> Plane:
    """The plane with the peer's cells: its first axis begins at the corner, its second a step further."""
    step = 2 / CELLS
    x = Axis(plane.x.name, -1.0, -1 + (CELLS - 1) * step, CELLS)
    return replace(plane, x=x, y=Axis(plane.y.name, -1 + step, 1.0, CELLS))


def _at(model: torch.nn.Module, w: torch.Tensor) -> torch.nn.Module:
    copied = copy.deepcopy(model)
    Space(copied).scatter(w)
    return copied


def _lines(found: dict, took: dict[str, float]) -> list[str]:
    exact, estimated, peer = found["exact"], found["estimated"], found["peer"]
    apart = np.abs(exact.loss.T[::2] - peer[::2]).max() / exact.range
    off = (estimated.loss - exact.loss) / exact.range
    some = estimated.error > 0
    calibrated = np.sqrt(np.mean(np.square((estimated.loss - exact.loss)[some] / estimated.error[some])))
    ratios = {name: took["peer"] / took[name] for name in ("exact", "estimated")}
    rows = [
        ["loss-landscapes", span(took["peer"]), "", "", ""],
        ["exact", span(took["exact"]), f"{ratios['exact']:.2f} ×", f"≥ {EXACT:g} ×", met(-ratios["exact"], -EXACT)],
        [
            "estimated", span(took["estimated"]), f"{ratios['estimated']:.2f} ×", f"≥ {ESTIMATED:g} ×",
            met(-ratios["estimated"], -ESTIMATED),
        ],
    ]  # fmt: skip
    return [
        f"1,293 samples in {CELLS} × {CELLS} cells, float32; medians of {ROUNDS}, in turns.",
        "",
        *table(["", "time", "faster than the peer", "target", "met"], rows),
        "",
        f"Exact and the peer differ by at most {apart:.1e} of the surface's range. The estimate says standard errors "
        f"of at most {estimated.error.max() / exact.range:.2%} of the range (asked for: {TOLERANCE:.0%}); it "
        f"is off by {np.abs(off).max():.2%} at most, by {calibrated:.2f} of its standard errors (root mean square).",
    ]
