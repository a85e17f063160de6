"""Reads a schedule's text, by hand and by a whitelist; nothing is evaluated.

schedule  = product {">>" product}
product   = factor {"*" factor}                        at least one factor is not a number
factor    = number | "(" schedule ")" | name ["(" [argument {"," argument}] ")"]
argument  = [name "="] value                           positions come before names
value     = ["-"] number ["%" | "epoch" | "epochs" | "step" | "steps"]
number    = (digits ["." [digits]] | "." digits) [("e" | "E") ["+" | "-"] digits]
"""

import operator
import re
from collections.abc import Callable
from dataclasses import MISSING
from typing import Any, NamedTuple, NoReturn, TypeVar

from steepest.errors import InputError, ScheduleError, nearest
from steepest.schedule.algebra import Bare, Schedule, lift, scaled
from steepest.schedule.base import Part
from steepest.schedule.lengths import NUMBER, UNITS, Length, plain
from steepest.schedule.plateau import plateau
from steepest.schedule.shapes import (
    constant,
    cosine,
    cosine_restarts,
    exponential,
    inverse_sqrt,
    linear,
    one_cycle,
    polynomial,
    step,
    warmup,
)

PARTS: dict[str, type[Part]] = {
    part.__name__: part
    for part in (
        *(constant, warmup, cosine, linear, polynomial, exponential),
        *(step, one_cycle, cosine_restarts, inverse_sqrt, plateau),
    )
}
EXAMPLES = {
    "warmup": "warmup(5%)",
    "polynomial": "polynomial(2)",
    "exponential": "exponential(0.01)",
    "step": "step(30 epochs, gamma=0.1)",
    "cosine_restarts": "cosine_restarts(10 epochs, mult=2)",
    "inverse_sqrt": "inverse_sqrt(4000)",
}
DEEPEST = 50  # nested brackets; far beyond sense, and far from Python's own limit
TOKEN = re.compile(rf"(?P<number>{NUMBER})|(?P<name>[A-Za-z_][A-Za-z0-9_]*)|(?P<sign>>>|[*(),=%-])|(?P<space>\s+)")


def parse(text: str) -> Schedule:
    """The schedule that a text means.

    Args:
        text: such as "warmup(5%) >> cosine(floor=0.1)"; the grammar is at the top of this module.

    Returns:
        A schedule whose `str` is the text in its plainest form.

    Raises:
        ScheduleError: if it does not parse, with the position of the mistake.

    >>> print(parse("warmup( 5 % )>>0.5*cosine()"))
    warmup(5%) >> 0.5 * cosine
    >>> parse("warmup(5%) >>>> cosine")
    Traceback (most recent call last):
        ...
    steepest.errors.ScheduleError: schedule, character 14: expected a part such as cosine, a number or '(', found '>>'
        warmup(5%) >>>> cosine
                     ^
    """
    if not isinstance(text, str):
        raise InputError(f"{text!r} is no text of a schedule; expected one such as 'warmup(5%) >> cosine'")
    return _Parser(text).whole()


def as_schedule(given: str | Bare) -> Schedule:
    """The schedule that is meant by a text, by a schedule, or by a part without brackets such as `sd.cosine`.

    Raises:
        InputError: if it cannot be meant as a schedule.

    >>> as_schedule("cosine") == as_schedule(cosine) == as_schedule(cosine())
    True
    """
    schedule = lift(given)
    if schedule is not None:
        return schedule
    if isinstance(given, str):
        return parse(given)
    raise InputError(f"{given!r} is no schedule; expected one such as 'warmup(5%) >> cosine'")


class _Token(NamedTuple):
    kind: str
    text: str
    position: int

    def __str__(self) -> str:
        return f"'{self.text}'" if self.text else "the end of the text"


def _tokens(text: str) -> list[_Token]:
    tokens, position = [], 0
    while position < len(text):
        found = TOKEN.match(text, position)
        if found is None:
            raise ScheduleError(text, position, _stranger(text[position]))
        if found.lastgroup and found.lastgroup != "space":
            tokens.append(_Token(found.lastgroup, found[0], position))
        position = found.end()
    return [*tokens, _Token("end", "", len(text))]


def _stranger(character: str) -> str:
    hint = (
        "lengths are written without quotes: 5%, 30 epochs" if character in "'\"" else "use >> to join, * to multiply"
    )
    return f"'{character}' does not belong in a schedule; {hint}"


_R = TypeVar("_R")


