"""A formula is lowered by calling it with symbols: what it does to them is the program.

Closures, helper functions and `if` on plain numbers work, because Python itself runs them; no source is read. A value
is of one of three kinds: a *constant*, a *member* value (made of hyperparameters, `t` and scalar slots: one number per
member, computed once a step in float64) or a *weight* value (one number per weight, computed in the loop).
"""

import inspect
import math
import numbers
import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch

from steepest.errors import FormulaError

CONSTANT, MEMBER, WEIGHT = 0, 1, 2
ROOM = Path(__file__).parent
NOT_THE_USERS = (
    *(str(ROOM / name) for name in ("hoist.py", "rule.py", "trace.py")),
    *(f"{folder}{os.sep}" for folder in (ROOM / "backends", Path(torch.__file__).parent, Path(np.__file__).parent)),
)
"""Files whose frames are passed over where an error in a formula is shown: the user's line comes first."""
MADE_OF = (
    "it is made of its arguments, numbers, + - * / **, comparisons and "
    "sd.sqrt, sign, abs, where, maximum, minimum, exp, log"
)


@dataclass(frozen=True)
class Instruction:
    """One operation of a program; its place in the program is its name.

    Attributes:
        op: "input", "constant" or the operation.
        args: places of the operands.
        value: name of the input or value of the constant.
        kind: CONSTANT, MEMBER or WEIGHT.
    """

    op: str
    args: tuple[int, ...]
    value: Any
    kind: int


class Tracer:
    """Collects instructions; equal ones are kept once."""

    def __init__(self) -> None:
        self.instructions: list[Instruction] = []
        self._places: dict[tuple, int] = {}
        self._frames: dict[int, FrameType] = {}

    def emit(self, op: str, args: tuple[int, ...] = (), value: Any = None, kind: int | None = None) -> "Symbol":
        key = (op, args, repr(value))
        if key not in self._places:
            if kind is None:
                kind = max(self.instructions[a].kind for a in args)
            self._places[key] = len(self.instructions)
            self.instructions.append(Instruction(op, args, value, kind))
            self._watch()
        return Symbol(self, self._places[key])

    def lift(self, x: "Symbol | float") -> "Symbol":
        if isinstance(x, Symbol):
            return x
        if isinstance(x, bool) or not isinstance(x, numbers.Real):
            raise FormulaError(f"a formula cannot use {type(x).__name__} {x!r}; {MADE_OF}")
        return self.emit("constant", value=float(x), kind=CONSTANT)

    def _watch(self) -> None:
        """Keeps the frames of the formulas that are being called, innermost first: they hold what it named."""
        frame: FrameType | None = sys._getframe(2)
        while frame is not None:
            if frame.f_code.co_varnames[:2] == ("w", "g"):
                self._frames.setdefault(id(frame), frame)
            frame = frame.f_back

    def named(self) -> dict[int, str]:
        """What a formula called its results when it returned; of a formula inside another the outer one's names count.

        The frames are let go: a frame holds on to everything in it.
        """
        found: dict[str, int] = {}
        for frame in self._frames.values():
            for name, x in frame.f_locals.items():
                if isinstance(x, Symbol) and x.tracer is self and self.instructions[x.place].args:
                    found[name] = x.place
        self._frames.clear()
        return {place: name for name, place in found.items()}

    def apply(self, op: str, *operands: "Symbol | float") -> "Symbol":
        symbols = [self.lift(x) for x in operands]
        if op == "div" and symbols[0].kind == WEIGHT > symbols[1].kind:  # one reciprocal a step, in float64
            return self.apply("mul", symbols[0], self.apply("div", 1.0, symbols[1]))
        return self.emit(op, tuple(s.place for s in symbols))


