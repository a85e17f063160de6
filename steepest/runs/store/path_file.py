"""The path of a descent on disk: one file of points.

A point is two integers, attempt and step, and the weights as float32 in the order of the run's parameters. An
incomplete point of a killed process is ignored. The file is not synced: after a crash the last points may be missing.
"""

import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import IO

import numpy as np
import torch
from torch import Tensor

from steepest.errors import StoreError

PATH_FILE = "path.bin"
BUFFER_BYTES = 1 << 20
"""A point of a small model, of many tensors, is one write."""
MAX_POINT_BYTES, MAX_POINTS = 2**31 - 1, 1_000_000
"""Of a point, by numpy's types; of larger models no path is stored. Of a path, which has about 200."""


def layout(size: int) -> np.dtype:
    """The layout of a point with `size` weights."""
    return np.dtype([("attempt", "<i8"), ("t", "<i8"), ("w", "<f4", (size,))])


class PathFile:
    """Appends points to a run's file.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / PATH_FILE
        self._file: IO[bytes] | None = None

    def append(self, attempt: int, t: int, tensors: Iterable[Tensor]) -> None:
        """Writes the point after a step.

        Raises:
            OSError: it cannot be written; an incomplete point is removed.
        """
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("ab", buffering=BUFFER_BYTES)
        start = self._file.tell()
        try:
            self._file.write(np.array([attempt, t], "<i8").tobytes())
            for x in tensors:
                self._file.write(x.detach().to("cpu", torch.float32).contiguous().numpy().data)
            self._file.flush()
        except OSError:
            with contextlib.suppress(OSError):
                self.close()
            with self._path.open("r+b") as file:
                file.truncate(start)
            raise

    def restart(self) -> None:
        """Removes all points.

        Raises:
            OSError: the file cannot be written.
        """
        self.close()
        self._path.unlink(missing_ok=True)

    def close(self) -> None:
        """Closes the file."""
        file, self._file = self._file, None
        if file is not None:
            file.close()


def read(folder: Path, size: int) -> np.ndarray:
    """The points of a run in the order they were written, in `layout` [P]; memory-mapped.

    Raises:
        StoreError: the file cannot be read, or has more points than any path.
    """
    path = folder / PATH_FILE
    if not 0 <= 16 + 4 * size <= MAX_POINT_BYTES:
        return np.empty(0, layout(0))
    row = layout(size)
    try:
        count = path.stat().st_size // row.itemsize if path.exists() else 0
        if count > MAX_POINTS:
            raise StoreError(f"{path} must have at most {MAX_POINTS:,} points, got {count:,}")
        return np.memmap(path, row, "r", shape=(count,)) if count else np.empty(0, row)
    except OSError as error:
        raise StoreError(f"Cannot read {path} ({error.strerror})") from error


def trim(folder: Path, size: int, attempt: int, t: int) -> None:
    """Removes the points after step t of an attempt, and an incomplete last one."""
    points = read(folder, size)
    beyond = (points["attempt"] > attempt) | ((points["attempt"] == attempt) & (points["t"] > t))
    count = int(beyond.argmax()) if beyond.any() else len(points)
    del points
    if (folder / PATH_FILE).exists():
        with (folder / PATH_FILE).open("r+b") as file:
            file.truncate(count * (16 + 4 * size))
