"""Builds the source archive from what git tracks, the wheel from that archive, and checks what is in both."""

import shutil
import subprocess
import tarfile
import zipfile
from pathlib import Path

from tests.release.environments import Environment, FailureError

ROOT = Path(__file__).parents[2]
NEEDED = ("py.typed", "tasks/digits.npz", "tasks/DIGITS-LICENSE.md", "view/film/page.html", "runs/store/schema.sql")
"""Files of the package that are no modules, some of them: without one of these nothing works."""
TEXTS = ("CHANGELOG.md", "CITATION.cff", "LICENSE", "MANIFEST.in", "README.md", "SECURITY.md", "pyproject.toml")
FONT_LICENCES = ("page/fonts/Inter-OFL.txt", "page/fonts/SourceSerif4-OFL.txt")
WRITTEN = ("PKG-INFO", "setup.cfg", "steepest.egg-info/")
"""What the build writes into a source archive."""


def tracked_files() -> list[str]:
    """The files that git tracks, as they are in the working tree."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.decode()
    return [name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def copy_of_the_checkout(folder: Path) -> Path:
    """A copy of what git tracks: nothing that lies about in the checkout can get into a build of it."""
    for name in tracked_files():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name)
    return folder


def build(tree: Path, maker: Environment, out: Path) -> tuple[Path, Path]:
    """The wheel and the source archive; the wheel is built from the archive.

    Args:
        tree: a copy of the checkout.
        maker: an environment that has `build`.
        out: folder for both.
    """
    maker.run(["python", "-m", "build", "--outdir", out, tree])
    (wheel,), (archive,) = out.glob("*.whl"), out.glob("*.tar.gz")
    return wheel, archive


def check_wheel(wheel: Path) -> list[str]:
    """The files of a wheel: the package as git has it, its metadata and its licences, and nothing else.

    Raises:
        FailureError: something is missing, or too much.
    """
    with zipfile.ZipFile(wheel) as file:
        names = [name for name in file.namelist() if not name.endswith("/")]
        metadata = [name for name in names if ".dist-info/" in name]
        package = {f"steepest/{name}" for name in NEEDED} | {n for n in tracked_files() if n.startswith("steepest/")}
        _compare(wheel.name, set(names) - set(metadata), package)
        licences = {name.partition("/licenses/")[2] for name in metadata if "/licenses/" in name}
        _compare(f"licences of {wheel.name}", licences, {"LICENSE", "steepest/tasks/DIGITS-LICENSE.md", *FONT_LICENCES})
    return names


def check_archive(archive: Path) -> list[str]:
    """The files of a source archive: the package, what its build needs, and the texts beside it; no tests.

    Raises:
        FailureError: something is missing, or too much.
    """
    with tarfile.open(archive) as file:
        names = [member.name.partition("/")[2] for member in file.getmembers() if member.isfile()]
    source = {name for name in names if not name.startswith(WRITTEN)}
    package = {name for name in tracked_files() if name.startswith("steepest/")}
    _compare(archive.name, source, package | {*TEXTS, *FONT_LICENCES})
    return names


def _compare(what: str, names: set[str], expected: set[str]) -> None:
    if names != expected:
        missing, stray = sorted(expected - names), sorted(names - expected)
        raise FailureError(
            f"{what} must have what git has; missing: {missing or 'nothing'}, stray: {stray or 'nothing'}"
        )
