"""Measurements that a process can make only once: import times and peak memory."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run_fresh(code: str, checkout: Path = ROOT, **environment: str) -> float:
    """The number that a fresh interpreter prints last when it runs this code, with the package of a checkout."""
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=checkout,
        env=os.environ | {"PYTHONPATH": str(checkout)} | environment,
    )  # fmt: skip
    if process.returncode:
        raise RuntimeError(f"A fresh interpreter failed:\n{code}\n{process.stderr}")
    return float(process.stdout.split()[-1])
