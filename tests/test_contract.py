"""The import contracts hold, and each of them would catch an import that points up."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BREACHES = {
    "The house: arrows go down only": ("records/run.py", "from steepest.schedule import warmup"),
    "Inside runs": ("runs/store/database.py", "from steepest.runs.fit import fit"),
    "Inside descent": ("descent/state.py", "from steepest.descent.loop import Descent"),
    "Views read records: only play descends": ("view/film/film.py", "import torch"),
}


def lint(folder: Path) -> subprocess.CompletedProcess:
    """import-linter with the contracts of this repository, on the package in a folder."""
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as main; main()"]
    options = ["--config", str(folder / "pyproject.toml"), "--no-cache"]
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONIOENCODING": "utf-8"}
    return subprocess.run(
        [*command, *options], cwd=folder, env=environment, capture_output=True, encoding="utf-8", check=False
    )


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("house")
    shutil.copy(ROOT / "pyproject.toml", folder)
    only_code = shutil.ignore_patterns("__pycache__", "*.npz", "*.html")
    shutil.copytree(ROOT / "steepest", folder / "steepest", ignore=only_code)
    return folder


def test_all_contracts_are_kept(copy):
    done = lint(copy)
    assert done.returncode == 0, done.stdout
    assert f"{len(BREACHES)} kept, 0 broken" in done.stdout


@pytest.mark.parametrize("contract", BREACHES)
def test_an_import_that_points_up_is_caught(copy, contract):
    name, statement = BREACHES[contract]
    file = copy / "steepest" / name
    text = file.read_text()
    file.write_text(f"{text}\n\n{statement}\n")
    try:
        done = lint(copy)
    finally:
        file.write_text(text)
    assert done.returncode == 1
    assert f"{contract} BROKEN" in done.stdout


def test_a_room_without_a_floor_is_caught(copy):
    room = copy / "steepest" / "attic"
    room.mkdir()
    (room / "__init__.py").write_text("")
    try:
        done = lint(copy)
    finally:
        shutil.rmtree(room)
    assert done.returncode == 1
    assert "attic" in done.stdout
