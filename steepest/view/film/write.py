"""Writes a film in the format of its file's suffix."""

import sys
from pathlib import Path

from steepest.errors import InputError
from steepest.records.surfaces import LossSurfaces
from steepest.view.figures import contours
from steepest.view.film import document, images, npz
from steepest.view.film.schema import Film
from steepest.view.notebook import FilmFile

WRITERS = {".html": document.write, ".png": images.still, ".gif": images.video, ".mp4": images.video}
FILM_SUFFIXES = (*WRITERS, ".npz", *contours.CONTOUR_SUFFIXES)


def check_file(out: str | Path) -> None:
    """Refuses a file that cannot be written as a film, before minutes of measuring.

    Raises:
        InputError: its suffix is unknown, or needs a library that is not installed; says what to install.

    >>> check_file("film.html")
    """
    suffix = Path(out).suffix.lower()
    if suffix not in FILM_SUFFIXES:
        raise InputError(f"out must end in {', '.join(FILM_SUFFIXES[:-1])} or {FILM_SUFFIXES[-1]}, got '{out}'")
    if suffix == ".mp4":
        images.encoder()


def write(film: Film, surfaces: LossSurfaces, out: str | Path) -> Path:
    """Writes a film in the format of its suffix, and prints what it lacks.

    Raises:
        InputError: another suffix, or one that shows surfaces where there are none.
    """
    check_file(out)
    out = Path(out)
    suffix = out.suffix.lower()
    for words in surfaces.messages:
        print(words, file=sys.stderr)
    if suffix in WRITERS:
        return FilmFile(WRITERS[suffix](film, out))
    if not surfaces.grids:
        raise InputError(f"'{out}' shows surfaces, but the film has none ({'; '.join(surfaces.messages)})")
    return FilmFile(npz.save(out, surfaces) if suffix == ".npz" else contours.contours(surfaces, film.title, out))
