"""Processes that begin with torch imported, which is most of what a short one takes.

Each is forked from a server that has done nothing but import torch: it has no threads and nothing of Steepest's.
"""

import multiprocessing
import os
import sys
from collections.abc import Mapping
from multiprocessing.context import ForkServerProcess
from pathlib import Path

multiprocessing.set_forkserver_preload(["torch"])


def start(code: str, folder: Path, environment: Mapping[str, str]) -> ForkServerProcess:
    """Runs code; what it prints goes to `out` and `err` in a folder."""
    process = multiprocessing.get_context("forkserver").Process(target=_run, args=(code, folder, dict(environment)))
    process.start()
    return process


def _run(code: str, folder: Path, environment: dict[str, str]) -> None:
    os.setsid()
    for name, stream in (("out", 1), ("err", 2)):
        os.dup2(os.open(folder / name, os.O_CREAT | os.O_WRONLY, 0o600), stream)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["-c"]
    exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})
