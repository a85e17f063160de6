"""What can be measured once in a process only: imports, and the most memory it ever held."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def printed(code: str, **environment: str) -> float:
    """The number that a fresh interpreter prints last when it runs this code."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env=os.environ | environment
    )
    if done.returncode:
        raise RuntimeError(f"a fresh interpreter failed:\n{code}\n{done.stderr}")
    return float(done.stdout.split()[-1])
