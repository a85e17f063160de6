"""An update rule is one formula, written as in the textbook; everything else about it follows from its signature.

    @sd.rule
    def momentum(w, g, v=0.0, *, lr=0.01, beta=0.9):
        v = beta * v + g
        return w - lr * v, v

Positional parameters are the weight, its gradient and the state slots with their starting values; keyword-only
parameters are hyperparameters. From this one source come the CPU kernel (`formula.numba`), the obvious reference
(`formula.eager`), the page's program (`formula.javascript`) and the formula in print (`formula.maths`).
"""

import functools
import inspect
import math
import numbers
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, overload

import numpy as np

from steepest.errors import FormulaError, InputError, unknown
from steepest.rules.trace import MEMBER, Program, trace


@dataclass(frozen=True)
class Scalar:
    """Start of a slot that holds one number per member instead of one per weight."""

    start: float


class _Weights:
    """Start of a slot that begins at the weights."""

    def __repr__(self) -> str:
        return "sd.W"


W: Any = _Weights()


def scalar(start: float) -> Any:
    """The start of a slot that holds one number per member, such as a running product of momentum factors.

    >>> scalar(1.0)
    Scalar(start=1.0)
    """
    return Scalar(float(start))


@dataclass(frozen=True)
class Slot:
    """A state of a rule: one number per weight, or per member where `start` is a Scalar.

    Attributes:
        name: as in the formula.
        start: a number, `sd.W` (starts at the weights) or a Scalar.
    """

    name: str
    start: Any

    @property
    def is_scalar(self) -> bool:
        return isinstance(self.start, Scalar)


@dataclass(frozen=True)
class Rule:
    """An update rule with its hyperparameters; call it to change some: `sd.momentum(beta=0.95)`.

    Attributes:
        name: of the rule.
        formula: `(w, g, *slots, *, hyperparameters) -> (w, *slots)`, a pure function of numbers.
        hypers: hyperparameters by name, without `t`; `lr` is the rule's default rate, or None where it has none.
            A value may be a schedule, whose factor at step t it then is.
        evaluate: `(w, *slots, *, hyperparameters)` -> the weights that the rule reports, where these are not `w`.
    """

    name: str
    formula: Callable
    hypers: Mapping[str, Any] = field(compare=True)
    evaluate: Callable | None = None

    def __call__(self, **hypers: Any) -> "Rule":
        """This rule with other hyperparameters."""
        for name, value in hypers.items():
            if name not in self.hypers:
                raise unknown(f"hyperparameter of {self.name}", name, self.hypers)
            _check_hyper(self.name, name, value)
        return replace(self, hypers={**self.hypers, **hypers})

    def __repr__(self) -> str:
        given = ", ".join(f"{k}={v}" for k, v in self.hypers.items())
        return f"{self.name}({given})"

    @functools.cached_property
    def slots(self) -> tuple[Slot, ...]:
        """The state of the rule, as its signature says."""
        positional = [p for p in inspect.signature(self.formula).parameters.values() if p.kind is not p.KEYWORD_ONLY]
        return tuple(Slot(p.name, p.default) for p in positional[2:])

    @property
    def uses_t(self) -> bool:
        return "t" in inspect.signature(self.formula).parameters

    @functools.cached_property
    def program(self) -> Program:
        """The traced formula. Its outputs are the new weight and the new slots, in the order of `slots`."""
        program = trace(self.formula, ["w", "g", *self._names(False)], self._names(True), self._keywords)
        self._check_outputs(program)
        return program

    @functools.cached_property
    def evaluation(self) -> Program | None:
        """The traced `evaluate`, or None where the rule reports `w` itself."""
        if self.evaluate is None:
            return None
        return trace(self.evaluate, ["w", *self._names(False)], self._names(True), self._keywords)

    @property
    def summary(self) -> str:
        """The first line of the formula's docstring."""
        return (inspect.getdoc(self.formula) or "").partition("\n")[0]

    @property
    def citation(self) -> str:
        """The rest of the formula's docstring: where the rule comes from."""
        return (inspect.getdoc(self.formula) or "").partition("\n")[2].strip()

    @property
    def source(self) -> str:
        """The formula as it was written, without decorator and docstring; the traced program where that is gone."""
        try:
            lines = inspect.getsource(self.formula)
        except OSError:
            return self.program.text
        text = textwrap.dedent(lines)
        text = text[text.index("def ") :]
        doc = self.formula.__doc__
        if doc and f'"""{doc}"""' in text:
            before, _, after = text.partition(f'"""{doc}"""')
            text = before.rstrip() + after
        return text.rstrip()

    def _names(self, scalars: bool) -> list[str]:
        return [s.name for s in self.slots if s.is_scalar == scalars]

    @property
    def _keywords(self) -> list[str]:
        return [p.name for p in inspect.signature(self.formula).parameters.values() if p.kind is p.KEYWORD_ONLY]

    def _check_outputs(self, program: Program) -> None:
        expected = 1 + len(self.slots)
        where = f"{self.formula.__code__.co_filename}:{self.formula.__code__.co_firstlineno}, "
        if len(program.outputs) != expected:
            names = ", ".join(["w", *(s.name for s in self.slots)])
            raise FormulaError(
                f"{where}rule {self.name} returns {len(program.outputs)} values and has {expected - 1} slots; "
                f"it must return {names}, in this order"
            )
        for slot, place in zip(self.slots, program.outputs[1:], strict=True):
            if slot.is_scalar and program.instructions[place].kind > MEMBER:
                raise FormulaError(
                    f"{where}slot {slot.name} of rule {self.name} is sd.scalar, one number per member, and is computed "
                    "from weights or gradients; make it a slot per weight, or compute it from hyperparameters"
                )


