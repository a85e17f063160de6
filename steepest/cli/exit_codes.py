"""Exit codes of the commands, for scripts.

0    done; a run that its patience ended is done too
1    bad input: an argument, a task, a runs folder
2    a run that failed, that the guard stopped, or whose loss is not finite at its end
3    `compare` says that the other runs are worse
75   told to end by SIGTERM, SIGUSR1 or SIGUSR2, and goes on where it is started again
130  Ctrl-C
"""

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from typing import Any

import typer
import typer.core

from steepest.errors import StoreError
from steepest.records.run import Record
from steepest.runs.signals import REQUEUE
from steepest.runs.store import Store


class ExitCode(IntEnum):
    """How a command ended."""

    SUCCESS = 0
    BAD_INPUT = 1
    FAILURE = 2
    WORSE = 3
    REQUEUE = REQUEUE
    INTERRUPT = 130


USAGE_ERROR: type[Any] = typer.BadParameter.__bases__[0]
"""The class of what is wrong with a command line."""


class Commands(typer.core.TyperGroup):
    """Subcommands; a command line that cannot be parsed is bad input, for which `typer` has the code 2."""

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        """Parses the command line."""
        with _as_bad_input():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: Any) -> Any:
        """Runs the subcommand."""
        with _as_bad_input():
            return super().invoke(ctx)


@contextmanager
def _as_bad_input() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if isinstance(error, USAGE_ERROR):
            error.exit_code = ExitCode.BAD_INPUT  # type: ignore[attr-defined]
        raise


def of_run(record: Record) -> int:
    """The exit code after a run.

    Args:
        record: of the run, with its steps.
    """
    if record.status == "interrupted":
        return ExitCode.INTERRUPT
    losses = record.steps.loss
    is_finite = not len(losses) or math.isfinite(losses[-1])
    return (
        ExitCode.FAILURE
        if record.status == "failed" or record.is_stopped_by_guard or not is_finite
        else ExitCode.SUCCESS
    )


def after_error(runs: Path, since: str) -> int:
    """The exit code after an error while a run was to be trained: whether it had begun.

    Args:
        runs: the folder of the run.
        since: when the command began, as `Record.started`.
    """
    try:
        records = Store(runs).runs()
    except StoreError:
        return ExitCode.BAD_INPUT
    own = [
        r for r in records
        if r.status == "failed" and r.versions.get("pid") == str(os.getpid()) and r.started >= since
    ]  # fmt: skip
    return ExitCode.FAILURE if own else ExitCode.BAD_INPUT