class _Parser:
    """Recursive descent over the tokens: one method for each line of the grammar."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = _tokens(text)
        self.index = 0
        self.depth = 0

    @property
    def token(self) -> _Token:
        return self.tokens[self.index]

    def fail(self, position: int, problem: str) -> NoReturn:
        raise ScheduleError(self.text, position, problem)

    def advance(self) -> _Token:
        self.index += 1
        return self.tokens[self.index - 1]

    def take(self, sign: str) -> bool:
        """Whether the next token is this sign, which is then passed."""
        found = self.token.kind == "sign" and self.token.text == sign
        self.index += found
        return found

    def at(self, position: int, make: Callable[..., _R], *arguments: Any) -> _R:
        """What is made of the arguments; what is wrong with them is said at the position."""
        try:
            return make(*arguments)
        except InputError as error:
            self.fail(position, str(error))

    def whole(self) -> Schedule:
        if self.token.kind == "end":
            self.fail(self.token.position, "the text is empty; expected a schedule such as warmup(5%) >> cosine")
        schedule = self.schedule()
        if self.token.kind != "end":
            self.fail(self.token.position, f"expected '>>', '*' or the end, found {self.token}")
        return schedule

    def schedule(self) -> Schedule:
        schedule = self.product()
        while self.take(">>"):
            position = self.token.position
            schedule = self.at(position, operator.rshift, schedule, self.product())
        return schedule

    def product(self) -> Schedule:
        start = self.token.position
        value = self.factor()
        while self.take("*"):
            position = self.token.position
            value = self.at(position, operator.mul, value, self.factor())
        if not isinstance(value, Schedule):
            self.fail(start, f"a number alone is no schedule; write {plain(value)} * constant")
        return value

    def factor(self) -> float | Schedule:
        token = self.advance()
        if token.kind == "number":
            return self.scale(token)
        if token.kind == "name":
            return self.part(token)
        if token.text == "(":
            return self.brackets(token)
        return self.fail(token.position, f"expected a part such as cosine, a number or '(', found {token}")

    def scale(self, token: _Token) -> float:
        scale = float(token.text)
        if self.token.text in UNITS:
            self.fail(token.position, "a length cannot scale; expected a number, as in 0.9 * cosine")
        self.at(token.position, scaled, scale, constant())
        return scale

    def brackets(self, opening: _Token) -> Schedule:
        self.depth += 1
        if self.depth > DEEPEST:
            self.fail(opening.position, f"brackets are nested more than {DEEPEST} deep")
        schedule = self.schedule()
        self.close(opening)
        self.depth -= 1
        return schedule

    def close(self, opening: _Token) -> None:
        if not self.take(")"):
            expected = f"expected ')' for the '(' at character {opening.position + 1}"
            self.fail(self.token.position, f"{expected}, found {self.token}")

    def part(self, name: _Token) -> Schedule:
        if name.text not in PARTS:
            self.fail(name.position, f"there is no schedule '{name.text}'; {nearest(name.text, PARTS)}")
        part, opening, arguments = PARTS[name.text], self.token, {}
        if self.take("("):
            arguments = self.arguments(part)
            self.close(opening)
        for missing, field in part.parameters().items():
            if field.default is MISSING and missing not in arguments:
                self.fail(name.position, f"{name.text} needs {missing}, as in {EXAMPLES[name.text]}")
        return part(**arguments)

    def arguments(self, part: type[Part]) -> dict[str, Any]:
        arguments: dict[str, Any] = {}
        by_name = False
        while self.token.text != ")":
            start, name = self.token, self.argument_name()
            if name is None and by_name:
                self.fail(start.position, "arguments without a name come before those with one")
            by_name = name is not None
            key = self.key(part, start, name, arguments)
            position = self.token.position
            arguments[key] = self.at(position, part.check, key, self.value())
            if not self.take(","):
                break
            if self.token.text == ")":
                self.fail(self.token.position, "expected another argument after ',', found ')'")
        return arguments

    def argument_name(self) -> str | None:
        if self.token.kind != "name":
            return None
        name = self.advance()
        if not self.take("="):
            self.fail(self.token.position, f"expected '=' after '{name.text}', found {self.token}")
        return name.text

    def key(self, part: type[Part], start: _Token, name: str | None, given: dict[str, Any]) -> str:
        """The parameter that an argument is for."""
        known = list(part.parameters())
        if name is None and len(given) == len(known):
            self.fail(start.position, f"{part.__name__} takes at most {len(known)} arguments: {', '.join(known)}")
        key = known[len(given)] if name is None else name
        if key not in known:
            self.fail(start.position, f"{part.__name__} has no argument '{key}'; {nearest(key, known)}")
        if key in given:
            self.fail(start.position, f"{part.__name__} is given {key} twice")
        return key

    def value(self) -> float | Length:
        start, negative = self.token.position, self.take("-")
        token = self.advance()
        if token.kind != "number":
            self.fail(token.position, f"expected a number or a length such as 5%, found {token}")
        number = float(token.text) if re.search("[.eE]", token.text) else self.at(token.position, _whole, token.text)
        unit = self.token
        if unit.kind == "name" and unit.text not in UNITS:
            self.fail(unit.position, f"'{unit.text}' is no unit; expected epochs, steps or %")
        if unit.text in UNITS:
            self.advance()
            return self.at(start, Length, -number if negative else number, UNITS[unit.text])
        return -number if negative else number


def _whole(digits: str) -> int:
    if len(digits) > 15:  # also keeps int() from its own limit
        raise InputError(f"{digits[:15]}… has {len(digits)} digits; expected at most 15")
    return int(digits)
