"""Virtual environments that know nothing of the checkout."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

PIP_OPTIONS = ("--quiet", "--no-compile", "--disable-pip-version-check")
TAIL = 2500
"""Characters of a command's output that an error shows."""


class FailureError(Exception):
    """A command that must succeed has failed; the end of what it printed."""


class Environment:
    """A virtual environment, and an empty folder in which its commands run.

    Args:
        folder: where it is made.
        python: the interpreter that it is made from.
    """

    def __init__(self, folder: Path, python: str = sys.executable) -> None:
        self.folder = folder
        self.bin = folder / "venv" / ("Scripts" if os.name == "nt" else "bin")
        self.work = folder / "work"
        self.work.mkdir(parents=True)
        self.run([python, "-m", "venv", str(folder / "venv")])

    def run(self, command: Sequence[Any], code: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
        """Runs a command of the environment in its empty folder.

        Args:
            command: its name, and arguments.
            code: the exit code that it must have.
            environment: variables beside those of this process.

        Raises:
            FailureError: it has another exit code.
        """
        name, *rest = map(str, command)
        here = self.bin / name
        own = {key: text for key, text in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV"))}
        own |= {"PATH": f"{self.bin}{os.pathsep}{os.environ['PATH']}", "PYTHONUTF8": "1", **environment}
        done = subprocess.run(
            [str(here) if here.exists() else name, *rest], cwd=self.work, env=own, stdin=subprocess.DEVNULL,
            capture_output=True, encoding="utf-8", check=False,
        )  # fmt: skip
        if done.returncode != code:
            words = f"{' '.join(map(str, command))} must exit with {code}, got {done.returncode}"
            raise FailureError(f"{words}\n{done.stdout[-TAIL:]}\n{done.stderr[-TAIL:]}")
        return done

    def python(self, code: str, **environment: str) -> str:
        """What a program prints."""
        return self.run(["python", "-c", code], **environment).stdout.strip()

    def install(self, *requirements: Any, constraints: Path | None = None, options: Sequence[str] = ()) -> None:
        """Installs by pip, as a user does."""
        pins = ["--constraint", constraints] if constraints else []
        self.run(["python", "-m", "pip", "install", *PIP_OPTIONS, *options, *pins, *requirements])

    def packages(self) -> dict[str, str]:
        """What is installed, with versions."""
        lines = self.run(["python", "-m", "pip", "list", "--format=freeze", "--disable-pip-version-check"]).stdout
        return dict(line.split("==", 1) for line in lines.splitlines() if "==" in line)

    def gigabytes(self) -> float:
        """What it takes on disk."""
        files = (path for path in (self.folder / "venv").rglob("*") if path.is_file() and not path.is_symlink())
        return sum(path.stat().st_size for path in files) / 1e9

    def remove(self) -> None:
        """Deletes it."""
        shutil.rmtree(self.folder, ignore_errors=True)
