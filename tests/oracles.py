"""What the fast paths are held against: slow, obvious, and independent of them."""

import inspect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from steepest.records.surfaces import Axis, Grid
from steepest.rules import hoist
from steepest.rules.rule import Rule, Scalar, W
from steepest.rules.trace import Program


@dataclass
class Tensors:
    """A point made of bare tensors; the first row of overrides is empty, so every tensor may leave its row out."""

    parts: dict[str, Tensor]
    rows: tuple[int, ...] = ()
    overrides: tuple[dict[str, Any], ...] = ({},)

    def __post_init__(self) -> None:
        self.names = tuple(self.parts)
        self.rows = self.rows or (0,) * len(self.parts)

    def tensors(self) -> list[Tensor]:
        return list(self.parts.values())


@dataclass
class SlowUpdate:
    """A rule on one tensor in float64, by calling its formula as it stands in the file."""

    rule: Rule
    w: Tensor
    overrides: Mapping[str, Any] = field(default_factory=dict)
    t: int = 0

    def __post_init__(self) -> None:
        self.w = self.w.detach().double().clone()
        self.slots = [self._start(s.start) for s in self.rule.slots]

    def _start(self, start: Any) -> Any:
        if isinstance(start, Scalar):
            return start.start
        return self.w.clone() if start is W else torch.full_like(self.w, float(start))

    def step(self, gradient: Tensor, hypers: Mapping[str, float], scale: float = 1.0) -> float:
        """One step; returns ‖w_new − w‖². A NaN scale leaves everything as it is."""
        if math.isnan(scale):
            return 0.0
        self.t += 1
        values = self.values(hypers)
        result = self.rule.formula(self.w, gradient.double() * scale, *self.slots, **values)
        new, *self.slots = result if isinstance(result, tuple) else (result,)
        moved = (new - self.w).square().sum().item()
        self.w = new
        return moved

    def values(self, hypers: Mapping[str, float]) -> dict[str, float]:
        """The hyperparameters of this tensor's group."""
        own = {k: v for k, v in self.overrides.items() if k in self.rule.hypers}
        values = {**self.rule.hypers, **hypers, **own}
        values["lr"] *= self.overrides.get("lr_scale", 1.0)
        return values | ({"t": self.t} if takes_t(self.rule) else {})

    def weight_slots(self) -> dict[str, Tensor]:
        return {s.name: v for s, v in zip(self.rule.slots, self.slots, strict=True) if not s.is_scalar}


def takes_t(rule: Rule) -> bool:
    """Whether a rule's formula has the parameter t."""
    return "t" in inspect.signature(rule.formula).parameters


def hoisted_values(program: Program, values: Mapping[str, Any], functions: Any = hoist.NUMBERS) -> Sequence[Any]:
    """The hoisted values of a program at these hyperparameters and scalar slots."""
    table, _ = hoist.table(program, (), (), [{}], functions)(values, values.get("t"), 1.0, [()])
    return hoist.row_of(table, program, 0)


def apart(a: Tensor, b: Tensor) -> float:
    """How far two tensors are apart: ‖a − b‖ / ‖b‖, in float64; 0 where both vanish."""
    a, b = a.detach().double(), b.detach().double()
    return ((a - b).norm() / b.norm().clamp_min(torch.finfo(torch.float64).tiny)).item()


def furthest(a: Mapping[str, Tensor] | Sequence[Tensor], b: Mapping[str, Tensor] | Sequence[Tensor]) -> float:
    """The largest `apart` over tensors in pairs."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        assert a.keys() == b.keys()
        return max(apart(a[k], b[k]) for k in a)
    return max(apart(x, y) for x, y in zip(a, b, strict=True))


def loss_under(grid: Grid, x: float, y: float) -> tuple[float, float]:
    """(loss, error) of a surface at a point between cells; NaN outside.

    Bilinear between the four cells around it. The error is the interpolation's bound, (|δ²ₓf| + |δ²ᵧf|) / 8 with
    the largest second differences nearby, plus twice the standard error of the cells.
    """
    (j, u), (i, v) = (_cell(axis, at) for axis, at in ((grid.x, x), (grid.y, y)))
    if j < 0 or i < 0:
        return math.nan, math.nan
    weights = np.outer([1 - v, v], [1 - u, u])
    with np.errstate(invalid="ignore"):
        loss = float((weights * grid.loss[i : i + 2, j : j + 2]).sum())
        near = grid.loss[max(0, i - 1) : i + 3, max(0, j - 1) : j + 3]
        bound = float(sum(np.abs(np.diff(near, 2, axis)).max() for axis in (0, 1)) / 8)
    spread = 0.0 if grid.error is None else 2 * float(grid.error[i : i + 2, j : j + 2].max())
    return loss, bound + spread


def _cell(axis: Axis, at: float) -> tuple[int, float]:
    """The cell below a coordinate, and the fraction of the way to the next; (−1, 0) outside."""
    position = (at - axis.lo) / (axis.hi - axis.lo) * (axis.n - 1)
    if not -1e-9 <= position <= axis.n - 1 + 1e-9:
        return -1, 0.0
    below = min(max(math.floor(position), 0), axis.n - 2)
    return below, position - below
