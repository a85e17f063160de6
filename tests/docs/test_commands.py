"""Every command of the manual and of the README runs: long ones shortened, in a folder that has what they name."""

import json
import re
import shlex
import shutil
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
SHORT = {
    "train": "--steps 4", "find-lr": "--steps 8", "race": "--steps 4 --seeds 2", "locate": "--products 40",
    "film": "--planes random", "resume": "--steps 8",
}  # fmt: skip
"""Options that make a command short; those of the same name, and `--epochs`, give way to them."""
WITHOUT_ARGUMENTS = ("rules", "runs", "tasks")


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


def short(command: str) -> tuple[str, ...]:
    """The arguments of a command, with what exists in the place of RUN, and of a length for tests.

    >>> short('steepest train my_task.py --lr auto --epochs 20')
    ('train', 'my_task.py', '--lr', 'auto', '--steps', '4')
    >>> short('steepest compare A1,A2 B1,B2'), short('steepest race')
    (('compare', 'digits', 'other'), ('race', '--help'))
    """
    command = re.sub(r'"?\$\(jq [^)]*\)"?|\bRUN\b|\bA1\b', "digits", command)
    command = re.sub(r",[AB]\d", "", command).replace("B1", "other")
    words = shlex.split(command)[1:]
    if len(words) == 1 and words[0] not in WITHOUT_ARGUMENTS:  # a command that a sentence names
        return words[0], "--help"
    if "--help" in words or words[0] not in SHORT:
        return tuple(words)
    options = SHORT[words[0]].split()
    replaced = {"--epochs", *options[::2], *(["-o"] if words[0] == "film" else [])}  # a picture takes ten seconds
    left = [word for word, before in zip(words, ["", *words], strict=False) if not {word, before} & replaced]
    return (*left, *options)


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
    lines = ["train digits --steps 6", "train digits --steps 6 --seed 1 --name other"]
    for line in lines:
        result = CliRunner().invoke(app, [*shlex.split(line), "--runs", str(folder / "runs")])
        assert result.exit_code == 0, result.output
    return folder


def cases() -> dict[tuple[str, ...], str]:
    """The commands to run: of those that are the same once they are short the first."""
    every = [one for command in commands("steepest") for one in alternatives(command) if not LASTING.search(one)]
    return {arguments: one for one in reversed(every) for arguments in [short(one)]}


def parameters() -> list:
    """The commands; those on a Ray cluster are a test of `make long`."""
    return [pytest.param(one, id=" ".join(one), marks=[pytest.mark.long] * ("ray" in one)) for one in cases()]


@pytest.mark.slow
@pytest.mark.parametrize("arguments", parameters())
def test_a_command_of_the_manual_runs(arguments, prepared, tmp_path, monkeypatch):
    here = shutil.copytree(prepared, tmp_path / "here")
    monkeypatch.chdir(here)
    result = CliRunner().invoke(app, arguments)
    if result.exit_code == 1 and "is not installed. Install it" in result.output:
        pytest.skip(result.output.strip())
    assert result.exit_code == 0, result.output


def test_there_are_commands_to_run():
    found = cases()
    assert len(found) > 30
    assert {("diagnose", "metrics.csv"), ("rules", "adam"), short("steepest film digits")} <= set(found)


def test_every_target_of_make_that_is_named_exists():
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = {
        match for text in PAGES.values() for match in re.findall(r"(?:`|^)make ([\w-]+)(?=`|$|  )", text, re.MULTILINE)
    }
    assert {"demo", "test"} <= named
    assert named <= targets


def test_every_benchmark_that_is_named_exists():
    named = {match for text in PAGES.values() for match in re.findall(r"python -m benchmarks (\w+)", text)}
    figures = PAGES["README.md"].partition("## Figures")[2].partition("##")[0]
    beside = {word for words in re.findall(r"\((`\w+`(?:, `\w+`)*)\)", figures) for word in re.findall(r"\w+", words)}
    assert named
    assert len(beside) > 5
    assert named | beside <= set(SECTIONS)


def test_every_extra_that_is_named_exists():
    from tests.release import trial

    named = {match for text in PAGES.values() for match in re.findall(r"'(?:steepest|\.)\[(\w+)\]'", text)}
    assert named == trial.extras()
    assert not any(re.search(r"pip install (?:steepest|\.)\[", text) for text in PAGES.values()), "zsh wants quotes"
