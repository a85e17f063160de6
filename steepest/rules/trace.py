"""Tracing: a formula is called with symbols, and the operations on them are recorded as a program.

Closures, helper functions and `if` on plain numbers work, because Python itself runs them; no source is read. A value
has one of three kinds: a *constant*, a *member* value (computed from hyperparameters, `t` and scalar slots: one number
per member, computed once per step in float64) or a *weight* value (one number per weight, computed in the loop).
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

CONSTANT, MEMBER_VALUE, WEIGHT = 0, 1, 2
RULES_FOLDER = Path(__file__).parent
LIBRARY_FILES = (
    *(str(RULES_FOLDER / name) for name in ("hoist.py", "rule.py", "trace.py")),
    *(f"{p}{os.sep}" for p in (RULES_FOLDER / "backends", Path(torch.__file__).parent, Path(np.__file__).parent)),
)
"""Files whose frames an error in a formula skips, so that it names the user's line."""
FORMULA_FUNCTIONS = ("sqrt", "sign", "abs", "where", "maximum", "minimum", "exp", "log")
FORMULA_HELP = (
    f"A formula may use its arguments, numbers, + - * / **, comparisons and sd.{', '.join(FORMULA_FUNCTIONS)}."
)


@dataclass(frozen=True)
class Instruction:
    """One operation of a program, identified by its place in the program.

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
    """Records instructions; equal ones are recorded once."""

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
            self._record_frames()
        return Symbol(self, self._places[key])

    def lift(self, x: "Symbol | float") -> "Symbol":
        if isinstance(x, Symbol):
            return x
        if isinstance(x, bool) or not isinstance(x, numbers.Real):
            raise FormulaError(f"a formula cannot use {type(x).__name__} {x!r}. {FORMULA_HELP}")
        return self.emit("constant", value=float(x), kind=CONSTANT)

    def _record_frames(self) -> None:
        """Stores the frames of the formulas on the call stack, innermost first, for the names of their variables."""
        frame: FrameType | None = sys._getframe(2)
        while frame is not None:
            if frame.f_code.co_varnames[:2] == ("w", "g"):
                self._frames.setdefault(id(frame), frame)
            frame = frame.f_back

    def take_names(self) -> dict[int, str]:
        """The names of the variables of the formula when it returned, by place; an outer formula's names win.

        The frames are released: a frame keeps everything in it alive.
        """
        places: dict[str, int] = {}
        for frame in self._frames.values():
            for name, x in frame.f_locals.items():
                if isinstance(x, Symbol) and x.tracer is self and self.instructions[x.place].args:
                    places[name] = x.place
        self._frames.clear()
        return {place: name for name, place in places.items()}

    def apply(self, op: str, *operands: "Symbol | float") -> "Symbol":
        symbols = [self.lift(x) for x in operands]
        if op == "div" and symbols[0].kind == WEIGHT > symbols[1].kind:  # one reciprocal per step, in float64
            return self.apply("mul", symbols[0], self.apply("div", 1.0, symbols[1]))
        return self.emit(op, tuple(s.place for s in symbols))


class Symbol:
    """A placeholder for a weight, a gradient, a slot or a hyperparameter in a formula."""

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
            "a formula must be straight-line arithmetic: it cannot branch on a value that differs between weights or "
            "steps. Write sd.where(condition, a, b) instead of if / and / or / not / max / min."
        )

    def _number(self) -> float:
        raise FormulaError(
            "math.* and float() need numbers, but this value is symbolic. "
            "Write sd.sqrt, sd.exp, sd.log, sd.abs, sd.sign, sd.maximum or sd.minimum."
        )

    __float__ = __int__ = __index__ = __complex__ = _number

    def __iter__(self) -> Any:
        raise FormulaError("a formula describes one weight, which cannot be iterated or indexed")

    def __getitem__(self, index: Any) -> Any:
        return self.__iter__()

    @classmethod
    def __torch_function__(cls, function: Callable, types: Any, args: tuple = (), kwargs: Any = None) -> Any:
        name = getattr(function, "__name__", str(function))
        hint = f"Write sd.{name}." if name in FORMULA_FUNCTIONS else FORMULA_HELP
        raise FormulaError(f"torch.{name} needs tensors, but a formula describes one weight. {hint}")


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
    """A function for symbols, tensors and plain numbers."""

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
    function.__doc__ = f"`{op}` of symbols, tensors or numbers, for formulas."
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
        hoisted: places of the values that are computed once per step and that the loop needs, in the loop's order.
        names: the formula's names for its intermediate values, by place; only for the notation.
    """

    instructions: tuple[Instruction, ...]
    outputs: tuple[int, ...]
    hoisted: tuple[int, ...]
    names: Mapping[int, str] = field(default_factory=dict, compare=False)

    @property
    def inputs(self) -> dict[str, int]:
        """The place of each input that is used, by name."""
        return {i.value: n for n, i in enumerate(self.instructions) if i.op == "input"}

    @property
    def text(self) -> str:
        """The program as text; equal programs have equal texts."""
        lines = [f"{n} {i.op} {i.args} {i.value!r} {i.kind}" for n, i in enumerate(self.instructions)]
        return "\n".join([*lines, f"return {self.outputs}, hoisted {self.hoisted}"])


