"""Commands that search."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from steepest.cli.base import AsJson, command, jsonable, number, rate
from steepest.errors import InputError, SearchInterrupt


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
    from steepest.search.find_lr import find_lr as found
    from steepest.tasks import load
    from steepest.view.tables import print_rates

    if (low is None) != (high is None):
        raise InputError("of --low and --high one is given; give both, or neither")
    between = None if low is None or high is None else (low, high)
    try:
        rates = found(
            load(task), rule, schedule, number(batch_size), epochs, steps, between=between, budget=number(budget),
            seed=seed, device=device, progress=True,
        )  # fmt: skip
    except SearchInterrupt as stopped:
        if not as_json:
            raise
        typer.echo(json.dumps(jsonable({"interrupted": str(stopped), "table": [list(row) for row in stopped.table]})))
        raise typer.Exit(130) from None
    if figure is not None:
        rates.figure(figure)
    if as_json:
        typer.echo(json.dumps(jsonable(rates.record.describe())))
    else:
        print_rates(rates.record)


@command
def race(
    task: Annotated[str, typer.Argument(help="A built-in task, or a Python file with a function task().")],
    rules: Annotated[str, typer.Option(help="Two or more, with commas; one with --batch-sizes.")] = "",
    seeds: Annotated[int, typer.Option(help="Runs of each side.")] = 8,
    lr: Annotated[str, typer.Option(help='"auto" finds each side its own; or one rate for all.')] = "auto",
    batch_sizes: Annotated[str | None, typer.Option(help="Race these instead: full,64,1.")] = None,
    schedule: Annotated[str | None, typer.Option(help='Such as "warmup(5%) >> cosine".')] = None,
    batch_size: Annotated[str | None, typer.Option(help="full, 1, or a number of samples.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Length of each run, in epochs.")] = None,
    steps: Annotated[int | None, typer.Option(help="Length of each run, in steps.")] = None,
    target: Annotated[float | None, typer.Option(help="Validation loss to race to.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    figure: Annotated[Path | None, typer.Option(help="Write a figure to a .png, .svg or .pdf.")] = None,
    film: Annotated[Path | None, typer.Option(help="Write a film of the race: .html, .png, .gif, .mp4, .svg")] = None,
    as_json: AsJson = False,
) -> None:
    """Race rules, or batch sizes, each at its own best rate, and say whether they differ.

    A task file is code, and it is run.

    Example: steepest race digits --rules adam,momentum --seeds 2 --epochs 1
    """
    from steepest.search.contest import describe
    from steepest.search.race import race as raced
    from steepest.tasks import load
    from steepest.view.tables import print_race

    names: Any = [name.strip() for name in rules.split(",") if name.strip()]
    sizes = None if batch_sizes is None else [number(size.strip()) for size in batch_sizes.split(",")]
    if sizes is not None and len(names) > 1:
        raise InputError(f"--rules {rules} is given with --batch-sizes; give one rule")
    found = raced(
        load(task), (names[0] if names else None) if sizes else names, seeds, rate(lr), schedule, number(batch_size),
        epochs, steps, batch_sizes=sizes, target=target, device=device,
    )  # fmt: skip
    if figure is not None:
        found.figure(figure)
    if film is not None:
        found.film(film)
    if as_json:
        typer.echo(json.dumps(jsonable(describe(found.record))))
    else:
        print_race(found.record)
