"""The command line, as a person uses it."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import typer.main
from typer.testing import CliRunner

import steepest as sd
from steepest.cli import app
from steepest.cli.base import record_of
from steepest.tasks.terrains import TERRAINS

COMMANDS = [
    "compare",
    "diagnose",
    "export",
    "film",
    "find-lr",
    "locate",
    "play",
    "race",
    "resume",
    "rm",
    "rules",
    "runs",
    "serve",
    "show",
    "tasks",
    "train",
]
TRAIN_FLAGS = [
    "--accumulate", "--average", "--batch-size", "--checkpoint-every", "--clip", "--device", "--epochs", "--finish",
    "--guard", "--help", "--json", "--keep", "--live", "--locate", "--lr", "--measure-every", "--name", "--notes",
    "--open", "--precision", "--resume", "--rule", "--runs", "--schedule", "--seed", "--start", "--steps",
    "--stop-after", "--track",
]  # fmt: skip
TASK = """
import torch
import steepest as sd
def task():
    x = torch.linspace(-1, 1, 64)[:, None]
    return sd.Task(torch.nn.Linear(1, 1), (x, 2 * x), torch.nn.functional.mse_loss)
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a trained run of digits."""
    folder = tmp_path_factory.mktemp("trained")
    result = CliRunner().invoke(app, ["train", "digits", "--epochs", "1", "--runs", str(folder / "runs")])
    assert result.exit_code == 0, result.output
    return folder


def test_flags_are_frozen(run):
    found = typer.main.get_command(app)
    assert sorted(found.commands) == COMMANDS
    flags = [o for p in found.commands["train"].params for o in p.opts if o.startswith("--")]
    assert sorted([*flags, "--help"]) == TRAIN_FLAGS


@pytest.mark.slow
@pytest.mark.parametrize("command", [c for c in COMMANDS if c != "serve"])  # which does not end; tests/runs/server
def test_the_example_in_every_help_runs(command, run, trained, monkeypatch):
    monkeypatch.chdir(trained)
    shown = run(f"{command} --help").output
    example = re.search(r"Example: steepest (.+)", shown)
    assert example, shown
    if command == "rm":
        assert run("train digits --steps 2 --name rm-me").exit_code == 0
        example = re.match(r"(.*)", "rm rm-me")
    result = run(example[1])
    assert result.exit_code == 0, result.output


def test_a_diagnosis_is_told_only_what_a_run_has_not_recorded(run, tmp_path):
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with sd.watch(model, optimizer, name="watched", runs=tmp_path / "runs") as watched:
        for _ in range(30):
            optimizer.zero_grad()
            loss = model(torch.ones(4, 2)).square().mean()
            loss.backward()
            watched.step(loss)
    config = record_of("watched", tmp_path / "runs").config
    assert (config.samples, config.weights) == (None, 3)
    config = record_of("watched", tmp_path / "runs", samples=4, weights=3).config
    assert (config.samples, config.weights) == (4, 3)
    assert run("diagnose watched --samples 4 --weights 3").exit_code == 0
    refusal = run("diagnose watched --weights 4")
    assert refusal.exit_code != 0
    assert "weights must be left out, since watched-" in refusal.stderr
    assert "has recorded 3, got 4" in refusal.stderr
    assert "samples must be a positive whole number" in run("diagnose watched --samples 0").stderr


def test_train_prints_the_metric_first_then_where_it_ended(run, tmp_path):
    result = run("train digits --epochs 2 --seed 1 --runs kept --name mine")
    assert result.exit_code == 0, result.output
    assert re.match(r"Test accuracy \d\d\.\d % \(validation \d\d\.\d %\)\. \w", result.stdout)
    assert re.search(r"Saved run (mine-\w+) to kept/\1 \(curves.png\)\n", result.stdout)
    assert (tmp_path / "kept" / re.search(r"Saved run (\S+)", result.stdout)[1] / "curves.png").exists()
    shown = json.loads(run("show mine --runs kept --json").stdout)
    assert {"id", "status", "metric", "losses", "events"} <= shown.keys()
    assert shown["status"] == "done"
    assert len(shown["losses"]) == shown["config"]["steps"] == 42
    listed = json.loads(run("runs --runs kept --json").stdout)["runs"]
    assert [r["id"] for r in listed] == [shown["id"]]
    assert listed[0]["metric"] == shown["metric"]


def test_without_a_terminal_there_are_few_plain_lines(run):
    result = run("train digits --epochs 20 --batch-size 256")
    lines = [line for line in result.stderr.splitlines() if "steps/s" in line]
    assert 2 <= len(lines) <= 21
    assert "\x1b" not in result.stderr
    assert "\r" not in result.stderr


def test_rules_prints_the_formula_as_written(run):
    shown = run("rules adam").output
    assert "m = beta1 * m + (1 - beta1) * g" in shown
    assert "arXiv:1412.6980" in shown
    assert re.search(r"default lr\s+0.001", shown)
    assert "m̂ ← m / (1 − β₁ᵗ)\n" in shown
    assert r"\hat{m} &\leftarrow \frac{m}{1 - \beta_{1}^{t}}" in run("rules adam --latex").output


def test_a_task_file(run, tmp_path):
    (tmp_path / "my_task.py").write_text(TASK)
    result = run("train my_task.py --rule momentum --lr 0.1 --epochs 5 --batch-size full")
    assert result.exit_code == 0, result.output
    assert "a" in run("show my_task").output


def test_play_writes_a_page_or_a_picture(run, tmp_path):
    assert run("play").exit_code == 1  # bad input
    assert run("play 'x² − y²' --rules adam,lion:0.1 --start 1,0.1 --domain -1,2,-1,1 --steps 9").stdout == (
        "Wrote play.html\n"
    )
    film = re.search(r'id="film">(.*?)</script>', (tmp_path / "play.html").read_text())[1]
    assert json.loads(film)["steps"] == 9
    assert run("play rosenbrock -o play.png --steps 20").exit_code == 0
    assert (tmp_path / "play.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
@pytest.mark.parametrize("there", [True, False])
def test_play_opens_a_browser_when_asked(there, tmp_path):
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {tmp_path}/shown\n')
    browser.chmod(0o755)
    environment = {**os.environ, "PATH": str(tmp_path), "BROWSER": str(browser) if there else ""}
    command = [sys.executable, "-c", "from steepest.cli import app; app()", "play", "bowl", "--open"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.stdout == "Wrote play.html\n"
    if there:
        assert (tmp_path / "shown").read_text().strip() == (tmp_path / "play.html").as_uri()
    else:
        assert done.returncode == 1
        assert "No browser could be started. Open play.html in one." in done.stderr


BAD = {
    "train digits --rule adma": "Did you mean 'adam'",
    "train digit": "Did you mean 'digits'",
    "train digits --schedule 'warmup(5%) >> cosin'": "cosine",
    "train digits --schedule 'warmup(5%'": "^",
    "train digits --batch-size 0": "batch_size must be 'full' or an integer ≥ 1, got 0",
    "train digits --batch-size 5000": "batch_size must be ≤ 1293 (the number of samples), got 5000",
    "train digits --lr 0": "lr must be a positive number",
    "train digits --lr -1": "got -1.0",
    "train digits --epochs 0": "epochs must be an integer ≥ 1, got 0",
    "train digits --steps 5 --epochs 5": "Pass either epochs or steps, not both.",
    "train digits --finish momentun": "Did you mean 'momentum'",
    "train digits --finish 'momentum, 120%'": "at most 100%",
    "train digits --finish 'momentum, soon'": "soon",
    "train digits --steps 5 --finish 'momentum, 5'": "must add up to the run's 5 steps",
    "train digits --device gpu": "Device 'gpu' is not available",
    "train digits --precision half": "bfloat16",
    "train digits --runs file/below": "Cannot create the runs folder",
    "train nowhere.py": "No file",
    "train raises.py": "raises.py, line 3",
    "train nothing.py": "must define task()",
    "train wrong.py": "must return sd.Task, got int",
    "train syntax.py": "line 1",
    "show nobody": "no run",
    "rm nobody": "no run",
    "rules adma": "Did you mean 'adam'",
    "play rosenbrok": "Did you mean 'rosenbrock'",
    "play bowl -o play.bmp": "must end in .html",
    "film nobody": "no run",
    "play bowl --rules adam:fast": "name:lr",
    "serve --port 99999": "ports are 0 to 65535",
    "serve --host nowhere.invalid": "--host must be an address of this machine",
    "play 'x^2 + * y'": "x^2 + * y\n          ^",
    "play 'log(x)' --start -1,0": "no value at the start",
    "play bowl --start 1": "--start must be 2 numbers such as 0,1, got 1",
    "play bowl --domain 0,1,wide,3": "--domain must be 4 numbers such as 0,1,2,3, got 0,1,wide,3",
    "play bowl -o nowhere/play.html": "Cannot write",
}


@pytest.mark.parametrize("line", BAD)
def test_bad_input_is_answered_in_words(line, run, tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "raises.py").write_text("def task():\n    x = 1\n    raise ValueError('mine')\n")
    (tmp_path / "nothing.py").write_text("x = 1\n")
    (tmp_path / "wrong.py").write_text("def task():\n    return 1\n")
    (tmp_path / "syntax.py").write_text("def task(:\n")
    result = run(line)
    assert result.exit_code == 1, result.output
    assert BAD[line] in result.stderr
    assert result.stderr.startswith("steepest: ")
    assert "Traceback" not in result.stderr


SENTENCES = {
    "train digits --batch-size 0": "batch_size must be 'full' or an integer ≥ 1, got 0",
    "train digits --batch-size 5000": (
        "batch_size must be ≤ 1293 (the number of samples), got 5000. Use 'full' for all."
    ),
    "train digits --accumulate 65": "accumulate must be ≤ batch_size (64), got 65",
    "train digits --lr -1": "lr must be a positive number or 'auto', got -1.0",
    "train digits --clip -1": "clip must be positive, got -1.0",
    "train digits --epochs 0": "epochs must be an integer ≥ 1, got 0",
    "train digits --steps 5 --epochs 5": "Pass either epochs or steps, not both.",
    "train digits --keep worst": "keep must be 'last' or 'best', got 'worst'",
    "train digits --precision half": (
        "precision must be 'bfloat16' or 'float32', got 'half'. For float64, convert model and data."
    ),
    "train nowhere.py": "No file nowhere.py. Pass a Python file that defines task() returning sd.Task(...).",
    "train nothing.py": "nothing.py must define task() returning sd.Task(...).",
    "train wrong.py": "task() in wrong.py must return sd.Task, got int",
    "find-lr digits --low 1e-3": "Pass both --low and --high, or neither.",
    "find-lr digits --low 1 --high 0.1": "between must be (low, high) with 0 < low < high, got (1.0, 0.1)",
    "find-lr digits --low 0.1 --high 0.2": ("between must span half a decade or more, got (0.1, 0.2). Try (0.1, 1)."),
    "find-lr digits --budget soon": "budget must be a number of steps ≥ 1, or seconds such as '60 s', got 'soon'",
    "find-lr digits --budget 10 --epochs 1": (
        "budget must allow 12 short runs of 2 steps, got 10 steps. The usual search takes 28 steps."
    ),
    "race digits --rules adam": "A race needs at least 2 contenders and 2 seeds (8 recommended), got 1 and 8",
    "race digits --rules adam,lion --seeds 1": (
        "A race needs at least 2 contenders and 2 seeds (8 recommended), got 2 and 1"
    ),
    "race digits --rules adam,lion --lr x": "lr must be 'auto', a positive number, or numbers by contender, got 'x'",
    "race digits --rules adam,lion --batch-sizes full,64": (
        "--rules must be one rule when --batch-sizes is passed, got adam,lion"
    ),
    "race digits --rules adam --batch-sizes full,64 --batch-size 8": (
        "Pass either batch_size or batch_sizes, not both; got 8 and ['full', 64]"
    ),
    "race digits --rules adam --batch-sizes full,64 --steps 8": (
        "steps cannot be used with batch_sizes, which see equally many samples. Pass epochs."
    ),
    "play bowl --start 1": "--start must be 2 numbers such as 0,1, got 1",
    "play bowl --domain 0,1,wide,3": "--domain must be 4 numbers such as 0,1,2,3, got 0,1,wide,3",
}


@pytest.mark.parametrize("line", SENTENCES)
def test_an_error_is_one_whole_sentence(line, run, tmp_path):
    (tmp_path / "nothing.py").write_text("x = 1\n")
    (tmp_path / "wrong.py").write_text("def task():\n    return 1\n")
    result = run(line)
    assert result.exit_code == 1, result.output
    assert result.stderr.split(maxsplit=1)[1].split("\n")[0] == SENTENCES[line]
    assert result.stderr.startswith("steepest: ")


@pytest.mark.parametrize(
    ("given", "rules", "last"),
    [
        ("--finish momentum", ["adam", "momentum"], 42),
        ("--finish 'nesterov, 1 epochs' --rule adam", ["adam", "nesterov"], 39),
        ("--finish lion,20 --rule rmsprop --lr 0.01", ["rmsprop", "lion"], 40),
    ],
)
def test_the_last_part_by_another_rule(given, rules, last, run):
    assert run(f"train digits --steps 60 {given}").exit_code == 0
    config = json.loads(run("show digits --json").stdout)["config"]
    assert [part["rule"] for part in config["stages"]] == rules
    assert config["lr"] == (0.01 if "--lr" in given else 3e-3)  # the recipe's, whose rule is the first stage's
    assert re.search(rf"step {last + 1} · switched to {rules[1]}\b", run("show digits").output)


def test_the_rate_of_the_first_part_is_found(run, tmp_path):
    (tmp_path / "line.py").write_text(TASK)
    assert run("train line.py --steps 60 --batch-size 16 --finish momentum").exit_code == 0
    config = json.loads(run("show line --json").output)["config"]
    assert config["search"]["rule"] == "adam"
    assert config["search"]["best"] == config["lr"]


def test_a_task_without_a_rate_of_its_own_has_it_found(run, tmp_path):
    (tmp_path / "line.py").write_text(TASK)
    assert run("train line.py --steps 80 --batch-size 16").exit_code == 0
    shown = json.loads(run("show line --json").output)
    assert shown["config"]["search"]["best"] == shown["config"]["lr"]
    assert "Use lr = " in run("show line").output
    assert run("train line.py --steps 80 --lr 0.01 --name given").exit_code == 0
    assert "search" not in json.loads(run("show given --json").output)["config"]
    assert "'auto'" in run("train line.py --steps 80 --lr fast").output


def test_find_lr_as_json_and_with_a_figure(run, tmp_path):
    (tmp_path / "line.py").write_text(TASK)
    said = run("find-lr line.py --steps 80 --json --figure rates.png --low 1e-4 --high 1")
    assert "learning-rate search · " in said.stderr
    found = json.loads(said.stdout)
    assert found["low"] <= found["best"] * 1.8 * (1 + 1e-9)
    assert found["best"] <= found["high"]
    assert (tmp_path / "rates.png").stat().st_size > 5000
    assert "Pass both --low and --high, or neither." in run("find-lr line.py --steps 80 --low 1e-4").output
    words = run("find-lr line.py --steps 80").output
    assert "too low" in words
    assert re.search(r"^Use lr = \S+ with adam. Best short run: ", words, re.MULTILINE)
    assert re.search(r"steps \(\S+× the run of 80 steps\) in", words)


INTERRUPTED = """
import signal, torch
import steepest as sd
calls = []
def loss(output, target):
    calls.append(1)
    if len(calls) == 100:
        signal.raise_signal(signal.SIGINT)
    return torch.nn.functional.mse_loss(output, target)
