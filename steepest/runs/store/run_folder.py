"""The folder of a run, with its weights and checkpoints: only plain files in it, and nothing outside.

A link in it could lead anywhere: what is written, cut or deleted through it would be somebody else's.
"""

import os
import shutil
import stat
from pathlib import Path

from steepest.errors import StoreError

MAX_DEPTH = 4


def check(folder: Path, run: str) -> Path:
    """The folder of a run, which need not exist; what is in it was looked at.

    Args:
        folder: of all runs.
        run: a plain id.

    Raises:
        StoreError: something in it is a link out of the runs folder, a pipe or a device.
    """
    own = folder / run
    try:
        _check(own, folder.resolve(), MAX_DEPTH)
    except (OSError, RuntimeError) as error:  # such as a circle of links
        raise StoreError(f"Cannot read {own} ({error}).") from error
    return own


def _check(path: Path, root: Path, depth: int) -> None:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        if path.is_symlink():
            raise StoreError(f"{path} is a link to nothing. Remove it.") from None
        return
    if path.is_symlink() and not path.resolve().is_relative_to(root):
        raise StoreError(f"{path} is a link out of the runs folder. Replace it by what it points at, or remove it.")
    if stat.S_ISDIR(mode):
        if depth:
            with os.scandir(path) as entries:
                odd = [entry.path for entry in entries if entry.is_symlink() or not entry.is_file()]
            for entry in odd:
                _check(Path(entry), root, depth - 1)
    elif not stat.S_ISREG(mode):
        raise StoreError(f"{path} must be a file, but is a pipe or a device. Remove it.")


def remove(folder: Path, run: str) -> None:
    """Deletes the folder of a run; of links only the links."""
    own = folder / run
    if own.is_symlink():
        own.unlink(missing_ok=True)
    else:
        shutil.rmtree(own, ignore_errors=True)
