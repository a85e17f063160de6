"""A rule as a small program in JSON, for the page: data, not source, so that the page needs no `eval`.

    {"name": "momentum",
     "hypers": {"lr": 0.01, "beta": 0.9, "weight_decay": 0.0},
     "slots": [{"name": "v", "start": 0.0, "each": "weight"}],
     "once": [],
     "body": [{"op": "mul", "args": ["weight_decay", "w"], "to": "5"}, ...],
     "out": {"w": "11", "v": "9"},
     "reported": null}

An *argument* is a number, which is itself, or a string, which is the name of a value: an input, or the `to` of an
operation before. A step is:

1. Values: the hyperparameters of this step, `t` (steps taken, this one included, from 1), and the slots that each
   "member" has. Operations of `once` add to them, in order. This happens once a step, in float64.
2. For every weight: to these values add `w`, `g` and the weight's own slots, then `body`, in order. `out` has the new
   value of `w` and of every slot, as arguments. The slots of the member are read from `out` likewise, after step 1.

A slot starts at a number (or its name), or, where `start` is "w", at the weight. `reported`, where it is not null, has
`once`, `body` and `out` of its own, to be run likewise after a step; its `out.w` is what the rule reports in place of
`w`.

Operations: add, sub, mul, div, pow, maximum, minimum, lt, le, gt, ge, eq, ne, and, or (two arguments); neg, sqrt, sign,
abs, exp, log, not (one); where (three: condition, then, else). All are IEEE 754's; a comparison gives true or false;
maximum and minimum of NaN are NaN, as `Math.max` has it. A number that JSON lacks is the name "Infinity", "-Infinity"
or "NaN" of a value that is always there.
"""

import math
from typing import Any

from steepest.rules.rule import Rule, W
from steepest.rules.trace import WEIGHT, Program


def to_program(rule: Rule) -> dict[str, Any]:
    """A rule as data that `json.dumps` takes, in the format above.

    Args:
        rule: the rule; its hyperparameters are given as they are, a schedule among them as its text.

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
    """A number or a name; a place's number as text cannot be a parameter's name."""
    i = program.instructions[place]
    if i.op == "constant":
        return _number(i.value)
    return i.value if i.op == "input" else str(place)


def _number(x: float) -> str | float:
    return float(x) if math.isfinite(x) else {math.inf: "Infinity", -math.inf: "-Infinity"}.get(x, "NaN")
