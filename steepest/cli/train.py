"""Commands that train."""

from pathlib import Path
from typing import Annotated, Any

import typer

from steepest.cli.base import Runs, command, number, rate, task_of
from steepest.errors import InputError

FINISH = (
    'Rule of the last 30 % of the run, such as "momentum"; or of another part: "momentum, 20%", "momentum, 2 epochs".'
)


def finished(rule: Any, finish: str) -> Any:
    """The stages of `--finish`: a rule, then the one that finishes, for the length after its comma or 30 % of the run.

    >>> print(finished("adam", "momentum, 2 epochs"))
    stage(adam) >> stage(momentum, 2 epochs)
    """
    from steepest.descent.stages import Stages, stage

    if isinstance(rule, Stages):
        raise InputError(f"--finish {finish} is given, and the task's recipe has stages already: {rule}")
    name, _, length = (part.strip() for part in finish.partition(","))
    return stage(rule) >> stage(name, number(length or "30%"))


@command
def train(
    task: Annotated[str, typer.Argument(help="A built-in task, or a Python file with a function task().")],
    rule: Annotated[str | None, typer.Option(help="Update rule; see `steepest rules`.")] = None,
    finish: Annotated[str | None, typer.Option(help=FINISH)] = None,
    lr: Annotated[str | None, typer.Option(help='A number, or "auto": found by measuring.')] = None,
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
    locate: Annotated[bool, typer.Option(help="End with a short look at where it is.")] = True,
    checkpoint_every: Annotated[str, typer.Option(help='Steps, or seconds as "30 s".')] = "30 s",
    start: Annotated[str | None, typer.Option(help="A run at whose end to begin.")] = None,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    runs: Runs = Path("runs"),
    name: Annotated[str | None, typer.Option(help="Of the run.")] = None,
    notes: Annotated[str | None, typer.Option(help="Kept with the run.")] = None,
    live: Annotated[bool, typer.Option("--live", help="Show it in a browser while it trains.")] = False,
    open: Annotated[bool, typer.Option("--open/--no-open", help="With --live: open the browser.")] = True,
) -> None:
    """Train a task and record the run.

    A task file is code, and it is run. Without --lr the rate is the task's own, else it is found by measuring; with
    --finish it is that of --rule, and the other rule's follows from the steps before it.

    Example: steepest train digits --epochs 1
    """
    from steepest.descent.settings import has_recipe_lr
    from steepest.runs.config import AUTO
    from steepest.runs.fit import fit
    from steepest.runs.live import LiveServer
    from steepest.tasks import load

    made = load(task)
    chosen = rule if finish is None else finished(rule or made.recipe.get("rule", "adam"), finish)
    given = AUTO if lr is None and not has_recipe_lr(made, chosen) else rate(lr)
    server = LiveServer(runs, open) if live else None
    run = fit(
        made, chosen, given, schedule, number(batch_size), epochs, steps, clip=clip, accumulate=accumulate,
        average=average, precision=precision, keep=keep, stop_after=stop_after, guard=guard, start=start, seed=seed,
        checkpoint_every=number(checkpoint_every), device=device, runs=runs, name=name, notes=notes, locate=locate,
        live=server or False,
    )  # fmt: skip
    _report(run, runs)
    if server is not None and run.status != "interrupted":
        typer.echo(f"its film is {run.film(runs / run.id / 'film.html')}")  # the page takes the surfaces up
        server.stay()
    elif server is not None:
        server.close()
    if run.status == "interrupted":
        raise typer.Exit(130)


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
    from steepest.runs.fit import fit
    from steepest.runs.store import Store

    record = Store(runs).read(run)
    task = task_of(record, instead=f"go on with sd.fit(task, resume={record.id!r})")
    gone = fit(task, resume=record.id, epochs=epochs, steps=steps, runs=runs)
    _report(gone, runs)
    if gone.status == "interrupted":
        raise typer.Exit(130)


def _report(run: Any, runs: Path) -> None:
    """Where it ended, and where it is kept."""
    metric = run.record.config.metric
    if run.metric is not None:
        typer.echo(f"validation {metric}  {run.metric:.4f}")
    if metric in run.test:
        typer.echo(f"test {metric}        {run.test[metric]:.4f}")
    if run.verdict is not None:
        typer.echo(f"{run.verdict.sentence} {run.verdict.advice}")
    folder = runs / run.id
    folder.mkdir(parents=True, exist_ok=True)
    figure = run.figure(folder / "curves.png")
    typer.echo(f"run {run.id} is kept in {folder}, its figure in {figure}")
