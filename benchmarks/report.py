"""REPORT.md: a section for each benchmark, with the command that made it, the date and the machine."""

import datetime
from collections.abc import Iterable, Sequence
from pathlib import Path

from steepest.runs.store import versions

PATH = Path(__file__).with_name("REPORT.md")

HEAD = """# Benchmarks

Every section compares Steepest with peers that take turns with it in the same run, and gives medians and ratios of
medians. `make bench` measures the quick sections, `python -m benchmarks NAME ...` the named ones. The first line of a
section says when, where and with which command it was made.
"""

ABSENT = "not installed: `make bench` installs it"


def write(title: str, body: str, order: Sequence[str]) -> None:
    """Puts a section into the report, in place of the one with its title; `order` has the titles of all sections."""
    report = PATH.read_text(encoding="utf-8") if PATH.exists() else ""
    PATH.write_text(replace_section(report, title, body, order))


def replace_section(report: str, title: str, body: str, order: Sequence[str]) -> str:
    """The report with a new section; the others stay, without those whose titles are not in `order`.

    >>> old = "# Benchmarks\\n\\n## One\\n\\n1\\n\\n## Two\\n\\n2\\n"
    >>> replace_section(old, "Two", "3", ["One", "Two"]).removeprefix(HEAD)
    '\\n## One\\n\\n1\\n\\n## Two\\n\\n3\\n'
    """
    _, *parts = f"\n{report}".split("\n## ")
    bodies = {heading: text.strip() for heading, _, text in (part.partition("\n") for part in parts)} | {title: body}
    return HEAD + "".join(f"\n## {heading}\n\n{bodies[heading]}\n" for heading in order if heading in bodies)


def section(name: str, lines: Sequence[str], seconds: float) -> str:
    """A section's text: the command, date and machine, then its lines."""
    v = versions()
    machine = f"{v['processor']}, threads: {v['threads']}, torch {v['torch']}, numba {v['numba']}, Python {v['python']}"
    origin = f"`python -m benchmarks {name}`, {datetime.date.today()}, {machine}; it took {seconds:.0f} s."
    return "\n".join([origin, "", *lines])


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


def check(value: float, limit: float) -> str:
    """Whether a figure is at most its limit."""
    return yes(value <= limit)


def yes(condition: bool) -> str:
    """A condition as a table's cell."""
    return "yes" if condition else "no"
