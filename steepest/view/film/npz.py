"""The loss surfaces of a film on disk: surfaces, paths on them and losses as numpy arrays in one `.npz` file.

    principal/loss [y, x] · principal/error · principal/x [x] · principal/y [y]     a surface, at its cells' coordinates
    principal/paths/NAME/x | y | off [P]                                            a path on it
    paths/NAME/loss | kept [P]                                                      losses, indices of their points

`numpy.load` reads it without code; names, captions and marks are JSON in `about`.
"""

import io
import json
import math
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from steepest.errors import StoreError
from steepest.records.surfaces import Axis, Grid, LossSurfaces, Mark, Projection

TEXTS = ("caption", "height", "source")
"""Of a surface."""
MAX_ENTRIES, MAX_BYTES, MAX_CELLS = 10_000, 1 << 28, 4_096
"""Of a file that is read, decompressed, and cells along an axis: a film has a few arrays of some thousand cells."""


def save(path: Path, surfaces: LossSurfaces) -> Path:
    """Writes loss surfaces.

    Raises:
        StoreError: it cannot be written.
    """
    arrays: dict[str, np.ndarray] = {"eigenvalues": surfaces.eigenvalues}
    about: dict[str, Any] = {"grids": {}, "said": list(surfaces.messages), "paths": list(surfaces.losses)}
    for kind, grid in surfaces.grids.items():
        arrays |= {f"{kind}/loss": grid.loss, f"{kind}/x": grid.x.at, f"{kind}/y": grid.y.at}
        if grid.error is not None:
            arrays[f"{kind}/error"] = grid.error
        for name, shadow in surfaces.projections.get(kind, {}).items():
            arrays |= {f"{kind}/paths/{name}/{key}": x for key, x in shadow._asdict().items()}
        about["grids"][kind] = {key: getattr(grid, key) for key in ("x", "y", *TEXTS, "marks")}
    for name, losses in surfaces.losses.items():
        arrays |= {f"paths/{name}/loss": losses, f"paths/{name}/kept": surfaces.indices[name]}
    try:
        with path.open("wb") as file:
            np.savez_compressed(file, about=np.array(json.dumps(about)), **arrays)  # type: ignore[arg-type]
    except OSError as error:
        raise StoreError(f"Cannot write the surfaces to {path} ({error.strerror}).") from error
    return path


def load(path: Path) -> LossSurfaces:
    """Reads loss surfaces.

    Raises:
        StoreError: the file is missing or damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            arrays = _read(archive)
        about = json.loads(str(arrays.pop("about")))
        return _check(_decode(about, arrays))
    except Exception as error:  # of zipfile, numpy and json: there are a dozen kinds
        raise StoreError(f"Cannot read {path} as surfaces ({error}). Make the film again.") from error


def _read(archive: zipfile.ZipFile) -> dict[str, np.ndarray]:
    """The arrays of an archive, whose sizes are checked before memory is taken for them.

    Raises:
        ValueError: they are too large, or not what their sizes say.
    """
    entries = archive.infolist()
    if len(entries) > MAX_ENTRIES or sum(entry.file_size for entry in entries) > MAX_BYTES:
        raise ValueError(f"it has more than {MAX_ENTRIES} arrays or {MAX_BYTES:,} bytes")
    arrays = {}
    for entry in entries:
        content = archive.read(entry)  # at most as long as its entry says
        arrays[entry.filename.removesuffix(".npy")] = _array(content)
    return arrays


def _array(content: bytes) -> np.ndarray:
    """The array of an `.npy` file: numbers, or one text."""
    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
    shape, is_fortran, dtype = header(file)
    data = content[file.tell() :]
    count = math.prod(shape)
    if dtype.kind not in "fiuU" or count * dtype.itemsize != len(data):
        raise ValueError(f"an array of {dtype} {shape} has {len(data):,} bytes")
    return np.frombuffer(data, dtype, count).reshape(shape, order="F" if is_fortran else "C").copy()


def _decode(about: dict[str, Any], arrays: dict[str, np.ndarray]) -> LossSurfaces:
    grids, shadows = {}, {}
    for kind, entry in about["grids"].items():
        x, y, marks = Axis(*entry["x"]), Axis(*entry["y"]), tuple(Mark(*mark) for mark in entry["marks"])
        texts = {key: entry[key] for key in TEXTS}
        grids[kind] = Grid(kind, x, y, arrays[f"{kind}/loss"], arrays.get(f"{kind}/error"), **texts, marks=marks)
        shadows[kind] = {
            name: Projection(*(arrays[f"{kind}/paths/{name}/{key}"] for key in Projection._fields))
            for name in about["paths"]
        }
    losses = {name: arrays[f"paths/{name}/loss"] for name in about["paths"]}
    indices = {name: arrays[f"paths/{name}/kept"] for name in about["paths"]}
    return LossSurfaces(grids, shadows, losses, indices, arrays["eigenvalues"], tuple(about["said"]))


def _check(surfaces: LossSurfaces) -> LossSurfaces:
    """Checks that surfaces have the types and shapes that a view relies on.

    Raises:
        ValueError: they have others.
    """
    for kind, grid in surfaces.grids.items():
        shape = (grid.y.n, grid.x.n)
        sizes = [x for axis in (grid.x, grid.y) for x in (axis.lo, axis.hi, axis.scale)]
        texts = [kind, grid.caption, grid.height, grid.x.name, grid.y.name, *(mark.text for mark in grid.marks)]
        places = [x for mark in grid.marks for x in mark[1:4]]
        _require(all(type(n) is int and 2 <= n <= MAX_CELLS for n in shape), f"{kind} has {shape} cells")
        _require(_are_finite(sizes) and grid.x.lo < grid.x.hi and grid.y.lo < grid.y.hi, f"{kind} has no extent")
        _require(all(isinstance(text, str) for text in texts), f"{kind} has no caption")
        _require(isinstance(grid.source, str | None) and all(_is_number(x) for x in places), f"{kind} has odd marks")
        _require(all(x is None or (x.shape == shape and x.dtype.kind == "f") for x in (grid.loss, grid.error)),
                 f"{kind} has arrays of other shapes")  # fmt: skip
    for name, losses in surfaces.losses.items():
        parts = [part for each in surfaces.projections.values() for part in each[name]]
        _require(losses.ndim == 1 and all(x.shape == losses.shape and x.dtype.kind == "f" for x in (*parts, losses)),
                 f"path {name} is odd")  # fmt: skip
        at = surfaces.indices[name]
        _require(at.shape == losses.shape and at.dtype.kind in "iu" and bool((at >= 0).all()), f"path {name} is odd")
    _require(surfaces.eigenvalues.ndim == 1 and surfaces.eigenvalues.dtype.kind == "f", "eigenvalues are odd")
    _require(all(isinstance(words, str) for words in surfaces.messages), "messages are no text")
    return surfaces


def _is_number(x: Any) -> bool:
    return isinstance(x, int | float) and not isinstance(x, bool)


def _are_finite(numbers: Sequence[Any]) -> bool:
    return all(_is_number(x) and math.isfinite(x) for x in numbers)


def _require(is_right: bool, words: str) -> None:
    if not is_right:
        raise ValueError(words)
