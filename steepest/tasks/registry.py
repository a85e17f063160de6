"""Tasks by name: the built-in ones, and those of a Python file with a function `task()`."""

import hashlib
import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

from steepest.errors import TaskError, UnknownNameError, closest
from steepest.tasks import digits
from steepest.tasks.task import Task

BUILT_IN: dict[str, Callable[[], Task]] = {"digits": digits.task}


def load(name: str) -> Task:
    """The task of that name or file.

    A file is executed as code, and its function `task()` is called.

    Args:
        name: a built-in task, or the path of a Python file.

    Raises:
        UnknownNameError: no built-in task has this name.
        TaskError: the file does not exist, raises, or has no `task()` that returns a Task.

    >>> load("digits").name
    'digits'
    """
    if name in BUILT_IN:
        task = BUILT_IN[name]()
        task.source = name
        return task
    path = Path(name)
    if path.suffix != ".py":
        names = ", ".join(map(repr, BUILT_IN))
        raise UnknownNameError(f"Unknown task '{name}'. {closest(name, BUILT_IN)}Use {names} or a path ending in .py.")
    if not path.is_file():
        raise TaskError(f"No file {path}. Pass a Python file that defines task() returning sd.Task(...).")
    module, digest = _run(path)
    make = getattr(module, "task", None)
    if not callable(make):
        raise TaskError(f"{path} must define task() returning sd.Task(...).")
    with _task_errors(path):
        task = make()
    if not isinstance(task, Task):
        raise TaskError(f"task() in {path} must return sd.Task, got {type(task).__name__}")
    if task.name == "task" or task.name == type(task.model).__name__.lower():
        task.name = path.stem
    task.source, task.source_hash = str(path.resolve()), digest
    return task


class _TextLoader(SourceFileLoader):
    """Runs the text of a file as it was read; a compiled file beside it may hold another program."""

    def __init__(self, name: str, path: Path) -> None:
        super().__init__(name, str(path))
        self.text = path.read_bytes()

    def get_code(self, fullname: str) -> CodeType:
        """The text, compiled."""
        return self.source_to_code(self.text, self.path)


def _run(path: Path) -> tuple[ModuleType, str]:
    """The file as a module, and its SHA-256; it can import from its own folder, as a script can."""
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.append(folder)
    name = _module_name(path)
    try:
        loader = _TextLoader(name, path)
    except OSError as error:
        raise TaskError(f"Cannot read {path} ({error.strerror}). Check its permissions.") from error
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    with _task_errors(path):
        loader.exec_module(module)
    return module, hashlib.sha256(loader.text).hexdigest()


def task_modules() -> list[ModuleType]:
    """The modules of all task files that this process has run; another one may know nothing of them."""
    return [m for m in list(sys.modules.values()) if isinstance(getattr(m, "__loader__", None), _TextLoader)]


def _module_name(path: Path) -> str:
    """The name by which other processes can import the file, such as a DataLoader's workers that are not forked.

    They get the search path, not the modules. A file whose name is that of another module gets a name of its own, which
    only this process and its forks know.
    """
    try:
        spec = importlib.util.find_spec(path.stem)
    except (ImportError, ValueError):  # a module without a spec, such as `__main__`
        spec = None
    is_first = spec is not None and _same(path, spec.origin)
    return path.stem if is_first else f"steepest_task_{path.stem}"


@contextmanager
def _task_errors(path: Path) -> Iterator[None]:
    """Turns an exception of the file into a TaskError that names the file's line."""
    try:
        yield
    except Exception as error:
        raise TaskError(f"{path}{_line(path, error)} raises {type(error).__name__}: {error}") from error


def _line(path: Path, error: Exception) -> str:
    """The file's innermost line in the traceback, or the line of its syntax error."""
    if isinstance(error, SyntaxError) and _same(path, error.filename):
        return f", line {error.lineno}"
    own = [f for f in traceback.extract_tb(error.__traceback__) if _same(path, f.filename)]
    return f", line {own[-1].lineno}: `{own[-1].line}`" if own else ""


def _same(path: Path, filename: str | None) -> bool:
    """Whether it is the same file: this package has a `task.py` too."""
    return filename is not None and Path(filename).resolve() == path.resolve()
