"""What a user does first in an environment with nothing but Steepest: each of it must work, or say what to install."""

import doctest
import json
import re
import time
import tomllib
from collections.abc import Callable
from pathlib import Path

from tests.release.builds import ROOT
from tests.release.environments import Environment, FailureError

TYPED = Path(__file__).with_name("typed.py")
MARK = re.compile(r"#\s*(\w+)$")
WITHOUT = {
    "transformers": "import steepest.integrations.transformers",
    "lightning": "import steepest.integrations.lightning",
    "accelerate": "from steepest.integrations.accelerate import watch; watch(None, None, None)",
    "tensorboard": "import steepest; steepest.cli.app(['train', 'digits', '--steps', '1', '--track', 'tensorboard'])",
    "mlflow": "import steepest; steepest.cli.app(['train', 'digits', '--steps', '1', '--track', 'mlflow'])",
    "ray": "import steepest; steepest.cli.app(['find-lr', 'digits', '--on', 'ray'])",
    "video": "import steepest; steepest.cli.app(['film', 'digits', '-o', 'film.mp4'])",
}
"""What needs an extra, by the extra's name."""
OURS = ("test", "bench", "check", "docs")
"""Extras for those who work on Steepest; nothing in the package needs them."""


def extras() -> set[str]:
    """The extras that users install, from the one place that declares them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return set(project["optional-dependencies"]) - set(OURS)


def first_lines() -> str:
    """The code of the manual's first page, from nothing to a film."""
    page = (ROOT / "docs" / "start.md").read_text(encoding="utf-8")
    block = page.partition("```python\n")[2].partition("```")[0]
    return "".join(example.source for example in doctest.DocTestParser().get_examples(block))


def try_all(place: Environment, say: Callable[[str], None]) -> None:
    """Runs every trial in an environment.

    Raises:
        FailureError: the first that fails.
    """
    for trial in (is_installed, demo, film_of_a_network, missing_extras, import_time):
        started = time.perf_counter()
        say(f"  {trial(place)} ({time.perf_counter() - started:.0f} s)")


def is_installed(place: Environment) -> str:
    """The package comes from the environment, in the version of `pyproject.toml`."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    file, found = place.python("import steepest; print(steepest.__file__, steepest.__version__)").split()
    if not Path(file).is_relative_to(place.folder) or found != version:
        raise FailureError(f"steepest must be {version} in {place.folder}, got {found} in {file}")
    if place.run(["steepest", "--version"]).stdout.strip() != f"steepest {version}":
        raise FailureError(f"steepest --version must print steepest {version}")
    return f"steepest {version} is installed and imports"


def demo(place: Environment) -> str:
    """The two commands of the README."""
    words = place.run(["steepest", "train", "digits"]).stdout.partition("\n")[0]
    file = place.run(["steepest", "film", "digits"]).stdout.split()[-1]
    page = (place.work / file).read_text(encoding="utf-8")
    if 'id="film">{' not in page or float(re.search(r"([\d.]+) %", words)[1]) < 90:  # type: ignore[index]
        raise FailureError(f"the demo must read nine in ten digits and write a film, got {words!r} and {file}")
    return f"the demo: {words}"


def film_of_a_network(place: Environment) -> str:
    """The lines of the manual's first page, as a script."""
    (place.work / "mine.py").write_text(first_lines(), encoding="utf-8")
    place.run(["python", "mine.py"])
    if 'id="film">{' not in (place.work / "film.html").read_text(encoding="utf-8"):
        raise FailureError("the first page's lines must write a film")
    return f"a film of a network of one's own in {len(first_lines().splitlines())} lines"


def missing_extras(place: Environment) -> str:
    """What needs an extra that is not there says how to install it."""
    if extras() != WITHOUT.keys():
        raise FailureError(f"every extra must be tried here, got {sorted(WITHOUT)} of {sorted(extras())}")
    for name, program in WITHOUT.items():
        program = program.replace("import steepest;", "import steepest, steepest.cli;")
        said = place.run(["python", "-c", program], code=1).stderr
        if f"pip install 'steepest[{name}]'" not in said or ("Traceback" in said) == ("app(" in program):
            raise FailureError(f"what needs the extra {name} must say how to install it, got {said}")
    return f"without {', '.join(sorted(WITHOUT))} each says what to install"


def import_time(place: Environment) -> str:
    """What importing costs beside torch, in processor time, the median of five."""
    program = (
        "import time, torch; a = time.process_time(); import steepest; print(round(1000 * (time.process_time() - a)))"
    )
    times = sorted(int(place.python(program)) for _ in range(5))
    return f"import steepest takes {times[2]} ms of processor time after import torch"


def types(place: Environment, checker: Environment) -> str:
    """Pyright on a user's script: types are those of its comments, and the wrong arguments are found, and no others.

    Args:
        place: where Steepest is installed.
        checker: an environment that has pyright.
    """
    (place.work / "typed.py").write_text(TYPED.read_text(encoding="utf-8"), encoding="utf-8")
    place.run(["python", "typed.py"])
    command = ["pyright", "--outputjson", "--pythonpath", place.bin / "python", place.work / "typed.py"]
    report = json.loads(checker.run(command, code=1).stdout)
    expected = {
        number: match[1] for number, line in enumerate(TYPED.read_text(encoding="utf-8").splitlines())
        if (match := MARK.search(line))
    }  # fmt: skip
    found = {}
    for complaint in report["generalDiagnostics"]:
        revealed = re.search(r'is "(\w+)', complaint["message"])
        is_information = complaint["severity"] == "information"
        found[complaint["range"]["start"]["line"]] = revealed[1] if is_information and revealed else "error"
    if found != expected:
        raise FailureError(f"types must be {expected} by line, got {found}: {report['generalDiagnostics']}")
    return f"pyright: {len(expected)} lines of a user's script are as they should be"
