"""Commands that read stored runs."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from steepest.cli.base import AsJson, Runs, browse, command, jsonable, task_of
from steepest.errors import SteepestError


@command
def runs(runs: Runs = Path("runs"), as_json: AsJson = False) -> None:
    """List the runs.

    Example: steepest runs
    """
    from steepest.runs.store import Store

    records = Store(runs).runs()
    if as_json:
        typer.echo(json.dumps([_summary(r) for r in records]))
    elif not records:
        typer.echo(f"there are no runs in {runs}; begin with: steepest train digits")
    else:
        from steepest.view.tables import print_runs

        print_runs(records)


@command
def show(
    run: Annotated[str, typer.Argument(help="Id, its beginning, or a name.")],
    runs: Runs = Path("runs"),
    as_json: AsJson = False,
    figure: Annotated[Path | None, typer.Option(help="Write the curves to a .png, .svg or .pdf.")] = None,
) -> None:
    """Show one run in full.

    Example: steepest show digits
    """
    from steepest.runs.run import open
    from steepest.view.tables import print_run

    found = open(run, runs)
    if figure is not None:
        found.figure(figure)
    if as_json:
        typer.echo(json.dumps({**_summary(found.record), "losses": jsonable(found.losses.tolist())}))
    else:
        print_run(found.record)


@command
def compare(
    one: Annotated[str, typer.Argument(help="A run; several with commas.")],
    other: Annotated[str, typer.Argument(help="Another run; several with commas.")],
    runs: Runs = Path("runs"),
    figure: Annotated[Path | None, typer.Option(help="Write both curves to a .png, .svg or .pdf.")] = None,
) -> None:
    """Say what differed between two runs and how they ended.

    Example: steepest compare digits digits
    """
    from steepest.runs.compare import compare as compared
    from steepest.view.tables import print_comparison

    found = compared(one.split(","), other.split(","), runs)
    if figure is not None:
        found.figure(figure)
    print_comparison(found.records, found.differing, found.sentence)


@command
def diagnose(
    run: Annotated[str, typer.Argument(help="Id, its beginning, or a name.")], runs: Runs = Path("runs")
) -> None:
    """Say what ails a run, from its record alone: too slow, oscillating, a noise floor, overfitting.

    Example: steepest diagnose digits
    """
    from steepest.analysis.diagnosis.diagnose import diagnose as diagnosed
    from steepest.runs.run import open

    typer.echo(diagnosed(open(run, runs)).words())


@command
def locate(
    run: Annotated[str, typer.Argument(help="Id, its beginning, or a name.")],
    task: Annotated[str | None, typer.Option(help="Its task, where the run does not say: a name or a file.")] = None,
    products: Annotated[int, typer.Option(help="Hessian-vector products at most; up to 60 are a short look.")] = 400,
    samples: Annotated[int, typer.Option(help="Of the training data that are looked at.")] = 4096,
    runs: Runs = Path("runs"),
    as_json: AsJson = False,
) -> None:
    """Say where a run has ended: minimum or saddle, how sharp, how noisy.

    A task file is code, and it is run.

    Example: steepest locate digits --products 60
    """
    from steepest.analysis.location.locate import locate as located
    from steepest.runs.run import open

    found = open(run, runs)
    known = task_of(found.record, task, "give --task, or use sd.locate(task, sd.open(...))")
    verdict = located(known, found, products=products, samples=samples)
    typer.echo(json.dumps(jsonable(verdict.describe())) if as_json else str(verdict))


@command
def film(
    run: Annotated[str, typer.Argument(help="Id, its beginning, or a name.")],
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", help="A page (.html, by default beside the run), .png, .gif, .mp4, .svg or .npz."),
    ] = None,
    task: Annotated[str | None, typer.Option(help="Its task, where the run does not say: a name or a file.")] = None,
    planes: Annotated[str, typer.Option(help="With commas: curvature, principal, random; the first is shown.")] = "",
    runs: Runs = Path("runs"),
    show: Annotated[bool, typer.Option("--open/--no-open", help="Show it in a browser.")] = False,
) -> None:
    """Make a film of a run: its path on the loss surface, curves, events, to play and scrub.

    A task file is code, and it is run; without it the film has the curves alone.

    Example: steepest film digits -o digits.html
    """
    from steepest.runs.run import open

    found, known = open(run, runs), None
    chosen = [plane.strip() for plane in planes.split(",") if plane.strip()] or None
    try:
        known = task_of(found.record, task, "give --task, or use sd.open(...).film(task=...)")
    except SteepestError as error:
        if task is not None:
            raise
        typer.echo(f"{error}; the curves are shown without it", err=True)
    written = found.film(runs / found.id / "film.html" if out is None else out, known, chosen)
    typer.echo(f"the film is {written}")
    if show:
        browse(written)


@command
def rm(run: Annotated[str, typer.Argument(help="Id, its beginning, or a name.")], runs: Runs = Path("runs")) -> None:
    """Delete a run, its numbers and its weights.

    Example: steepest rm digits
    """
    from steepest.runs.store import Store

    store = Store(runs)
    found = store.resolve(run)
    store.remove(found)
    typer.echo(f"run {found} is deleted")


def _summary(record: Any) -> dict[str, Any]:
    from steepest.records.config import to_json
    from steepest.view.tables import headline

    metric, value = headline(record)
    return jsonable({
        "id": record.id, "name": record.name, "status": record.status, "started": record.started,
        "seconds": record.seconds, "metric": value, "metric_name": metric, "losses": record.steps.loss.tolist(),
        "measurements": [m._asdict() for m in record.measurements],
        "events": [e._asdict() for e in record.events],
        "config": to_json(record.config, record.search, record.verdict), "notes": record.notes,
    })  # fmt: skip
