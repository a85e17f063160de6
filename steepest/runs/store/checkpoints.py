"""Checkpoints: everything a run needs to continue, in folders that exist whole or not at all.

    runs/digits-3f2a/checkpoints/00000007/
      tensors.safetensors     every tensor of the state, by its path in it
      state.json              the rest of the state
      manifest.json           format, identity, size and hash of the other two files, and its own hash

      tensors/                of a model that lies on several processes, in place of tensors.safetensors: files of
                              torch.distributed.checkpoint, written by all of them

A checkpoint is written into a temporary folder, synced to disk, and renamed. It is verified when it is loaded; a
damaged one is named and renamed (`00000007.damaged`), and the one before it is used. Loading runs no code, but for
`tensors/`, whose metadata is a pickle: it is read only where a run is resumed, which runs its task's code anyway.
"""

import contextlib
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor, nn

from steepest.distributed import checkpoint
from steepest.distributed.processes import Processes
from steepest.errors import StoreError
from steepest.runs.store import weights
from steepest.runs.store.checks import MAX_COUNT, MAX_SECONDS, is_number
from steepest.runs.store.state import pack, unpack

CHECKPOINT_FORMAT, SHARDED_FORMAT = 2, 102
TENSORS, STATE, MANIFEST, SHARDS = "tensors.safetensors", "state.json", "manifest.json", "tensors"
MAX_MANIFEST_BYTES, MAX_STATE_BYTES = 1_000_000, 1 << 30
MAX_NEWEST, HOUR_S = 2, 3600.0
"""How many of the newest checkpoints are kept; of those before them the newest of each hour is."""


class Checkpoint(NamedTuple):
    """A checkpoint as it is loaded.

    Attributes:
        manifest: format, files and identity.
        state: nested.
        messages: what to say about newer checkpoints that are damaged.
    """

    manifest: dict[str, Any]
    state: Any
    messages: list[str]


def save(folder: Path, state: Any, identity: Mapping[str, Any]) -> Path:
    """Writes a checkpoint, and deletes those that need not be kept.

    Args:
        folder: of the run's checkpoints.
        state: nested.
        identity: what is compared on loading: step, attempt, model, data.

    Raises:
        StoreError: it cannot be written; nothing half-written is left, and earlier checkpoints stay.
        TypeError: the state has something else than numbers, texts and tensors.
    """
    tensors: dict[str, Tensor] = {}
    plain = pack(state, tensors)
    with _new_folder(folder) as temporary:
        weights.write(temporary / TENSORS, tensors)
        path = _complete(temporary, plain, CHECKPOINT_FORMAT, identity)
    _prune(folder)
    return path


class BackgroundWrite:
    """A checkpoint of a sharded model, which is being written in the background.

    Args:
        future: of what this process does for it.
        folder: of the run's checkpoints.
    """

    def __init__(self, future: Future[Any], folder: Path) -> None:
        self._future, self._folder = future, folder
        _in_background[folder] = self

    @property
    def is_done(self) -> bool:
        """Whether it is written, or has failed."""
        return self._future.done()

    def error(self) -> StoreError | None:
        """Waits; why it could not be written, None if it is there."""
        try:
            self._future.result()
        except Exception as error:
            return error if isinstance(error, StoreError) else _failure(self._folder, error)
        return None


_in_background: dict[Path, BackgroundWrite] = {}
"""The last one of each run of this program."""


def begin_together(
    folder: Path, state: Any, identity: Mapping[str, Any], processes: Processes, model: nn.Module
) -> BackgroundWrite:
    """Copies the state of a sharded model, and begins to write it; all processes call it, each with its own parts.

    Args:
        folder, state, identity: as for `save`.
        processes: that the model lies on.
        model: that is sharded.

    Returns:
        what is being written. On the first process it is done when the checkpoint is complete.

    Raises:
        StoreError, TypeError: as `save`, on all processes.
    """
    tensors: dict[str, Tensor] = {}
    plain = pack(state, tensors)
    temporary = processes.from_first(lambda: _make_temporary_or_say(folder))
    upload = checkpoint.begin_save(temporary / SHARDS, tensors, model, processes)
    pool = ThreadPoolExecutor(1, "steepest-checkpoint")
    if processes.is_first:
        future = pool.submit(_complete_together, upload, temporary, plain, dict(identity))
    else:
        future = pool.submit(checkpoint.finish_save, upload)
    pool.shutdown(wait=False)
    return BackgroundWrite(future, folder)


