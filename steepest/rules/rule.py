"""An update rule is one formula, written as in the textbook; everything else follows from its signature.

    @sd.rule
    def momentum(w, g, v=0.0, *, lr=0.01, beta=0.9):
        v = beta * v + g
        return w - lr * v, v

Positional parameters are the weight, its gradient and the state slots with their starting values; keyword-only
parameters are hyperparameters. The CPU kernel (`backends.cpu`), the reference implementation (`backends.eager`), the
page's program (`backends.page`) and the printed formula (`notation`) are generated from this one source.
"""

import functools
import importlib
import inspect
import math
import numbers
import sys
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, overload

import numpy as np

from steepest.errors import FormulaError, InputError, unknown
from steepest.rules.trace import MEMBER_VALUE, Program, trace


@dataclass(frozen=True)
class Scalar:
    """Starting value of a slot that holds one number per member instead of one per weight."""

    start: float


class _Weights:
    """Starting value of a slot that starts at the weights."""

    def __repr__(self) -> str:
        return "sd.W"


W: Any = _Weights()


def scalar(start: float) -> Any:
    """The starting value of a slot with one number per member, such as a running product of momentum factors.

    >>> scalar(1.0)
    Scalar(start=1.0)
    """
    return Scalar(float(start))


@dataclass(frozen=True)
class Slot:
    """A state variable of a rule: one number per weight, or one per member if `start` is a Scalar.

    Attributes:
        name: the parameter of the formula.
        start: a number, `sd.W` (starts at the weights) or a Scalar.
    """

    name: str
    start: Any

    @property
    def is_scalar(self) -> bool:
        return isinstance(self.start, Scalar)


@dataclass(frozen=True)
class Rule:
    """An update rule with its hyperparameters. Call it to change some: `sd.momentum(beta=0.95)`.

    Attributes:
        name: the name of the rule.
        formula: `(w, g, *slots, *, hyperparameters) -> (w, *slots)`, a pure function of numbers.
        hypers: hyperparameters by name, without `t`; `lr` is the rule's default learning rate, or None. A value may be
            a schedule: the hyperparameter is then its factor at step t.
        evaluate: `(w, *slots, *, hyperparameters)` -> the weights that the rule reports, if these are not `w`.
    """

    name: str
    formula: Callable
    hypers: Mapping[str, Any] = field(compare=True)
    evaluate: Callable | None = None

    def __call__(self, **hypers: Any) -> "Rule":
        """This rule with other hyperparameters."""
        for name, value in hypers.items():
            if name not in self.hypers:
                raise unknown("hyperparameter", name, self.hypers, f" of {self.name}")
            _check_hyper(self.name, name, value)
        return replace(self, hypers={**self.hypers, **hypers})

    def __reduce__(self) -> Any:
        """A rule of a module is pickled by its name, since its formula has the same one; others by their formula."""
        module, name = self.formula.__module__, self.formula.__qualname__
        base = getattr(sys.modules.get(module), name, None)
        if isinstance(base, Rule) and base.formula is self.formula:
            return _find, (module, name, dict(self.hypers))
        return self.by_formula()

    def by_formula(self) -> tuple[type["Rule"], tuple]:
        """How a rule is pickled where its module is not known: the class, and its arguments."""
        return Rule, (self.name, self.formula, dict(self.hypers), self.evaluate)

    def __repr__(self) -> str:
        return f"{self.name}({', '.join(f'{k}={v}' for k, v in self.hypers.items())})"

    @functools.cached_property
    def slots(self) -> tuple[Slot, ...]:
        """The state variables of the rule, in the order of the signature."""
        positional = [p for p in inspect.signature(self.formula).parameters.values() if p.kind is not p.KEYWORD_ONLY]
        return tuple(Slot(p.name, p.default) for p in positional[2:])

    @functools.cached_property
    def program(self) -> Program:
        """The traced formula. Its outputs are the new weight and the new slots, in the order of `slots`."""
        program = trace(self.formula, ["w", "g", *self._names(False)], self._names(True), self._keywords)
        self._check_outputs(program)
        return program

    @functools.cached_property
    def evaluation(self) -> Program | None:
        """The traced `evaluate`, or None if the rule reports `w` itself."""
        if self.evaluate is None:
            return None
        return trace(self.evaluate, ["w", *self._names(False)], self._names(True), self._keywords)

    @property
    def summary(self) -> str:
        """The first line of the formula's docstring."""
        return (inspect.getdoc(self.formula) or "").partition("\n")[0]

    @property
    def citation(self) -> str:
        """The rest of the formula's docstring: the source of the rule."""
        return (inspect.getdoc(self.formula) or "").partition("\n")[2].strip()

    @property
    def source(self) -> str:
        """The source of the formula, without decorator and docstring; the traced program if there is no source."""
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
        where = _location(inspect.unwrap(self.formula))
        names = ["w", *(s.name for s in self.slots)]
        if len(program.outputs) != len(names):
            raise FormulaError(
                f"{where}rule {self.name} must return {', '.join(names)}, in this order, "
                f"got {len(program.outputs)} value{'s' * (len(program.outputs) != 1)}"
            )
        for slot, place in zip(self.slots, program.outputs[1:], strict=True):
            if slot.is_scalar and program.instructions[place].kind > MEMBER_VALUE:
                raise FormulaError(
                    f"{where}slot {slot.name} of rule {self.name} is sd.scalar (one number per member), so it must not "
                    "depend on weights or gradients. Make it a slot per weight, or compute it from hyperparameters."
                )


