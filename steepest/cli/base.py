"""What all commands share: the application, error reporting, arguments, options and printing."""

import inspect
import shlex
import sys
import webbrowser
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

import steepest as sd
from steepest.cli import output
from steepest.cli.exit_codes import Commands, ExitCode
from steepest.errors import InputError, SearchInterrupt, SteepestError, StoreError
from steepest.integrations.logs.read import is_log_name, positive_sizes
from steepest.runs.store import Store
from steepest.runs.task_file import stored_task
from steepest.tasks import load
from steepest.view import plain_text
from steepest.view.tables import print_trials

HELP = """Train PyTorch models, and see what gradient descent did.

Results go to standard output, everything else to standard error. Every command takes --json and --runs. Exit codes:
0 done, 1 bad input, 2 a run failed or the guard stopped it, 3 compare says worse, 75 start it again, 130 Ctrl-C.
"""

app = typer.Typer(
    cls=Commands,
    help=HELP,
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
On = Annotated[str | None, typer.Option(help="Where to run: ray, a Ray cluster; by default here.")]
TaskOption = Annotated[
    str | None, typer.Option(help="Task, if the run was started from Python or its file is not run unasked.")
]
RunOrLog = Annotated[
    str,
    typer.Argument(help="Id or name of a run; or the log of another trainer: trainer_state.json, a CSV, event files."),
]
Runs = Annotated[Path, typer.Option(help="Folder of the runs.")]
UnusedRuns = Annotated[Path, typer.Option("--runs", help="As in other commands; this one uses no stored runs.")]
Figure = Annotated[Path | None, typer.Option(help="Write a figure: .png, .svg or .pdf.")]
OpenBrowser = Annotated[bool, typer.Option("--open/--no-open", help="Open the result in a browser.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON; its fields are in docs/json.md.")]


def _print_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"steepest {sd.__version__ or '(not installed: a copy of the source)'}")
        raise typer.Exit


@app.callback(help=HELP)
def options_of_all(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version and exit.")
    ] = False,
) -> None:
    """The options before a command."""


def command(function: Callable) -> Callable:
    """Registers a subcommand with the function's name; it takes --runs even where it uses no stored runs.

    It prints expected errors to stderr and exits with code 1; with 130 after Ctrl-C.
    """

    @wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> None:
        plain_text.accept_all_text(sys.stdout, sys.stderr)
        if not has_runs:
            kwargs.pop("runs")
        try:
            function(*args, **kwargs)
        except SteepestError as error:
            complain(f"steepest: {error}")
            raise typer.Exit(ExitCode.BAD_INPUT) from None
        except SearchInterrupt as interrupt:
            if interrupt.table and not kwargs.get("as_json"):
                print_trials(interrupt.table)
            complain(f"steepest: {interrupt}")
            raise typer.Exit(ExitCode.INTERRUPT) from None
        except KeyboardInterrupt:
            complain("steepest: interrupted")
            raise typer.Exit(ExitCode.INTERRUPT) from None
        except BrokenPipeError:
            sys.stderr.close()
            raise typer.Exit(ExitCode.BAD_INPUT) from None

    signature = inspect.signature(function)
    has_runs = "runs" in signature.parameters
    if not has_runs:
        option = inspect.Parameter("runs", inspect.Parameter.KEYWORD_ONLY, default=Path("runs"), annotation=UnusedRuns)
        wrapper.__signature__ = signature.replace(parameters=[*signature.parameters.values(), option])  # type: ignore[attr-defined]
    return app.command(function.__name__.replace("_", "-"))(wrapper)


def say(text: str) -> None:
    """Prints a result to standard output; control characters in it are made visible."""
    typer.echo(plain_text.visible(text, keep="\n"))


def complain(text: str) -> None:
    """Prints anything but a result to standard error."""
    typer.echo(plain_text.visible(text, keep="\n"), err=True)


def say_json(name: str, fields: Mapping[str, Any]) -> None:
    """Prints what a command has to say with --json."""
    typer.echo(output.to_text(name, fields))


def number(text: str | None) -> Any:
    """An integer as a number, other text unchanged."""
    return int(text) if text and text.lstrip("-").isdigit() else text


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


def record_of(run: str, runs: Path, **sizes: int | None) -> Any:
    """The record of a stored run, or of another trainer's log.

    Args:
        run: id or name of a run, or path of a log. A name that is both is the run's.
        runs: folder of the runs.
        sizes: that it does not tell itself; see `sd.read_log`.

    Raises:
        StoreError: there is no such run, and no such file.
        InputError: the log cannot be read, or a size is not the run's.
    """
    path = Path(run)
    if is_log_name(path):
        return sd.read_log(path, **sizes)
    try:
        record = Store(runs).read(run)
    except StoreError:
        if not path.exists():
            raise
        return sd.read_log(path, **sizes)
    values = positive_sizes(sizes)
    for name, size in values.items():
        if (own := getattr(record.config, name)) not in (None, size):
            raise InputError(f"{name} must be left out, since {record.id} has recorded {own}, got {size}")
    return replace(record, config=replace(record.config, **values))


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