def _make_temporary_or_say(folder: Path) -> Path:
    try:
        return _make_temporary(folder)
    except OSError as error:
        raise _failure(folder, error) from error


def _complete_together(upload: Future[Any], temporary: Path, plain: Any, identity: Mapping[str, Any]) -> None:
    """Gives a checkpoint its name, once all processes have written their parts."""
    folder = temporary.parent
    try:
        checkpoint.finish_save(upload)
        _complete(temporary, plain, SHARDED_FORMAT, identity)
    except Exception as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise _failure(folder, error) from error
    _prune(folder)


@contextlib.contextmanager
def _new_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder for a checkpoint; nothing half-written is left."""
    temporary = folder
    try:
        temporary = _make_temporary(folder)
        yield temporary
    except Exception as error:
        if temporary != folder:
            shutil.rmtree(temporary, ignore_errors=True)
        raise _failure(folder, error) from error


def _make_temporary(folder: Path) -> Path:
    number = max((int(p.name) for p in folders(folder)), default=0) + 1
    for leftover in folder.glob(".*.tmp"):  # of a process that was killed while it wrote
        shutil.rmtree(leftover, ignore_errors=True)
    temporary = folder / f".{number:08d}.{os.getpid()}.tmp"
    temporary.mkdir(parents=True)
    return temporary


def _complete(temporary: Path, plain: Any, number: int, identity: Mapping[str, Any]) -> Path:
    """Writes what is not tensors, and gives the folder its name."""
    _write(temporary / STATE, plain)
    parts = [str(p.relative_to(temporary)) for p in sorted((temporary / SHARDS).glob("*"))] or [TENSORS]
    files = {name: _size_and_hash(temporary / name) for name in (*parts, STATE)}
    manifest = {"format": number, "files": files, **identity}
    _write(temporary / MANIFEST, {**manifest, "seal": _seal(manifest)})
    weights.sync(temporary)
    path = temporary.with_name(temporary.name.split(".")[1])
    os.rename(temporary, path)
    weights.sync(path.parent)
    return path


def _failure(folder: Path, error: Exception) -> StoreError:
    return StoreError(f"Cannot write a checkpoint to {folder} ({error}). The run continues; earlier checkpoints stay.")


def folders(folder: Path) -> list[Path]:
    """The checkpoints of a run, oldest first."""
    return sorted(p for p in folder.glob("[0-9]*") if p.name.isascii() and p.name.isdigit() and p.is_dir())


def load(folder: Path, model: nn.Module | None = None) -> Checkpoint | None:
    """The newest undamaged checkpoint; None where there are no checkpoints.

    Args:
        folder: of the run's checkpoints.
        model: that goes on, whose parts of the state are read where it is sharded. Without it a checkpoint of a sharded
            model, whose files may hold code, is not read: None.

    Raises:
        StoreError: all are damaged, or the newest undamaged one has a format that cannot be read.
    """
    errors: list[str] = []
    if folder in _in_background:
        _in_background.pop(folder).error()
    for path in reversed(folders(folder)):
        try:
            manifest = verify(path)
        except StoreError as error:
            errors.append(str(error))
            continue
        number = manifest.get("format")
        if number == SHARDED_FORMAT and model is None:
            return None
        if number not in (CHECKPOINT_FORMAT, SHARDED_FORMAT):  # a reader of an older format belongs here
            is_newer = isinstance(number, int) and number > CHECKPOINT_FORMAT
            do = "Update Steepest." if is_newer else "Use the version that wrote it."
            raise StoreError(
                f"Checkpoint {path} has format {number}; this version reads format {CHECKPOINT_FORMAT}. {do}"
            )
        state = _read_state(path, number == SHARDED_FORMAT, model)
        return Checkpoint(manifest, state, [f"{error} Using the one before it." for error in errors])
    if errors:
        raise StoreError(f"No usable checkpoint in {folder}. {errors[0]}")
    return None


def _read_state(path: Path, is_sharded: bool, model: nn.Module | None) -> Any:
    """The state of a checkpoint whose files are verified: they are as they were written, but perhaps not by us."""
    try:
        if (path / STATE).stat().st_size > MAX_STATE_BYTES:
            raise ValueError(f"it is larger than {MAX_STATE_BYTES:,} bytes")
        if is_sharded:
            tensors = checkpoint.load(path / SHARDS, model)
        else:
            tensors = weights.load(path / TENSORS)
            tensors = tensors if model is None else checkpoint.parts_of(tensors, model)
        return unpack(json.loads((path / STATE).read_text(encoding="utf-8")), tensors)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise StoreError(f"Checkpoint {path} is damaged: {STATE} cannot be read ({error}).") from error


def _has_types(manifest: Mapping[str, Any]) -> bool:
    """Whether the values of a manifest of today's format have the types that a resumed run relies on."""
    counts, seconds = [manifest.get(name) for name in ("t", "attempt", "events")], manifest.get("seconds", 0.0)
    return (
        all(type(count) is int and 0 <= count < MAX_COUNT for count in counts)
        and is_number(seconds, 0, MAX_SECONDS)
        and all(isinstance(manifest.get(name), str) for name in ("model", "data"))
    )