def task():
    x = torch.linspace(-1, 1, 64)[:, None]
    rule = lambda parameters: torch.optim.SGD(parameters, lr=0.1)  # so that the short runs are sequential
    return sd.Task(torch.nn.Linear(1, 1), (x, 2 * x), loss, recipe={"rule": rule})
"""


@pytest.fixture
def interruptible():
    """Ctrl-C as a terminal's process hears it; a worker of the tests may not."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("command", ["find-lr line.py --steps 80", "train line.py --steps 80 --lr auto"])
def test_ctrl_c_in_a_search_tells_the_rates_that_were_finished(command, run, tmp_path, interruptible):
    (tmp_path / "line.py").write_text(INTERRUPTED)
    said = run(command)
    assert said.exit_code == 130
    assert re.search(r"Search interrupted after \d+ of about \d+ steps", said.stderr)
    assert "No learning rate was chosen" in said.stderr
    assert 2 <= len(re.findall(r"^ +20 ", said.stdout, re.MULTILINE)) <= 5
    assert not list(tmp_path.glob("runs/line*"))


def test_ctrl_c_in_a_search_as_json(run, tmp_path, interruptible):
    (tmp_path / "line.py").write_text(INTERRUPTED)
    said = run("find-lr line.py --steps 80 --json")
    assert said.exit_code == 130
    found = json.loads(said.stdout)
    assert "interrupted after" in found["interrupted"]
    assert [row["steps"] for row in found["table"]] == [20] * len(found["table"])


