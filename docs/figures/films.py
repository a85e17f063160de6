"""Films of the manual: made by the very code that stands on a page, and kept as data, without the page around it."""

import contextlib
import doctest
import json
import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from PIL import Image

from docs.extension.plays import DOCS, FILM_DATA, FILMS
from docs.figures import stills

NAME = "start"


def code() -> str:
    """The first block of Python on the page."""
    text = (DOCS / "start.md").read_text(encoding="utf-8")
    block = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert block is not None
    return "".join(example.source for example in doctest.DocTestParser().get_examples(block[1]))


def start() -> list[Path]:
    """Runs the code in a folder of its own; keeps the film's data and its picture."""
    names: dict[str, Any] = {}
    with TemporaryDirectory() as folder, contextlib.chdir(folder):
        exec(compile(code(), "start.md", "exec"), names)
        path = keep(NAME, Path("film.html"))
        still = stills.save(Image.open(names["run"].film("film.png")), NAME)
    return [path, still]


def keep(name: str, page: Path) -> Path:
    """Keeps the data of a film's page under a name of the manual, a line for each of its parts."""
    match = FILM_DATA.search(page.read_text(encoding="utf-8"))
    assert match is not None
    FILMS.mkdir(exist_ok=True)
    path = FILMS / f"{name}.json"
    lines = (f"{json.dumps(key)}: {json.dumps(part)}" for key, part in json.loads(match[2]).items())
    path.write_text("{" + ",\n".join(lines) + "}\n", encoding="utf-8")
    return path


DRAWINGS = {f"film/{NAME}": start}
