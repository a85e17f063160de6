"""What commands print with --json: the fields that docs/json.md says, no more and no less."""

import json
import math
import shlex
import types
import typing
from typing import Any, get_args, get_origin

import pytest
import typer.main
from typer.testing import CliRunner

import steepest as sd
from steepest.cli import app, output
from tests.cli import json_reference

LINES = {
    "compare": "compare digits digits",
    "diagnose": "diagnose digits",
    "export": "export digits csv -o digits.csv",
    "film": "film digits -o digits.html --budget 1",
    "find-lr": "find-lr digits --steps 84",
    "locate": "locate digits --products 10 --samples 64",
    "play": "play bowl -o play.html --steps 5",
    "race": "race digits --rules adam,momentum --lr 0.01 --seeds 2 --steps 4",
    "resume": "resume digits --steps 10",
    "rm": "rm gone",
    "rules": "rules",
    "runs": "runs",
    "show": "show digits",
    "tasks": "tasks",
    "train": "train digits --steps 4 --name trained",
}
DIVERGING = """
import torch
import steepest as sd
def task():
    x = torch.linspace(-1, 1, 64)[:, None]
    loss = lambda output, target: (output - target).square().mean().neg().sqrt()
    return sd.Task(torch.nn.Linear(1, 1), (x, 2 * x), loss, validation=(x, x))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """With a run of digits, one whose loss is NaN, and one that can be deleted."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder := tmp_path_factory.mktemp("json"))
        (folder / "nan.py").write_text(DIVERGING)
        for line in ("digits --steps 8", "digits --steps 4 --name gone", "nan.py --steps 8 --lr 1 --no-guard"):
            CliRunner().invoke(app, ["train", *shlex.split(line)])
        yield folder


def fields_of(line, folder, monkeypatch):
    monkeypatch.chdir(folder)
    result = CliRunner().invoke(app, [*shlex.split(line), "--json"])
    assert result.stdout.count("\n") == 1, result.output
    return json.loads(result.stdout, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def check(value: Any, hint: Any, where: str) -> None:
    """Checks that a value has the fields and types of a hint, exactly."""
    if typing.is_typeddict(hint):
        expected = json_reference.hints(hint)
        assert set(value) == set(expected), where
        for name, (kind, _) in expected.items():
            check(value[name], kind, f"{where}.{name}")
    elif get_origin(hint) is list:
        assert type(value) is list, where
        for item in value:
            check(item, get_args(hint)[0], f"{where}[]")
    elif get_origin(hint) is dict:
        assert type(value) is dict, where
    elif hint == output.Number:
        assert type(value) in (int, float) or value in ("nan", "inf", "-inf"), (where, value)
    elif isinstance(hint, types.UnionType):
        if None is value and types.NoneType in get_args(hint):
            return
        is_number = {float, str} <= set(get_args(hint))
        others = [part for part in get_args(hint) if part is not types.NoneType]
        check(value, output.Number if is_number else others[0], where)
    elif hint is not Any:
        assert type(value) is hint, (where, value)


def test_every_command_takes_json_and_runs():
    commands = typer.main.get_command(app).commands
    assert set(commands) == set(output.COMMANDS) == {*LINES, "serve"}
    for name, command in commands.items():
        assert {"--json", "--runs"} <= {flag for p in command.params for flag in p.opts}, name


@pytest.mark.parametrize("command", LINES)
def test_a_command_prints_its_fields_and_nothing_else(command, folder, monkeypatch):
    printed = fields_of(LINES[command], folder, monkeypatch)
    assert printed.pop("schema") == output.JSON_VERSION
    assert printed.pop("command") == command
    check(printed, output.COMMANDS[command], command)


@pytest.mark.parametrize("command", ["show", "diagnose", "compare"])
def test_a_run_whose_loss_is_nan(command, folder, monkeypatch):
    printed = fields_of(LINES[command].replace("digits", "nan"), folder, monkeypatch)
    del printed["schema"], printed["command"]
    check(printed, output.COMMANDS[command], command)
    if command == "show":
        assert "nan" in printed["losses"]
        assert printed["metric"] == "nan"


def test_numbers_are_those_of_the_library(folder, monkeypatch):
    run = sd.open("digits", folder / "runs")
    shown = fields_of("show digits", folder, monkeypatch)
    assert shown["losses"] == run.losses.tolist()
    assert shown["metric"] == run.metric
    assert shown["verdict"]["sentence"] == run.verdict.sentence
    found = fields_of("diagnose digits", folder, monkeypatch)
    assert [f["kind"] for f in found["findings"]] == list(sd.diagnose(run).kinds)


def test_what_is_not_finite_is_text():
    printed = json.loads(output.to_text("x", {"a": math.nan, "b": [math.inf, (-math.inf,)], "c": {"d": 1.5}}))
    assert printed == {"schema": 1, "command": "x", "a": "nan", "b": ["inf", ["-inf"]], "c": {"d": 1.5}}


def test_the_reference_is_what_commands_print():
    assert json_reference.PAGE.read_text(encoding="utf-8") == json_reference.page()
