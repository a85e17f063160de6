"""Builds the wheel and the source archive, installs each in an environment of its own, and does what a user does.

`python -m tests.release` needs a package index; `python -m tests.release matrix [NAME ...]` tries one combination of
Python, torch and numpy after another and writes the table of `docs/versions.md`.
"""

import sys
import tempfile
from pathlib import Path

from tests.release import matrix, trial
from tests.release.builds import ROOT, build, check_archive, check_wheel, copy_of_the_checkout
from tests.release.environments import Environment, FailureError


def say(text: str) -> None:
    """Prints at once."""
    print(text, flush=True)


def built(folder: Path) -> tuple[Path, Path]:
    """The wheel and the source archive of this checkout, with what must be in them."""
    maker = Environment(folder / "maker")
    maker.install("build")
    wheel, archive = build(copy_of_the_checkout(folder / "checkout"), maker, folder / "dist")
    for path, names in ((archive, check_archive(archive)), (wheel, check_wheel(wheel))):
        say(f"{path.name}: {len(names)} files, {path.stat().st_size / 1e6:.1f} MB, as they should be")
    return wheel, archive


def release(folder: Path) -> None:
    """Everything but the matrix."""
    pair = built(folder)
    pins = ROOT / "constraints.txt"
    checker = Environment(folder / "checker")
    checker.install("pyright[nodejs]", constraints=pins)
    for path in pair:
        say(f"{path.name} in a clean environment:")
        place = Environment(folder / "place")
        place.install("torch", constraints=pins)
        place.install(path, constraints=pins)
        trial.try_all(place, say)
        if path.suffix == ".whl":
            say(f"  {trial.types(place, checker)}")
        place.remove()


def main(arguments: list[str]) -> None:
    """The release, or the matrix."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            if arguments[:1] == ["matrix"]:
                matrix.try_all(built(Path(folder))[0], Path(folder), arguments[1:], say)
            else:
                release(Path(folder))
        except FailureError as error:
            raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main(sys.argv[1:])
