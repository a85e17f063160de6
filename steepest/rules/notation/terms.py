"""A rule as mathematics: its trace read back as assignments, line by line, as the textbook has them.

    g ← g + λ w
    v ← β v + g
    w ← w − α v

A line is what the formula gave a name, or returns; what lies between is one term. Terms undo what tracing did for
speed: a product with a reciprocal is a fraction again, repeated squaring a power. `formula.notation` writes them.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from steepest.rules.rule import Rule
from steepest.rules.trace import Program

REPORTED = "reported"
"""Name of the line with the weights that a rule reports, where these are not `w`."""


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


NOTHING = Term("number", value=0.0)


@dataclass(frozen=True)
class Line:
    """One assignment, `name ← term`; lines are read in order, and a name means what it was last given."""

    name: str
    term: Term


def lines(rule: Rule, zero: Collection[str] = ()) -> tuple[Line, ...]:
    """A rule's assignments in an order in which they hold; the last of a rule that reports other weights says which.

    Args:
        rule: the rule; its hyperparameters stay names.
        zero: names of hyperparameters that are 0: what is multiplied by them is left out.

    >>> from steepest.rules.textbook import momentum
    >>> [line.name for line in lines(momentum)], [line.name for line in lines(momentum, ["weight_decay"])]
    (['g', 'v', 'w'], ['v', 'w'])
    """
    found = _read(rule.program, ["w", *(slot.name for slot in rule.slots)], zero)
    if rule.evaluation is not None:
        found += _read(rule.evaluation, [REPORTED], zero)
    return tuple(line for line in found if line.term != Term("name", value=line.name))


class _Given(NamedTuple):
    """A name that is given to a place; a copy, where another name has the place already."""

    name: str
    place: int
    copy: bool


def _read(program: Program, outputs: list[str], zero: Collection[str]) -> list[Line]:
    ends = dict(zip(outputs, program.outputs, strict=True))
    inputs = {p: n for n, p in program.inputs.items()}
    named = {p: n for p, n in program.names.items() if n not in ends}
    named |= {p: n for n, p in reversed(ends.items()) if program.instructions[p].args}
    given = [_Given(named[p], p, False) for p in sorted(named)]
    given += [_Given(n, p, True) for n, p in ends.items() if named.get(p) != n and inputs.get(p) != n]
    renamed: set[_Given] = set()
    while True:
        shown = {d: f"{d.name}_new" if d in renamed else d.name for d in given}
        known = inputs | {d.place: shown[d] for d in given if not d.copy}
        found, hiding = _written(program, known, shown, zero)
        if not hiding - renamed:
            return found + [Line(d.name, Term("name", value=shown[d])) for d in given if d in renamed]
        renamed |= hiding


def _written(
    program: Program, known: Mapping[int, str], shown: Mapping[_Given, str], zero: Collection[str]
) -> tuple[list[Line], set[_Given]]:
    """The lines, and those among them whose name hides an older value that a later line still reads."""
    lines, hiding = [], set()
    meaning: dict[str, tuple[int, _Given | None]] = {n: (p, None) for n, p in program.inputs.items()}
    for d, name in shown.items():
        reader = _Reader(program, known if d.copy else {p: n for p, n in known.items() if p != d.place}, zero)
        lines.append(Line(name, reader.term(d.place)))
        hiding |= {meaning[n][1] for n, p in reader.reads if meaning[n][0] != p}
        meaning[name] = d.place, d
    return lines, hiding - {None}


class _Reader:
    """GroupSpec of a program's places; a place with a name is not looked into."""

    def __init__(self, program: Program, names: Mapping[int, str], zero: Collection[str]) -> None:
        self._instructions, self._names, self._zero = program.instructions, names, zero
        self.reads: set[tuple[str, int]] = set()

    def term(self, place: int) -> Term:
        i = self._instructions[place]
        if place in self._names:
            if self._names[place] in self._zero:
                return NOTHING
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
            return _sum(a, NOTHING if b == NOTHING else Term("neg", (b,)))
        return Term({"pow": "power"}.get(i.op, i.op), tuple(self.term(a) for a in i.args))

    def _factors(self, place: int) -> tuple[list[Term], list[Term]]:
        """What stands above and below the bar."""
        i = self._instructions[place]
        if place in self._names or i.op not in ("mul", "div"):
            return [self.term(place)], []
        above, below = self._factors(i.args[0])
        if i.op == "div":
            return above, [*below, self.term(i.args[1])]
        more, under = self._factors(i.args[1])
        return above + more, below + under


def _sum(a: Term, b: Term) -> Term:
    if NOTHING in (a, b):
        return b if a == NOTHING else a
    return Term("sum", (*(a.parts if a.op == "sum" else (a,)), b))


def _number(value: float) -> Term:
    return Term("neg", (_number(-value),)) if value < 0 else Term("number", value=value)


def _quotient(above: list[Term], below: list[Term]) -> Term:
    if NOTHING in above:
        return NOTHING
    top = _product(above)
    return Term("fraction", (top, _product(below))) if below else top


def _product(factors: list[Term]) -> Term:
    """Neighbours that are equal become a power, a factor of one is left out."""
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
