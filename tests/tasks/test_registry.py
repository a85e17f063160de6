"""Tasks by name and by file: what is found, and what is said of a file that is none."""

import random
import re
import subprocess
import sys

import pytest
import torch

from steepest.errors import TaskError, UnknownNameError
from steepest.tasks import BUILT_IN, load

GOOD = """
import torch
import steepest as sd
def task():
    x = torch.linspace(-1, 1, 64)[:, None]
    return sd.Task(torch.nn.Linear(1, 1), (x, 2 * x), torch.nn.functional.mse_loss)
"""


@pytest.fixture(autouse=True)
def _imports_as_before(monkeypatch):
    """What a task file adds to Python's paths and modules goes with the test."""
    monkeypatch.setattr(sys, "path", sys.path.copy())
    before = sys.modules.copy()
    yield
    for name in sys.modules.keys() - before.keys():
        del sys.modules[name]


@pytest.fixture
def write(tmp_path):
    """Writes a file, and gives its path as text."""

    def write(text: str, name: str = "mine.py") -> str:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return str(path)

    return write


# -- What is found -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BUILT_IN)
def test_built_in(name):
    first, second = load(name), load(name)
    assert first.name == name
    assert first is not second


def test_a_file(write):
    task = load(write(GOOD))
    assert task.name == "mine"
    assert isinstance(task.model, torch.nn.Linear)


def test_a_file_beside_us(write, tmp_path, monkeypatch):
    write(GOOD)
    monkeypatch.chdir(tmp_path)
    assert load("mine.py").name == "mine"


def test_a_name_of_its_own_is_kept(write):
    assert load(write(GOOD.replace("mse_loss)", "mse_loss, name='twice')"))).name == "twice"


def test_a_file_is_read_anew_each_time(write):
    assert load(write(GOOD)).model.in_features == 1
    assert load(write(GOOD.replace("Linear(1, 1)", "Linear(11, 1)"))).model.in_features == 11


def test_a_file_that_imports_its_neighbour(write):
    write(GOOD.replace("def task", "def made"), "its_neighbour.py")
    assert load(write("import its_neighbour\n\ndef task():\n    return its_neighbour.made()\n")).name == "mine"


def test_the_files_folder_does_not_hide_other_modules(write, tmp_path):
    """A neighbour named as a module of Python's is not taken for it."""
    write("raise RuntimeError('the wrong one')", "colorsys.py")
    task = load(write(f"import colorsys\nassert colorsys.rgb_to_hsv(1, 1, 1)\n{GOOD}"))
    assert task.name == "mine"
    assert str(tmp_path) in sys.path


# -- What is not -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("digit", r"Unknown task 'digit'. Did you mean 'digits'\? Use 'digits' or a path ending in \.py\."),
        ("mine", r"Unknown task 'mine'. Use 'digits' or a path ending in \.py\."),
        ("", "Unknown task ''"),
        ("notes.txt", "Unknown task 'notes.txt'"),
    ],
)
def test_unknown_names(name, says):
    with pytest.raises(UnknownNameError, match=says):
        load(name)


