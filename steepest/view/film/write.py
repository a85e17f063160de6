"""Writes a film in the format of its file's suffix."""

import sys
from pathlib import Path

from steepest.errors import InputError
from steepest.records.surfaces import LossSurfaces
from steepest.view.figures import contours
from steepest.view.film import document, images, npz
from steepest.view.film.schema import Film

VIDEOS = (".gif", ".mp4")
SURFACE_SUFFIXES = (".npz", *contours.CONTOUR_SUFFIXES)
FILM_SUFFIXES = (".html", ".png", *VIDEOS, *SURFACE_SUFFIXES)


def write(film: Film, surfaces: LossSurfaces, out: str | Path) -> Path:
    """Writes a film in the format of its suffix, and prints what it lacks.

    Raises:
        InputError: another suffix, or one that shows surfaces where there are none.
    """
    out = Path(out)
    suffix = out.suffix.lower()
    for words in surfaces.messages:
        print(words, file=sys.stderr)
    if suffix == ".html":
        return document.write(film, out)
    if suffix == ".png":
        return images.still(film, out)
    if suffix in VIDEOS:
        return images.video(film, out)
    if suffix not in SURFACE_SUFFIXES:
        raise InputError(f"out must end in {', '.join(FILM_SUFFIXES[:-1])} or {FILM_SUFFIXES[-1]}, got '{out}'")
    if not surfaces.grids:
        raise InputError(f"'{out}' shows surfaces, but the film has none ({'; '.join(surfaces.messages)})")
    return npz.save(out, surfaces) if suffix == ".npz" else contours.contours(surfaces, film.title, out)
