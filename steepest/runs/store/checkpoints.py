"""Checkpoints: everything that a run needs to go on, in folders that are there whole or not at all.

    runs/digits-3f2a/checkpoints/00000007/
      tensors.safetensors     every tensor of the state, by its path in it
      state.json              the rest of the state
      manifest.json           format, what the checkpoint is of, size and hash of the other two, and its own hash

A checkpoint is written into a temporary folder, synced to disk, and renamed. It is verified when it is loaded; a
damaged one is named, set aside (`00000007.damaged`), and the one before it is used. Loading runs no code.
"""

import contextlib
import hashlib
import json
import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from steepest.errors import StoreError
from steepest.runs.store import weights

FORMAT = 2
TENSORS, STATE, MANIFEST = "tensors.safetensors", "state.json", "manifest.json"
KEPT, HOUR_S = 2, 3600.0
"""The newest that are kept, beside the newest of each hour before them."""


def save(folder: Path, state: Any, tensors: Mapping[str, Tensor], identity: Mapping[str, Any]) -> Path:
    """Writes a checkpoint, and drops those no longer kept.

    Args:
        folder: of the run's checkpoints.
        state: JSON.
        tensors: what the state names.
        identity: what it is of: step, attempt, model, data; compared when it is loaded.

    Raises:
        StoreError: it cannot be written; nothing half-written is left, and the earlier ones stay.
    """
    number = max((int(p.name) for p in stored(folder)), default=0) + 1
    path, temporary = folder / f"{number:08d}", folder / f".{number:08d}.{os.getpid()}.tmp"
    try:
        for left in folder.glob(".*.tmp"):  # of a process that was killed while it wrote
            shutil.rmtree(left, ignore_errors=True)
        temporary.mkdir(parents=True)
        weights.write(temporary / TENSORS, tensors, {})
        _write(temporary / STATE, state)
        files = {name: _described(temporary / name) for name in (TENSORS, STATE)}
        _write(temporary / MANIFEST, _sealed({"format": FORMAT, "files": files, **identity}))
        weights.sync(temporary)
        os.rename(temporary, path)
        weights.sync(folder)
    except Exception as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise StoreError(
            f"no checkpoint could be written to {folder} ({error}); the run goes on, and the earlier ones stay"
        ) from error
    _prune(folder)
    return path


def stored(folder: Path) -> list[Path]:
    """The checkpoints of a run, oldest first."""
    return sorted(p for p in folder.glob("[0-9]*") if p.name.isdigit() and p.is_dir())


def load(folder: Path) -> tuple[dict[str, Any], Any, dict[str, Tensor], list[str]] | None:
    """The newest sound checkpoint: (manifest, state, tensors, what to say of damaged ones); None where there is none.

    Raises:
        StoreError: there are some, and none can be used.
    """
    said: list[str] = []
    found = stored(folder)
    for path in reversed(found):
        try:
            manifest = verified(path)
            return manifest, json.loads((path / STATE).read_text()), weights.load(path / TENSORS), said
        except StoreError as error:
            said.append(f"{error}; the one before it is used")
    if found:
        raise StoreError(
            f"no checkpoint in {folder} can be used: {said[0].removesuffix('; the one before it is used')}"
        )
    return None


def set_aside(folder: Path) -> None:
    """Renames the damaged ones that are newer than the newest sound one: they no longer count among those kept."""
    for path in reversed(stored(folder)):
        try:
            verified(path)
            return
        except StoreError:
            with contextlib.suppress(OSError):
                path.rename(path.with_name(f"{path.name}.damaged"))


def verified(path: Path) -> dict[str, Any]:
    """A checkpoint's manifest, once its files have been found to be what it says.

    Raises:
        StoreError: damaged, incomplete, or of another format; says which file and how.
    """
    try:
        text = (path / MANIFEST).read_text()
        manifest = json.loads(text)
        files = dict(manifest["files"])
        seal = manifest.pop("seal")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise StoreError(f"checkpoint {path} is damaged: its manifest cannot be read ({error})") from error
    if text != json.dumps({**manifest, "seal": seal}) or seal != _sealed(manifest)["seal"]:
        raise StoreError(f"checkpoint {path} is damaged: {MANIFEST} is not what was written")
    if manifest.get("format") != FORMAT:
        raise StoreError(
            f"checkpoint {path} is of format {manifest.get('format')}, this Steepest reads format {FORMAT}; "
            "use the version that wrote it"
        )
    for name in (TENSORS, STATE):
        try:
            now = _described(path / name)
        except OSError as error:
            raise StoreError(f"checkpoint {path} is damaged: {name} cannot be read ({error.strerror})") from error
        if now != files.get(name):
            raise StoreError(f"checkpoint {path} is damaged: {name} is not what was written")
    return manifest


def _prune(folder: Path) -> None:
    """Keeps the newest, and of those before them the newest of each hour."""
    hours = {int(time.time() // HOUR_S)}
    for path in reversed(stored(folder)[:-KEPT]):
        hour = int(path.stat().st_mtime // HOUR_S)
        if hour in hours:
            shutil.rmtree(path, ignore_errors=True)
        hours.add(hour)


def _sealed(manifest: dict[str, Any]) -> dict[str, Any]:
    """The manifest with a hash of itself, which it has in every format."""
    return {**manifest, "seal": hashlib.sha256(json.dumps(manifest).encode()).hexdigest()}


def _described(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _write(path: Path, content: Any) -> None:
    with path.open("w") as file:
        file.write(json.dumps(content))  # several times as fast as json.dump
        file.flush()
        os.fsync(file.fileno())
