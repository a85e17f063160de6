"""`python -m benchmarks [NAME ...]`: measures all quick sections or those named, and writes them into REPORT.md.

Long sections are measured only if they are named. Several sections run one after another, each in a process of its
own, so that no section depends on what another one imported or left in memory. `python -m benchmarks NAME --help`
shows the options of a section that has some.
"""

import importlib
import subprocess
import sys
import time
from collections.abc import Sequence
from types import ModuleType

from benchmarks import report

QUICK = dict.fromkeys(
    ("update", "bf16", "rules", "average", "step", "fit", "memory", "start", "demo", "population"), "speed"
)
LONG = {
    "kills": "guard",
    "watched_kills": "guard",
    "faults": "guard",
    "fault_kinds": "guard",
    "false_rewinds": "guard",
    "harm": "guard",
    "trainers": "guard",
    "ranks": "guard",
    "rates": "rates",
    "finetuning": "rates",
    "races": "rates",
    "curvature": "geometry",
    "edges": "geometry",
    "saddles": "geometry",
    "handoff": "geometry",
    "diagnoses": "diagnosis",
    "contradictions": "diagnosis",
    "floors": "diagnosis",
    "foreign": "diagnosis",
    "locate": "geometry",
    "landscapes": "speed",
    "page": "speed",
    "run_list": "speed",
    "watch": "speed",
    "processes": "speed",
    "ray": "speed",
    "gpu": "gpu",
}
SECTIONS = QUICK | LONG
"""Sections of the report, in its order, and the folder of each."""


def main(arguments: Sequence[str]) -> None:
    """Writes the named sections, or all quick ones; or runs one section with options."""
    if len(arguments) > 1 and arguments[1].startswith("-"):
        _run_with_options(*arguments)
        return
    if unknown := [name for name in arguments if name not in SECTIONS]:
        sys.exit(f"section must be one of {', '.join(SECTIONS)}, got {', '.join(unknown)}")
    if len(arguments) == 1:
        _measure(arguments[0])
        return
    for name in arguments or QUICK:
        subprocess.run([sys.executable, "-m", "benchmarks", name], check=True)


def _run_with_options(name: str, *options: str) -> None:
    run = getattr(_module(name), "main", None) if name in SECTIONS else None
    if run is None:
        sys.exit(f"section {name} takes no options, got {' '.join(options)}")
    run(options)


def _measure(name: str) -> None:
    start = time.perf_counter()
    lines = _module(name).measure()
    print(write(name, lines, time.perf_counter() - start))


def write(name: str, lines: Sequence[str], seconds: float) -> str:
    """Puts a section's lines into the report; returns the section as it stands there."""
    titles = {s: _module(s).TITLE for s in SECTIONS}
    body = report.section(name, lines, seconds)
    report.write(titles[name], body, list(titles.values()))
    return f"## {titles[name]}\n\n{body}\n"


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"benchmarks.{SECTIONS[name]}.{name}")


if __name__ == "__main__":
    main(sys.argv[1:])
