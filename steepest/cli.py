"""The command line: flags in, one call of the library, words out."""

import json
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from steepest.errors import SteepestError, StoreError

app = typer.Typer(
    help="Gradient descent for PyTorch users: train, look, compare.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
)

Runs = Annotated[Path, typer.Option(help="Folder of the runs.")]
AsJson = Annotated[bool, typer.Option("--json", help="As JSON, for programs.")]


def command(function: Callable) -> Callable:
    """A subcommand whose expected failures are words on stderr and exit code 1."""

    @wraps(function)
    def guarded(*args: Any, **kwargs: Any) -> None:
        try:
            function(*args, **kwargs)
        except SteepestError as error:
            typer.echo(f"steepest: {error}", err=True)
            raise typer.Exit(1) from None
        except BrokenPipeError:
            sys.stderr.close()
            raise typer.Exit(1) from None

    return app.command()(guarded)


@command
def train(
    task: Annotated[str, typer.Argument(help="A built-in task, or a Python file with a function task().")],
    rule: Annotated[str | None, typer.Option(help="Update rule; see `steepest rules`.")] = None,
    lr: Annotated[float | None, typer.Option(help="Base learning rate.")] = None,
    schedule: Annotated[str | None, typer.Option(help='Such as "warmup(5%) >> cosine".')] = None,
    batch_size: Annotated[str | None, typer.Option(help="full, 1, or a number of samples.")] = None,
    epochs: Annotated[int | None, typer.Option(help="How long, in epochs.")] = None,
    steps: Annotated[int | None, typer.Option(help="How long, in steps.")] = None,
    clip: Annotated[float | None, typer.Option(help="Greatest gradient norm.")] = None,
    accumulate: Annotated[int, typer.Option(help="Micro-batches per step.")] = 1,
    average: Annotated[float | None, typer.Option(help="Running average of the weights, such as 0.999.")] = None,
    precision: Annotated[str | None, typer.Option(help="bfloat16, for autocast.")] = None,
    keep: Annotated[str, typer.Option(help="last or best: which point is left.")] = "last",
    stop_after: Annotated[int | None, typer.Option(help="Measurements without a gain before it stops.")] = None,
    guard: Annotated[bool, typer.Option(help="Get up again when the loss explodes.")] = True,
    checkpoint_every: Annotated[str, typer.Option(help='Steps, or seconds as "30 s".')] = "30 s",
    start: Annotated[str | None, typer.Option(help="A run at whose end to begin.")] = None,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    runs: Runs = Path("runs"),
    name: Annotated[str | None, typer.Option(help="Of the run.")] = None,
    notes: Annotated[str | None, typer.Option(help="Kept with the run.")] = None,
) -> None:
    """Train a task and record the run.

    A task file is code, and it is run.

    Example: steepest train digits --epochs 1
    """
    from steepest.run import fit
    from steepest.tasks import load

    run = fit(
        load(task), rule, lr, schedule, _number(batch_size), epochs, steps, clip=clip, accumulate=accumulate,
        average=average, precision=precision, keep=keep, stop_after=stop_after, guard=guard, start=start, seed=seed,
        checkpoint_every=_number(checkpoint_every), device=device, runs=runs, name=name, notes=notes,
    )  # fmt: skip
    _report(run, runs)
    if run.status == "interrupted":
        raise typer.Exit(130)


def _number(text: str | None) -> Any:
    """A whole number as one, other text as it is."""
    return int(text) if text and text.lstrip("-").isdigit() else text


@command
def resume(
    run: Annotated[str, typer.Argument(help="Id, its beginning, or a name.")],
    epochs: Annotated[int | None, typer.Option(help="Another length; the schedule is stretched.")] = None,
    steps: Annotated[int | None, typer.Option(help="Another length, in steps.")] = None,
    runs: Runs = Path("runs"),
) -> None:
    """Go on with a run that was killed or interrupted, as if nothing had happened.

    A task file is code, and it is run.

    Example: steepest resume digits --epochs 21
    """
    from steepest.run import fit
    from steepest.store import Store
    from steepest.tasks import load

    record = Store(runs).read(run)
    source = record.config.get("source")
    if source is None:
        raise StoreError(
            f"run {record.id} was begun from Python, so its task is not known here; "
            f"go on with sd.fit(task, resume={record.id!r})"
        )
    gone = fit(load(source), resume=record.id, epochs=epochs, steps=steps, runs=runs)
    _report(gone, runs)
    if gone.status == "interrupted":
        raise typer.Exit(130)


