"""The same from the command line: train, locate and film, in this process, on a task file as users write it."""

import contextlib
import re
from typing import Any

import torch
from typer.testing import CliRunner

import steepest as sd
from steepest.cli import app
from steepest.errors import SteepestError
from tests.zoo import plain
from tests.zoo.bench import Bench, inside
from tests.zoo.verbs import check_film, relative

DIGITS = 6e-3
"""Of a number that is printed with three digits, relative."""
PRODUCTS = "20"
"""Of locate, here and in the library that it is compared with; the verb locate takes more."""
FILE = """from tests.zoo.zoo import CASES

def task():
    return CASES[{name!r}].make()
"""


def command_line(bench: Bench) -> None:
    """Exit codes are 0, and the numbers printed are torch's at the run's end."""
    case = bench.case
    home = bench.home / "commands"
    home.mkdir(exist_ok=True)
    (home / "my_task.py").write_text(FILE.format(name=case.name), encoding="utf-8")
    bench.make()
    with inside(home):
        options = ["--schedule", "cosine", "--lr", str(case.lr), *flags(case)]
        words = call("train", "my_task.py", *options)
        run = re.search(r"Saved run (\S+) to", words)
        assert run is not None, f"train does not say which run it saved: {words[-300:]}"
        stored = at_end(bench, run[1])
        check_train(bench, words, stored)
        locate_from_there(bench, run[1], stored)
        words = call("film", run[1], "-o", "film.html", "--planes", "principal")
        assert "film.html" in words
        check_film(bench, home / "film.html", stored, words)


def flags(case: Any) -> list[str]:
    """The case's settings as flags of `train`; the rule too where it has a name."""
    settings = {k: v for k, v in case.settings.items() if k not in ("lr", "rule", "guard")}
    if isinstance(case.rule, str):
        settings["rule"] = case.rule
    return [part for name, value in settings.items() for part in (f"--{name.replace('_', '-')}", str(value))]


def call(*arguments: str) -> str:
    """What a command prints; its error is raised as ours where it is one of ours."""
    result = CliRunner().invoke(app, list(arguments))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    if result.exit_code:
        words = result.output.strip()
        assert "steepest: " in words, f"exit code {result.exit_code}: {words[-300:]}"
        raise SteepestError(words.split("steepest: ")[-1])
    return result.output if result.stderr in result.output else result.output + result.stderr


def at_end(bench: Bench, run: str) -> sd.Run:
    """The stored run with the model at its end."""
    return sd.open(run, task=bench.make())


def check_train(bench: Bench, words: str, run: sd.Run) -> None:
    system = bench.system_of(run)
    split = bench.task.validation if bench.task.validation is not None else bench.task.data
    if bench.case.metric is None:
        truth = plain.value(bench.case, system, split)
    else:
        with plain.evaluating(system), torch.no_grad():
            truth = bench.case.metric(system, bench.case.batches(split))
    shown = re.search(r"Validation (\w+) ([-\d.,e]+)( ?%)?", words)
    assert shown is not None, f"train prints no metric: {words[-300:]}"
    value = float(shown[2].rstrip(".,").replace(",", "")) / (100 if shown[3] else 1)
    assert relative(value, truth) <= DIGITS or abs(value - truth) < 6e-4, (
        f"train prints {shown[0]}, torch's {truth:.5g}"
    )


def locate_from_there(bench: Bench, run: str, stored: sd.Run) -> None:
    """The command locate: right, or refused as `sd.locate` is."""
    refusal = bench.case.refuses.get("locate")
    if refusal is None:
        check_locate(bench, call("locate", run, "--products", PRODUCTS), stored)
        return
    with contextlib.suppress(SteepestError):
        raise AssertionError(f"locate is not refused: {call('locate', run, '--products', '60')}")


def check_locate(bench: Bench, words: str, run: sd.Run) -> None:
    verdict = sd.locate(run.task, run, products=int(PRODUCTS))
    loss = verdict.number("training loss")
    assert loss is not None
    shown = re.search(r"training loss ([-\d.,e]+)", words)
    assert shown is not None, f"locate prints no training loss: {words[-300:]}"
    value = float(shown[1].rstrip(".,").replace(",", ""))
    assert relative(value, loss.value) <= DIGITS, f"locate prints {shown[0]}, the library has {loss.value:.5g}"
    assert verdict.sentence.split(".")[0] in words