def _find(module: str, name: str, hypers: dict[str, Any]) -> Rule:
    """The rule of a module with other hyperparameters."""
    return replace(getattr(importlib.import_module(module), name), hypers=hypers)


def with_average(rule: Rule, beta: float) -> Rule:
    """A rule that also keeps a running average of the weights, and reports it.

        aₜ = Σᵢ βᵗ⁻ⁱ wᵢ (1 − β) / (1 − βᵗ) = bₜ aₜ₋₁ + (1 − bₜ) wₜ,    bₜ = (β − βᵗ) / (1 − βᵗ)

    Adam's bias correction: the weights of all points sum to 1, and the first average is the first point.

    Args:
        rule: the rule that updates the weights.
        beta: share of the average that is kept at each step in the long run, 0 ≤ β < 1.

    Raises:
        InputError: the rule already reports an average, or beta is out of range.

    Source: Polyak and Juditsky 1992; in this exponential form, e.g. Tarvainen and Valpola 2017; the correction is that
    of Kingma and Ba 2015, arXiv:1412.6980, section 3.
    """

    def mean(average: Any, w: Any, average_beta: Any, t: Any) -> Any:
        power = average_beta**t
        share = (average_beta - power) / (1 - power)
        return share * average + (1 - share) * w

    return _with_average(rule, beta, mean)


def with_uncorrected_average(rule: Rule, beta: float) -> Rule:
    """The same as `with_average` by the formula of Steepest 0.1, for its runs: a ← β a + (1 − β) w from the start."""

    def mean(average: Any, w: Any, average_beta: Any, t: Any) -> Any:
        return average_beta * average + (1 - average_beta) * w

    return _with_average(rule, beta, mean)