def _report(run: Any, runs: Path) -> None:
    """Where it ended, and where it is kept."""
    metric = run.record.config["metric"]
    if run.metric is not None:
        typer.echo(f"validation {metric}  {run.metric:.4f}")
    if metric in run.test:
        typer.echo(f"test {metric}        {run.test[metric]:.4f}")
    folder = runs / run.id
    folder.mkdir(parents=True, exist_ok=True)
    figure = run.figure(folder / "curves.png")
    typer.echo(f"run {run.id} is kept in {folder}, its figure in {figure}")


@command
def runs(runs: Runs = Path("runs"), as_json: AsJson = False) -> None:
    """List the runs.

    Example: steepest runs
    """
    from steepest.store import Store

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
    from steepest.run import open
    from steepest.view.tables import print_run

    found = open(run, runs)
    if figure is not None:
        found.figure(figure)
    if as_json:
        typer.echo(json.dumps({**_summary(found.record), "losses": _jsonable(found.losses.tolist())}))
    else:
        print_run(found.record)


@command
def compare(
    one: Annotated[str, typer.Argument(help="A run.")],
    other: Annotated[str, typer.Argument(help="Another run.")],
    runs: Runs = Path("runs"),
    figure: Annotated[Path | None, typer.Option(help="Write both curves to a .png, .svg or .pdf.")] = None,
) -> None:
    """Say what differed between two runs and how they ended.

    Example: steepest compare digits digits
    """
    from steepest.comparison import compare as compared
    from steepest.view.tables import print_comparison

    found = compared(one, other, runs)
    if figure is not None:
        found.figure(figure)
    print_comparison(found.records, found.differing, found.sentence)


@command
def rm(run: Annotated[str, typer.Argument(help="Id, its beginning, or a name.")], runs: Runs = Path("runs")) -> None:
    """Delete a run, its numbers and its weights.

    Example: steepest rm digits
    """
    from steepest.store import Store

    store = Store(runs)
    found = store.resolve(run)
    store.remove(found)
    typer.echo(f"run {found} is deleted")


@command
def rules(name: Annotated[str | None, typer.Argument(help="One rule, in full.")] = None) -> None:
    """List the update rules, or print one: formula, citation, hyperparameters, default rate.

    Example: steepest rules adam
    """
    from steepest.rules import RULES, named

    if name is None:
        for rule in RULES.values():
            typer.echo(f"{rule.name:20} lr {rule.hypers['lr']:<8g} {rule.summary}")
        return
    rule = named(name)
    others = ", ".join(f"{k} {v:g}" for k, v in rule.hypers.items() if k != "lr")
    typer.echo(f"{rule.summary}\n{rule.citation}\n\n{rule.source}\n")
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


def _summary(record: Any) -> dict[str, Any]:
    from steepest.view.tables import headline

    metric, value = headline(record)
    return _jsonable({
        "id": record.id, "name": record.name, "status": record.status, "started": record.started,
        "seconds": record.seconds, "metric": value, "metric_name": metric, "losses": record.steps.loss.tolist(),
        "measurements": [m._asdict() for m in record.measurements],
        "events": [e._asdict() for e in record.events], "config": record.config, "notes": record.notes,
    })  # fmt: skip


def _jsonable(x: Any) -> Any:
    """JSON has no NaN and no infinity: they are written as words."""
    if isinstance(x, dict):
        return {k: _jsonable(v) for k, v in x.items()}
    if isinstance(x, list | tuple):
        return [_jsonable(v) for v in x]
    return x if not isinstance(x, float) or x - x == 0 else str(x)
