"""A rule as a small program in JSON, for the page: data instead of source, so that the page needs no `eval`.

    {"name": "momentum",
     "hypers": {"lr": 0.01, "beta": 0.9, "weight_decay": 0.0},
     "slots": [{"name": "v", "start": 0.0, "each": "weight"}],
     "once": [],
     "body": [{"op": "mul", "args": ["weight_decay", "w"], "to": "5"}, ...],
     "out": {"w": "11", "v": "9"},
     "reported": null}

An *argument* is a number or the name of a value: an input, or the `to` of an earlier operation. A step is:

1. Once per step, in float64: start with the hyperparameters of this step, `t` (steps taken, including this one, from 1)
   and the slots with `each` "member"; apply the operations of `once` in order, each of which adds a value.
2. For every weight: add `w`, `g` and the weight's own slots to these values, then apply `body` in order. `out` has the
   new value of `w` and of every slot, as arguments. The slots of the member are read from `out` after step 1.

A slot starts at a number (or its name), or, if `start` is "w", at the weight. `reported`, if it is not null, has
`once`, `body` and `out` of its own, to be run in the same way after a step; its `out.w` is the reported weight.

Operations: add, sub, mul, div, pow, maximum, minimum, lt, le, gt, ge, eq, ne, and, or (two arguments); neg, sqrt, sign,
abs, exp, log, not (one); where (three: condition, then, else). All are IEEE 754's; a comparison gives true or false;
maximum and minimum of NaN are NaN, as in `Math.max`. Numbers that JSON lacks have the names "Infinity", "-Infinity" and
"NaN", which are always defined.
"""

import math
from typing import Any

from steepest.rules.rule import Rule, W
from steepest.rules.trace import WEIGHT, Program


def to_program(rule: Rule) -> dict[str, Any]:
    """A rule as JSON data, in the format above.

    Args:
        rule: the rule; a hyperparameter that is a schedule is written as its text.

    >>> from steepest.rules.textbook import gradient_descent
    >>> [step["op"] for step in to_program(gradient_descent)["body"]]
    ['mul', 'add', 'mul', 'sub']
    """
    report = rule.evaluation
    return {
        "name": rule.name,
        "hypers": {k: str(v) if hasattr(v, "bind") else v for k, v in rule.hypers.items()},
        "slots": [_slot(s.name, s.start.start if s.is_scalar else s.start, s.is_scalar) for s in rule.slots],
        **_program(rule.program, ["w", *(s.name for s in rule.slots)]),
        "reported": None if report is None else _program(report, ["w"]),
    }


def _slot(name: str, start: Any, member: bool) -> dict[str, Any]:
    return {"name": name, "start": "w" if start is W else _number(start), "each": "member" if member else "weight"}


def _program(program: Program, outputs: list[str]) -> dict[str, Any]:
    operations = [(i.kind, _operation(program, n)) for n, i in enumerate(program.instructions) if i.args]
    return {
        "once": [o for kind, o in operations if kind < WEIGHT],
        "body": [o for kind, o in operations if kind == WEIGHT],
        "out": {name: _argument(program, place) for name, place in zip(outputs, program.outputs, strict=True)},
    }


def _operation(program: Program, place: int) -> dict[str, Any]:
    i = program.instructions[place]
    return {"op": i.op, "args": [_argument(program, a) for a in i.args], "to": str(place)}


def _argument(program: Program, place: int) -> str | float:
    """A number or a name; digits cannot be the name of a parameter."""
    i = program.instructions[place]
    if i.op == "constant":
        return _number(i.value)
    return i.value if i.op == "input" else str(place)


def _number(x: float) -> str | float:
    return float(x) if math.isfinite(x) else {math.inf: "Infinity", -math.inf: "-Infinity"}.get(x, "NaN")
