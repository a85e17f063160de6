"""The reference: docstrings in the place of comments such as `<!-- api: fit -->`, commands for `<!-- commands -->`."""

import inspect
import re
from typing import Any

import typer
from sphinx.application import Sphinx

import steepest as sd
from steepest.cli import app as command_line
from steepest.rules.notation.mathml import to_mathml
from steepest.rules.rule import Rule

MARK = re.compile(r"^<!-- api: ([\w.]+) -->$", re.MULTILINE)
WITH_MEMBERS = ("Run", "Race", "Rates", "Comparison", "Diagnosis", "Tracker")
"""Classes whose methods and properties people use; others are given to functions, or are their attributes."""
COMMANDS_MARK = "<!-- commands -->"
BLOCK_END = re.compile(r"\n\n```\n")


def insert_docstrings(app: Sphinx, docname: str, source: list[str]) -> None:
    """Replaces each mark by the docstring of the public name in it.

    The empty line by which a doctest ends before the fence of its block is not shown.
    """
    text = MARK.sub(lambda match: docstring(match[1]), source[0])
    if COMMANDS_MARK in text:
        text = text.replace(COMMANDS_MARK, commands())
    source[0] = BLOCK_END.sub("\n```\n", text)


def keep_bars(app: Sphinx, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    """A bar in a docstring, as in |x|, is a bar: reStructuredText would look for a substitution."""
    for k, line in enumerate(lines):
        if "|" in line and "`" not in line and not line.lstrip().startswith((">>>", "...")):
            lines[k] = line.replace("|", "\\|")


def docstring(name: str) -> str:
    """What the reference says of a public name, as Markdown for MyST.

    Args:
        name: below `steepest`, such as "fit" or "optim.Adam".
    """
    value = sd
    for part in name.split("."):
        value = getattr(value, part)
    if isinstance(value, Rule):
        return rule_words(value)
    if inspect.isclass(value):
        return _autodoc("autoclass", name, *([":members:"] if name in WITH_MEMBERS else []))
    if inspect.isroutine(value):
        return _autodoc("autofunction", name)
    return ""


def rule_words(rule: Rule) -> str:
    """A rule's summary, formula, defaults and source."""
    hypers = ", ".join(f"`{name}={value:g}`" for name, value in rule.hypers.items() if isinstance(value, int | float))
    formula = f'<p class="formula">{to_mathml(rule)}</p>'
    return f"{rule.summary}\n\n```{{raw}} html\n{formula}\n```\n\nDefaults: {hypers}. {rule.citation}"


def _autodoc(directive: str, name: str, *options: str) -> str:
    lines = "".join(f"   {option}\n" for option in options)
    return f"```{{eval-rst}}\n.. {directive}:: steepest.{name}\n{lines}```"


# -- Commands ----------------------------------------------------------------------------------------------------------


def commands() -> str:
    """Every command with its help, arguments and options, from the application itself."""
    group: Any = typer.main.get_command(command_line)
    return "\n\n".join(_command(name, group.commands[name]) for name in sorted(group.commands))


def _command(name: str, command: Any) -> str:
    required = [p for p in command.params if type(p).__name__ == "TyperArgument"]
    options = [p for p in command.params if p not in required and p.help]
    usage = " ".join([f"steepest {name}", *(p.name.upper() for p in required), "[OPTIONS]"])
    text, _, example = (command.help or "").partition("Example: ")
    parts = [f"## steepest {name}", " ".join(text.split("\f")).strip(), f"```\n{usage}\n```"]
    if required:
        parts.append(
            "\n".join(
                ["| argument | is |", "|---|---|", *(f"| `{p.name.upper()}` | {_cell(p.help)} |" for p in required)]
            )
        )
    rows = [f"| {_flags(p)} | {_cell(p.help)} | {_default(p)} |" for p in options]
    parts.append("\n".join(["| option | is | default |", "|---|---|---|", *rows]))
    if example:
        parts.append(f"Example:\n\n```\n{example.strip()}\n```")
    return "\n\n".join(parts)


def _flags(option: Any) -> str:
    return ", ".join(f"`{flag}`" for flag in (*option.opts, *option.secondary_opts))


def _default(option: Any) -> str:
    if option.default is None or option.default == "":
        return ""
    if option.is_flag:
        return "on" if option.default else "off"
    return f"`{option.default}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")
