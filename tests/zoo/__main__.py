"""Runs the zoo on two processes, prints its table and writes it for the manual.

`python -m tests.zoo` runs all, `python -m tests.zoo FAMILY | CASE ...` a part, which is not written.
"""

import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.zoo.bench import Outcome
from tests.zoo.case import VERBS
from tests.zoo.zoo import CASES, FAMILIES

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "zoo.md"
MARKS = {"right": "✓", "refused": "refused", "wrong": "WRONG", "traceback": "ERROR"}
HEAD = """# What people bring

Kinds of task × verbs, made by `make zoo`. A ✓ is right by a truth of its own: losses as those of a plain PyTorch loop,
a resumed run bit for bit that of one never stopped, a learning rate that a small grid finds too, torch's loss and
gradient norm at the point, the film's end loss. *refused* is an error before any work is done that says what to do;
below the table is which, and why.
"""


class Collector:
    """A plugin that collects the outcomes of cells by (case, verb)."""

    def __init__(self) -> None:
        self.cells: dict[tuple[str, str], Outcome] = {}
        self.seconds: Counter[tuple[str, str]] = Counter()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        found = dict(report.user_properties)
        if report.when == "call" and "verb" in found:
            self.cells[found["case"], found["verb"]] = Outcome(found["kind"], found["words"])
            self.seconds[found["case"], found["verb"]] = report.duration  # type: ignore[assignment]
            if found["kind"] not in ("right", "refused"):
                print(f"\n{found['case']} · {found['verb']}: {found['kind']}: {found['words']}", flush=True)


def table(cells: dict[tuple[str, str], Outcome]) -> str:
    """The table as Markdown, with reasons below."""
    lines = [HEAD, "| task | " + " | ".join(VERBS) + " |", "|---" * (len(VERBS) + 1) + "|"]
    for name in CASES:
        marks = [MARKS[cells[name, verb].kind] if (name, verb) in cells else "" for verb in VERBS]
        if any(marks):
            lines.append(f"| {name} | " + " | ".join(marks) + " |")
    kinds = Counter(cell.kind for cell in cells.values())
    share = 100 * kinds["right"] / max(1, len(cells))
    lines += ["", f"{len(cells)} cells: {share:.1f} % right, {kinds['refused']} refused in words."]
    failures = kinds["wrong"] + kinds["traceback"]
    if failures:
        lines[-1] += f" {failures} fail."
    for name, case in CASES.items():
        if case.skip:
            lines += ["", f"**{name}** is not tried: {case.skip}"]
        refusals: dict[str, list[str]] = {}
        for verb in VERBS:
            if (name, verb) in cells and cells[name, verb].kind == "refused":
                words = cells[name, verb].words.partition(": ")[2].splitlines()[0]
                refusals.setdefault(words, []).append(verb)
        for words, verbs in refusals.items():
            reasons = dict.fromkeys((case.refuses.get(v) or case.refuses["every"])[1] for v in verbs)
            which = "every verb" if len(verbs) == len(VERBS) else ", ".join(verbs)
            lines += ["", f"**{name}**, {which}: {'; '.join(reasons)}.", f"> {words}"]
    return "\n".join(lines) + "\n"


def main() -> int:
    names = [name for part in sys.argv[1:] for name in FAMILIES.get(part, [part])]
    collector = Collector()
    chosen = [f"tests/zoo/test_zoo.py::test_cell[{n}-{v}]".replace(" ", "_") for n in names for v in VERBS]
    workers = ["-n", "2", "--dist", "loadgroup"] if len(names) != 1 else ["-n", "0"]
    quiet = ["-q", "--tb=no", "--no-summary", "-p", "no:cacheprovider", f"--rootdir={ROOT}"]
    code = pytest.main([*quiet, *workers, *(chosen or ["tests/zoo/test_zoo.py"])], plugins=[collector])
    text = table(collector.cells)
    print(f"\n{text[len(HEAD) :]}")
    print(f"{sum(collector.seconds.values()):.0f} s of cells; the slowest:")
    for (name, verb), seconds in collector.seconds.most_common(12):
        print(f"{seconds:5.1f} s  {name} · {verb}")
    if not names:
        PAGE.write_text(text, encoding="utf-8")
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
