"""`python -m tests.cli.json_reference` writes docs/json.md from the fields that commands print with --json."""

import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

from steepest.cli import output

PAGE = Path(__file__).parents[2] / "docs" / "json.md"
HEAD = f"""# What commands print with --json

Every command takes `--json`. It then prints one line to standard output: an object with `schema` (now
{output.JSON_VERSION}), `command` (its name) and the fields below. Everything else goes to standard error. Within a
version of the schema fields are only added; a field that changes or goes makes a new version.

JSON has no NaN and no infinity: where a field is a number, it can also be the text `"nan"`, `"inf"` or `"-inf"`.

| exit code | means |
| --- | --- |
| 0 | done; a run that its patience (`--stop-after`) ended is done too |
| 1 | bad input: an argument, a task, a runs folder |
| 2 | a run that failed, that the guard stopped, or whose loss is not finite at its end |
| 3 | `compare` says that the other runs are worse |
| 75 | told to end by SIGTERM, SIGUSR1 or SIGUSR2 with `--resume auto` or torchrun; started again, it goes on |
| 130 | Ctrl-C |

This page is written by `python -m tests.cli.json_reference`.
"""


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    commands: dict[type, list[str]] = {}
    for name, fields in output.COMMANDS.items():
        commands.setdefault(fields, []).append(f"`steepest {name}`")
    inner: dict[type, None] = {}
    for fields, names in commands.items():
        parts.append(f"## {', '.join(names)}\n\n{_table(fields)}")
        inner |= dict.fromkeys(_inner_types(fields))
    parts.append("## What fields hold")
    parts += [f"### {_name(fields)}\n\n{fields.__doc__}\n\n{_table(fields)}" for fields in inner]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def hints(fields: type) -> dict[str, tuple[Any, str]]:
    """Type and description of each field."""
    found = typing.get_type_hints(fields, include_extras=True)
    return {name: get_args(hint)[:2] for name, hint in found.items() if get_origin(hint) is Annotated}


def _inner_types(fields: type) -> Iterator[type]:
    for hint, _ in hints(fields).values():
        for kind in (hint, *get_args(hint)):
            if typing.is_typeddict(kind):
                yield kind
                yield from _inner_types(kind)


def _table(fields: type) -> str:
    rows = [f"| `{name}` | {_words(hint)} | {words} |" for name, (hint, words) in hints(fields).items()]
    return "\n".join(["| field | type | is |", "| --- | --- | --- |", *rows])


def _name(fields: type) -> str:
    return fields.__name__.removesuffix("Json")


def _words(hint: Any) -> str:
    """A type in words."""
    if hint == output.Number:
        return "number"
    if isinstance(hint, types.UnionType):
        parts = [part for part in get_args(hint) if part is not str or float not in get_args(hint)]
        return " or ".join(_words(part) for part in parts)
    if get_origin(hint) is list:
        return f"list of {_words(get_args(hint)[0])}"
    if get_origin(hint) is dict:
        return "object"
    if typing.is_typeddict(hint):
        return f"[{_name(hint)}](#{_name(hint).lower()})"
    return {str: "text", int: "integer", float: "number", bool: "true or false", types.NoneType: "null"}.get(
        hint, "any"
    )


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
