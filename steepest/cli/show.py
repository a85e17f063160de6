"""Commands that show rules, tasks and terrains."""

from pathlib import Path
from typing import Annotated

import typer

from steepest.cli.base import browse, command
from steepest.errors import InputError


@command
def rules(
    name: Annotated[str | None, typer.Argument(help="One rule, in full.")] = None,
    latex: Annotated[bool, typer.Option("--latex", help="Its formula in LaTeX, and nothing else.")] = False,
) -> None:
    """List the update rules, or print one: formula, citation, hyperparameters, default rate.

    Example: steepest rules adam
    """
    from steepest.rules.notation import latex as in_latex
    from steepest.rules.notation import plain
    from steepest.rules.textbook import RULES, find_rule

    if latex:
        for rule in RULES.values() if name is None else (find_rule(name),):
            typer.echo(in_latex.to_latex(rule))
        return
    if name is None:
        for rule in RULES.values():
            typer.echo(f"{rule.name:20} lr {rule.hypers['lr']:<8g} {rule.summary}")
        return
    rule = find_rule(name)
    others = ", ".join(f"{k} {v:g}" for k, v in rule.hypers.items() if k != "lr")
    typer.echo(f"{rule.summary}\n{rule.citation}\n\n{plain.to_text(rule)}\n\n{rule.source}\n")
    typer.echo(f"default rate     {rule.hypers['lr']:g}\nhyperparameters  {others}")


@command
def tasks() -> None:
    """List the built-in tasks.

    Example: steepest tasks
    """
    from steepest.tasks import BUILT_IN, load

    for name in BUILT_IN:
        task = load(name)
        recipe = ", ".join(f"{k} {v}" for k, v in task.recipe.items())
        typer.echo(f"{name:12} {recipe}")


@command
def play(
    terrain: Annotated[str, typer.Argument(help='bowl, ravine, rosenbrock, ..., or a function such as "x^2 - y^2".')],
    out: Annotated[Path, typer.Option("-o", "--out", help="A page (.html), a .gif, or a .png of its end.")] = Path(
        "play.html"
    ),
    rules: Annotated[str, typer.Option(help="Rules with rates: name or name:rate, with commas.")] = "",
    steps: Annotated[int | None, typer.Option(help="Steps of each.")] = None,
    start: Annotated[str | None, typer.Option(help="Where to begin: x,y.")] = None,
    domain: Annotated[
        str | None, typer.Option(help="What to look at: x from, x to, y from, y to, with commas.")
    ] = None,
    open: Annotated[bool, typer.Option("--open/--no-open", help="Show it in a browser.")] = False,
) -> None:
    """Let rules descend on a terrain or a function of your own, on a page to play with.

    Example: steepest play rosenbrock -o play.html
    """
    from steepest.view.play import play as played

    at, seen = _numbers("start", start, 2), _numbers("domain", domain, 4)
    begin = None if at is None else (at[0], at[1])
    around = None if seen is None else ((seen[0], seen[1]), (seen[2], seen[3]))
    file = played(terrain, out, [r for r in rules.split(",") if r] or None, steps, around, begin)
    typer.echo(f"written to {file}")
    if open:
        browse(file)


def _numbers(name: str, text: str | None, count: int) -> list[float] | None:
    """So many numbers with commas between them."""
    if text is None:
        return None
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = []
    if len(found) != count:
        example = ",".join(str(n) for n in range(count))
        raise InputError(f"--{name} {text} is given; expected are {count} numbers, such as --{name} {example}")
    return found
