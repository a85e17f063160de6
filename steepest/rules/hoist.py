"""The part of a formula that depends on hyperparameters alone: computed once per step, in float64.

In float32 `1 - 0.999` is off by 1e-5, and in the loop over the weights `beta**t` would be computed once per weight.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from steepest.rules.rule import Rule
from steepest.rules.trace import MEMBER_VALUE, Instruction, Program

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


def on_device(x: Any, device: torch.device) -> Tensor:
    """A number as a float64 tensor, or a condition as a boolean one; a fill, so that nobody waits for a copy."""
    if isinstance(x, Tensor):
        return x
    return torch.full((), x, dtype=torch.bool if isinstance(x, bool) else torch.float64, device=device)


def _of_tensors(number: Callable, tensor: Callable) -> Callable:
    """A function of numbers, any of which may be a float64 tensor; it does not synchronise with the device."""

    def apply(*values: Any) -> Any:
        first = next((x for x in values if isinstance(x, Tensor)), None)
        if first is None:
            return number(*values)
        return tensor(*(on_device(x, first.device) for x in values))

    return apply


TENSORS: dict[str, Callable] = {
    name: _of_tensors(NUMBERS[name], function) for name, function in {
        "sqrt": torch.sqrt, "exp": torch.exp, "log": torch.log, "abs": torch.abs, "maximum": torch.maximum,
        "minimum": torch.minimum, "sign": torch.sign, "where": torch.where, "not_": torch.logical_not,
        "and_": torch.logical_and, "or_": torch.logical_or,
    }.items()
}  # fmt: skip


def table(
    program: Program, scalars: tuple[int, ...], slots: Sequence[str], rows: Sequence[Mapping[str, Any]],
    functions: Mapping[str, Callable] = NUMBERS,
) -> Callable[..., tuple[tuple, tuple]]:  # fmt: skip
    """A Python function `(hypers, t, scale, slots)` that computes the table of hyperparameters of one step.

    A row of the table is the gradient's scale and the hoisted values under that row's overrides. Values that do not
    depend on the overrides are computed once for all rows.

    Args:
        program: the traced formula.
        scalars: indices of the outputs that are scalar slots.
        slots: the names of the scalar slots, in the order in which their values are passed for each row.
        rows: overrides of hyperparameters; `lr_scale` multiplies the learning rate.
        functions: NUMBERS for floats, ARRAYS for float64 [K] of K members, TENSORS for float64 tensors.

    Returns:
        The function; it returns the table as one flat tuple, row after row, and each row's new scalar slots.
    """
    lines = ["def table(hypers, t, scale, slots):"]
    own: list[dict[int, str]] = [{} for _ in rows]  # for each row the variables that differ from the common ones
    scope: dict[str, Any] = dict(functions) | {"rows": [dict(row) for row in rows]}
    for n, i in enumerate(program.instructions):
        if i.kind > MEMBER_VALUE:
            continue
        for r, row in enumerate(rows):
            text = _override(i, r, row, slots) if i.op == "input" else None
            if text is None and any(a in own[r] for a in i.args):
                text = _call(i.op).format(*(own[r].get(a, f"x{a}") for a in i.args))
            if text is not None:
                own[r][n] = f"x{n}_{r}"
                lines.append(f"    x{n}_{r} = {text}")
        if not all(n in variables for variables in own):
            lines.append(f"    x{n} = {_common(i)}")
    flat = "".join(f"scale, {_variables(program.hoisted, variables)}" for variables in own)
    new = "".join(f"({_variables([program.outputs[n] for n in scalars], variables)}), " for variables in own)
    exec("\n".join([*lines, f"    return ({flat}), ({new})"]), scope)
    return scope["table"]


def rule_table(
    rule: Rule, rows: Sequence[Mapping[str, Any]] = ({},), functions: Mapping[str, Callable] = NUMBERS
) -> Callable[..., tuple[tuple, tuple]]:
    """The table of a rule: its program, with its own scalar slots."""
    scalars = {n: slot.name for n, slot in enumerate(rule.slots, 1) if slot.is_scalar}
    return table(rule.program, tuple(scalars), list(scalars.values()), rows, functions)


def row_of(table: Sequence[Any], program: Program, row: int) -> Sequence[Any]:
    """The hoisted values in one row of a table, without the scale."""
    width = 1 + len(program.hoisted)
    return table[row * width + 1 : (row + 1) * width]


def _override(i: Instruction, r: int, row: Mapping[str, Any], slots: Sequence[str]) -> str | None:
    """The expression of an input in one row, or None if the row does not override it."""
    if i.value in slots:
        return f"slots[{r}][{list(slots).index(i.value)}]"
    if i.value == "lr" and "lr_scale" in row:
        return f"hypers['lr'] * rows[{r}]['lr_scale']"
    return f"rows[{r}][{i.value!r}]" if i.value in row else None


def _common(i: Instruction) -> str:
    if i.op == "input":
        return "t" if i.value == "t" else f"hypers[{i.value!r}]"
    if i.op == "constant":
        return repr(i.value) if math.isfinite(i.value) else f"float('{i.value}')"
    return _call(i.op).format(*(f"x{a}" for a in i.args))


def _variables(places: Sequence[int], own: Mapping[int, str]) -> str:
    return "".join(f"{own.get(n, f'x{n}')}, " for n in places)


def _call(op: str) -> str:
    if op in OPERATORS:
        return OPERATORS[op]
    name = f"{op}_" if op in ("not", "and", "or") else op
    places = {"where": 3, "maximum": 2, "minimum": 2, "and": 2, "or": 2}.get(op, 1)
    return f"{name}({', '.join(['{}'] * places)})"
