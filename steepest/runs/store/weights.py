"""Weights on disk: one safetensors file for each point, written whole or not at all."""

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor

from steepest.errors import StoreError

SUFFIX = ".safetensors"
MAX_STEP_DIGITS = 16
"""Of a step."""


def save(folder: Path, t: int, tensors: Mapping[str, Tensor], header: Mapping[str, str] | None = None) -> Path:
    """Writes the point after step t: temporary file, fsync, rename, fsync of the folder.

    Args:
        folder: of the run's points.
        t: the step.
        tensors: by name.
        header: further text, by key.

    Raises:
        StoreError: it cannot be written; nothing half-written is left.
    """
    path, temporary = folder / f"{t}{SUFFIX}", folder / f".{t}.{os.getpid()}.tmp"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write(temporary, tensors, header)
        os.replace(temporary, path)
        sync(folder)
    except BaseException as error:
        with suppress(OSError):  # where there is no folder, there is no file
            temporary.unlink()
        if not _is_of_the_disk(error):  # such as a worker of a loader that died meanwhile
            raise
        raise StoreError(f"Cannot write the weights after step {t} to {path} ({error}). Free some space.") from error
    return path


def _is_of_the_disk(error: BaseException) -> bool:
    from safetensors import SafetensorError

    return isinstance(error, OSError | SafetensorError)


def write(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, str] | None = None) -> None:
    """Writes tensors to a file and syncs it to disk."""
    from safetensors.torch import save_file

    own = {name: _own_storage(x.detach().cpu().contiguous()) for name, x in tensors.items()}
    save_file(own, path, dict(header or {}))
    sync(path)


def _own_storage(x: Tensor) -> Tensor:
    """The same memory as a storage of its own: safetensors refuses tensors that share one."""
    return x if x.untyped_storage().nbytes() == x.nbytes else torch.from_dlpack(x)


def load(path: Path) -> dict[str, Tensor]:
    """The tensors of a point, by name.

    Raises:
        StoreError: no such file, or a damaged one.
    """
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except Exception as error:
        raise StoreError(f"Cannot read weights from {path} ({error}).") from error


def header(path: Path) -> dict[str, str]:
    """The text that a file was written with beside the tensors.

    Raises:
        StoreError: no such file, or a damaged one.
    """
    from safetensors import safe_open

    try:
        with safe_open(path, "pt") as file:
            return dict(file.metadata() or {})
    except Exception as error:
        raise StoreError(f"Cannot read weights from {path} ({error}).") from error


def list_points(folder: Path) -> list[tuple[int, Path]]:
    """(t, file) of all points in a folder, in time order."""
    return sorted((int(p.stem), p) for p in folder.glob(f"*{SUFFIX}") if _is_step(p.stem))


def _is_step(name: str) -> bool:
    return name.isascii() and name.isdigit() and len(name) <= MAX_STEP_DIGITS


def drop_beyond(folder: Path, t: int) -> None:
    """Deletes the points after step t, after a rewind."""
    for step, path in list_points(folder):
        if step > t:
            path.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Syncs a file, or a folder's entries, to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
