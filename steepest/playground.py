"""Rules let loose on a terrain, to be watched."""

from collections.abc import Sequence
from pathlib import Path as File

import numpy as np

from steepest.errors import InputError
from steepest.generator import descend
from steepest.record import Path
from steepest.rules import named
from steepest.task import Task
from steepest.terrain import Terrain
from steepest.terrain import named as named_terrain
from steepest.view.animation import Surface, animate

RATES = {
    "bowl": {"gradient_descent": 0.1, "momentum": 0.03, "adam": 0.1},
    "ravine": {"gradient_descent": 0.037, "momentum": 0.02, "adam": 0.2},
    "rosenbrock": {"gradient_descent": 1e-3, "momentum": 4e-4, "adam": 0.05},
    "himmelblau": {"gradient_descent": 0.01, "momentum": 3e-3, "adam": 0.1},
    "beale": {"gradient_descent": 4e-4, "momentum": 3e-4, "adam": 0.05},
    "rastrigin": {"gradient_descent": 2e-3, "momentum": 1e-3, "adam": 0.1},
    "monkey_saddle": {"gradient_descent": 0.02, "momentum": 5e-3, "adam": 0.02},
    "saddle": {"gradient_descent": 0.03, "momentum": 0.01, "adam": 0.02},
    "plateau": {"gradient_descent": 0.2, "momentum": 0.1, "adam": 0.05},
}
"""Rates at which the three show what they are like; looked at on each terrain, not measured."""


def play(terrain: str | Terrain, out: str | File, rules: Sequence[str] | None = None, steps: int = 200) -> File:
    """Animates rules that descend on a terrain, from its start, each at a constant rate.

    Args:
        terrain: its name.
        out: where to; .gif, or .png for the end alone.
        rules: names, or "name:rate"; None for gradient descent, momentum and adam.
        steps: of each.

    Raises:
        InputError: unknown terrain, rule or suffix, or a rate that is no number.
    """
    land = terrain if isinstance(terrain, Terrain) else named_terrain(terrain)
    chosen = rules or list(RATES[land.name])
    paths = [path(land, *_split(rule, land), steps) for rule in chosen]
    marks = {kind: getattr(land, kind) for kind in ("minima", "saddles", "maxima")}
    return animate(Surface(land.name, land.formula, *land.grid(), marks), paths, out)


def path(terrain: Terrain, rule: str, lr: float, steps: int) -> Path:
    """Where a rule goes on a terrain: points [steps + 1, D] and the losses there."""
    model = terrain.model()
    task = Task(model=model, objective=lambda module, batch: module())
    points, losses = [np.array(terrain.start)], []
    for step in descend(task, rule, lr, "constant", steps=steps, no_decay=None):
        losses.append(step.loss)
        points.append(model.w.detach().numpy().copy())
    return Path(rule, np.array(points), np.array([*losses, model().item()]))


def _split(rule: str, terrain: Terrain) -> tuple[str, float]:
    """Name and rate of "name:rate"; without a rate, the one that suits the terrain, else the rule's default."""
    name, _, rate = rule.partition(":")
    default: float = named(name).hypers["lr"]
    if not rate:
        return name, RATES.get(terrain.name, {}).get(name, default)
    try:
        return name, float(rate)
    except ValueError:
        raise InputError(f"rule '{rule}' is given; expected is a name, or name:rate such as adam:0.1") from None
