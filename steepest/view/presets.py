"""Presets of a terrain: scale of its heights, number of steps, and learning rates that show a rule's character.

For named terrains they were chosen by eye; for others, and for other rules, they are computed from the surface. With λ
the largest curvature where the loss is not above that of the start, gradient descent at lr = 1/λ never leaves that
region (Nesterov 2004, Introductory lectures on convex optimization, 1.2.3). A rule that normalises the gradient moves
by about lr a step, so its lr is a share of the domain.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from steepest.rules.textbook import find_rule
from steepest.tasks.terrains import Terrain

LR_TIMES_CURVATURE = {"gradient_descent": 1.0, "momentum": 0.4, "nesterov": 0.4, "asgd": 1.0, "radam": 1.2}
"""lr · λ of rules that curvature limits: a half, a tenth and a third of the stability limit; RAdam's first steps are
those of a momentum."""
NORMALIZE_LATER = ("radam",)
"""Rules that curvature limits at first only."""
LR_SHARE = 0.02
"""lr of other rules, as a share of the domain's longer side; Adam was tried from 0.005 to 0.04 on all terrains."""
FIRST_STEP = {"rmsprop": 10.0, "adadelta": 0.008}
"""Length of a first step in lr, where it is not 1: RMSProp's second moment starts at 0, so √v is √(1 − 0.99) |g|; that
of Adadelta is √(ε / 0.1), and its steps grow: two and a half times it was tried on all terrains."""
MAX_FIRST_STEP = 0.05
"""Longest first step of a rule that curvature limits, as a share of the domain: without curvature it has no bound."""
MAX_LOG_MEDIAN = 0.12
"""Largest share of its range at which a surface's median lies, above its minimum, for a logarithmic scale."""
STEPS = 500


@dataclass(frozen=True)
class Scene:
    """Presets of a terrain.

    Attributes:
        height: "linear" or "log".
        steps: of each rule.
        rates: learning rates by rule; these rules are the default.
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
"""Chosen by eye on each terrain, not measured."""


def scene(terrain: Terrain) -> Scene:
    """Presets of a terrain; computed for gradient descent, momentum and adam where it has none."""
    if terrain.name in SCENES:
        return SCENES[terrain.name]
    rates = {rule: rate(terrain, rule) for rule in ("gradient_descent", "momentum", "adam")}
    return Scene(_height(terrain), STEPS, rates)


def rate(terrain: Terrain, rule: str) -> float:
    """A learning rate at which a rule's descent on a terrain can be seen: not too fast, not too slow.

    Args:
        terrain: the surface.
        rule: a rule's name.

    Raises:
        UnknownNameError: the rule does not exist.
    """
    default: float = find_rule(rule).hypers["lr"]
    if terrain.name in SCENES and rule in SCENES[terrain.name].rates:
        return SCENES[terrain.name].rates[rule]
    side = max(hi - lo for lo, hi in terrain.domain)
    if rule not in LR_TIMES_CURVATURE:
        return _round(LR_SHARE * side / FIRST_STEP.get(rule, 1.0))
    curvature, slope = _curvature(terrain), _slope(terrain)
    stable = LR_TIMES_CURVATURE[rule] / curvature if curvature else math.inf
    near = MAX_FIRST_STEP * side / slope if slope else math.inf
    lr = min(stable, near, LR_SHARE * side if rule in NORMALIZE_LATER else math.inf)
    return _round(lr) if lr < math.inf else default


def _curvature(terrain: Terrain) -> float:
    """The largest |eigenvalue| of the Hessian where the loss is not above that of the start; 0 if flat."""
    x, y, values = terrain.grid(81)
    below_start = torch.from_numpy(values <= float(terrain.f(_start(terrain))))
    w = torch.from_numpy(np.stack(np.meshgrid(x, y), -1))[below_start].requires_grad_()
    gradient = _gradient(terrain, w)
    hessian = torch.stack([torch.autograd.grad(g.sum(), w, retain_graph=True)[0] for g in gradient.unbind(-1)], -1)
    finite = hessian[torch.isfinite(hessian).all(-1).all(-1)]
    return float(torch.linalg.eigvalsh(finite).abs().max()) if len(finite) else 0.0


def _slope(terrain: Terrain) -> float:
    """The norm of the gradient at the start; 0 where it is not finite."""
    norm = float(_gradient(terrain, _start(terrain).requires_grad_()).detach().norm())
    return norm if np.isfinite(norm) else 0.0


def _start(terrain: Terrain) -> Tensor:
    return torch.tensor(terrain.start, dtype=torch.float64)


def _gradient(terrain: Terrain, w: Tensor) -> Tensor:
    """∇f at points [..., 2], differentiable again even where it is constant."""
    return torch.autograd.grad(terrain.f(w).sum(), w, create_graph=True)[0] + 0 * w


def _height(terrain: Terrain) -> str:
    _, _, values = terrain.grid()
    low, middle, high = np.quantile(values[np.isfinite(values)], (0, 0.5, 1))
    return "log" if middle - low < MAX_LOG_MEDIAN * (high - low) else "linear"


def _round(value: float) -> float:
    """To two digits."""
    return float(f"{value:.2g}")
