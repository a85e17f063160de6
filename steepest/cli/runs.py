"""Commands that read stored runs."""

from pathlib import Path
from typing import Annotated

import typer

import steepest as sd
from steepest.analysis.conclusion import run_verdict
from steepest.analysis.diagnosis.findings import PLAYBOOK_TITLES
from steepest.cli import base, output
from steepest.cli.base import command, complain, say, say_json
from steepest.cli.exit_codes import ExitCode
from steepest.runs.store import Store
from steepest.view import tables
from steepest.view.figures.curves import curves

FILM = "File: .html (by default film.html in the run's folder), .png, .gif, .mp4, .svg, .pdf or .npz."


@command
def runs(runs: base.Runs = Path("runs"), as_json: base.AsJson = False) -> None:
    """List all runs.

    Example: steepest runs
    """
    records = Store(runs).runs()
    if as_json:
        say_json("runs", {"runs": [output.run(record) for record in records]})
    elif not records:
        complain(f"No runs in {runs}. Start one with: steepest train digits")
    else:
        tables.print_runs(records)


@command
def show(
    run: base.RunOrLog, runs: base.Runs = Path("runs"), as_json: base.AsJson = False, figure: base.Figure = None
) -> None:
    """Show a run, or the log of another trainer: how it ended, its events and its settings.

    Example: steepest show digits
    """
    record = base.record_of(run, runs)
    verdict = run_verdict(record)
    if figure is not None:
        curves(record, figure)
    if as_json:
        say_json("show", output.full_run(record, verdict))
    else:
        tables.print_run(record, verdict)


@command
def compare(
    one: Annotated[str, typer.Argument(help="A run, or several separated by commas.")],
    other: Annotated[str, typer.Argument(help="A run, or several separated by commas.")],
    runs: base.Runs = Path("runs"),
    figure: base.Figure = None,
    as_json: base.AsJson = False,
) -> None:
    """Compare two runs, or two groups of runs; exit with code 3 if OTHER is worse.

    Example: steepest compare digits digits
    """
    comparison = sd.compare(one.split(","), other.split(","), runs)
    if figure is not None:
        comparison.figure(figure)
    if as_json:
        say_json("compare", output.comparison(comparison))
    else:
        tables.print_comparison(comparison.records, comparison.differing, comparison.sentence)
    if comparison.conclusion == "worse":
        raise typer.Exit(ExitCode.WORSE)


@command
def diagnose(
    run: base.RunOrLog,
    batch_size: Annotated[int | None, typer.Option(help="Samples of a step, which a log does not tell.")] = None,
    samples: Annotated[int | None, typer.Option(help="Training samples, which a log does not tell.")] = None,
    weights: Annotated[int | None, typer.Option(help="Weights of the model, which a log does not tell.")] = None,
    runs: base.Runs = Path("runs"),
    as_json: base.AsJson = False,
) -> None:
    """Diagnose a run, or the log of another trainer: lr too low or high, noise, overfitting.

    Of a log that lacks numbers, only what is true whatever they are.

    Example: steepest diagnose digits
    """
    record = base.record_of(run, runs, batch_size=batch_size, samples=samples, weights=weights)
    diagnosis = sd.diagnose(record)
    if as_json:
        say_json("diagnose", output.diagnosis(record.id, diagnosis))
    else:
        say(diagnosis.words())
        if title := PLAYBOOK_TITLES.get(diagnosis.kind):
            say(f"Causes that look alike, and cures, in the manual's playbook: {title}")


@command
def locate(
    run: base.RunName,
    task: base.TaskOption = None,
    products: Annotated[int, typer.Option(help="Maximum of Hessian-vector products; up to 60: a quick check.")] = 400,
    samples: Annotated[int, typer.Option(help="Maximum of training samples to analyse.")] = 4096,
    runs: base.Runs = Path("runs"),
    as_json: base.AsJson = False,
) -> None:
    """Analyse where a run ended: minimum, saddle, noise floor …

    The task file is executed.

    Example: steepest locate digits --products 60
    """
    result = sd.open(run, runs)
    verdict = sd.locate(base.load_task(result.record, task, runs, "locate"), result, products=products, samples=samples)
    if as_json:
        say_json("locate", {"run": result.id, **output.location(verdict)})
    else:
        say(str(verdict).replace("RUN", result.id if task is None else f"{result.id} --task {task}"))


@command
def film(
    run: base.RunName,
    out: Annotated[Path | None, typer.Option("-o", "--out", help=FILM)] = None,
    task: base.TaskOption = None,
    planes: Annotated[str, typer.Option(help="Of curvature,principal,random; the first is shown.")] = "",
    budget: Annotated[
        float | None, typer.Option(help="Seconds for the surfaces; what is not done is left out.")
    ] = None,
    runs: base.Runs = Path("runs"),
    show: base.OpenBrowser = False,
    as_json: base.AsJson = False,
) -> None:
    """Make an interactive page, picture or video of a run.

    The task file is executed; without it the film shows only the curves.

    Example: steepest film digits -o digits.html
    """
    result, source = sd.open(run, runs), None
    names = [plane.strip() for plane in planes.split(",") if plane.strip()] or None
    try:
        source = base.load_task(result.record, task, runs, "film")
    except sd.SteepestError as error:
        if task is not None:
            raise
        complain(f"{str(error).rstrip('.')}. Without the task, the film shows only the curves.")
    file = result.film(runs / result.id / "film.html" if out is None else out, source, names, budget)
    if as_json:
        say_json("film", {"file": str(file)})
    else:
        say(f"Wrote the film to {file}")
    if show:
        base.browse(file)


@command
def export(
    run: base.RunName,
    tracker: Annotated[str, typer.Argument(help="csv, tensorboard or mlflow.")],
    out: Annotated[str | None, typer.Option("-o", "--out", help="A file, a folder, or MLflow's address.")] = None,
    runs: base.Runs = Path("runs"),
    as_json: base.AsJson = False,
) -> None:
    """Give a run's numbers to another program: all steps, measurements and events.

    Example: steepest export digits csv -o digits.csv
    """
    where = sd.open(run, runs).export(tracker, out)
    if as_json:
        say_json("export", {"file": str(where)})
    else:
        say(f"Wrote the run to {where}")


@command
def rm(run: base.RunName, runs: base.Runs = Path("runs"), as_json: base.AsJson = False) -> None:
    """Delete a run.

    Example: steepest rm digits
    """
    run = Store(runs).remove(run)
    if as_json:
        say_json("rm", {"run": run})
    else:
        say(f"Deleted run {run}")
