"""The commands train and resume."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

import steepest as sd
from steepest.cli import base, exit_codes, output
from steepest.cli.base import command, complain, number, say, say_json
from steepest.descent.settings import has_recipe_lr
from steepest.descent.stages import Stages
from steepest.distributed.group import is_first
from steepest.errors import InputError, SteepestError
from steepest.runs.config import AUTO
from steepest.runs.live import LiveServer
from steepest.runs.store import Store
from steepest.tasks import load
from steepest.view.tables import headline

FINISH = (
    'Rule of the last 30 % of the run, such as "momentum"; or of another part: "momentum, 20%", "momentum, 2 epochs".'
)

RESUME = '"auto", where the program is started again: go on with the run of this --name, if there is one.'
TRACK = "csv, tensorboard or mlflow, several with commas: they get the numbers as they come; csv:FILE says where."
MEASURE_EVERY = 'Steps, "2 epochs" or "5%" of the run between measurements of the validation split. Default: an epoch.'


def stages_with_finish(rule: Any, finish: str) -> Any:
    """The stages of `--finish`: a rule, then the finishing rule for the length after its comma, or 30 % of the run.

    >>> print(stages_with_finish("adam", "momentum, 2 epochs"))
    stage(adam) >> stage(momentum, 2 epochs)
    """
    if isinstance(rule, Stages):
        raise InputError(f"--finish cannot be used with a recipe that has stages, got {finish!r} and {rule}")
    name, _, length = (part.strip() for part in finish.partition(","))
    return sd.stage(rule) >> sd.stage(name, number(length or "30%"))


@command
def train(
    task: base.TaskName,
    rule: base.RuleName = None,
    finish: Annotated[str | None, typer.Option(help=FINISH)] = None,
    lr: Annotated[str | None, typer.Option(help='Learning rate: a number, or "auto" to measure it.')] = None,
    schedule: base.ScheduleText = None,
    batch_size: base.BatchSize = None,
    epochs: base.Epochs = None,
    steps: base.Steps = None,
    clip: Annotated[float | None, typer.Option(help="Maximum gradient norm.")] = None,
    accumulate: Annotated[int, typer.Option(help="Micro-batches per step.")] = 1,
    average: Annotated[float | None, typer.Option(help="Decay of the weights' average, such as 0.999.")] = None,
    precision: Annotated[str | None, typer.Option(help="float32, or bfloat16 for autocast.")] = None,
    keep: Annotated[str, typer.Option(help="Weights to keep: last, or best by the validation metric.")] = "last",
    stop_after: Annotated[int | None, typer.Option(help="Evaluations without improvement to stop after.")] = None,
    guard: Annotated[bool, typer.Option(help="Lower the learning rate or rewind when the loss explodes.")] = True,
    measure_every: Annotated[str | None, typer.Option(help=MEASURE_EVERY)] = None,
    locate: Annotated[bool, typer.Option(help="End with a quick check of where the run ended.")] = True,
    checkpoint_every: Annotated[str, typer.Option(help='Steps, or seconds such as "30 s".')] = "30 s",
    start: Annotated[str | None, typer.Option(help="Run whose weights to start from.")] = None,
    resume: Annotated[str | None, typer.Option(help=RESUME)] = None,
    seed: base.Seed = 0,
    device: base.Device = "auto",
    runs: base.Runs = Path("runs"),
    name: Annotated[str | None, typer.Option(help="Name of the run.")] = None,
    notes: Annotated[str | None, typer.Option(help="Text to save with the run.")] = None,
    track: Annotated[str | None, typer.Option(help=TRACK)] = None,
    live: Annotated[bool, typer.Option("--live", help="Show the run in a browser while it trains.")] = False,
    open: base.OpenBrowser = True,
    as_json: base.AsJson = False,
) -> None:
    """Train a task and save the run.

    The task file is executed. Without --lr, the learning rate is the recipe's, or else measured. With --finish, it is
    that of --rule; the finishing rule's is derived from the steps before it. Under torchrun, several processes train
    one run: torchrun --nproc-per-node 2 -m steepest train digits.

    Example: steepest train digits --epochs 1
    """
    if resume not in (None, AUTO):
        raise InputError(f"--resume must be auto, got {resume!r}. To continue a run use: steepest resume {resume}")
    source = load(task)
    stages = rule if finish is None else stages_with_finish(rule or source.recipe.get("rule", "adam"), finish)
    rate = AUTO if lr is None and not has_recipe_lr(source, stages) else base.learning_rate(lr)
    server = LiveServer(runs, open) if live else None
    with _exit_after_failure(runs):
        run = sd.fit(
            source, stages, rate, schedule, number(batch_size), epochs, steps, clip=clip, accumulate=accumulate,
            average=average, precision=precision, keep=keep, stop_after=stop_after, guard=guard, start=start, seed=seed,
            checkpoint_every=number(checkpoint_every), measure_every=number(measure_every), device=device, runs=runs,
            name=name, notes=notes, locate=locate, live=server or False,
            trackers=[] if track is None else track.split(","), resume=resume,
        )  # fmt: skip
    is_shown = server is not None and run.status != "interrupted" and is_first()
    film = run.film(runs / run.id / "film.html") if is_shown else None  # the page then shows its surfaces
    _report("train", run, runs, film, as_json)
    if server is not None:
        server.stay() if is_shown else server.close()
    raise typer.Exit(exit_codes.of_run(run.record))


@command
def resume(
    run: base.RunName,
    epochs: Annotated[int | None, typer.Option(help="New length in epochs; the schedule is stretched.")] = None,
    steps: Annotated[int | None, typer.Option(help="New length in steps; the schedule is stretched.")] = None,
    task: base.TaskOption = None,
    runs: base.Runs = Path("runs"),
    as_json: base.AsJson = False,
) -> None:
    """Continue an interrupted run exactly.

    The task file is executed.

    Example: steepest resume digits --epochs 21
    """
    record = Store(runs).read(run)
    if record.config.is_watched:
        sd.resume(record.id, runs=runs)  # refused
    source = base.load_task(record, task, runs, "resume", f"Continue with sd.fit(task, resume={record.id!r}).")
    with _exit_after_failure(runs):
        result = sd.fit(source, resume=record.id, epochs=epochs, steps=steps, runs=runs)
    _report("resume", result, runs, None, as_json)
    raise typer.Exit(exit_codes.of_run(result.record))


def _report(command: str, run: Any, runs: Path, film: Path | None, as_json: bool) -> None:
    """Prints the metric and where the run ended, and where it is saved."""
    if not is_first():
        return
    folder = runs / run.id
    folder.mkdir(parents=True, exist_ok=True)
    figure = run.figure(folder / "curves.png")
    if as_json:
        fields = output.full_run(run.record, run.verdict)
        say_json(command, {**fields, "folder": str(folder), "film": None if film is None else str(film)})
        return
    say(headline(run.record, run.verdict))
    say(f"Saved run {run.id} to {folder} ({figure.name})")
    if film is not None:
        say(f"Wrote the film to {film}")


@contextmanager
def _exit_after_failure(runs: Path) -> Iterator[None]:
    """Exits with the code of a run that failed, where the error came after the run had begun."""
    since = datetime.now(UTC).isoformat(timespec="milliseconds")
    try:
        yield
    except Exception as error:
        if exit_codes.after_error(runs, since) != exit_codes.ExitCode.FAILURE:
            raise
        if isinstance(error, SteepestError):
            complain(f"steepest: {error}")
        else:
            traceback.print_exc()
        raise typer.Exit(exit_codes.ExitCode.FAILURE) from None
