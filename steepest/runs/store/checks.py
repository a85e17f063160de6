"""The store's door: what a value that is read from a store must be, before anything is done with it.

A store may come from somebody else, or from a damaged disk: an id may name a folder outside, a text may stand where a
number belongs. Every row passes these checks once, when it is read; what passed is used without another look.
"""

import json
import re
import reprlib
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import is_dataclass
from datetime import datetime
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from steepest.errors import InputError, StoreError
from steepest.records.config import Config, from_json
from steepest.records.search import Search
from steepest.records.verdict import Verdict

STATUSES = ("running", "done", "interrupted", "stopped", "failed")
MAX_ID, MAX_NAME, MAX_NOTES, MAX_TEXT, MAX_JSON = 255, 2_000, 1_000_000, 1_000_000, 50_000_000
"""Characters of an id, a name and notes, a text of a configuration, and a configuration."""
MAX_SECONDS, MAX_PID, MAX_COUNT, MAX_THREADS = 1e10, 2**31 - 1, 2**53, 1024
YEARS = range(1970, 9999)
PLAIN_ID = re.compile(r"\w[\w.-]*\Z")
SYSTEM_NAME = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?\Z|runs\.db.*\Z|.*\.\Z", re.IGNORECASE)
"""Names that mean a device under Windows or lose their last dot there, and those of the database's files."""
SURROGATE = re.compile("[\ud800-\udfff]")
"""Stands for bytes that are no UTF-8."""
DAMAGE_STATUS, STAND_IN_ID = "damaged", "damaged:{}"
"""The status of a run whose row cannot be read; what stands for the id of one whose id is none, by its row."""
NO_TIME = "1970-01-01T00:00:00+00:00"
TEXT_LIMITS = {
    "id": 4 * MAX_ID, "name": 4 * MAX_NAME, "status": 100, "started": 100, "config": MAX_JSON, "versions": MAX_JSON,
    "notes": 4 * MAX_NOTES, "host": 1_000, "born": 100,
}  # fmt: skip
"""Bytes that are read of each column of a run's row, before they are looked at."""


def is_plain_id(run: Any) -> bool:
    """Whether an id is the name of one entry of the runs folder, on every system.

    >>> [is_plain_id(run) for run in ("digits-3f2a", "..", "", "/etc", "a/b", "C:x", "nul", "runs.db", None)]
    [True, False, False, False, False, False, False, False, False]
    """
    return isinstance(run, str) and len(run) <= MAX_ID and bool(PLAIN_ID.match(run)) and not SYSTEM_NAME.match(run)


def check_new(what: str, text: Any, limit: int) -> None:
    """Checks a text that is to be stored.

    Raises:
        InputError: it is none, too long, or cannot be written as UTF-8.
    """
    if not isinstance(text, str) or len(text) > limit or SURROGATE.search(text):
        got = f"{len(text):,} characters" if isinstance(text, str) and len(text) > limit else repr(text)
        raise InputError(f"{what} must be text of at most {limit:,} characters, got {got}")


def check_run(row: Mapping[str, Any]) -> tuple[Config, Search | None, Verdict | None, dict[str, str]]:
    """Checks a row of the table of runs; returns what its texts of JSON hold.

    Raises:
        StoreError: a value is not one that is written there; says which.
    """
    _check_id(row["id"])
    for name, limit in (("name", MAX_NAME), ("notes", MAX_NOTES), ("host", 250), ("born", 30)):
        _require(_is_text(row[name], limit), name, f"text of at most {limit:,} characters", row[name])
    _require(row["status"] in STATUSES, "status", ", ".join(STATUSES[:-1]) + f" or {STATUSES[-1]}", row["status"])
    _require(_is_time(row["started"]), "started", "a time such as 2026-01-31T12:00:00+00:00", row["started"])
    _require(
        is_number(row["seconds"], 0, MAX_SECONDS), "seconds", f"a number from 0 to {MAX_SECONDS:g}", row["seconds"]
    )
    _require(type(row["seed"]) is int, "seed", "a whole number", row["seed"])
    _require(type(row["pid"]) is int and 0 <= row["pid"] <= MAX_PID, "pid", "a process id", row["pid"])
    versions = _parse("versions", row["versions"])
    _require(all(_is_text(x, 10_000) for x in versions.values()), "versions", "texts by name", versions)
    threads = versions.get("threads", "1")
    is_count = threads.isascii() and threads.isdigit() and len(threads) < 6 and 1 <= int(threads) <= MAX_THREADS
    _require(is_count, "threads", f"a number from 1 to {MAX_THREADS}", threads)
    return *_read_config(_parse("config", row["config"])), versions


def _check_id(run: Any) -> None:
    _require(is_plain_id(run), "id", f"a plain name of at most {MAX_ID} letters, digits and - _ .", run)


def _read_config(data: dict[str, Any]) -> tuple[Config, Search | None, Verdict | None]:
    for name in ("search", "verdict"):
        value = data.get(name)
        _require(value is None or (isinstance(value, dict) and bool(value)), name, "a mapping", value)
    for name in ("stages", "parameters", "stretched"):
        _require(isinstance(data.get(name), list | None), name, "a list", data.get(name))
    try:
        parts = from_json(data)
        for part in parts:
            if part is not None:
                _check_fields(part)
    except (TypeError, ValueError, KeyError, IndexError, AttributeError, RecursionError) as error:
        raise StoreError(f"config must be what Steepest writes, got {shorten(error)}") from error
    return parts


