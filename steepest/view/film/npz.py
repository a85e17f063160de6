"""The loss surfaces of a film on disk: surfaces, paths on them and losses as numpy arrays in one `.npz` file.

    principal/loss [y, x] · principal/error · principal/x [x] · principal/y [y]     a surface, at its cells' coordinates
    principal/paths/NAME/x | y | off [P]                                            a path on it
    paths/NAME/loss | kept [P]                                                      losses, indices of their points

`numpy.load` reads it without code; names, captions and marks are JSON in `about`.
"""

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from steepest.errors import StoreError
from steepest.records.surfaces import Axis, Grid, LossSurfaces, Mark, Projection

TEXTS = ("caption", "height", "source")
"""Of a surface."""


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
        with np.load(path) as file:
            about, arrays = json.loads(str(file["about"])), {k: file[k] for k in file.files}
        return _decode(about, arrays)
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise StoreError(f"Cannot read {path} as surfaces ({error}). Make the film again.") from error


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
