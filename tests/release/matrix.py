"""Combinations of Python, torch and numpy, each in an environment of its own, and the table of those that were tried.

Each is installed, imports, runs the demo and a part of the tests against the installed wheel, and is deleted. One that
needs more than `MAX_GB` is not tried. Results are kept with their date, so that a part can be repeated.
"""

import datetime
import itertools
import json
import re
import shutil
import time
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.release import stand_ins, trial
from tests.release.builds import ROOT
from tests.release.environments import Environment, FailureError

RESULTS = Path(__file__).with_name("results.json")
PAGE = ROOT / "docs" / "versions.md"
BEGIN, END = "<!-- matrix -->\n", "<!-- end of matrix -->"
MAX_GB = 3.0
TESTS = (
    "tests/rules/test_trace.py", "tests/rules/test_update.py", "tests/optim/test_state.py",
    "tests/curvature/test_gradient_noise.py", "tests/descent/test_loop.py", "tests/descent/test_stages.py",
    "tests/runs/test_descend.py", "tests/runs/test_lost_checkpoints.py", "tests/tasks/test_batches.py",
)  # fmt: skip
"""From the update's kernel to a run that goes on; modules that need nothing but pytest and hypothesis."""
TORCH_NEEDS = ("filelock", "typing-extensions", "sympy", "networkx", "jinja2", "fsspec", "setuptools")


@dataclass(frozen=True)
class Combination:
    """Versions that are tried together.

    Attributes:
        python: major and minor version.
        torch: version; a local suffix such as +cpu asks for that build.
        pins: further versions, by package; what is not named is the newest that fits.
        least: every dependency at the least version that `pyproject.toml` declares.
    """

    python: str
    torch: str
    pins: dict[str, str] = field(default_factory=dict, hash=False)
    least: bool = False

    @property
    def name(self) -> str:
        """Its name on the command line, and in the results."""
        parts = [f"python{self.python}", f"torch{self.torch}", *(f"{k}{v}" for k, v in self.pins.items())]
        return "-".join([*parts, *(["least"] if self.least else [])])


CPU = "2.13.0+cpu"
NUMPYS = ("1.26.4", "2.0.2", "2.1.3", "2.2.6", "2.3.5", "2.4.6")
TORCHES = ("2.8.0", "2.9.1", "2.10.0", "2.11.0", "2.12.1", "2.14.1")
COMBINATIONS = [
    *(Combination("3.11", CPU, {"numpy": version}) for version in NUMPYS),
    Combination("3.11", "2.7.0", least=True),
    *(Combination("3.11", torch) for torch in TORCHES),
    *(Combination(python, torch) for python in ("3.12", "3.13") for torch in ("2.7.1", "2.13.0", "2.14.1")),
]  # fmt: skip


def dependencies() -> dict[str, str]:
    """The packages that Steepest needs, with the least versions that it declares."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return dict(line.split(">=") for line in project["dependencies"])


def interpreter(version: str) -> str | None:
    """An interpreter of this version: in pyenv's folder, whose names on the path need not work, or else on the path."""
    found = sorted((Path.home() / ".pyenv" / "versions").glob(f"{version}.*/bin/python"))
    return str(found[-1]) if found else shutil.which(f"python{version}")


def install_torch(place: Environment, combination: Combination) -> None:
    """Installs torch without NVIDIA's libraries, and what Python code of its own needs.

    Raises:
        FailureError: there is no such build.
    """
    place.install(f"torch=={combination.torch}", options=["--no-deps"])
    stand_ins.supply(place)
    place.install(*TORCH_NEEDS, "pytest", "hypothesis")


def install(place: Environment, combination: Combination, wheel: Path) -> None:
    """Installs the versions of the combination, and the wheel.

    Raises:
        FailureError: it cannot be installed, or takes too much.
    """
    pins = dict(combination.pins)
    others = {name: least for name, least in dependencies().items() if name != "torch"}
    if combination.least:
        pins = others | pins
    wanted = [f"{name}=={pins[name]}" if name in pins else f"{name}>={least}" for name, least in others.items()]
    place.install(*wanted)
    place.install(wheel, options=["--no-deps"])
    if (size := place.gigabytes()) > MAX_GB:
        raise FailureError(f"it must take at most {MAX_GB:.0f} GB, got {size:.1f}")


