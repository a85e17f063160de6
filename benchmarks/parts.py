"""Long benchmarks in parts: outcomes as JSON lines in a folder, and the command line that adds to it and reports.

python -m benchmarks NAME --problems P --seeds 0 1 --out DIR     # adds the missing runs of a part to DIR
python -m benchmarks NAME --report DIR [--details] [--write]     # prints the tables of what is in DIR
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch


class Outcomes:
    """Outcomes as JSON lines in a folder; every process writes a file of its own and reads all of them.

    Args:
        folder: where they are.
        key: names of the entries that identify a trial.
    """

    def __init__(self, folder: Path, key: Sequence[str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self._key = folder, key
        self._file = folder / f"{time.time_ns()}-{os.getpid()}.jsonl"
        self._present = {self._identity(outcome) for outcome in self}

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for path in sorted(self.folder.glob("*.jsonl")):
            *lines, _ = path.read_text(encoding="utf-8").split("\n")  # what follows the last newline is incomplete
            yield from map(json.loads, lines)

    def add(self, identity: Sequence[Any], run: Callable[[], Mapping[str, Any]]) -> None:
        """Runs a trial and stores its outcome, unless it is there already.

        Args:
            identity: values of the key.
            run: gives the other entries of the outcome.
        """
        trial = dict(zip(self._key, identity, strict=True))
        if self._identity(trial) in self._present:
            return
        start = time.perf_counter()
        line = json.dumps({**trial, **run(), "seconds": round(time.perf_counter() - start, 3)})
        self._present.add(self._identity(trial))
        with self._file.open("a") as file:
            file.write(line + "\n")

    def lacks(self, identity: Sequence[Any]) -> bool:
        """Whether no outcome of a trial is there."""
        return tuple(identity) not in self._present

    def _identity(self, outcome: Mapping[str, Any]) -> tuple[Any, ...]:
        return tuple(outcome[name] for name in self._key)


Options = argparse.Namespace


@dataclass(frozen=True)
class Study:
    """A benchmark that can be made in parts.

    Attributes:
        name: of the section.
        key: names of the entries that identify a trial.
        work: runs the trials that the options name and the outcomes lack.
        lines: the section's lines, from the outcomes.
        add_options: adds options of its own to the parser.
    """

    name: str
    key: tuple[str, ...]
    work: Callable[[Outcomes, Options], None]
    lines: Callable[[Outcomes, Options], list[str]]
    add_options: Callable[[argparse.ArgumentParser], None] = lambda parser: None

    def measure(self) -> list[str]:
        """The section's lines, from all its trials."""
        torch.set_num_threads(1)
        options = self._parser().parse_args([])
        with tempfile.TemporaryDirectory() as folder:
            outcomes = Outcomes(Path(folder), self.key)
            self.work(outcomes, options)
            return self.lines(outcomes, options)

    def main(self, arguments: Sequence[str]) -> None:
        """The command line."""
        torch.set_num_threads(1)
        options = self._parser().parse_args(arguments)
        folder = options.report or options.out or Path(tempfile.mkdtemp(prefix="outcomes-"))
        outcomes = Outcomes(folder, self.key)
        if options.report is None:
            print(f"Outcomes in {folder}")
            self.work(outcomes, options)
        text = self.lines(outcomes, options)
        print("\n".join(text))
        if options.write:
            from benchmarks.__main__ import write

            write(self.name, text, sum(outcome["seconds"] for outcome in outcomes))

    def _parser(self) -> argparse.ArgumentParser:
        parser = argparse.ArgumentParser(prog=f"python -m benchmarks {self.name}")
        parser.add_argument("--problems", nargs="*", default=[])
        parser.add_argument("--seeds", nargs="*", type=int, help="by default those of the report")
        parser.add_argument("--out", type=Path, help="folder of outcomes; by default a new temporary one")
        parser.add_argument("--report", type=Path, help="only print what is in this folder")
        parser.add_argument("--details", action="store_true", help="print single runs too")
        parser.add_argument("--write", action="store_true", help="write the section into REPORT.md")
        self.add_options(parser)
        return parser
