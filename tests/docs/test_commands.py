"""Every command of the manual and of the README runs: long ones shortened, in a folder that has what they name."""

import json
import re
import shlex
import shutil
from collections import Counter
from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmarks.__main__ import SECTIONS
from steepest.cli import app

ROOT = Path(__file__).parents[2]
PAGES = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
         for path in (ROOT / "README.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").rglob("*.md")))}  # fmt: skip
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`]+)`")
COLUMNS = re.compile(r"\s{3,}(?=steepest )")
LASTING = re.compile(r"serve|--live|play \"your function of x and y\"")
"""Commands that go on until Ctrl-C (tests/runs/server has them), and one that is no command but says what to write."""
SHORT = {"train": "--epochs 1", "find-lr": "--epochs 1", "race": "--epochs 1 --seeds 2", "locate": "--products 40"}
DIGITS = "digits"


def commands(prefix: str) -> dict[str, str]:
    """The commands of all pages that begin with a word, each with a page that has it."""
    lines = {}
    for page, text in PAGES.items():
        blocks = [block for language, block in BLOCK.findall(text) if language in ("", "sh", "bash")]
        spans = SPAN.findall(BLOCK.sub("", text).replace("\n", " "))
        for line in [*(part for block in blocks for one in block.splitlines() for part in COLUMNS.split(one)), *spans]:
            command = line.partition(" #")[0].partition(";;")[0].partition(" >")[0].strip()
            if command.startswith(f"{prefix} "):
                lines.setdefault(command, page)
    return lines


def alternatives(command: str) -> list[str]:
    """`steepest runs | show RUN` is two commands, and `diagnose RUN | FILE` is one with two arguments.

    >>> alternatives("steepest diagnose RUN | metrics.csv")
    ['steepest diagnose RUN', 'steepest diagnose metrics.csv']
    >>> alternatives("steepest runs | show RUN")
    ['steepest runs', 'steepest show RUN']
    """
    first, *others = (part.strip() for part in re.split(r"\s\|\s", command))
    names = {*(info.callback.__name__.replace("_", "-") for info in app.registered_commands if info.callback)}
    head = first.rpartition(" ")[0]
    return [first, *(f"steepest {x}" if x.split()[0] in names else f"{head} {x}" for x in others)]


def short(command: str, runs: list[str]) -> list[str]:
    """The arguments of a command, with what exists in the place of RUN, and of a length for tests."""
    command = re.sub(r"\$\(jq [^)]*\)", "RUN", command)
    command = re.sub(r"--epochs \w+", "--epochs 1", command)
    words = shlex.split(command)[1:]
    name = next((word for word in words if not word.startswith("-")), "")
    if len(words) == 1 and name in SHORT:
        words.append(DIGITS)
    for option in SHORT.get(name, "").split("--")[1:]:
        if f"--{option.split()[0]}" not in words:
            words += f"--{option}".split()
    words = [re.sub(r"\b[AB]\d\b", lambda match: runs[int(match[0][1:]) % 2], word) for word in words]
    return [runs[0] if word == "RUN" else word for word in words]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A folder with what the pages speak of: a task file, two runs of digits, logs of other trainers."""
    folder = tmp_path_factory.mktemp("commands")
    (task,) = [block for _, block in BLOCK.findall(PAGES["docs/howto/own-task.md"]) if block.startswith("# my_task.py")]
    (folder / "my_task.py").write_text(task, encoding="utf-8")
    history = [{"step": 10 * k, "epoch": k, "loss": 1 / k, "learning_rate": 0.01} for k in range(1, 30)]
    (folder / "trainer_state.json").write_text(
        json.dumps({"log_history": history, "global_step": 290, "max_steps": 290})
    )
    rows = "".join(f"{k},{10 * k},{1 / (k + 1)}\n" for k in range(30))
    (folder / "metrics.csv").write_text("epoch,step,train_loss\n" + rows)
    lines = ["train digits --epochs 1", "train digits --epochs 1 --seed 1"]
    for line in lines:
        result = CliRunner().invoke(app, [*shlex.split(line), "--runs", str(folder / "runs")])
        assert result.exit_code == 0, result.output
    return folder


def cases() -> list[str]:
    """The commands to run, each once."""
    found = [one for command in commands("steepest") for one in alternatives(command) if not LASTING.search(one)]
    return list(Counter(found))


@pytest.mark.slow
@pytest.mark.parametrize("command", cases())
def test_a_command_of_the_manual_runs(command, prepared, tmp_path, monkeypatch):
    here = shutil.copytree(prepared, tmp_path / "here")
    monkeypatch.chdir(here)
    runs = [row["id"] for row in json.loads(CliRunner().invoke(app, ["runs", "--json"]).stdout)["runs"]]
    result = CliRunner().invoke(app, short(command, runs))
    if result.exit_code == 1 and "is not installed. Install it" in result.output:
        pytest.skip(result.output.strip())
    names_nothing = len(command.split()) == 2 and "Missing argument" in result.output  # `steepest show` in a sentence
    assert result.exit_code == 0 or names_nothing, result.output


def test_there_are_commands_to_run():
    found = cases()
    assert len(found) > 30
    assert {"steepest train digits", "steepest film digits", "steepest diagnose metrics.csv"} <= set(found)


def test_every_target_of_make_that_is_named_exists():
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = {match for text in PAGES.values() for match in re.findall(r"`make ([\w-]+)", text)}
    assert {"demo", "test"} <= named
    assert named <= targets


def test_every_benchmark_that_is_named_exists():
    named = {match for text in PAGES.values() for match in re.findall(r"python -m benchmarks (\w+)", text)}
    assert named
    assert named <= set(SECTIONS)


def test_every_extra_that_is_named_exists():
    from tests.release import trial

    named = {match for text in PAGES.values() for match in re.findall(r"'(?:steepest|\.)\[(\w+)\]'", text)}
    assert named == trial.extras()
    assert not any(re.search(r"pip install (?:steepest|\.)\[", text) for text in PAGES.values()), "zsh wants quotes"