def _check_fields(part: Any) -> None:
    """Checks that each field of a record has its type."""
    for name, test, hint in _tests(type(part)):
        value = getattr(part, name)
        _require(name in FILE_NAMES or test(value), name, f"of type {hint}", value)
    if isinstance(part, Config):
        for name in FILE_NAMES:
            value = getattr(part, name)
            is_text = isinstance(value, str) and len(value) <= MAX_NAME
            _require(is_text or (value is None and name == "source"), name, "text", value)
        _require(part.batch_size == "full" or not isinstance(part.batch_size, str), "batch_size", "full or a number",
                 part.batch_size)  # fmt: skip
        for name in COUNTS:
            value = getattr(part, name)
            _require(value is None or value >= 0, name, "0 or more", value)


COUNTS = ("epochs", "steps", "steps_per_epoch", "samples", "weights", "validation_samples", "end_step", "accumulate")
"""Fields of a configuration that count something."""
FILE_NAMES = ("task", "source")
"""Fields that come from a file's name, whose bytes need not be UTF-8."""


@cache
def _tests(kind: type) -> list[tuple[str, Callable[[Any], bool], str]]:
    """For each field of a class: its name, whether a value has its type, and the type in words."""
    hints = get_type_hints(kind)
    return [(name, _test(hint), getattr(hint, "__name__", str(hint))) for name, hint in hints.items()]


@cache
def _test(hint: Any) -> Callable[[Any], bool]:
    """Whether a value has a type."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _any_of([_test(part) for part in parts if part is not type(None)], type(None) in parts)
    if origin is Literal:
        return lambda x: isinstance(x, str) and x in parts
    if origin is tuple:
        test = _test(parts[0])
        return lambda x: isinstance(x, tuple) and all(map(test, x))
    if origin is not None and issubclass(origin, Mapping):
        test = _test(parts[1])
        return lambda x: isinstance(x, dict) and all(map(test, x.values()))
    if isinstance(hint, type) and (is_dataclass(hint) or hasattr(hint, "_fields")):
        return lambda x: isinstance(x, hint) and all(test(getattr(x, name)) for name, test, _ in _tests(hint))
    return SIMPLE[hint]


def _any_of(tests: Sequence[Callable[[Any], bool]], is_optional: bool) -> Callable[[Any], bool]:
    """Whether a value passes one of some tests; the commonest types without a loop, since a list has many runs."""
    first, *others = tests
    if not others:
        return lambda x: (is_optional and x is None) or first(x)
    return lambda x: (is_optional and x is None) or first(x) or any(test(x) for test in others)


def _is_plain(x: Any) -> bool:
    """Whether it is one value, or a list of them."""
    return all(map(_is_plain, x)) if isinstance(x, list | tuple) else x is None or _is_text(x) or _is_real(x)


def _is_real(x: Any) -> bool:
    return isinstance(x, float) or (isinstance(x, int) and abs(x) <= 2**63)


def _is_text(x: Any, limit: int = MAX_TEXT) -> bool:
    return isinstance(x, str) and len(x) <= limit and (x.isascii() or not SURROGATE.search(x))


SIMPLE: dict[Any, Callable[[Any], bool]] = {
    float: lambda x: type(x) is float or (_is_real(x) and not isinstance(x, bool)),
    int: lambda x: type(x) is int and abs(x) <= 2**63,
    str: _is_text,
    bool: lambda x: isinstance(x, bool),
    type(None): lambda x: x is None,
    Any: _is_plain,
}


def _parse(name: str, text: Any) -> dict[str, Any]:
    """A column of JSON as a mapping."""
    _require(_is_text(text, MAX_JSON), name, "JSON", text)
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise StoreError(f"{name} must be JSON, got {shorten(text)} ({shorten(error)})") from error
    _require(isinstance(data, dict), name, "a mapping as JSON", data)
    return data


def _is_time(text: Any) -> bool:
    try:
        return _is_text(text, 40) and datetime.fromisoformat(text).year in YEARS
    except ValueError:
        return False


def is_number(x: Any, low: float, high: float) -> bool:
    """Whether it is a finite number within bounds."""
    return isinstance(x, int | float) and not isinstance(x, bool) and low <= x <= high


def _require(is_right: bool, name: str, what: str, value: Any) -> None:
    if not is_right:
        raise StoreError(f"{name} must be {what}, got {shorten(value)}")


def shorten(value: Any, limit: int = 60) -> str:
    """A value in a few characters, without ones that act on a terminal."""
    text = str(value) if isinstance(value, Exception) else _repr(value)
    text = text if len(text) <= limit else f"{text[:limit]}…"
    return text if text.isprintable() else ascii(text)[1:-1]


def _repr(value: Any) -> str:
    """A value as text, without spelling out all of a large one."""
    return repr(value[:100]) if isinstance(value, str | bytes) else reprlib.repr(value)
