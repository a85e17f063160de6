"""What all commands share: the application, error reporting, arguments and options."""

import json
import shlex
import sys
import webbrowser
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from steepest.errors import InputError, SearchInterrupt, SteepestError
from steepest.runs.task_file import stored_task
from steepest.tasks import load
from steepest.view import plain_text
from steepest.view.tables import print_trials

app = typer.Typer(
    help="Train PyTorch models, and see what gradient descent did.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
)

TaskName = Annotated[str, typer.Argument(help="A built-in task, or a Python file that defines task().")]
RunName = Annotated[str, typer.Argument(help="Id of a run, the beginning of an id, or a name.")]
RuleName = Annotated[str | None, typer.Option(help="Update rule; `steepest rules` lists them.")]
ScheduleText = Annotated[str | None, typer.Option(help='Learning-rate schedule, such as "warmup(5%) >> cosine".')]
BatchSize = Annotated[str | None, typer.Option(help='Samples per step, or "full".')]
Epochs = Annotated[int | None, typer.Option(help="Length of the run in epochs.")]
Steps = Annotated[int | None, typer.Option(help="Length of the run in steps.")]
Seed = Annotated[int, typer.Option(help="Seed of all random numbers.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
TaskOption = Annotated[
    str | None, typer.Option(help="Task, if the run was started from Python or its file is not run unasked.")
]
Runs = Annotated[Path, typer.Option(help="Folder of the runs.")]
Figure = Annotated[Path | None, typer.Option(help="Write a figure: .png, .svg or .pdf.")]
OpenBrowser = Annotated[bool, typer.Option("--open/--no-open", help="Open the result in a browser.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def command(function: Callable) -> Callable:
    """Registers a subcommand with the function's name.

    It prints expected errors to stderr and exits with code 1; with 130 after Ctrl-C in a search.
    """

    @wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> None:
        plain_text.accept_all_text(sys.stdout, sys.stderr)
        try:
            function(*args, **kwargs)
        except SteepestError as error:
            typer.echo(f"steepest: {error}", err=True)
            raise typer.Exit(1) from None
        except SearchInterrupt as interrupt:
            if interrupt.table:
                print_trials(interrupt.table)
            typer.echo(f"steepest: {interrupt}", err=True)
            raise typer.Exit(130) from None
        except BrokenPipeError:
            sys.stderr.close()
            raise typer.Exit(1) from None

    return app.command(function.__name__.replace("_", "-"))(wrapper)


def number(text: str | None) -> Any:
    """An integer as a number, other text unchanged."""
    return int(text) if text and text.lstrip("-").isdigit() else text


def jsonable(x: Any) -> Any:
    """The value with NaN and infinity, which JSON lacks, as text."""
    if isinstance(x, dict):
        return {k: jsonable(v) for k, v in x.items()}
    if isinstance(x, list | tuple):
        return [jsonable(v) for v in x]
    return x if not isinstance(x, float) or x - x == 0 else str(x)


def print_json(x: Any) -> None:
    """Prints a value as JSON."""
    typer.echo(json.dumps(jsonable(x)))


def load_task(record: Any, name: str | None, runs: Path, command: str, advice: str = "Pass --task.") -> Any:
    """The task of a stored run: by its name or file if given, else as the run recorded it.

    Args:
        record: of the run.
        name: of the task, or its file.
        runs: folder of the runs.
        command: the subcommand that is run.
        advice: where the run was started from Python.

    Raises:
        StoreError: the run's file is run only if it is asked for; says why, and how.
        TaskError: the task cannot be loaded.
    """
    if name is not None:
        return load(name)
    place = "" if runs == Path("runs") else f" --runs {shlex.quote(str(runs))}"
    return stored_task(record, runs, f"steepest {command} {record.id}{place}", advice)


def learning_rate(text: str | None) -> Any:
    """A number, or other text unchanged, which the library checks."""
    try:
        return None if text is None else float(text)
    except ValueError:
        return text


def browse(file: Path) -> None:
    """Opens a file in a browser."""
    if not webbrowser.open(file.resolve().as_uri()):
        raise InputError(f"No browser could be started. Open {file} in one.")
