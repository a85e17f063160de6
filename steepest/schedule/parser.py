"""Reads a schedule's text by recursive descent and a whitelist; nothing is evaluated.

schedule  = product {">>" product}
product   = factor {"*" factor}                        at least one factor is not a number
factor    = number | "(" schedule ")" | name ["(" [argument {"," argument}] ")"]
argument  = [name "="] value                           positional arguments come first
value     = single | "[" single {"," single} "]" | word       a list where lengths are taken, a word such as linear
single    = ["-"] number ["%" | "epoch" | "epochs" | "step" | "steps"]
number    = (digits ["." [digits]] | "." digits) [("e" | "E") ["+" | "-"] digits]
"""

import operator
import re
from collections.abc import Callable
from dataclasses import MISSING
from typing import Any, NamedTuple, NoReturn, get_args

from steepest.errors import InputError, ScheduleError, nearest
from steepest.schedule import cycles, shapes
from steepest.schedule.algebra import Bare, Schedule, lift
from steepest.schedule.arguments import NUMBER_PATTERN, UNITS, Durations, Length, OneOf, number_text
from steepest.schedule.part import Part
from steepest.schedule.plateau import plateau

CUSTOM = shapes.custom.__name__
PARTS: dict[str, type[Part]] = {
    name: part
    for module in (shapes, cycles)
    for name, part in vars(module).items()
    if isinstance(part, type) and issubclass(part, Part) and part not in (Part, shapes.custom)
} | {"plateau": plateau}
EXAMPLES = {
    "warmup": "warmup(5%)",
    "polynomial": "polynomial(2)",
    "exponential": "exponential(0.01)",
    "step": "step(30 epochs, gamma=0.1)",
    "cosine_cycles": "cosine_cycles(4)",
    "cosine_restarts": "cosine_restarts(10 epochs, mult=2)",
    "cyclic": "cyclic(2000, begin=0.1)",
    "inverse_sqrt": "inverse_sqrt(4000)",
    "multistep": "multistep([30 epochs, 60 epochs], gamma=0.1)",
}
MAX_SCHEDULE_DEPTH = 50  # nested parentheses; far below Python's own limit
MAX_DIGITS = 15  # of an integer, which is then exact in float64
SCHEDULE_TOKEN = re.compile(
    rf"(?P<number>{NUMBER_PATTERN})|(?P<name>[A-Za-z_][A-Za-z0-9_]*)|(?P<sign>>>|[][*(),=%-])|(?P<space>\s+)|(?P<other>.)"
)


def parse(text: str) -> Schedule:
    """The schedule that a text describes.

    Args:
        text: such as "warmup(5%) >> cosine(floor=0.1)"; the grammar is at the top of this module.

    Returns:
        A schedule whose `str` is the text in canonical form.

    Raises:
        ScheduleError: the text does not parse; the error has the position of the mistake.

    >>> print(parse("warmup( 5 % )>>0.5*cosine()"))
    warmup(5%) >> 0.5 * cosine
    >>> parse("warmup(5%) >> cosine(floor)")
    Traceback (most recent call last):
        ...
    steepest.errors.ScheduleError: Invalid schedule at character 27: expected '=' after 'floor', got ')'
        warmup(5%) >> cosine(floor)
                                  ^
    """
    if not isinstance(text, str):
        raise InputError(f"schedule must be a text such as 'warmup(5%) >> cosine', got {text!r}")
    return _Parser(text).whole()


def as_schedule(value: str | Bare | Callable[[int, int], float]) -> Schedule:
    """A text, a schedule, a part without parentheses such as `sd.cosine`, or a function (t, T) → factor, as a schedule.

    Raises:
        InputError: the value is none of these.

    >>> as_schedule("cosine") == as_schedule(shapes.cosine) == as_schedule(shapes.cosine())
    True
    """
    schedule = parse(value) if isinstance(value, str) else lift(value)
    if schedule is None and callable(value) and not isinstance(value, type):
        return shapes.custom(value)
    if schedule is None:
        raise InputError(f"schedule must be a text such as 'warmup(5%) >> cosine' or a schedule, got {value!r}")
    return schedule


class _Token(NamedTuple):
    kind: str
    text: str
    position: int

    def __str__(self) -> str:
        return f"'{self.text}'" if self.text else "the end of the text"


