"""The task of a stored run, as the run recorded it. A task file is code: it is named before it is run.

A runs folder may come from somebody else, and what it records names a file on this machine. The file is run only where
it is plainly the one that the user trained on: it is the user's, lies outside the runs folder, and has not changed.
"""

import hashlib
import os
import shlex
import stat
import sys
from pathlib import Path

from steepest.errors import StoreError
from steepest.records.run import Record
from steepest.runs.restore import loop_words
from steepest.tasks import BUILT_IN, Task, load

MAX_FILE_BYTES = 50_000_000


def stored_task(record: Record, runs: Path | str, command: str, advice: str) -> Task:
    """The task that a run was trained on.

    Args:
        record: of the run.
        runs: folder of the runs.
        command: that is run, to which `--task FILE` can be added.
        advice: where the run was started from Python.

    Raises:
        StoreError: its file is run only if it is asked for; says why, and how.
        TaskError: the file is missing, raises, or has no `task()`.
    """
    source = record.config.source
    if source is None and record.config.is_watched:
        raise StoreError(
            f"{loop_words(record)}. Write them as task() in a Python file, then run: {command} --task FILE"
        )
    if source is None:
        raise StoreError(f"Run {record.id} was started from Python, so its task is unknown. {advice}")
    if source in BUILT_IN:
        return load(source)
    name = source if source.isprintable() else ascii(source)
    reason = why_not_run(source, record.config.source_hash, Path(runs))
    if reason:
        raise StoreError(
            f"Run {record.id} was trained on {name}. This file {reason}, so it is not run unless you ask for it. Read "
            f"the file, then run: {command} --task {shlex.quote(name)}"
        )
    print(f"Running the task file {name}", file=sys.stderr, flush=True)
    return load(source)


def why_not_run(source: str, digest: str | None, runs: Path) -> str:
    """Why a file that a run names is not run unasked, in words; empty where it is, or where there is none.

    Args:
        source: the file, as recorded.
        digest: of the file when the run began, as recorded.
        runs: folder of the runs.
    """
    path = Path(source)
    try:
        file = path.resolve()
        if file.is_relative_to(runs.resolve()) or path.is_relative_to(runs.absolute()):
            return "lies in the runs folder"
        if not path.is_absolute():
            return "is named without its folder"
        status = file.stat()
        if hasattr(os, "getuid") and status.st_uid != os.getuid():
            return "belongs to another user"
        if digest is None:
            return "has no recorded hash"
        if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_FILE_BYTES or file_hash(file) != digest:
            return "has changed since the run began"
    except FileNotFoundError:
        return ""  # loading it says so
    except (OSError, ValueError, RuntimeError) as error:  # such as a NUL in the name, or a circle of links
        return f"cannot be read ({error})"
    return ""


def file_hash(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