def trace(formula: Callable, weights: Sequence[str], members: Sequence[str], hypers: Sequence[str]) -> Program:
    """The program of a formula, obtained by calling it with symbols.

    Args:
        formula: a function; it receives those of the named values that are in its signature.
        weights: names of the positional parameters with one value per weight.
        members: names of the positional parameters with one value per member (scalar slots).
        hypers: names of the keyword-only parameters.

    Raises:
        FormulaError: the formula cannot be traced; the message names the line and what to write instead.
    """
    tracer = Tracer()
    symbols = {name: tracer.emit("input", value=name, kind=WEIGHT) for name in weights}
    symbols |= {name: tracer.emit("input", value=name, kind=MEMBER_VALUE) for name in (*members, *hypers)}
    parameters = inspect.signature(formula).parameters.values()
    takes = {p.name for p in parameters}
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        takes |= set(hypers)
    positional = [symbols[p.name] for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD and p.name in symbols]
    try:
        results = formula(*positional, **{name: symbols[name] for name in hypers if name in takes})
        results = results if isinstance(results, tuple) else (results,)
        outputs = tuple(tracer.lift(r).place for r in results)
    except Exception as error:
        hint = "" if isinstance(error, FormulaError) else f". {FORMULA_HELP}"
        raise FormulaError(f"{_where(error, formula)}{error}{hint}") from error
    return _prune(tracer.instructions, outputs, tracer.take_names())


def _where(error: BaseException, formula: Callable) -> str:
    """The user's line that caused an error: the innermost frame outside this package, torch and numpy."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(LIBRARY_FILES)]
    if not frames:
        code = formula.__code__
        return f"{code.co_filename}:{code.co_firstlineno}, in {formula.__name__}: "
    frame = frames[-1]
    return f"{frame.filename}:{frame.lineno}, in {frame.name}: `{frame.line}`: "


def _prune(instructions: list[Instruction], outputs: tuple[int, ...], names: Mapping[int, str]) -> Program:
    """The program of the instructions that the outputs need, renumbered."""
    live = set(outputs)
    for place in range(len(instructions) - 1, -1, -1):
        if place in live:
            live.update(instructions[place].args)
    places = sorted(live)
    new = {old: n for n, old in enumerate(places)}
    program = tuple(
        Instruction(i.op, tuple(new[a] for a in i.args), i.value, i.kind) for i in (instructions[p] for p in places)
    )
    ends = tuple(new[o] for o in outputs)
    read = [a for i in program if i.kind == WEIGHT for a in i.args] + list(ends)
    hoists = {p for p in read if program[p].kind < WEIGHT and program[p].op != "constant"}
    return Program(program, ends, tuple(sorted(hoists)), {new[p]: name for p, name in names.items() if p in new})
