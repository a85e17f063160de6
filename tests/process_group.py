"""Processes of a group: a test's own file, run as a program by each."""

import os
import subprocess
import sys
from pathlib import Path


def run_processes(module: str, folder: Path, count: int) -> None:
    """Runs `python -m MODULE RANK FOLDER` for each rank, at once, each on one thread; all must end well."""
    command = [sys.executable, "-W", "ignore", "-m", module]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen([*command, str(rank), str(folder)], cwd=Path(__file__).parents[1], env=environment)
        for rank in range(count)
    ]
    try:
        assert [p.wait(timeout=300) for p in processes] == [0] * count
    finally:
        for p in processes:
            p.kill()