def _tokens(text: str) -> list[_Token]:
    tokens = []
    for match in SCHEDULE_TOKEN.finditer(text):
        token = _Token(str(match.lastgroup), match[0], match.start())
        if token.kind == "other":
            is_quote = token.text in "'\""
            hint = "Write lengths without quotes: 5%, 30 epochs." if is_quote else "Use >> to join and * to multiply."
            raise ScheduleError(text, token.position, f"unexpected {token}. {hint}")
        if token.kind != "space":
            tokens.append(token)
    return [*tokens, _Token("end", "", len(text))]


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
        """Skips the next token if it is this sign; returns whether it was."""
        is_next = self.token.kind == "sign" and self.token.text == sign
        self.index += is_next
        return is_next

    def at(self, position: int, make: Callable[..., Any], *arguments: Any) -> Any:
        """`make(*arguments)`; its errors are reported at the position."""
        try:
            return make(*arguments)
        except InputError as error:
            self.fail(position, str(error))

    def whole(self) -> Schedule:
        if self.token.kind == "end":
            self.fail(self.token.position, "the text is empty. Write a schedule such as warmup(5%) >> cosine.")
        schedule = self.schedule()
        if self.token.kind != "end":
            self.fail(self.token.position, f"expected '>>', '*' or the end, got {self.token}")
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
            self.fail(start, f"a number alone is not a schedule. Write {number_text(value)} * constant.")
        return value

    def factor(self) -> float | Schedule:
        token = self.advance()
        if token.kind == "name":
            return self.part(token)
        if token.text == "(":
            return self.group(token)
        if token.kind != "number":
            self.fail(token.position, f"expected a part such as cosine, a number or '(', got {token}")
        if self.token.text in UNITS:
            self.fail(token.position, "a length cannot scale a schedule. Write a number, as in 0.9 * cosine.")
        self.at(token.position, operator.mul, shapes.constant(), float(token.text))
        return float(token.text)

    def group(self, bracket: _Token) -> Schedule:
        self.depth += 1
        if self.depth > MAX_SCHEDULE_DEPTH:
            self.fail(bracket.position, f"parentheses are nested more than {MAX_SCHEDULE_DEPTH} deep")
        schedule = self.schedule()
        self.close(bracket)
        self.depth -= 1
        return schedule

    def close(self, bracket: _Token) -> None:
        if not self.take(")"):
            problem = f"expected ')' for the '(' at character {bracket.position + 1}, got {self.token}"
            self.fail(self.token.position, problem)

    def part(self, name: _Token) -> Schedule:
        if name.text == CUSTOM:
            problem = "a text cannot hold a function. Pass the schedule itself, with sd.custom(f). A stored run cannot "
            self.fail(name.position, problem + "be resumed with one; begin another at its end, with start=.")
        if name.text not in PARTS:
            self.fail(name.position, f"unknown '{name.text}'. {nearest(name.text, PARTS)}")
        part, bracket, arguments = PARTS[name.text], self.token, {}
        if self.take("("):
            arguments = self.arguments(part)
            self.close(bracket)
        for key, field in part.parameters().items():
            if field.default is MISSING and key not in arguments:
                self.fail(name.position, f"{name.text} needs {key}, as in {EXAMPLES[name.text]}")
        return self.at(name.position, lambda: part(**arguments))

    def arguments(self, part: type[Part]) -> dict[str, Any]:
        arguments: dict[str, Any] = {}
        by_name = False
        while self.token.text != ")":
            start, name = self.token, self.argument_name()
            if name is None and by_name:
                self.fail(start.position, "positional arguments must come before named ones")
            by_name = name is not None
            key = self.key(part, start, name, arguments)
            position = self.token.position
            arguments[key] = self.at(position, part.check, key, self.value(part, key))
            if not self.take(","):
                break
            if self.token.text == ")":
                self.fail(self.token.position, "expected another argument after ',', got ')'")
        return arguments

    def argument_name(self) -> str | None:
        if self.token.kind != "name":
            return None
        name = self.advance()
        if not self.take("="):
            self.fail(self.token.position, f"expected '=' after '{name.text}', got {self.token}")
        return name.text

    def key(self, part: type[Part], start: _Token, name: str | None, arguments: dict[str, Any]) -> str:
        """The parameter that an argument sets."""
        names = list(part.parameters())
        if name is None and len(arguments) == len(names):
            count = f"{len(names)} argument{'s' * (len(names) > 1)}"
            self.fail(start.position, f"{part.__name__} takes at most {count}: {', '.join(names)}")
        key = names[len(arguments)] if name is None else name
        if key not in names:
            self.fail(start.position, f"unknown argument '{key}' of {part.__name__}. {nearest(key, names)}")
        if key in arguments:
            self.fail(start.position, f"{key} of {part.__name__} is set twice")
        return key

    def value(self, part: type[Part], key: str) -> Any:
        kind = part.parameters()[key].type
        is_word = isinstance(get_args(kind)[1], OneOf) and self.token.kind == "name"
        if is_word:
            return self.advance().text
        bracket = self.token
        if kind is not Durations or not self.take("["):
            return self.single()
        values = [self.single()]
        while self.take(","):
            values.append(self.single())
        if not self.take("]"):
            problem = f"expected ']' for the '[' at character {bracket.position + 1}, got {self.token}"
            self.fail(self.token.position, problem)
        return values

    def single(self) -> float | Length:
        start, negative = self.token.position, self.take("-")
        token = self.advance()
        if token.kind != "number":
            self.fail(token.position, f"expected a number or a length such as 5%, got {token}")
        is_integer = not re.search("[.eE]", token.text)
        if is_integer and len(token.text) > MAX_DIGITS:  # int() has a limit of its own
            self.fail(token.position, f"an integer must have at most {MAX_DIGITS} digits, got {len(token.text)}")
        number = int(token.text) if is_integer else float(token.text)
        number = -number if negative else number
        unit = self.token
        if unit.kind == "name" and unit.text not in UNITS:
            self.fail(unit.position, f"unknown unit '{unit.text}'. Use steps, epochs or %.")
        if unit.text in UNITS:
            self.advance()
            return self.at(start, Length, number, UNITS[unit.text])
        return number
