"""Pages to play with inside the text: what each of them shows, and how it is written for its place."""

import json
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

import steepest as sd
from steepest.view.film import document

HERE = Path(__file__).parent
DOCS = HERE.parent
FONTS = DOCS.parent / "page" / "fonts"
STILLS = DOCS / "play"
"""Where the pictures are that stand for the pages in plain Markdown."""
FILMS = DOCS / "films"
"""Films as data; the page around them is that of the package as it is."""
FILM_DATA = re.compile(r'(<script type="application/json" id="film">)(.*?)(</script>)', re.DOTALL)


@dataclass(frozen=True)
class PlayPage:
    """A page to play with.

    Attributes:
        terrain: a test function's name, or a function of x and y.
        rules: update rules by the names that the page shows.
        steps: of each rule.
        options: further arguments of `sd.play`.
        schedule: of the learning rate, as text; by the rule's name where they differ.
        noise: batch noise σ at the beginning.
    """

    terrain: str
    rules: dict[str, Any]
    steps: int
    options: dict[str, Any] = field(default_factory=dict)
    schedule: dict[str, str] = field(default_factory=dict)
    noise: float = 0.0


BOWL = {"start": (-1.6, 1.2)}
VALLEYS = {"domain": ((-1.6, 1.6), (-1.8, 1.8)), "start": (1.2, 0.0)}
PLAYS = {
    "step": PlayPage("(x² + 3 y²) / 4", {"Gradient descent": sd.gradient_descent(lr=0.3)}, 40, BOWL),
    "rates": PlayPage(
        "ravine",
        {
            "Too small": sd.gradient_descent(lr=0.002),
            "Right": sd.gradient_descent(lr=0.035),
            "Too large": sd.gradient_descent(lr=0.0405),
        },
        100,
    ),
    "noise": PlayPage(
        "bowl",
        {"Rate 0.1": sd.gradient_descent(lr=0.1), "Rate 0.01": sd.gradient_descent(lr=0.01)},
        300,
        noise=1.0,
    ),
    "momentum": PlayPage(
        "ravine",
        {
            "Gradient descent": sd.gradient_descent(lr=0.035),
            "Momentum": sd.momentum(lr=0.02, beta=0.8),
        },
        80,
    ),
    "adam": PlayPage(
        "(x² + 400 y²) / 2",
        {
            "Gradient descent": sd.gradient_descent(lr=0.0045),
            "Momentum": sd.momentum(lr=0.002, beta=0.9),
            "Adam": sd.adam(lr=0.2),
        },
        100,
        {"domain": ((-5, 5), (-1, 1)), "start": (-4.0, 0.7)},
    ),
    "schedule": PlayPage(
        "bowl",
        {
            "Constant": sd.gradient_descent(lr=0.2),
            "Step": sd.gradient_descent(lr=0.2),
            "Cosine": sd.gradient_descent(lr=0.2),
        },
        200,
        schedule={"Step": "step(34%)", "Cosine": "warmup(5%) >> cosine"},
        noise=1.0,
    ),
    "saddle": PlayPage(
        "(x² − y²) / 2 + y⁴ / 4",
        {"Gradient descent": sd.gradient_descent(lr=0.1), "Momentum": sd.momentum(lr=0.05)},
        120,
        VALLEYS,
    ),
    "hills": PlayPage(
        "himmelblau",
        {
            "Gradient descent": sd.gradient_descent(lr=0.01),
            "Momentum": sd.momentum(lr=0.003),
            "Adam": sd.adam(lr=0.1),
        },
        100,
    ),
}


def write(name: str, out: Path) -> None:
    """Writes the page of a play, laid out for its place in the text."""
    play = PLAYS[name]
    sd.play(play.terrain, out, rules=play.rules, steps=play.steps, **play.options)
    out.write_text(in_text(out.read_text(encoding="utf-8"), play.schedule, play.noise), encoding="utf-8")


def in_text(page: str, schedule: dict[str, str], noise: float) -> str:
    """A page with the layout, the schedules and the noise that it has inside the text."""
    data = FILM_DATA.search(page)
    assert data is not None
    content = json.loads(data[2])
    for member in content["members"].values():
        member["schedule"] = schedule.get(member["name"], member["schedule"])
    film = json.dumps(content).replace("<", "\\u003c")
    style, script = ((HERE / f"in_text.{suffix}").read_text(encoding="utf-8") for suffix in ("css", "js"))
    script = script.replace("NOISE", json.dumps(noise))
    head = f"<style>{style}</style><script>{script}</script></head>"
    return page[: data.start(2)].replace("</head>", head, 1) + film + page[data.end(2) :]


def pages() -> list[str]:
    """The names of all pages inside the text: those to play with, and films."""
    return [*PLAYS, *(path.stem for path in sorted(FILMS.glob("*.json")))]


# -- Sphinx ------------------------------------------------------------------------------------------------------------


def write_pages(app: Sphinx) -> None:
    """Writes all pages to play with, and the films, into the manual."""
    folder = Path(app.outdir) / "play"
    folder.mkdir(parents=True, exist_ok=True)
    for name in PLAYS:
        write(name, folder / f"{name}.html")
    for path in FILMS.glob("*.json"):
        page = document.page(json.loads(path.read_text(encoding="utf-8")))
        (folder / f"{path.stem}.html").write_text(in_text(page, {}, 0.0), encoding="utf-8")


def copy_files(app: Sphinx, exception: Exception | None) -> None:
    """Copies fonts, and the pictures that stand for pages to play with where there is no JavaScript."""
    if exception is not None:
        return
    fonts = Path(app.outdir) / "_static" / "fonts"
    fonts.mkdir(parents=True, exist_ok=True)
    for path in [*FONTS.glob("*.woff2"), *FONTS.glob("*-OFL.txt")]:
        shutil.copy(path, fonts)
    for path in STILLS.glob("*.png"):
        shutil.copy(path, Path(app.outdir) / "play")
