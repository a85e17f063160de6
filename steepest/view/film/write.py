"""Writes a film in the format that the suffix of its file names."""

import sys
from pathlib import Path

from steepest.errors import InputError
from steepest.records.surfaces import LossSurfaces
from steepest.view.figures import contours
from steepest.view.film import document, images, npz
from steepest.view.film.film import Film

MOVING = (".gif", ".mp4")


VECTORS = (".npz", *contours.SUFFIXES)


SUFFIXES = (".html", ".png", *MOVING, *VECTORS)


def write(made: Film, ground: LossSurfaces, out: str | Path) -> Path:
    """Writes a film as what its name ends in, and says on the terminal what it lacks.

    Raises:
        InputError: another suffix, or one that shows surfaces where there are none.
    """
    out = Path(out)
    suffix = out.suffix.lower()
    for words in ground.messages:
        print(words, file=sys.stderr)
    if suffix == ".html":
        return document.write(made, out)
    if suffix == ".png":
        return images.still(made, out)
    if suffix in MOVING:
        return images.moving(made, out)
    if suffix not in VECTORS:
        raise InputError(f"a film '{out}' is asked for; its name must end in {', '.join(SUFFIXES)}")
    if not ground.grids:
        raise InputError(f"'{out}' is to show surfaces, and there are none: {'; '.join(ground.messages)}")
    return npz.save(out, ground) if suffix == ".npz" else contours.contours(ground, made["title"], out)
