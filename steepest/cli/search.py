"""The commands find-lr and race."""

from pathlib import Path
from typing import Annotated, Any

import typer

import steepest as sd
from steepest.cli import base, output
from steepest.cli.base import command, number, say_json
from steepest.cli.exit_codes import ExitCode
from steepest.errors import InputError, SearchInterrupt
from steepest.tasks import load
from steepest.view.film.write import check_file
from steepest.view.tables import print_race, print_rates


@command
def find_lr(
    task: base.TaskName,
    rule: base.RuleName = None,
    schedule: base.ScheduleText = None,
    batch_size: base.BatchSize = None,
    epochs: base.Epochs = None,
    steps: base.Steps = None,
    low: Annotated[float | None, typer.Option(help="Lowest learning rate to try.")] = None,
    high: Annotated[float | None, typer.Option(help="Highest learning rate to try.")] = None,
    budget: Annotated[str | None, typer.Option(help='Maximum of steps in all, or seconds such as "60 s".')] = None,
    seed: base.Seed = 0,
    device: base.Device = "auto",
    on: base.On = None,
    figure: base.Figure = None,
    as_json: base.AsJson = False,
) -> None:
    """Measure the best learning rate for a run.

    The task file is executed.

    Example: steepest find-lr digits --epochs 2
    """
    if (low is None) != (high is None):
        raise InputError("Pass both --low and --high, or neither.")
    between = None if low is None or high is None else (low, high)
    try:
        rates = sd.find_lr(
            load(task), rule, schedule, number(batch_size), epochs, steps, between=between, budget=number(budget),
            seed=seed, device=device, progress=True, on=on,
        )  # fmt: skip
    except SearchInterrupt as interrupt:
        if not as_json:
            raise
        say_json("find-lr", output.interrupted_search(str(interrupt), interrupt.table))
        raise typer.Exit(ExitCode.INTERRUPT) from None
    if figure is not None:
        rates.figure(figure)
    if as_json:
        say_json("find-lr", output.search(rates.record))
    else:
        print_rates(rates.record)


@command
def race(
    task: base.TaskName,
    rules: Annotated[str, typer.Option(help="Two or more rules, separated by commas; one with --batch-sizes.")] = "",
    seeds: Annotated[int, typer.Option(help="Runs of each contender.")] = 8,
    lr: Annotated[str, typer.Option(help='"auto" (one for each contender and seed), or a number.')] = "auto",
    batch_sizes: Annotated[str | None, typer.Option(help="Batch sizes to compare instead: full,64,1.")] = None,
    schedule: base.ScheduleText = None,
    batch_size: base.BatchSize = None,
    epochs: base.Epochs = None,
    steps: base.Steps = None,
    target: Annotated[float | None, typer.Option(help="Validation loss to reach.")] = None,
    device: base.Device = "auto",
    on: base.On = None,
    figure: base.Figure = None,
    film: Annotated[Path | None, typer.Option(help="Write a film of the race: .html, .png, .gif, .mp4, .svg.")] = None,
    as_json: base.AsJson = False,
) -> None:
    """Compare update rules or batch sizes over several seeds, each at its own best learning rate.

    The task file is executed.

    Example: steepest race digits --rules adam,momentum --seeds 2 --epochs 1
    """
    names: Any = [name.strip() for name in rules.split(",") if name.strip()]
    sizes = None if batch_sizes is None else [number(size.strip()) for size in batch_sizes.split(",")]
    if sizes is not None and len(names) > 1:
        raise InputError(f"--rules must be one rule when --batch-sizes is passed, got {rules}")
    if film is not None:
        check_file(film)
    result = sd.race(
        load(task), (names[0] if names else None) if sizes else names, seeds, base.learning_rate(lr), schedule,
        number(batch_size), epochs, steps, batch_sizes=sizes, target=target, device=device, on=on,
    )  # fmt: skip
    if figure is not None:
        result.figure(figure)
    if film is not None:
        result.film(film)
    if as_json:
        say_json("race", output.race(result.record))
    else:
        print_race(result.record)