def _with_average(rule: Rule, beta: float, mean: Callable[[Any, Any, Any, Any], Any]) -> Rule:
    """A rule with one slot more, `average`, whose next value is `mean(average, w, average_beta, t)`."""
    if rule.evaluate is not None:
        raise InputError(f"average cannot be used with {rule.name}, which reports an average of its own. Drop it.")
    if not 0 <= beta < 1:
        raise InputError(f"average must be at least 0 and below 1, such as 0.999, got {beta}")
    formula = rule.formula
    parameters = list(inspect.signature(formula).parameters.values())
    has_t = any(p.name == "t" for p in parameters)

    @functools.wraps(formula)
    def step(w: Any, g: Any, *slots: Any, average_beta: Any, t: Any, **hypers: Any) -> tuple:
        *others, average = slots
        results = formula(w, g, *others, **hypers, **({"t": t} if has_t else {}))
        w, *others = results if isinstance(results, tuple) else (results,)
        return w, *others, mean(average, w, average_beta, t)

    def report(w: Any, *slots: Any, **hypers: Any) -> Any:
        return slots[-1]

    # The signatures say what a rule is: the same parameters, and one slot, one hyperparameter and the count t more.
    positional = [p for p in parameters if p.kind is not p.KEYWORD_ONLY]
    average = inspect.Parameter("average", inspect.Parameter.POSITIONAL_OR_KEYWORD, default=W)
    keywords = [p for p in parameters if p.kind is p.KEYWORD_ONLY and p.name != "t"]
    keywords += [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY) for name in ("average_beta", "t")]
    step.__signature__ = inspect.Signature([*positional, average, *keywords])  # type: ignore[attr-defined]
    report.__signature__ = inspect.Signature([positional[0], *positional[2:], average, *keywords])  # type: ignore[attr-defined]
    return Rule(rule.name, step, {**rule.hypers, "average_beta": beta}, report)


@overload
def rule(formula: Callable) -> Rule: ...
@overload
def rule(*, evaluate: Callable) -> Callable[[Callable], Rule]: ...
def rule(formula: Callable | None = None, *, evaluate: Callable | None = None) -> Any:
    """Make an update rule from a formula.

    Args:
        formula: `(w, g, *slots, *, hyperparameters) -> (w, *slots)`. The default of a slot is its starting value: a
            number, `sd.W` or `sd.scalar(x)`. The default of `lr` is the rule's default learning rate. A hyperparameter
            named `t` is the number of steps this rule has taken, from 1.
        evaluate: `(w, *slots, *, hyperparameters)` -> the weights that the rule reports, if these are not `w`.

    Raises:
        FormulaError: the signature is not that of a rule; or, at the first use, the formula cannot be compiled.

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
    where = f"{_location(formula)}rule {formula.__name__}: "
    positional = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    keywords = [p for p in parameters if p.kind is p.KEYWORD_ONLY]
    if len(positional) + len(keywords) != len(parameters):
        raise FormulaError(f"{where}*args and **kwargs are not allowed. Name each slot and each hyperparameter.")
    if [p.name for p in positional[:2]] != ["w", "g"]:
        raise FormulaError(f"{where}the first two parameters must be w (weight) and g (gradient)")
    for p in positional[2:]:
        if not (p.default is W or isinstance(p.default, Scalar | numbers.Real)) or isinstance(p.default, bool):
            raise FormulaError(f"{where}slot {p.name} must have a starting value: a number, sd.W or sd.scalar(number)")
    if "lr" not in (p.name for p in keywords):
        raise FormulaError(f"{where}the keyword-only parameter lr (learning rate) is missing. Write (w, g, *, lr).")
    hypers = {p.name: None if p.default is p.empty else p.default for p in keywords if p.name != "t"}
    for name, value in hypers.items():
        if value is None and name != "lr":
            raise FormulaError(f"{where}hyperparameter {name} must have a default value")
    return Rule(formula.__name__, formula, hypers, evaluate)


def _location(formula: Callable) -> str:
    return f"{formula.__code__.co_filename}:{formula.__code__.co_firstlineno}, "


def _check_hyper(rule_name: str, name: str, value: Any) -> None:
    """Checks that a hyperparameter is a finite number in its range, or a schedule (any object with `bind`)."""
    if hasattr(value, "bind"):
        return
    is_number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value):
        requirement = "a finite number or a schedule"
    elif name == "lr" and value <= 0:
        requirement = "a positive number, such as 1e-3"
    elif name.startswith("beta") and not 0 <= value < 1:
        requirement = "at least 0 and below 1"
    elif name in ("weight_decay", "eps") and value < 0:
        requirement = "at least 0"
    else:
        return
    raise InputError(f"{name} of {rule_name} must be {requirement}, got {value!r}")
