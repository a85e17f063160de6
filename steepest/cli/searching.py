"""Commands that search."""

import json
from pathlib import Path
from typing import Annotated

import typer

from steepest.cli.base import AsJson, command, jsonable, number
from steepest.errors import InputError


@command
def find_lr(
    task: Annotated[str, typer.Argument(help="A built-in task, or a Python file with a function task().")],
    rule: Annotated[str | None, typer.Option(help="Update rule; see `steepest rules`.")] = None,
    schedule: Annotated[str | None, typer.Option(help='Such as "warmup(5%) >> cosine".')] = None,
    batch_size: Annotated[str | None, typer.Option(help="full, 1, or a number of samples.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Length of the run it is for, in epochs.")] = None,
    steps: Annotated[int | None, typer.Option(help="Length of the run it is for, in steps.")] = None,
    low: Annotated[float | None, typer.Option(help="The least rate to try.")] = None,
    high: Annotated[float | None, typer.Option(help="The greatest rate to try.")] = None,
    budget: Annotated[str | None, typer.Option(help='Steps in all, or seconds as "60 s".')] = None,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    figure: Annotated[Path | None, typer.Option(help="Write a figure to a .png, .svg or .pdf.")] = None,
    as_json: AsJson = False,
) -> None:
    """Find the learning rate for a run, by measuring.

    A task file is code, and it is run.

    Example: steepest find-lr digits --epochs 2
    """
    from steepest.finding import find_lr as found
    from steepest.tasks import load
    from steepest.view.tables import print_rates

    if (low is None) != (high is None):
        raise InputError("of --low and --high one is given; give both, or neither")
    between = None if low is None or high is None else (low, high)
    rates = found(
        load(task), rule, schedule, number(batch_size), epochs, steps, between=between, budget=number(budget),
        seed=seed, device=device,
    )  # fmt: skip
    if figure is not None:
        rates.figure(figure)
    if as_json:
        typer.echo(json.dumps(jsonable(rates.record.describe())))
    else:
        print_rates(rates.record)
