"""The reference: docstrings in the place of comments such as `<!-- api: fit -->`."""

import inspect
import re

from sphinx.application import Sphinx

import steepest as sd
from steepest.rules.notation.mathml import to_mathml
from steepest.rules.rule import Rule

MARK = re.compile(r"^<!-- api: ([\w.]+) -->$", re.MULTILINE)
BLOCK_END = re.compile(r"\n\n```\n")


def insert_docstrings(app: Sphinx, docname: str, source: list[str]) -> None:
    """Replaces each mark by the docstring of the public name in it.

    The empty line by which a doctest ends before the fence of its block is not shown.
    """
    source[0] = BLOCK_END.sub("\n```\n", MARK.sub(lambda match: docstring(match[1]), source[0]))


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
        return _autodoc("autoclass", name, ":members:", ":undoc-members:" if issubclass(value, tuple) else "")
    if inspect.isroutine(value):
        return _autodoc("autofunction", name)
    return ""


def rule_words(rule: Rule) -> str:
    """A rule's summary, formula, defaults and source."""
    hypers = ", ".join(f"`{name}={value:g}`" for name, value in rule.hypers.items() if isinstance(value, int | float))
    formula = f'<p class="formula">{to_mathml(rule)}</p>'
    return f"{rule.summary}\n\n```{{raw}} html\n{formula}\n```\n\nDefaults: {hypers}. {rule.citation}"


def _autodoc(directive: str, name: str, *options: str) -> str:
    lines = "".join(f"   {option}\n" for option in options if option)
    return f"```{{eval-rst}}\n.. {directive}:: steepest.{name}\n{lines}```"
