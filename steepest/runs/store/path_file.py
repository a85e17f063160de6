"""The way of a descent on disk: its points in one file, each where the one before ends.

A point is two whole numbers, attempt and step, and the weights as float32 in the order of the run's parameters. What a
killed process has left of one is no point. Nothing waits for the disk: a picture may lack its last points.
"""

import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import IO

import numpy as np
import torch
from torch import Tensor

NAME = "path.bin"


def layout(size: int) -> np.dtype:
    """Of a point of so many weights."""
    return np.dtype([("attempt", "<i8"), ("t", "<i8"), ("w", "<f4", (size,))])


class PathFile:
    """Appends points to a run's file.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME
        self._file: IO[bytes] | None = None

    def append(self, attempt: int, t: int, tensors: Iterable[Tensor]) -> None:
        """Writes the point after a step.

        Raises:
            OSError: it cannot be written; what there is of it is cut off.
        """
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("ab")
        began = self._file.tell()
        try:
            self._file.write(np.array([attempt, t], "<i8").tobytes())
            for x in tensors:
                self._file.write(x.detach().to("cpu", torch.float32).contiguous().numpy().data)
            self._file.flush()
        except OSError:
            with contextlib.suppress(OSError):
                self.close()
            with self._path.open("r+b") as file:
                file.truncate(began)
            raise

    def close(self) -> None:
        """No more points."""
        file, self._file = self._file, None
        if file is not None:
            file.close()


def read(folder: Path, size: int) -> np.ndarray:
    """The points of a run in the order of its going, as `layout` says [P]; mapped, not loaded."""
    path, row = folder / NAME, layout(size)
    count = path.stat().st_size // row.itemsize if path.exists() else 0
    return np.memmap(path, row, "r", shape=(count,)) if count else np.empty(0, row)


def trim(folder: Path, size: int, attempt: int, t: int) -> None:
    """Cuts off the points after step t of an attempt, and what is left of one that was not finished."""
    points = read(folder, size)
    beyond = (points["attempt"] > attempt) | ((points["attempt"] == attempt) & (points["t"] > t))
    kept = int(beyond.argmax()) if beyond.any() else len(points)
    del points
    if (folder / NAME).exists():
        with (folder / NAME).open("r+b") as file:
            file.truncate(kept * layout(size).itemsize)
