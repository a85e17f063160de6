"""The commands rules, tasks and play."""

from pathlib import Path
from typing import Annotated, Any

import typer

import steepest as sd
from steepest.cli import output
from steepest.cli.base import AsJson, OpenBrowser, browse, command, say, say_json
from steepest.errors import InputError
from steepest.rules.notation import latex as in_latex
from steepest.rules.notation import plain
from steepest.rules.rule import Rule
from steepest.rules.textbook import RULES, find_rule
from steepest.tasks import BUILT_IN, load


@command
def rules(
    name: Annotated[str | None, typer.Argument(help="A rule to print in full.")] = None,
    latex: Annotated[bool, typer.Option("--latex", help="Print only the formula, in LaTeX.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the update rules, or print one: formula, citation, hyperparameters, default learning rate.

    Example: steepest rules adam
    """
    selection = list(RULES.values()) if name is None else [find_rule(name)]
    if as_json:
        say_json("rules", {"rules": [output.rule(rule) for rule in selection]})
    elif latex:
        say("\n".join(map(in_latex.to_latex, selection)))
    elif name is None:
        say("\n".join(f"{rule.name:20} lr {rule.hypers['lr']:<8g} {rule.summary}" for rule in selection))
    else:
        say(_in_full(selection[0]))


def _in_full(rule: Rule) -> str:
    """A rule's formula, source and hyperparameters."""
    others = ", ".join(f"{k} {v:g}" for k, v in rule.hypers.items() if k != "lr")
    formula = f"{rule.summary}\n{rule.citation}\n\n{plain.to_text(rule)}\n\n{rule.source}\n"
    return f"{formula}\ndefault lr       {rule.hypers['lr']:g}\nhyperparameters  {others}"


@command
def tasks(as_json: AsJson = False) -> None:
    """List the built-in tasks.

    Example: steepest tasks
    """
    recipes = {name: load(name).recipe for name in BUILT_IN}
    if as_json:
        say_json("tasks", {"tasks": [{"name": name, "recipe": dict(recipe)} for name, recipe in recipes.items()]})
        return
    for name, recipe in recipes.items():
        say(f"{name:12} {', '.join(f'{k} {v}' for k, v in recipe.items())}")


@command
def play(
    terrain: Annotated[str, typer.Argument(help='bowl, ravine, rosenbrock, ..., or a function such as "x^2 - y^2".')],
    out: Annotated[Path, typer.Option("-o", "--out", help="File: .html, .gif, or .png.")] = Path("play.html"),
    rules: Annotated[str, typer.Option(help="Rules, separated by commas: name or name:lr.")] = "",
    steps: Annotated[int | None, typer.Option(help="Steps of each rule.")] = None,
    start: Annotated[str | None, typer.Option(help="Starting point: x,y.")] = None,
    domain: Annotated[str | None, typer.Option(help="Region to show: x_min,x_max,y_min,y_max.")] = None,
    open: OpenBrowser = False,
    as_json: AsJson = False,
) -> None:
    """Explore update rules on a 2-D function in the browser.

    Example: steepest play rosenbrock -o play.html
    """
    point, box = _numbers("start", start, 2), _numbers("domain", domain, 4)
    region = None if box is None else (box[:2], box[2:])
    file = sd.play(terrain, out, [r for r in rules.split(",") if r] or None, steps, region, point)
    if as_json:
        say_json("play", {"file": str(file)})
    else:
        say(f"Wrote {file}")
    if open:
        browse(file)


def _numbers(name: str, text: str | None, count: int) -> Any:
    """A tuple of `count` numbers that are separated by commas."""
    if text is None:
        return None
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) != count:
        example = ",".join(map(str, range(count)))
        raise InputError(f"--{name} must be {count} numbers such as {example}, got {text}")
    return numbers
