"""Ratchets: what must not drift."""

import ast
import functools
import hashlib
import inspect
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import steepest as sd

PACKAGE = Path(sd.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
PUBLIC = {
    "Call",
    "Comparison",
    "Diagnosis",
    "DivergedError",
    "Event",
    "FormulaError",
    "Guard",
    "InputError",
    "Measurement",
    "Metric",
    "Race",
    "Rates",
    "Record",
    "Rule",
    "Run",
    "ScheduleError",
    "Space",
    "SteepestError",
    "Step",
    "StoreError",
    "Task",
    "TaskError",
    "Tracker",
    "UnknownNameError",
    "Verdict",
    "W",
    "abs",
    "accuracy",
    "adadelta",
    "adagrad",
    "adam",
    "adamax",
    "adamw",
    "ademamix",
    "adopt",
    "amsgrad",
    "asgd",
    "compare",
    "constant",
    "cooldown",
    "cosine",
    "cosine_cycles",
    "cosine_restarts",
    "custom",
    "cyclic",
    "descend",
    "diagnose",
    "exp",
    "exponential",
    "find_lr",
    "fit",
    "gradient_descent",
    "inverse_sqrt",
    "linear",
    "lion",
    "locate",
    "log",
    "maximum",
    "metric",
    "minimum",
    "momentum",
    "multistep",
    "nadam",
    "nesterov",
    "one_cycle",
    "open",
    "optim",
    "plateau",
    "play",
    "polynomial",
    "race",
    "radam",
    "read_log",
    "resume",
    "rmsprop",
    "rprop",
    "rule",
    "scalar",
    "schedule_free_adamw",
    "sign",
    "signum",
    "sqrt",
    "stage",
    "step",
    "warmup",
    "watch",
    "where",
}


def test_public_names_are_frozen():
    assert sorted(sd.__all__) == sorted(PUBLIC)
    assert all(hasattr(sd, name) for name in sd.__all__)


def test_no_module_bears_the_name_of_a_public_function():
    modules = {p.stem for p in PACKAGE.glob("*.py")} | {p.name for p in PACKAGE.iterdir() if p.is_dir()}
    functions = {n for n in sd.__all__ if callable(getattr(sd, n)) and not inspect.ismodule(getattr(sd, n))}
    assert modules & functions == set()


def test_the_top_of_the_repository_has_what_belongs_there():
    """What a command leaves in the folder where it runs, such as a run, is never part of the project."""
    listed = subprocess.run(
        ["git", "ls-files"], cwd=Path(sd.__file__).parents[1], capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("not a checkout of git")
    names = {name.partition("/")[0] for name in listed.stdout.splitlines()}
    assert names == {
        ".ci", ".gitignore", "CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "LICENSE", "MANIFEST.in", "Makefile",
        "README.md", "SECURITY.md", "benchmarks", "constraints.txt", "docs", "page", "pyproject.toml", "steepest",
        "tests",
    }  # fmt: skip


def test_there_is_no_drawer_for_everything():
    assert not {p.stem for p in FILES} & {"utils", "helpers", "common", "util", "misc"}


@functools.cache
def tree_of(path):
    """The syntax tree of a file."""
    return ast.parse(path.read_text())


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_rooms_are_small(path):
    text = path.read_text()
    assert text.count("\n") <= 400
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            doc = ast.get_docstring(node, clean=False)
            size = node.end_lineno - node.lineno + 1 - (doc.count("\n") + 1 if doc else 0)
            assert size <= 60, f"{node.name} has {size} lines"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_public_functions_say_what_they_do(path):
    tree = tree_of(path)
    assert ast.get_docstring(tree) or not tree.body
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            overload = any(getattr(d, "id", "") == "overload" for d in node.decorator_list)
            small = isinstance(node, ast.FunctionDef) and node.name.startswith("is_")
            assert overload or small or ast.get_docstring(node), node.name


def test_digits_are_the_digits():
    with np.load(PACKAGE / "tasks" / "digits.npz") as data:
        images, labels = data["images"], data["labels"]
    assert images.shape == (1797, 8, 8)
    digest = hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()
    assert digest == "87ff0c9e40dc7e2c0e34e7257799c2e3f3aec1a016363bb11cad869ec428a826"


def test_importing_loads_torch_and_little_else():
    code = "import sys, torch; before = set(sys.modules); import steepest; print(*sorted(set(sys.modules) - before))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    heavy = {"numba", "llvmlite", "matplotlib", "rich", "typer", "safetensors", "scipy", "PIL", "starlette", "uvicorn"}
    assert not heavy & {name.partition(".")[0] for name in loaded}