class Symbol:
    """A number that is not known yet: stands for a weight, a gradient, a slot or a hyperparameter in a formula."""

    __slots__ = ("place", "tracer")
    __array_ufunc__ = None  # numpy scalars then defer to our operators

    def __init__(self, tracer: Tracer, place: int) -> None:
        self.tracer, self.place = tracer, place

    @property
    def kind(self) -> int:
        return self.tracer.instructions[self.place].kind

    def __pow__(self, n: "Symbol | float") -> "Symbol":
        if self.kind < WEIGHT or isinstance(n, Symbol):
            return self.tracer.apply("pow", self, n)
        if n == 0.5:
            return self.tracer.apply("sqrt", self)
        if float(n).is_integer() and 1 <= abs(n) <= 16:  # products vectorise, powers do not
            product = _power(self, int(abs(n)))
            return product if n > 0 else self.tracer.apply("div", 1.0, product)
        return self.tracer.apply("pow", self, n)

    def __rpow__(self, base: float) -> "Symbol":
        return self.tracer.apply("pow", base, self)

    def __neg__(self) -> "Symbol":
        return self.tracer.apply("neg", self)

    def __pos__(self) -> "Symbol":
        return self

    def __abs__(self) -> "Symbol":
        return self.tracer.apply("abs", self)

    def __invert__(self) -> "Symbol":
        return self.tracer.apply("not", self)

    def __bool__(self) -> bool:
        raise FormulaError(
            "a formula is straight-line arithmetic: it cannot branch on a value that differs from weight to weight or "
            "from step to step; write sd.where(condition, a, b) instead of if / and / or / not / max / min"
        )

    def _number(self) -> float:
        raise FormulaError(
            "math.* and float() take numbers, and this value is not known before the descent; "
            "write sd.sqrt, sd.exp, sd.log, sd.abs, sd.sign, sd.maximum or sd.minimum"
        )

    __float__ = __int__ = __index__ = __complex__ = _number

    def __iter__(self) -> Any:
        raise FormulaError("a formula works on one weight at a time: there is nothing to iterate over or to index")

    def __getitem__(self, index: Any) -> Any:
        return self.__iter__()

    @classmethod
    def __torch_function__(cls, function: Callable, types: Any, args: tuple = (), kwargs: Any = None) -> Any:
        name = getattr(function, "__name__", str(function))
        raise FormulaError(f"torch.{name} works on tensors, a formula on one weight; write sd.{name}, if there is one")