def set_damage_aside(folder: Path) -> None:
    """Renames the damaged checkpoints newer than the newest undamaged one, so that they do not count as kept."""
    for path in reversed(folders(folder)):
        try:
            verify(path)
            return
        except StoreError:
            with contextlib.suppress(OSError):
                path.rename(path.with_name(f"{path.name}.damaged"))


def verify(path: Path) -> dict[str, Any]:
    """A checkpoint's manifest, once it and, where its format is known, the files are verified.

    Raises:
        StoreError: damaged or incomplete; says which file and how.
    """
    try:
        if (path / MANIFEST).stat().st_size > MAX_MANIFEST_BYTES:
            raise ValueError(f"it is larger than {MAX_MANIFEST_BYTES:,} bytes")
        text = (path / MANIFEST).read_text(encoding="utf-8")
        manifest = json.loads(text)
        files = dict(manifest["files"])
        seal = manifest.pop("seal")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise StoreError(f"Checkpoint {path} is damaged: {MANIFEST} cannot be read ({error}).") from error
    if text != json.dumps({**manifest, "seal": seal}) or seal != _seal(manifest):
        raise StoreError(f"Checkpoint {path} is damaged: {MANIFEST} does not match its hash.")
    if manifest.get("format") not in (CHECKPOINT_FORMAT, SHARDED_FORMAT):
        return manifest
    for name in (TENSORS, STATE) if manifest["format"] == CHECKPOINT_FORMAT else files:
        try:
            actual = _size_and_hash(path / name)
        except OSError as error:
            raise StoreError(f"Checkpoint {path} is damaged: {name} cannot be read ({error.strerror}).") from error
        if actual != files.get(name):
            raise StoreError(f"Checkpoint {path} is damaged: {name} does not match its hash.")
    if not _has_types(manifest):
        raise StoreError(f"Checkpoint {path} is damaged: {MANIFEST} has values of other types.")
    return manifest


def _prune(folder: Path) -> None:
    """Keeps the newest, and of those before them the newest of each hour."""
    hours = {int(time.time() // HOUR_S)}
    for path in reversed(folders(folder)[:-MAX_NEWEST]):
        hour = int(path.stat().st_mtime // HOUR_S)
        if hour in hours:
            shutil.rmtree(path, ignore_errors=True)
        hours.add(hour)


def _seal(manifest: Mapping[str, Any]) -> str:
    """The hash of a manifest, which it has in every format."""
    return hashlib.sha256(json.dumps(manifest).encode()).hexdigest()


def _size_and_hash(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")  # several times as fast as json.dump
    weights.sync(path)
