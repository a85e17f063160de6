"""REPORT.md: a section for each benchmark, each with the date, the machine and the command that made it."""

import datetime
from collections.abc import Iterable, Sequence
from pathlib import Path

from steepest.runs.store import versions

PATH = Path(__file__).with_name("REPORT.md")

HEAD = """# Benchmarks

Each against its peers, which take turns with it in the same run; medians, and ratios of medians. `make bench` measures
all sections, `python -m benchmarks NAME ...` some. A section says when, where and by what it was made.
"""

MISSING = "not installed: `make bench` installs it"


def write(title: str, body: str, order: Sequence[str]) -> None:
    """Puts a section into the report, in place of the one with its title; the sections stand in the order of titles."""
    report = PATH.read_text() if PATH.exists() else ""
    PATH.write_text(replaced(report, title, body, order))


def replaced(report: str, title: str, body: str, order: Sequence[str]) -> str:
    """The report with one section new and the others as they were; titles that are not in `order` are gone.

    >>> old = "# Benchmarks\\n\\n## One\\n\\n1\\n\\n## Two\\n\\n2\\n"
    >>> replaced(old, "Two", "3", ["One", "Two"]).removeprefix(HEAD)
    '\\n## One\\n\\n1\\n\\n## Two\\n\\n3\\n'
    """
    _, *parts = f"\n{report}".split("\n## ")
    found = {heading: text.strip() for heading, _, text in (part.partition("\n") for part in parts)} | {title: body}
    return HEAD + "".join(f"\n## {heading}\n\n{found[heading]}\n" for heading in order if heading in found)


def section(name: str, lines: Sequence[str], seconds: float) -> str:
    """A section's text: what made it, then its lines."""
    v = versions()
    machine = f"{v['processor']}, threads: {v['threads']}, torch {v['torch']}, numba {v['numba']}, Python {v['python']}"
    made = f"`python -m benchmarks {name}`, {datetime.date.today()}, {machine}; it took {seconds:.0f} s."
    return "\n".join([made, "", *lines])


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A table in Markdown."""
    return [f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *rows)]


def span(seconds: float) -> str:
    """A time with three digits and its unit.

    >>> span(2.5e-5), span(0.1389), span(12.34)
    ('25.0 µs', '139 ms', '12.3 s')
    """
    for unit, size in (("µs", 1e-6), ("ms", 1e-3)):
        if seconds < 999.5 * size:
            return f"{_three(seconds / size)} {unit}"
    return f"{_three(seconds)} s"


def _three(x: float) -> str:
    return f"{x:.0f}" if x >= 99.95 else f"{x:.1f}" if x >= 9.995 else f"{x:.2f}"


def met(value: float, limit: float) -> str:
    """Whether a figure is within its target."""
    return "yes" if value <= limit else "no"
