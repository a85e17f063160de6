"""The reference implementation of a formula: torch operations one by one, on any device and in any dtype."""

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from steepest.rules.trace import CONSTANT, WEIGHT, Program


def _like(x: Any, other: Any) -> Tensor:
    return x if isinstance(x, Tensor) else torch.as_tensor(x, dtype=other.dtype, device=other.device)


def _both(function: Callable) -> Callable:
    def apply(a: Any, b: Any) -> Tensor:
        first = a if isinstance(a, Tensor) else b
        return function(_like(a, first), _like(b, first))

    return apply


def _where(condition: Any, a: Any, b: Any) -> Tensor:
    """Two numbers become float64, which is no less precise than any other operand."""
    first = next(x for x in (a, b, condition) if isinstance(x, Tensor))
    mask = torch.as_tensor(condition, device=first.device).bool()
    if first is condition:
        return torch.where(mask, *(torch.as_tensor(x, dtype=torch.float64, device=first.device) for x in (a, b)))
    return torch.where(mask, a, b)


TORCH_FUNCTIONS: dict[str, Callable] = {
    "add": operator.add, "sub": operator.sub, "mul": operator.mul, "div": operator.truediv, "neg": operator.neg,
    "pow": operator.pow, "sqrt": torch.sqrt, "sign": torch.sign, "abs": torch.abs, "exp": torch.exp, "log": torch.log,
    "maximum": _both(torch.maximum), "minimum": _both(torch.minimum), "where": _where,
    "lt": operator.lt, "le": operator.le, "gt": operator.gt, "ge": operator.ge, "eq": operator.eq, "ne": operator.ne,
    "not": torch.logical_not, "and": operator.and_, "or": operator.or_,
}  # fmt: skip


def evaluate(program: Program, weights: Mapping[str, Tensor], hypers: Sequence[float | Tensor]) -> list[Any]:
    """The outputs of a program.

    Args:
        program: the traced formula.
        weights: `w`, `g` and the slots by name, of one shape and dtype.
        hypers: the member values of `program.hoisted`: floats, or tensors that broadcast against the weights.

    Returns:
        One tensor per output, none of which is an element of `weights`; a member value is returned as it is.
    """
    values: dict[int, Any] = dict(zip(program.hoisted, hypers, strict=True))
    for n, i in enumerate(program.instructions):
        if i.kind == CONSTANT and i.op == "constant":
            values[n] = i.value
        elif i.kind == WEIGHT:
            values[n] = weights[i.value] if i.op == "input" else TORCH_FUNCTIONS[i.op](*(values[a] for a in i.args))
    inputs = set(program.inputs.values())
    return [values[o].clone() if o in inputs and isinstance(values[o], Tensor) else values[o] for o in program.outputs]