def _power(x: Symbol, n: int) -> Symbol:
    """x ** n by repeated squaring."""
    if n == 1:
        return x
    half = _power(x, n // 2)
    return half * half * x if n % 2 else half * half  # type: ignore[operator]


def _operator(op: str, swap: bool = False) -> Callable[[Symbol, "Symbol | float"], Symbol]:
    def method(self: Symbol, other: "Symbol | float") -> Symbol:
        return self.tracer.apply(op, other, self) if swap else self.tracer.apply(op, self, other)

    return method


for _name, _op in {"add": "add", "sub": "sub", "mul": "mul", "truediv": "div", "and": "and", "or": "or"}.items():
    setattr(Symbol, f"__{_name}__", _operator(_op))
    setattr(Symbol, f"__r{_name}__", _operator(_op, swap=True))
for _op in ("lt", "le", "gt", "ge", "eq", "ne"):
    setattr(Symbol, f"__{_op}__", _operator(_op))


def _function(op: str, of_tensor: Callable, of_number: Callable) -> Callable:
    """A function that means the same on symbols, tensors and plain numbers."""

    def function(*x: Any) -> Any:
        for value in x:
            if isinstance(value, Symbol):
                return value.tracer.apply(op, *x)
        first = next((v for v in x if isinstance(v, torch.Tensor)), None)
        if first is None:
            return of_number(*x)
        like = next((v for v in x if isinstance(v, torch.Tensor) and v.is_floating_point()), first.double())
        return of_tensor(
            *(v if isinstance(v, torch.Tensor) else torch.as_tensor(v, dtype=like.dtype, device=like.device) for v in x)
        )

    function.__name__ = function.__qualname__ = op
    function.__doc__ = f"`{op}` of symbols, tensors or numbers, for use in a formula."
    return function


sqrt = _function("sqrt", torch.sqrt, math.sqrt)
sign = _function("sign", torch.sign, lambda x: float((x > 0) - (x < 0)))
abs = _function("abs", torch.abs, abs)
exp = _function("exp", torch.exp, math.exp)
log = _function("log", torch.log, math.log)
maximum = _function("maximum", torch.maximum, max)
minimum = _function("minimum", torch.minimum, min)
where = _function("where", lambda c, a, b: torch.where(c.bool(), a, b), lambda c, a, b: a if c else b)


@dataclass(frozen=True)
class Program:
    """A traced formula: straight-line arithmetic in single assignment form.

    Attributes:
        instructions: in an order in which they can be computed.
        outputs: places of the results.
        hoisted: places of the member values (and of what is made of constants alone) that the loop needs, in the order
            in which it gets them.
        names: by place what the formula called its intermediate values; only for reading.
    """

    instructions: tuple[Instruction, ...]
    outputs: tuple[int, ...]
    hoisted: tuple[int, ...]
    names: Mapping[int, str] = field(default_factory=dict, compare=False)

    @property
    def inputs(self) -> dict[str, int]:
        """The inputs that are used: name and place."""
        return {i.value: n for n, i in enumerate(self.instructions) if i.op == "input"}

    @property
    def text(self) -> str:
        """The whole program as text: equal texts, equal programs."""
        lines = [f"{n} {i.op} {i.args} {i.value!r} {i.kind}" for n, i in enumerate(self.instructions)]
        return "\n".join([*lines, f"return {self.outputs}, hoisted {self.hoisted}"])


def trace(formula: Callable, weights: Sequence[str], members: Sequence[str], hypers: Sequence[str]) -> Program:
    """The program of a formula, by calling it with symbols.

    Args:
        formula: a function; it gets those of the named values that its signature names.
        weights: names of the positional parameters that differ from weight to weight.
        members: names of the positional parameters that are one number per member (scalar slots).
        hypers: names of the keyword-only parameters.

    Raises:
        FormulaError: the formula does what cannot be lowered; the message names the line and what to write instead.
    """
    tracer = Tracer()
    given = {name: tracer.emit("input", value=name, kind=WEIGHT) for name in weights}
    given |= {name: tracer.emit("input", value=name, kind=MEMBER) for name in (*members, *hypers)}
    parameters = inspect.signature(formula).parameters.values()
    takes = {p.name for p in parameters}
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        takes |= set(hypers)
    positional = [given[p.name] for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD and p.name in given]
    try:
        results = formula(*positional, **{name: given[name] for name in hypers if name in takes})
        results = results if isinstance(results, tuple) else (results,)
        outputs = tuple(tracer.lift(r).place for r in results)
    except Exception as error:
        hint = "" if isinstance(error, FormulaError) else f"; a formula cannot do this: {MADE_OF}"
        raise FormulaError(f"{_where(error, formula)}{error}{hint}") from error
    return _pruned(tracer.instructions, outputs, tracer.named())


def _where(error: BaseException, formula: Callable) -> str:
    """The user's line that an error comes from: the innermost frame outside this package, torch and numpy."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(NOT_THE_USERS)]
    if not frames:
        code = formula.__code__
        return f"{code.co_filename}:{code.co_firstlineno}, in {formula.__name__}: "
    frame = frames[-1]
    return f"{frame.filename}:{frame.lineno}, in {frame.name}: `{frame.line}`: "


def _pruned(instructions: list[Instruction], outputs: tuple[int, ...], names: Mapping[int, str]) -> Program:
    """Only what the outputs need, renumbered, with the member values that the loop reads."""
    needed = set(outputs)
    for place in range(len(instructions) - 1, -1, -1):
        if place in needed:
            needed.update(instructions[place].args)
    kept = sorted(needed)
    new = {old: n for n, old in enumerate(kept)}
    program = tuple(
        Instruction(i.op, tuple(new[a] for a in i.args), i.value, i.kind) for i in (instructions[p] for p in kept)
    )
    ends = tuple(new[o] for o in outputs)
    read = [a for i in program if i.kind == WEIGHT for a in i.args] + list(ends)
    known = {p for p in read if program[p].kind < WEIGHT and program[p].op != "constant"}
    return Program(program, ends, tuple(sorted(known)), {new[p]: name for p, name in names.items() if p in new})
