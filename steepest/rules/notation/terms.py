"""A rule as mathematics: its trace converted back to assignments, as in a textbook.

    g ← g + λ w
    v ← β v + g
    w ← w − α v

Each variable and each output of the formula is one line. Terms undo what tracing did for speed: a product with a
reciprocal is a fraction again, repeated squaring a power. `notation` writes them.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from steepest.rules.rule import Rule
from steepest.rules.trace import Program

REPORT_NAME = "reported"
"""Name of the line with the weights that a rule reports, if these are not `w`."""


@dataclass(frozen=True)
class Term:
    """An expression.

    Attributes:
        op: "name" or "number"; "sum", "product" (of two or more parts), "neg", "fraction", "power", "sqrt"; or another
            operation of a trace, such as "maximum".
        parts: the operands.
        value: of a name or a number.
    """

    op: str
    parts: tuple["Term", ...] = ()
    value: Any = None

    def names(self) -> Iterator[str]:
        """Every name in it."""
        if self.op == "name":
            yield self.value
        for part in self.parts:
            yield from part.names()


ZERO = Term("number", value=0.0)


@dataclass(frozen=True)
class Line:
    """One assignment, `name ← term`; lines apply in order, and a name has the value last assigned to it."""

    name: str
    term: Term


def lines(rule: Rule, zero: Collection[str] = ()) -> tuple[Line, ...]:
    """A rule's assignments in order; the last one of a rule that reports other weights defines these.

    Args:
        rule: the rule; its hyperparameters stay names.
        zero: names of hyperparameters that are 0: terms multiplied by them are omitted.

    >>> from steepest.rules.textbook import momentum
    >>> [line.name for line in lines(momentum)], [line.name for line in lines(momentum, ["weight_decay"])]
    (['g', 'v', 'w'], ['v', 'w'])
    """
    assignments = _read(rule.program, ["w", *(slot.name for slot in rule.slots)], zero)
    if rule.evaluation is not None:
        assignments += _read(rule.evaluation, [REPORT_NAME], zero)
    return tuple(line for line in assignments if line.term != Term("name", value=line.name))


class _Variable(NamedTuple):
    """A name for the value at a place; `copy` if another name has the place already."""

    name: str
    place: int
    copy: bool


def _read(program: Program, outputs: list[str], zero: Collection[str]) -> list[Line]:
    ends = dict(zip(outputs, program.outputs, strict=True))
    inputs = {p: n for n, p in program.inputs.items()}
    names = {p: n for p, n in program.names.items() if n not in ends}
    names |= {p: n for n, p in reversed(ends.items()) if program.instructions[p].args}
    variables = [_Variable(names[p], p, False) for p in sorted(names)]
    variables += [_Variable(n, p, True) for n, p in ends.items() if names.get(p) != n and inputs.get(p) != n]
    renames: set[_Variable] = set()
    while True:
        labels = {v: f"{v.name}_new" if v in renames else v.name for v in variables}
        label_at = inputs | {v.place: labels[v] for v in variables if not v.copy}
        assignments, conflicts = _assignments(program, label_at, labels, zero)
        if not conflicts - renames:
            return assignments + [Line(v.name, Term("name", value=labels[v])) for v in variables if v in renames]
        renames |= conflicts


def _assignments(
    program: Program, label_at: Mapping[int, str], labels: Mapping[_Variable, str], zero: Collection[str]
) -> tuple[list[Line], set[_Variable]]:
    """The lines, and the variables whose name overwrites an older value that a later line still reads."""
    lines, conflicts = [], set()
    current: dict[str, tuple[int, _Variable | None]] = {n: (p, None) for n, p in program.inputs.items()}
    for v, label in labels.items():
        reader = _Reader(program, label_at if v.copy else {p: n for p, n in label_at.items() if p != v.place}, zero)
        lines.append(Line(label, reader.term(v.place)))
        conflicts |= {current[n][1] for n, p in reader.reads if current[n][0] != p}
        current[label] = v.place, v
    return lines, conflicts - {None}


class _Reader:
    """Reads the term at a place of a program; places with a name are not expanded."""

    def __init__(self, program: Program, names: Mapping[int, str], zero: Collection[str]) -> None:
        self._instructions, self._names, self._zero = program.instructions, names, zero
        self.reads: set[tuple[str, int]] = set()

    def term(self, place: int) -> Term:
        i = self._instructions[place]
        if place in self._names:
            if self._names[place] in self._zero:
                return ZERO
            self.reads.add((self._names[place], place))
            return Term("name", value=self._names[place])
        if i.op == "constant":
            return _number(i.value)
        if i.op in ("mul", "div"):
            return _quotient(*self._factors(place))
        if i.op == "add":
            a, b = (self.term(x) for x in i.args)
            return _sum(a, b)
        if i.op == "sub":
            a, b = (self.term(x) for x in i.args)
            return _sum(a, ZERO if b == ZERO else Term("neg", (b,)))
        return Term({"pow": "power"}.get(i.op, i.op), tuple(self.term(a) for a in i.args))

    def _factors(self, place: int) -> tuple[list[Term], list[Term]]:
        """Numerator and denominator."""
        i = self._instructions[place]
        if place in self._names or i.op not in ("mul", "div"):
            return [self.term(place)], []
        above, below = self._factors(i.args[0])
        if i.op == "div":
            return above, [*below, self.term(i.args[1])]
        more, under = self._factors(i.args[1])
        return above + more, below + under


def _sum(a: Term, b: Term) -> Term:
    if ZERO in (a, b):
        return b if a == ZERO else a
    return Term("sum", (*(a.parts if a.op == "sum" else (a,)), b))


def _number(value: float) -> Term:
    return Term("neg", (_number(-value),)) if value < 0 else Term("number", value=value)


def _quotient(above: list[Term], below: list[Term]) -> Term:
    if ZERO in above:
        return ZERO
    top = _product(above)
    return Term("fraction", (top, _product(below))) if below else top


def _product(factors: list[Term]) -> Term:
    """A product in which equal neighbours become a power and factors of 1 are omitted."""
    one = Term("number", value=1.0)
    flat = [x for f in factors for x in (f.parts if f.op == "product" else (f,)) if x != one]
    powers: list[tuple[Term, int]] = []
    for f in flat:
        if powers and powers[-1][0] == f:
            powers[-1] = (f, powers[-1][1] + 1)
        else:
            powers.append((f, 1))
    parts = tuple(f if n == 1 else Term("power", (f, Term("number", value=float(n)))) for f, n in powers)
    return Term("product", parts) if len(parts) > 1 else (*parts, one)[0]
