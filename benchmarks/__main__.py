"""`python -m benchmarks [NAME ...]`: measures all sections or those named, and writes them into REPORT.md.

Those that take long are measured only where they are named. Several sections run one after another, each in a process
of its own: what one imports or leaves in memory is nothing to the next.
"""

import importlib
import subprocess
import sys
import time
from collections.abc import Sequence
from types import ModuleType

from benchmarks import report

QUICK = {
    "update": "speed",
    "rules": "speed",
    "average": "speed",
    "step": "speed",
    "memory": "speed",
    "start": "speed",
    "demo": "speed",
    "population": "speed",
}
LONG = {
    "kills": "guard",
    "faults": "guard",
    "false_rewinds": "guard",
    "rates": "rates",
    "races": "rates",
    "curvature": "geometry",
    "edges": "geometry",
    "saddles": "geometry",
    "handoff": "geometry",
    "diagnoses": "diagnosis",
    "locate": "geometry",
    "landscapes": "speed",
    "page": "speed",
}
SECTIONS = QUICK | LONG
"""Sections of the report, and the folder that each lies in."""


def main(names: Sequence[str]) -> None:
    """Writes the sections of these names, or all quick ones."""
    if unknown := [name for name in names if name not in SECTIONS]:
        sys.exit(f"no section {', '.join(unknown)}; there are {', '.join(SECTIONS)}")
    if len(names) == 1:
        _measure(names[0])
        return
    for name in names or QUICK:
        subprocess.run([sys.executable, "-m", "benchmarks", name], check=True)


def _measure(name: str) -> None:
    began = time.perf_counter()
    lines = _module(name).measure()
    body = write(name, lines, time.perf_counter() - began)
    print(body)


def write(name: str, lines: Sequence[str], seconds: float) -> str:
    """Puts a section's lines into the report; the section, as it stands there."""
    titles = {s: _module(s).TITLE for s in SECTIONS}
    body = report.section(name, lines, seconds)
    report.write(titles[name], body, list(titles.values()))
    return f"## {titles[name]}\n\n{body}\n"


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"benchmarks.{SECTIONS[name]}.{name}")


if __name__ == "__main__":
    main(sys.argv[1:])
