"""The ground of a film on disk: surfaces, paths on them and losses as numpy arrays in one `.npz` file.

    principal/loss [y, x] · principal/error · principal/x [x] · principal/y [y]     a surface, at its cells' coordinates
    principal/paths/NAME/x | y | off [P]                                            where a descent went on it
    paths/NAME/loss | kept [P]                                                      losses, and which points these are

`numpy.load` reads it without code; what is no array (names, captions, marks) is JSON in `about`.
"""

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from steepest.errors import StoreError
from steepest.records.surfaces import Axis, Grid, LossSurfaces, Mark, Projection


def save(path: Path, survey: LossSurfaces) -> Path:
    """Writes a survey.

    Raises:
        StoreError: it cannot be written.
    """
    arrays: dict[str, np.ndarray] = {"eigenvalues": survey.eigenvalues}
    about: dict[str, Any] = {"grids": {}, "said": list(survey.messages), "paths": list(survey.losses)}
    for kind, grid in survey.grids.items():
        arrays |= {f"{kind}/loss": grid.loss, f"{kind}/x": grid.x.at, f"{kind}/y": grid.y.at}
        if grid.error is not None:
            arrays[f"{kind}/error"] = grid.error
        for name, shadow in survey.projections.get(kind, {}).items():
            arrays |= {f"{kind}/paths/{name}/{key}": x for key, x in shadow._asdict().items()}
        about["grids"][kind] = {
            "x": grid.x, "y": grid.y, "caption": grid.caption, "height": grid.height, "source": grid.source,
            "marks": grid.marks,
        }  # fmt: skip
    for name, losses in survey.losses.items():
        arrays |= {f"paths/{name}/loss": losses, f"paths/{name}/kept": survey.indices[name]}
    try:
        with path.open("wb") as file:
            np.savez_compressed(file, about=np.array(json.dumps(about)), **arrays)  # type: ignore[arg-type]
    except OSError as error:
        raise StoreError(f"the surfaces cannot be written to {path}: {error.strerror}") from error
    return path


def load(path: Path) -> LossSurfaces:
    """Reads a survey.

    Raises:
        StoreError: there is none, or it is damaged.
    """
    try:
        with np.load(path) as file:
            about, arrays = json.loads(str(file["about"])), {k: file[k] for k in file.files}
        return _survey(about, arrays)
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise StoreError(f"{path} cannot be read as surfaces: {error}; make the film again") from error


def _survey(about: dict[str, Any], arrays: dict[str, np.ndarray]) -> LossSurfaces:
    grids, shadows = {}, {}
    for kind, known in about["grids"].items():
        x, y = Axis(*known["x"]), Axis(*known["y"])
        marks = tuple(Mark(*mark) for mark in known["marks"])
        grids[kind] = Grid(
            kind, x, y, arrays[f"{kind}/loss"], arrays.get(f"{kind}/error"), known["caption"], known["height"],
            known["source"], marks,
        )  # fmt: skip
        shadows[kind] = {
            name: Projection(*(arrays[f"{kind}/paths/{name}/{key}"] for key in Projection._fields))
            for name in about["paths"]
        }
    losses = {name: arrays[f"paths/{name}/loss"] for name in about["paths"]}
    kept = {name: arrays[f"paths/{name}/kept"] for name in about["paths"]}
    return LossSurfaces(grids, shadows, losses, kept, arrays["eigenvalues"], tuple(about["said"]))
