"""What a formula needs once a step: the values made of hyperparameters alone, in float64, outside the loop over
weights.

In float32 `1 - 0.999` is off by 1e-5, and `beta**t` would be computed once per weight; so both are computed here.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from steepest.formula.trace import CONSTANT, MEMBER, Program

OPERATORS = {
    "add": "({} + {})", "sub": "({} - {})", "mul": "({} * {})", "div": "({} / {})", "pow": "({} ** {})",
    "neg": "(-{})", "lt": "({} < {})", "le": "({} <= {})", "gt": "({} > {})", "ge": "({} >= {})", "eq": "({} == {})",
    "ne": "({} != {})",
}  # fmt: skip
NUMBERS: dict[str, Callable] = {
    "sqrt": math.sqrt, "exp": math.exp, "log": math.log, "abs": abs, "maximum": max, "minimum": min,
    "sign": lambda x: float((x > 0) - (x < 0)), "where": lambda c, a, b: a if c else b,
    "not_": lambda x: not x, "and_": lambda a, b: a and b, "or_": lambda a, b: a or b,
}  # fmt: skip
ARRAYS: dict[str, Callable] = {
    "sqrt": np.sqrt, "exp": np.exp, "log": np.log, "abs": np.abs, "maximum": np.maximum, "minimum": np.minimum,
    "sign": np.sign, "where": np.where,
    "not_": np.logical_not, "and_": np.logical_and, "or_": np.logical_or,
}  # fmt: skip


def names(program: Program) -> tuple[str, ...]:
    """The hyperparameters and scalar slots that the program reads, in the order in which `compiled` takes them."""
    return tuple(i.value for i in program.instructions if i.op == "input" and i.kind == MEMBER)


def compiled(program: Program, scalars: tuple[int, ...] = (), *, members: bool = False) -> Callable[..., Any]:
    """A Python function of `names(program)` that returns the hoisted values and the new scalar slots.

    Args:
        program: the traced formula.
        scalars: which of its outputs are scalar slots.
        members: take and return float64 arrays [K] instead of floats.
    """
    lines = [f"def hoist({', '.join(names(program))}):"]
    for n, i in enumerate(program.instructions):
        if i.op == "input" and i.kind == MEMBER:
            lines.append(f"    x{n} = {i.value}")
        elif i.kind == CONSTANT and i.op == "constant":
            lines.append(f"    x{n} = {i.value!r}" if math.isfinite(i.value) else f"    x{n} = float('{i.value}')")
        elif i.kind <= MEMBER:
            lines.append(f"    x{n} = {_call(i.op).format(*(f'x{a}' for a in i.args))}")
    hoisted = "".join(f"x{n}, " for n in program.hoisted)
    slots = "".join(f"x{program.outputs[n]}, " for n in scalars)
    lines.append(f"    return ({hoisted}), ({slots})")
    scope: dict[str, Any] = dict(ARRAYS if members else NUMBERS)
    exec("\n".join(lines), scope)
    return scope["hoist"]


def _call(op: str) -> str:
    if op in OPERATORS:
        return OPERATORS[op]
    name = f"{op}_" if op in ("not", "and", "or") else op
    places = {"where": 3, "maximum": 2, "minimum": 2, "and": 2, "or": 2}.get(op, 1)
    return f"{name}({', '.join(['{}'] * places)})"
