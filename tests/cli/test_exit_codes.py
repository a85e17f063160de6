"""Exit codes: a script needs no more to know how a command ended."""

import sqlite3

import pytest

import steepest as sd
from steepest.cli import exit_codes

TASK = """
import torch
import steepest as sd
calls = []
def loss(output, target):
    calls.append(1)
    {body}
    return torch.nn.functional.mse_loss(output, target)
def task():
    x = torch.linspace(-1, 1, 64)[:, None]
    return sd.Task(torch.nn.Linear(1, 1), (x, 2 * x), loss, validation=(x, 2 * x))
"""
RECIPE = "--lr 0.1 --steps 40 --batch-size 16 --no-locate"


@pytest.fixture
def train(run, tmp_path):
    """Trains a task whose loss does something; the result of the command."""

    def train(body: str, flags: str = ""):
        (tmp_path / "line.py").write_text(TASK.format(body=body))
        return run(f"train line.py {RECIPE} {flags}")

    return train


def test_done(train):
    assert train("pass").exit_code == 0


def test_out_of_patience_is_done(train, run):
    result = train("return (output * 0).sum() + len(calls)", "--stop-after 2")
    assert sd.open("line").status == "stopped"
    assert "stopped early" in result.stderr
    assert result.exit_code == 0


@pytest.mark.parametrize(
    "line",
    [
        "train",
        "train digits --nonsense",
        "nonsense",
        "show nobody",
        "train digits --epochs many",
        "",
        "compare a",
        "rm",
    ],
)
def test_bad_input(line, run):
    result = run(line)
    assert result.exit_code == 1
    assert "Traceback" not in result.output


@pytest.mark.parametrize("body", ["raise ValueError('mine')", "raise sd.TaskError('mine')", "assert len(calls) < 9"])
def test_a_run_that_fails(body, train):
    result = train(f"if len(calls) > 8: {body}" if "raise" in body else body)
    assert result.exit_code == 2
    assert sd.open("line").status == "failed"
    assert result.stdout == ""


def test_a_task_that_never_begins_is_bad_input(train):
    train("if len(calls) > 8: raise ValueError('an earlier run')")
    result = train("pass", "--clip -1")
    assert result.exit_code == 1
    assert result.stderr.startswith("steepest: clip must be positive")


def test_a_run_that_the_guard_stops(train):
    result = train("return (output * 0).sum() + 2.0 ** len(calls)", "--steps 3000 --batch-size full")
    run = sd.open("line")
    assert run.status == "stopped", result.stderr
    assert run.record.is_stopped_by_guard
    assert result.exit_code == 2


def test_a_loss_that_is_not_finite_at_the_end(train):
    assert train("return (output - target).mean() / 0 * 0", "--no-guard").exit_code == 2


def test_other_runs_that_are_worse(run, tmp_path):
    for seed in range(3):
        assert run(f"train digits --epochs 3 --no-locate --name good --seed {seed}").exit_code == 0
        assert run(f"train digits --steps 3 --no-locate --name bad --seed {seed}").exit_code == 0
    ids = {name: [] for name in ("good", "bad")}
    for id, name in sqlite3.connect(tmp_path / "runs/runs.db").execute("SELECT id, name FROM runs"):
        ids[name].append(id)
    good, bad = (",".join(group) for group in ids.values())
    assert run(f"compare {good} {bad}").exit_code == exit_codes.ExitCode.WORSE
    assert run(f"compare {bad} {good}").exit_code == 0
    assert run(f"compare {good} {good}").exit_code == 0
    assert run("compare good bad").exit_code == exit_codes.ExitCode.WORSE  # of single runs, by samples
    assert run(f"compare {good[:9]} {good[10:19]}").exit_code == 0
