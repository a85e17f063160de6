"""`python -m benchmarks [NAME ...]`: measures all sections or those named, and writes them into REPORT.md.

Several sections run one after another, each in a process of its own: what one imports or leaves in memory is nothing to
the next.
"""

import importlib
import subprocess
import sys
import time
from collections.abc import Sequence

from benchmarks import report

SECTIONS = ("update", "rules", "average", "step", "memory", "start", "kills", "demo")


def main(names: Sequence[str]) -> None:
    """Writes the sections of these names, or all."""
    if unknown := [name for name in names if name not in SECTIONS]:
        sys.exit(f"no section {', '.join(unknown)}; there are {', '.join(SECTIONS)}")
    if len(names) == 1:
        _measure(names[0])
        return
    for name in names or SECTIONS:
        subprocess.run([sys.executable, "-m", "benchmarks", name], check=True)


def _measure(name: str) -> None:
    sections = {s: importlib.import_module(f"benchmarks.{s}") for s in SECTIONS}
    began = time.perf_counter()
    lines = sections[name].measure()
    body = report.section(name, lines, time.perf_counter() - began)
    report.write(sections[name].TITLE, body, [s.TITLE for s in sections.values()])
    print(f"## {sections[name].TITLE}\n\n{body}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
