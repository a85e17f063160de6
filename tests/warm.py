"""Processes that begin with torch imported, which is most of what a short one takes.

Each is forked from a server that has done nothing but import torch: it has no threads and nothing of Steepest's.
"""

import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from multiprocessing.context import ForkServerProcess
from pathlib import Path

multiprocessing.set_forkserver_preload(["torch"])


def start(code: str, folder: Path, environment: Mapping[str, str], *arguments: str) -> ForkServerProcess:
    """Runs code; what it prints goes to `out` and `err` in a folder."""
    given = code, folder, dict(environment), arguments
    process = multiprocessing.get_context("forkserver").Process(target=_run, args=given)
    process.start()
    return process


def run(code: str, *arguments: str, timeout: float = 120) -> subprocess.CompletedProcess:
    """Runs code to its end; a process that hangs is killed: its code is −1000."""
    with tempfile.TemporaryDirectory(prefix="said-") as name:
        folder = Path(name)
        process = start(code, folder, os.environ, *arguments)
        process.join(timeout)
        exitcode = process.exitcode
        process.kill()
        out, err = ((folder / stream).read_text(encoding="utf-8") for stream in ("out", "err"))
        return subprocess.CompletedProcess(code, -1000 if exitcode is None else exitcode, out, err)


def _run(code: str, folder: Path, environment: dict[str, str], arguments: tuple[str, ...]) -> None:
    os.setsid()
    for name, stream in (("out", 1), ("err", 2)):
        os.dup2(os.open(folder / name, os.O_CREAT | os.O_WRONLY, 0o600), stream)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["-c", *arguments]
    exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})
