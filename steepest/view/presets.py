"""How a terrain is shown: its height's scale, how many steps, and at which rates rules show what they are like.

For the terrains that have a name these were looked at; for others, and for other rules, they follow from the surface.
With λ the greatest curvature where it is no higher than the start, gradient descent at 1/λ never leaves that region
(Nesterov 2004, Introductory lectures on convex optimization, 1.2.3); a rule that divides the gradient by its own size
moves by about its rate, so its rate is a share of the domain.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from steepest.rules.textbook import find_rule
from steepest.tasks.terrains import Terrain

CURVED = {"gradient_descent": 1.0, "momentum": 0.4, "nesterov": 0.4}
"""Rates of rules that curvature limits, times λ: half of the stability limit, a tenth and a third of it."""
STRIDE = 0.02
"""Rates of other rules, as a share of the domain's longer side; Adam was tried from 0.005 to 0.04 on all terrains."""
UNFREED = {"rmsprop": 10.0}
"""Steps that are longer than the rate at first: RMSProp's moment begins at 0, and √v there is √(1 − 0.99) of |g|."""
FIRST = 0.05
"""The longest first step of a rule that curvature limits, likewise: where there is none it could be of any length."""
CROWDED = 0.12
"""A surface whose median lies within this share of its range above the least is seen on a logarithmic scale."""
STEPS = 500


@dataclass(frozen=True)
class Scene:
    """How a terrain is shown.

    Attributes:
        height: "linear" or "log".
        steps: to descend.
        rates: that show the rules, by name; the rules that are shown where none are named.
    """

    height: str
    steps: int = STEPS
    rates: Mapping[str, float] = field(default_factory=dict)


def _scene(height: str, steps: int, gradient_descent: float, momentum: float, adam: float) -> Scene:
    return Scene(height, steps, {"gradient_descent": gradient_descent, "momentum": momentum, "adam": adam})


SCENES = {
    "bowl": _scene("linear", 60, 0.1, 0.03, 0.1),
    "ravine": _scene("linear", 200, 0.037, 0.02, 0.2),
    "rosenbrock": _scene("log", 1500, 1e-3, 4e-4, 0.05),
    "himmelblau": _scene("log", 100, 0.01, 3e-3, 0.1),
    "beale": _scene("log", 800, 8e-3, 3e-3, 0.1),
    "rastrigin": _scene("linear", 150, 2e-3, 1e-3, 0.1),
    "monkey_saddle": _scene("linear", 30, 0.02, 5e-3, 0.02),
    "saddle": _scene("linear", 80, 0.03, 0.01, 0.02),
    "plateau": _scene("linear", 200, 0.2, 0.1, 0.05),
}
"""Looked at on each terrain, not measured."""


def scene(terrain: Terrain) -> Scene:
    """How to show a terrain; one without a scene of its own shows gradient descent, momentum and adam."""
    if terrain.name in SCENES:
        return SCENES[terrain.name]
    rates = {rule: rate(terrain, rule) for rule in ("gradient_descent", "momentum", "adam")}
    return Scene(_height(terrain), STEPS, rates)


def rate(terrain: Terrain, rule: str) -> float:
    """A rate at which a rule descends on a terrain from its start, neither at once nor hardly.

    Args:
        terrain: the surface.
        rule: a rule's name.

    Raises:
        UnknownNameError: no such rule.
    """
    default: float = find_rule(rule).hypers["lr"]
    if terrain.name in SCENES and rule in SCENES[terrain.name].rates:
        return SCENES[terrain.name].rates[rule]
    side = max(hi - lo for lo, hi in terrain.domain)
    if rule not in CURVED:
        return _round(STRIDE * side / UNFREED.get(rule, 1.0))
    curvature, slope = _curvature(terrain), _slope(terrain)
    stable = CURVED[rule] / curvature if curvature else math.inf
    near = FIRST * side / slope if slope else math.inf
    found = min(stable, near)
    return _round(found) if found < math.inf else default


def _curvature(terrain: Terrain) -> float:
    """The greatest size of an eigenvalue of the Hessian where the surface is no higher than at its start; 0 if flat."""
    x, y, values = terrain.grid(81)
    reached = torch.from_numpy(values <= float(terrain.f(_start(terrain))))
    w = torch.from_numpy(np.stack(np.meshgrid(x, y), -1))[reached].requires_grad_()
    gradient = _gradient(terrain, w)
    hessian = torch.stack([torch.autograd.grad(g.sum(), w, retain_graph=True)[0] for g in gradient.unbind(-1)], -1)
    known = hessian[torch.isfinite(hessian).all(-1).all(-1)]
    return float(torch.linalg.eigvalsh(known).abs().max()) if len(known) else 0.0


def _slope(terrain: Terrain) -> float:
    """The norm of the gradient at the start; 0 where there is none."""
    norm = float(_gradient(terrain, _start(terrain).requires_grad_()).detach().norm())
    return norm if np.isfinite(norm) else 0.0


def _start(terrain: Terrain) -> Tensor:
    return torch.tensor(terrain.start, dtype=torch.float64)


def _gradient(terrain: Terrain, w: Tensor) -> Tensor:
    """∇f at points [..., 2], which can be differentiated again even where it is constant."""
    return torch.autograd.grad(terrain.f(w).sum(), w, create_graph=True)[0] + 0 * w


def _height(terrain: Terrain) -> str:
    _, _, values = terrain.grid()
    low, middle, high = np.quantile(values[np.isfinite(values)], (0, 0.5, 1))
    return "log" if middle - low < CROWDED * (high - low) else "linear"


def _round(value: float) -> float:
    """To two digits, as a person would write it."""
    return float(f"{value:.2g}")