@pytest.mark.parametrize("name", ["absent.py", "folder.py"])
def test_no_such_file(name, tmp_path):
    (tmp_path / "folder.py").mkdir()
    with pytest.raises(TaskError, match=rf"No file \S*{name}\. Pass a Python file that defines task"):
        load(str(tmp_path / name))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x = 1\ny = x / 0\n", ", line 2: `y = x / 0` raises ZeroDivisionError: division by zero"),
        ("import absent_module\n", ", line 1: `import absent_module` raises ModuleNotFoundError: No module named"),
        ("def task():\n\n    return [][1]\n", ", line 3: `return [][1]` raises IndexError: list index out of range"),
        ("def f():\n    return {}[0]\n\ndef task():\n    f()\n", ", line 2: `return {}[0]` raises KeyError: 0"),
        ("x = 1\ndef task(:\n", ", line 2 raises SyntaxError: invalid syntax"),
        ("x = 1\n  y = 2\n", ", line 2 raises IndentationError: unexpected indent"),
        ("def task(n):\n    return n\n", " raises TypeError: task() missing 1 required positional argument: 'n'"),
        ("import steepest\ndef task():\n    return steepest.Task(abs)\n",
         ", line 3: `return steepest.Task(abs)` raises TaskError: Task needs exactly one of loss(output, target)"),
    ],
    ids=["raises", "import", "task", "deep", "syntax", "indent", "arguments", "ours"],
)  # fmt: skip
@pytest.mark.parametrize("name", ["mine.py", "task.py"])
def test_a_file_that_raises(name, text, says, write):
    """With the line of the file, also where the file is named as one of ours."""
    path = write(text, name)
    with pytest.raises(TaskError, match="^" + re.escape(path + says)) as caught:
        load(path)
    assert caught.value.__cause__ is not None


def test_a_neighbour_that_raises(write):
    """The file's own line is named, and the neighbour's where that cannot be read at all."""
    write("def task(:\n", "neighbour_that_is_none.py")
    write("x = 1\nx / 0\n", "neighbour_that_raises.py")
    path = write("\n\nimport neighbour_that_is_none\n")
    with pytest.raises(TaskError, match=r"mine\.py, line 3: .* \(neighbour_that_is_none\.py, line 1\)$"):
        load(path)
    path = write("\nimport neighbour_that_raises\n")
    with pytest.raises(TaskError, match=r"mine\.py, line 2: `import neighbour_that_raises` raises ZeroDivisionError"):
        load(path)


@pytest.mark.parametrize("text", ["", "def tusk():\n    pass\n", "task = 3\n"])
def test_a_file_without_task(text, write):
    path = write(text)
    with pytest.raises(TaskError, match=rf"{path} must define task\(\) returning sd\.Task\(\.\.\.\)"):
        load(path)


@pytest.mark.parametrize(("value", "kind"), [("None", "NoneType"), ("3", "int"), ("task", "function")])
def test_task_that_gives_something_else(value, kind, write):
    path = write(f"def task():\n    return {value}\n")
    with pytest.raises(TaskError, match=rf"task\(\) in {path} must return sd\.Task, got {kind}"):
        load(path)


WORKERS = """
import torch, steepest as sd
from torch.utils.data import DataLoader, Dataset

class Numbers(Dataset):
    def __len__(self): return 40
    def __getitem__(self, i): return torch.full((3,), float(i)), torch.full((1,), float(i))

def task():
    loader = DataLoader(Numbers(), 10, num_workers=1, multiprocessing_context="spawn")
    x = torch.randn(20, 3)
    return sd.Task(torch.nn.Linear(3, 1), loader, torch.nn.functional.mse_loss, validation=(x, x[:, :1]))
"""


@pytest.mark.slow
@pytest.mark.long
def test_classes_of_a_file_reach_workers_that_are_not_forked(tmp_path):
    (tmp_path / "numbers_of_mine.py").write_text(WORKERS, encoding="utf-8")
    train = ["train", "numbers_of_mine.py", "--lr", "1e-3", "--epochs", "1", "--no-locate"]  # a worker takes seconds
    command = [sys.executable, "-m", "steepest", *train]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "step 4/4" in done.stderr


def test_a_file_named_as_a_module_leaves_that_module_alone(write):
    assert load(write(GOOD, "random.py")).name == "random"
    assert sys.modules["random"] is random
    assert "steepest_task_random" in sys.modules


def test_two_files_of_one_name_are_two_tasks(write):
    paths = [write(GOOD.replace("Linear(1, 1)", f"Linear(1, {n})"), f"{n}/same_name_twice.py") for n in (1, 2)]
    assert [load(path).model.out_features for path in (*paths, paths[0])] == [1, 2, 1]
