"""What all commands share: the application, how failures are told, options."""

import sys
import webbrowser
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from steepest.errors import InputError, SearchInterrupt, SteepestError, StoreError

app = typer.Typer(
    help="Gradient descent for PyTorch users: train, look, compare.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
)

Runs = Annotated[Path, typer.Option(help="Folder of the runs.")]
AsJson = Annotated[bool, typer.Option("--json", help="As JSON, for programs.")]


def _in_words(function: Callable) -> Callable:
    """A function whose expected failures are words on stderr and exit code 1; that of Ctrl-C is 130."""

    @wraps(function)
    def guarded(*args: Any, **kwargs: Any) -> None:
        try:
            function(*args, **kwargs)
        except SteepestError as error:
            typer.echo(f"steepest: {error}", err=True)
            raise typer.Exit(1) from None
        except SearchInterrupt as stopped:
            _print_interrupted(stopped)
            raise typer.Exit(130) from None
        except BrokenPipeError:
            sys.stderr.close()
            raise typer.Exit(1) from None

    return guarded


def _print_interrupted(stopped: SearchInterrupt) -> None:
    from steepest.view.tables import print_tried

    if stopped.table:
        print_tried(stopped.table)
    typer.echo(f"steepest: {stopped}", err=True)


def command(function: Callable) -> Callable:
    """A subcommand of the function's name."""
    return app.command(function.__name__.replace("_", "-"))(_in_words(function))


def number(text: str | None) -> Any:
    """A whole number as one, other text as it is."""
    return int(text) if text and text.lstrip("-").isdigit() else text


def jsonable(x: Any) -> Any:
    """JSON has no NaN and no infinity: they are written as words."""
    if isinstance(x, dict):
        return {k: jsonable(v) for k, v in x.items()}
    if isinstance(x, list | tuple):
        return [jsonable(v) for v in x]
    return x if not isinstance(x, float) or x - x == 0 else str(x)


def task_of(record: Any, given: str | None = None, instead: str = "") -> Any:
    """The task of a stored run: the one that is named, else the one that the run says.

    Raises:
        StoreError: the run was begun from Python; says what can be done instead.
        TaskError: the task cannot be loaded.
    """
    from steepest.tasks import load

    source = given or record.config.source
    if source is None:
        raise StoreError(f"run {record.id} was begun from Python, so its task is not known here; {instead}")
    return load(source)


def rate(text: str | None) -> Any:
    """A rate; what is no number is left for `fit` to refuse."""
    try:
        return None if text is None else float(text)
    except ValueError:
        return text


def browse(file: Path) -> None:
    """Shows a file in a browser."""
    if not webbrowser.open(file.resolve().as_uri()):
        raise InputError(f"no browser could be started; open {file} in one")