def with_average(rule: Rule, beta: float) -> Rule:
    """A rule that also keeps a running average of the weights, and reports it.

    a ← β a + (1 − β) w, starting at the weights.

    Args:
        rule: the rule that moves the weights.
        beta: share of the average that stays at each step, 0 ≤ β < 1.

    Source: Polyak and Juditsky 1992; in this exponential form, e.g. Tarvainen and Valpola 2017.
    """
    if rule.evaluate is not None:
        raise InputError(f"rule {rule.name} already reports an average of its own; leave average out")
    if not 0 <= beta < 1:
        raise InputError(f"average={beta} is given; expected is 0 ≤ average < 1, such as 0.999")
    formula = rule.formula
    names = [s.name for s in rule.slots]
    keywords = list(rule._keywords)
    # An adapter with a signature of its own: the same parameters, one slot and one hyperparameter more.
    slots = "".join(f"{n}, " for n in names)
    defaults = "".join(f"{n}=starts[{i}], " for i, n in enumerate(names))
    hypers = ", ".join(f"{k}={k}" for k in keywords)
    scope: dict[str, Any] = {"formula": formula, "starts": [s.start for s in rule.slots], "W": W}
    exec(
        f"def step(w, g, {defaults}average=W, *, {', '.join([*keywords, 'average_beta'])}):\n"
        f"    results = formula(w, g, {slots}{hypers})\n"
        f"    w, *slots = results if isinstance(results, tuple) else (results,)\n"
        f"    return w, *slots, average_beta * average + (1 - average_beta) * w\n"
        f"def report(w, {slots}average, *, {', '.join([*keywords, 'average_beta'])}):\n"
        f"    return average\n",
        scope,
    )
    step = scope["step"]
    step.__doc__ = formula.__doc__
    return Rule(rule.name, step, {**rule.hypers, "average_beta": beta}, scope["report"])


@overload
def rule(formula: Callable) -> Rule: ...
@overload
def rule(*, evaluate: Callable) -> Callable[[Callable], Rule]: ...
def rule(formula: Callable | None = None, *, evaluate: Callable | None = None) -> Any:
    """Make an update rule of a formula.

    Args:
        formula: `(w, g, *slots, *, hyperparameters) -> (w, *slots)`. Slots have their starting value as default: a
        number,
            `sd.W` or `sd.scalar(x)`. `lr`'s default is the rule's default rate. A hyperparameter named `t` is the
            number of steps this rule has taken, from 1.
        evaluate: `(w, *slots, *, hyperparameters)` -> the weights that the rule reports, where these are not `w`.

    Raises:
        FormulaError: the signature is not one of a rule, or, when first used, the formula cannot be lowered.

    >>> @rule
    ... def my_momentum(w, g, v=0.0, *, lr, beta=0.9):
    ...     v = beta * v + g
    ...     return w - lr * v, v
    >>> my_momentum(beta=0.5)
    my_momentum(lr=None, beta=0.5)
    """
    if formula is None:
        return functools.partial(_rule, evaluate=evaluate)
    return _rule(formula, evaluate)


def _rule(formula: Callable, evaluate: Callable | None) -> Rule:
    parameters = list(inspect.signature(formula).parameters.values())
    where = f"{formula.__code__.co_filename}:{formula.__code__.co_firstlineno}, rule {formula.__name__}: "
    positional = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    keywords = [p for p in parameters if p.kind is p.KEYWORD_ONLY]
    if len(positional) + len(keywords) != len(parameters):
        raise FormulaError(f"{where}*args and **kwargs are given; a rule names each of its slots and hyperparameters")
    if [p.name for p in positional[:2]] != ["w", "g"]:
        raise FormulaError(f"{where}the first two parameters must be w (weight) and g (gradient)")
    for p in positional[2:]:
        if not (p.default is W or isinstance(p.default, Scalar | numbers.Real)) or isinstance(p.default, bool):
            raise FormulaError(f"{where}slot {p.name} needs a starting value: a number, sd.W or sd.scalar(number)")
    if "lr" not in (p.name for p in keywords):
        raise FormulaError(f"{where}there is no keyword-only parameter lr, the learning rate; write (w, g, *, lr)")
    hypers = {p.name: None if p.default is p.empty else p.default for p in keywords if p.name != "t"}
    for name, value in hypers.items():
        if value is None and name != "lr":
            raise FormulaError(f"{where}hyperparameter {name} needs a default value")
    return Rule(formula.__name__, formula, hypers, evaluate)


def _check_hyper(rule_name: str, name: str, value: Any) -> None:
    """A hyperparameter is a finite number, or a schedule (any object with `bind`); a rate is positive."""
    if hasattr(value, "bind"):
        return
    if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not math.isfinite(value):
        raise InputError(f"{rule_name}: {name}={value!r} is given; expected is a finite number or a schedule")
    if name == "lr" and value <= 0:
        raise InputError(f"{rule_name}: lr={value} is given; a learning rate is a number above 0, such as 1e-3")
    if name.startswith("beta") and not 0 <= value < 1:
        raise InputError(f"{rule_name}: {name}={value} is given; expected is 0 ≤ {name} < 1")
    if name in ("weight_decay", "eps") and value < 0:
        raise InputError(f"{rule_name}: {name}={value} is given; expected is a number of at least 0")