def tests(place: Environment) -> str:
    """A part of the tests, against what is installed.

    Raises:
        FailureError: one fails.
    """
    for name in ("tests", "docs", "pyproject.toml"):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, place.work / name, dirs_exist_ok=True)
        else:
            shutil.copy2(ROOT / name, place.work)
    options = ["-m", "not slow", "-o", "filterwarnings=default", "-p", "no:doctest", "-o", "addopts="]
    done = place.run(["python", "-m", "pytest", "-q", *options, *TESTS], OMP_NUM_THREADS="1")
    return re.search(r"\d+ passed.*(?= in )", done.stdout)[0]  # type: ignore[index]


def try_one(combination: Combination, place: Environment, wheel: Path) -> dict[str, str]:
    """What came of a combination: versions, the demo and the tests, or the reason why not."""
    row = {"name": combination.name, "python": combination.python, "torch": combination.torch}
    row |= {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "kind": "least" if combination.least else "",
    }
    try:
        if "torch" not in place.packages():
            install_torch(place, combination)
        install(place, combination, wheel)
        packages = place.packages()
        row |= {name: packages[name] for name in ("numpy", "numba", "scipy", "matplotlib")}
        row["python"] = place.python("import platform; print(platform.python_version())")
        row["build"] = place.python("import torch; print(torch.version.cuda or 'CPU')")
        row["gigabytes"] = f"{place.gigabytes():.1f}"
        trial.is_installed(place)
        row["demo"] = trial.demo(place)
        trial.film_of_a_network(place)
        row["tests"] = tests(place)
    except FailureError as error:
        row["failure"] = str(error)
    return row


def try_all(wheel: Path, folder: Path, names: Sequence[str], say: Callable[[str], None]) -> None:
    """Tries combinations one after another; the table is written after each.

    Those that differ only in numpy share an environment, in which it is replaced.

    Args:
        wheel: of this checkout.
        folder: for the environments.
        names: of combinations, or their beginnings; all if there are none.
        say: prints.
    """
    chosen = [c for c in COMBINATIONS if not names or c.name.startswith(tuple(names))]
    for (python, torch, _), group in itertools.groupby(chosen, lambda c: (c.python, c.torch, c.least)):
        if (path := interpreter(python)) is None:
            say(f"python{python}-torch{torch}: there is no Python {python} here")
            continue
        place = Environment(folder / f"python{python}-torch{torch}", path)
        for combination in group:
            started = time.perf_counter()
            row = try_one(combination, place, wheel)
            keep(row)
            outcome = row.get("failure") or f"{row['demo']}; {row['tests']}; {row['gigabytes']} GB"
            say(f"{combination.name}: {outcome} ({time.perf_counter() - started:.0f} s)")
        place.remove()


def keep(row: dict[str, str]) -> None:
    """Keeps what came of a combination, in the place of an earlier result, and writes the table."""
    rows = {old["name"]: old for old in results()} | {row["name"]: row}
    in_order = [rows[c.name] for c in COMBINATIONS if c.name in rows]
    RESULTS.write_text(json.dumps(in_order, indent=1) + "\n", encoding="utf-8")
    write_table()


def results() -> list[dict[str, str]]:
    """What came of the combinations that were tried."""
    return json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else []


def table(rows: list[dict[str, str]]) -> str:
    """The rows as Markdown; of a failure the first line."""
    lines = ["| Python | torch | numpy | numba | demo and film | tests | date |", "|---|---|---|---|---|---|---|"]
    for row in rows:
        build = {"CPU": ", CPU build"}.get(row.get("build", ""), ", CUDA build")
        failure = row.get("failure", "").partition("\n")[0]
        demo = "✓" if "demo" in row else f"fails: {failure}"
        counts = re.search(r"\d+ failed, \d+ passed", row.get("failure", ""))
        outcome = row.get("tests") or (f"fail: {failure}" if failure and "demo" in row else "not run")
        outcome = counts[0] if counts else outcome
        least = " (every dependency at its least version)" if row["kind"] else ""
        torch = f"{row['torch'].partition('+')[0]}{build}{least}"
        cells = (row["python"], torch, row.get("numpy", ""), row.get("numba", ""), demo, outcome, row["date"])
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def write_table() -> None:
    """Writes the table into the manual's page."""
    page = PAGE.read_text(encoding="utf-8")
    head, _, rest = page.partition(BEGIN)
    PAGE.write_text(f"{head}{BEGIN}\n{table(results())}\n{END}{rest.partition(END)[2]}", encoding="utf-8")