def test_a_film_on_the_command_line(run, trained, monkeypatch):
    monkeypatch.chdir(trained)
    said = run("film digits --planes principal")
    assert said.exit_code == 0
    page = re.search(r"Wrote the film to (\S+)", said.stdout)[1]
    assert Path(page).parts[-1] == "film.html"
    film = json.loads(re.search(r'id="film">(.*?)</script>', Path(page).read_text())[1])
    assert list(film["surfaces"]) == ["principal"]
    assert run("film digits --planes side").exit_code == 1
    assert "planes must be some of curvature" in run("film digits --planes side").stderr
    assert "No file nowhere.py" in run("film digits --task nowhere.py").stderr
    assert "budget must be positive seconds, got -1" in run("film digits --budget -1").stderr
    assert "No surfaces: the budget of 0.001 s was used up before" in run("film digits --budget 0.001").stderr


def test_a_film_whose_task_has_gone_shows_the_curves(run, tmp_path):
    (tmp_path / "line.py").write_text(TASK)
    assert run("train line.py --steps 20 --lr 0.1 --batch-size 16").exit_code == 0
    (tmp_path / "line.py").unlink()
    said = run("film line -o line.html")
    assert said.exit_code == 0
    assert "Without the task, the film shows only the curves." in said.stderr
    assert '"surfaces": {}' in (tmp_path / "line.html").read_text()


