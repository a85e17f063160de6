"""What the release rests on: its lists are whole, its table is that of the results, optional parts are optional."""

import ast
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from tests.release import builds, matrix, trial

ROOT = builds.ROOT


def test_every_extra_is_tried():
    assert trial.extras() == trial.WITHOUT.keys()


def test_every_least_version_that_is_declared_was_tried():
    """One row of the table has all of them; `make matrix` writes it."""
    (row,) = [row for row in matrix.results() if row["kind"] == "least"]
    least = matrix.dependencies()
    assert "demo" in row
    assert "failure" not in row
    assert Version(row["torch"]) <= Version(f"{least['torch']}.99")
    for name in ("numpy", "numba", "scipy", "matplotlib"):
        assert Version(row[name]) == Version(least[name]), name


def test_the_tests_of_the_matrix_need_pytest_and_hypothesis_alone():
    """And what Steepest itself needs: a new library in one of them would end every combination."""
    needs = {
        *map(str.lower, matrix.dependencies()),
        *sys.stdlib_module_names,
        "pytest",
        "hypothesis",
        "steepest",
        "tests",
    }
    for name in matrix.TESTS:
        for node in ast.walk(ast.parse((ROOT / name).read_text(encoding="utf-8"))):
            modules = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            modules += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
            assert {module.partition(".")[0] for module in modules} <= needs, name


def test_the_table_of_the_manual_is_that_of_the_results():
    assert matrix.table(matrix.results()) in matrix.PAGE.read_text(encoding="utf-8")


def test_a_failure_stands_in_the_table():
    row = {"python": "3.15", "torch": "3.0", "date": "2030-01-01", "kind": "", "failure": "there is no Python\nhere"}
    assert "| 3.15 | 3.0, CUDA build |  |  | fails: there is no Python | not run | 2030-01-01 |" in matrix.table([row])


def test_the_texts_of_the_source_archive_are_there():
    assert {*builds.TEXTS, *builds.FONT_LICENCES, *(f"steepest/{name}" for name in builds.NEEDED)} <= set(
        builds.tracked_files()
    )


def test_a_stray_file_is_named():
    with pytest.raises(builds.FailureError, match=r"missing: \['b'\], stray: \['c'\]"):
        builds._compare("the wheel", {"a", "c"}, {"a", "b"})


# -- Without tools -----------------------------------------------------------------------------------------------------


@pytest.fixture
def make(tmp_path):
    """`make` in a folder that has the Makefile and the names of what it asks for, with a shell and no other program."""
    tools, work = tmp_path / "tools", tmp_path / "work"
    for name in (tools, work / "page", work / ".venv" / "bin"):
        name.mkdir(parents=True)
    for name in ("make", "sh"):
        (tools / name).symlink_to(shutil.which(name) or pytest.skip(f"there is no {name}"))
    for name in ("pyproject.toml", "constraints.txt", ".venv/bin/python"):
        (work / name).touch()
    shutil.copy(ROOT / "Makefile", work)

    def output(*arguments: str) -> str:
        done = subprocess.run(
            ["make", *arguments], cwd=work, env={"PATH": str(tools)}, capture_output=True, text=True, check=False
        )
        assert done.returncode == 2
        return done.stderr

    return output


def test_without_node_make_says_who_needs_it(make):
    assert "make page needs Node 20.19 or newer, with npm. Only those who change page/ need it" in make("page")


@pytest.mark.parametrize("target", ["demo", "docs", "test", "check", "bench"])
def test_without_a_package_index_make_says_what_is_missing(make, target):
    """`false` fails as pip does without a network."""
    assert "They come from a package index, which has to be reached once" in make(target, "PIP=false")


# -- Without the optional parts ----------------------------------------------------------------------------------------


def closure(name: str, seen: dict[str, importlib.metadata.Distribution]) -> None:
    """A package and all that it needs, without extras."""
    key = re.sub(r"[-_.]+", "-", name).lower()
    if key in seen:
        return
    try:
        seen[key] = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:  # of another platform
        return
    for line in seen[key].requires or ():
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            closure(requirement.name, seen)


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """A folder of links to the package and to what it needs: Python with this folder alone knows no other library."""
    folder = tmp_path_factory.mktemp("bare")
    packages: dict[str, importlib.metadata.Distribution] = {}
    for name in matrix.dependencies():
        closure(name, packages)
    for package in packages.values():
        tops = {file.parts[0] for file in package.files or () if file.parts[0] not in ("..", "__pycache__")}
        for top in tops:
            link = folder / top
            if not link.exists():
                link.symlink_to(package.locate_file(top))
    (folder / "steepest").symlink_to(ROOT / "steepest")
    return folder


def run(bare: Path, code: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(bare), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-S", "-c", code]  # without the environment's packages
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, encoding="utf-8", check=False)


@pytest.mark.slow
@pytest.mark.long
def test_without_the_optional_parts_everything_else_works_and_each_says_what_to_install(bare, tmp_path):
    steps = run(bare, "from steepest.cli import app; app(['train', 'digits', '--steps', '2', '--lr', '1'])", tmp_path)
    assert steps.returncode == 0, steps.stderr
    for name, program in trial.WITHOUT.items():
        done = run(bare, program.replace("import steepest;", "import steepest.cli, steepest;"), tmp_path)
        assert done.returncode == 1, name
        assert f"pip install 'steepest[{name}]'" in done.stderr, name
