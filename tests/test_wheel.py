"""What a user gets: the wheel, built from a copy of the checkout without a network."""

import configparser
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NOT_SOURCE = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "dist", "node_modules")


def _not_source(folder, names):
    """The folder of a user's runs is not source; `steepest/runs` is."""
    return NOT_SOURCE(folder, names) | ({"runs"} if Path(folder) == ROOT else set())


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A copy of the checkout: a build leaves things beside the source."""
    return shutil.copytree(ROOT, tmp_path_factory.mktemp("checkout") / "steepest", ignore=_not_source)


@pytest.fixture(scope="module")
def wheel(tree, tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "wheel", *options, "--wheel-dir", folder, tree]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout[-2000:] + built.stderr[-2000:]
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as file:
        yield file


@pytest.fixture(scope="module")
def unzipped(wheel, tmp_path_factory):
    folder = tmp_path_factory.mktemp("unzipped")
    wheel.extractall(folder)
    return folder


def information(wheel) -> str:
    (folder,) = {n.partition("/")[0] for n in wheel.namelist() if ".dist-info/" in n}
    return folder


def python(code: str, unzipped: Path) -> str:
    """What code prints that sees this package alone, and not the checkout."""
    environment = {**os.environ, "PYTHONPATH": str(unzipped)}
    command = [sys.executable, "-c", code]
    ran = subprocess.run(command, env=environment, cwd=unzipped, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-2000:]
    return ran.stdout.strip()


@pytest.mark.slow
def test_the_package_is_there_as_in_the_checkout(wheel, tree):
    """Every module and every file beside them, byte for byte."""
    expected = {str(p.relative_to(tree)): p.read_bytes() for p in (tree / "steepest").rglob("*") if p.is_file()}
    assert {"steepest/py.typed", "steepest/tasks/digits.npz", "steepest/tasks/DIGITS-LICENSE.md"} <= expected.keys()
    found = {n: wheel.read(n) for n in wheel.namelist() if n.startswith("steepest/") and not n.endswith("/")}
    assert found == expected


@pytest.mark.slow
def test_nothing_else_is_there(wheel):
    assert {n.partition("/")[0] for n in wheel.namelist()} == {"steepest", information(wheel)}


@pytest.mark.slow
def test_all_licences_are_there(wheel):
    fonts = ("page/fonts/Inter-OFL.txt", "page/fonts/SourceSerif4-OFL.txt")
    for name in ("LICENSE", "steepest/tasks/DIGITS-LICENSE.md", *fonts):
        assert wheel.read(f"{information(wheel)}/licenses/{name}") == (ROOT / name).read_bytes()
    said = wheel.read(f"{information(wheel)}/METADATA").decode().splitlines()
    assert "License-Expression: Apache-2.0 AND CC-BY-4.0 AND OFL-1.1" in said


@pytest.mark.slow
def test_the_command_is_there(wheel, unzipped):
    points = configparser.ConfigParser()
    points.read_string(wheel.read(f"{information(wheel)}/entry_points.txt").decode())
    assert dict(points["console_scripts"]) == {"steepest": "steepest.cli:app"}
    code = "import sys; sys.argv = ['steepest', 'tasks']; from steepest.cli import app; app()"
    assert "digits" in python(code, unzipped)


@pytest.mark.slow
def test_digits_load_from_it(unzipped):
    code = "import steepest.tasks as t; print(t.__file__, [len(t.load('digits').test[1]), t.load('digits').name])"
    assert python(code, unzipped) == f"{unzipped / 'steepest' / 'tasks' / '__init__.py'} [360, 'digits']"
