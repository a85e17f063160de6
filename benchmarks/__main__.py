"""`python -m benchmarks`: runs them all and writes REPORT.md, with date and machine."""

import datetime
from pathlib import Path

from benchmarks import training_step, update
from steepest.store import versions


def main() -> None:
    """Writes the report."""
    v = versions()
    machine = f"{v['processor']}, {v['threads']} threads, torch {v['torch']}, numba {v['numba']}, Python {v['python']}"
    lines = ["# Benchmarks", "", f"`make bench`, {datetime.date.today()}, {machine}. Medians, sides interleaved.", ""]
    lines += ["## An update of AdamW with clipping", "", *update.measure(), ""]
    lines += ["## A training step on digits, batches of 64", "", *training_step.measure(), ""]
    Path(__file__).with_name("REPORT.md").write_text("\n".join(lines))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
