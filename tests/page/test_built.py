"""The built page: made of the sources that lie beside it, small, and nothing in it reaches out or runs text."""

import hashlib
import re
from pathlib import Path

import pytest

from steepest.view.render.theme import CONSTANTS, THEMES
from tests.page import films

SOURCES = Path(__file__).parents[2] / "page"
LIMIT = 320_000
SAFE_ADDRESSES = {
    "http://www.w3.org/2000/svg",
    "http://www.w3.org/1998/Math/MathML",
    "http://www.w3.org/1999/xhtml",
    "http://www.w3.org/1999/xlink",
}


def source_hash() -> str:
    """As vite.config.ts makes it: names and contents, in the order of names."""
    files = ["index.html", "package-lock.json", "package.json", "tsconfig.json", "vite.config.ts"]
    files.append("../steepest/view/render/constants.json")
    files += [p.relative_to(SOURCES).as_posix() for p in (SOURCES / "fonts").glob("*.woff2")]
    files += [
        p.relative_to(SOURCES).as_posix() for p in (SOURCES / "src").rglob("*") if p.suffix in (".ts", ".tsx", ".css")
    ]
    total = hashlib.sha256()
    for name in sorted(files):
        total.update(f"{name}\0".encode() + (SOURCES / name).read_bytes())
    return total.hexdigest()


@pytest.fixture(scope="module")
def html() -> str:
    return films.PAGE.read_text()


def test_is_built_from_these_sources(html):
    assert f'<meta name="sources" content="{source_hash()}">' in html, "the page is stale: make page"


def test_is_small(html):
    assert len(html.encode()) < LIMIT


def test_has_one_place_for_a_film(html):
    assert html.count(films.FILM_SLOT) == 1


def test_reaches_out_to_nothing(html):
    assert set(re.findall(r"https?://[\w./-]+", html)) <= SAFE_ADDRESSES
    assert not re.search(r"\bsrc=|\bimport\(|<link", html.partition("<body>")[0])
    assert "default-src 'none'" in html


def test_runs_no_text(html):
    assert not re.search(r"\beval\(|new Function\b|setTimeout\([\"'`]", html)


def test_ships_its_fonts_licences():
    assert 'Reserved Font Name "Source"' in (SOURCES / "fonts" / "SourceSerif4-OFL.txt").read_text()
    assert "SIL Open Font License" in (SOURCES / "fonts" / "Inter-OFL.txt").read_text()


@pytest.mark.parametrize("name", THEMES)
def test_the_style_has_the_colours_of_the_themes(name):
    """The style sheet is text: its colours are those of the constants that the page and the pictures read."""
    style = (SOURCES / "src" / "style.css").read_text()
    block = re.search(r":root \{(.*?)\}" if name == "light" else r"\[data-theme=dark\] \{(.*?)\}", style, re.S)[1]
    theme = THEMES[name]
    colours = {key: getattr(theme, key) for key in ("paper", "ink", "ink2", "ink3", "hair", "wash", "bad", "accent")}
    assert dict(re.findall(r"--(\w+): (#\w{6})", block)) == {**colours, "top": theme.ramp[-1]}


def test_page_and_pictures_read_the_same_constants(html):
    assert "steepest/view/render/constants.json" in (SOURCES / "src" / "render" / "theme.ts").read_text()
    for theme in THEMES.values():
        assert all(colour in html for colour in (*theme.members, *theme.ramp, theme.edge))
    for place in CONSTANTS["places"]:
        assert place in html
