"""Finding a task: a built-in name, or a Python file with a function `task()`."""

import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from steepest.errors import TaskError, unknown
from steepest.tasks import digits
from steepest.tasks.task import Task

BUILT_IN: dict[str, Callable[[], Task]] = {"digits": digits.task}


def load(name: str) -> Task:
    """The task of that name, or of that file.

    A file is code, and it is run: its function `task()` is called and gives the Task.

    Args:
        name: a built-in task, or the path of a Python file.

    Raises:
        UnknownNameError: no such built-in task, with the nearest one.
        TaskError: no such file, one that raises, without `task()`, or whose `task()` gives something else.

    >>> load("digits").name
    'digits'
    """
    if name in BUILT_IN:
        found = BUILT_IN[name]()
        found.source = name
        return found
    path = Path(name)
    if path.suffix != ".py":
        raise unknown("task", name, [*BUILT_IN, "a path that ends in .py"])
    if not path.is_file():
        raise TaskError(f"there is no file {path}; expected is a Python file with a function task() -> sd.Task")
    module = _run(path)
    make = getattr(module, "task", None)
    if not callable(make):
        raise TaskError(f"{path} has no function task(); write one that returns sd.Task(...)")
    with _explained(path):
        found = make()
    if not isinstance(found, Task):
        raise TaskError(f"task() in {path} gave {type(found).__name__}; expected is a steepest Task")
    if found.name == "task" or found.name == type(found.model).__name__.lower():
        found.name = path.stem
    found.source = str(path.resolve())
    return found


def _run(path: Path) -> ModuleType:
    """The file as a module; its own folder can be imported from, as if it were run."""
    name = f"steepest_task_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    folder = str(path.resolve().parent)
    sys.modules[name] = module
    if folder not in sys.path:
        sys.path.append(folder)
    with _explained(path):
        spec.loader.exec_module(module)
    return module


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """What the file raises, with its own line."""
    try:
        yield
    except Exception as error:
        raise TaskError(f"{path}{_line(path, error)} raises {type(error).__name__}: {error}") from error


def _line(path: Path, error: Exception) -> str:
    """The last line of the file that an error came through, or the one that is not Python."""
    if isinstance(error, SyntaxError) and _same(path, error.filename):
        return f", line {error.lineno}"
    own = [f for f in traceback.extract_tb(error.__traceback__) if _same(path, f.filename)]
    return f", line {own[-1].lineno}: `{own[-1].line}`" if own else ""


def _same(path: Path, filename: str | None) -> bool:
    """Whether it is that very file: others have its name, as `task.py` in this package."""
    return filename is not None and Path(filename).resolve() == path.resolve()