def test_a_run_begun_from_python_has_no_task_here(run, tmp_path):
    terrain = TERRAINS["bowl"]
    task = sd.Task(model=terrain.model(), objective=lambda model, batch: model(), name="bowl")
    sd.fit(task, "adam", steps=3, runs=tmp_path / "runs")
    for command, instead in (("locate", "Pass --task."), ("resume", "Continue with sd.fit(task, resume='bowl")):
        said = run(f"{command} bowl")
        assert said.exit_code == 1
        assert "was started from Python, so its task is unknown." in said.stderr
        assert instead in said.stderr
    said = run("film bowl -o bowl.html")
    assert said.exit_code == 0
    assert "Pass --task." in said.stderr
    assert "Without the task, the film shows only the curves." in said.stderr


def test_trackers_get_a_run_as_it_trains_and_afterwards(run, tmp_path):
    live, later = tmp_path / "live.csv", tmp_path / "later.csv"
    assert run(f"train digits --epochs 1 --no-locate --name tracked --track csv:{live}").exit_code == 0
    said = run(f"export tracked csv -o {later}")
    assert said.stdout == f"Wrote the run to {later}\n"
    tables = [list(csv.DictReader(file.read_text(encoding="utf-8").splitlines())) for file in (live, later)]
    one, other = (sorted(sorted(row.items()) for row in table) for table in tables)
    assert one == other
    assert len(tables[0]) > 20
    assert "Known trackers: csv, mlflow, tensorboard" in run("export tracked cvs").stderr
    assert "Known trackers: csv, mlflow, tensorboard" in run("train digits --epochs 1 --track cvs").stderr


@pytest.mark.parametrize(("options", "opens"), [("", True), ("--no-open", False), ("--json", False)])
def test_serve_opens_a_browser_for_people_alone(options, opens, monkeypatch, run):
    calls = []
    monkeypatch.setattr("steepest.runs.server.serve", lambda *given: calls.append(given))
    assert run(f"serve {options}").exit_code == 0
    [(_, _, _, _, is_open, _)] = calls
    assert is_open is opens
