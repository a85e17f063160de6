"""Commands that show rules, tasks and terrains."""

from pathlib import Path
from typing import Annotated

import typer

from steepest.cli.base import command


@command
def rules(
    name: Annotated[str | None, typer.Argument(help="One rule, in full.")] = None,
    latex: Annotated[bool, typer.Option("--latex", help="Its formula in LaTeX, and nothing else.")] = False,
) -> None:
    """List the update rules, or print one: formula, citation, hyperparameters, default rate.

    Example: steepest rules adam
    """
    from steepest.formula import latex as in_latex
    from steepest.formula import plain
    from steepest.rules import RULES, named

    if latex:
        for rule in RULES.values() if name is None else (named(name),):
            typer.echo(in_latex.written(rule))
        return
    if name is None:
        for rule in RULES.values():
            typer.echo(f"{rule.name:20} lr {rule.hypers['lr']:<8g} {rule.summary}")
        return
    rule = named(name)
    others = ", ".join(f"{k} {v:g}" for k, v in rule.hypers.items() if k != "lr")
    typer.echo(f"{rule.summary}\n{rule.citation}\n\n{plain.written(rule)}\n\n{rule.source}\n")
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
    terrain: Annotated[str, typer.Argument(help="bowl, ravine, rosenbrock, himmelblau, beale, rastrigin, ...")],
    out: Annotated[Path, typer.Option("-o", "--out", help="A .gif, or a .png of the end.")] = Path("play.gif"),
    rules: Annotated[str, typer.Option(help="Rules with rates: name or name:rate, with commas.")] = "",
    steps: Annotated[int, typer.Option(help="Steps of each.")] = 200,
) -> None:
    """Animate rules that descend on a terrain.

    Example: steepest play rosenbrock -o play.gif
    """
    from steepest.playground import play as played

    typer.echo(f"written to {played(terrain, out, [r for r in rules.split(',') if r] or None, steps)}")
