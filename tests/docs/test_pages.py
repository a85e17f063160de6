"""The pages as they are written: every public name has an example that runs, and every link leads somewhere."""

import importlib.util
import inspect
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import steepest as sd
from docs.extension.api import MARK
from docs.extension.plays import pages

DOCS = Path(__file__).parents[2] / "docs"
PAGES = {str(path.relative_to(DOCS)): path.read_text(encoding="utf-8") for path in sorted(DOCS.rglob("*.md"))}
NAMES = [*sd.__all__, *(f"optim.{name}" for name in sd.optim.__all__)]
LINK = re.compile(r"(!?)\[[^\]]*\]\(([^)\s]+)\)")
BLOCK = re.compile(r"```.*?```", re.DOTALL)
CODE = re.compile(r"^(?:>>>|\.\.\.)(.*)$", re.MULTILINE)


def value_of(name):
    value = sd
    for part in name.split("."):
        value = getattr(value, part)
    return value


def heading_id(text):
    """A heading's anchor, as on repository sites."""
    return re.sub(r"[^\w\- ]", "", text.strip().lower().replace("`", "")).replace(" ", "-")


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_has_an_example_that_runs(name):
    code = "\n".join(CODE.findall("".join(text for page, text in PAGES.items() if page.startswith("api/"))))
    in_docstring = not inspect.ismodule(value_of(name)) and ">>>" in (inspect.getdoc(value_of(name)) or "")
    assert in_docstring or re.search(rf"\bsd\.{re.escape(name)}\b", code)


def test_every_public_name_stands_once_in_the_reference():
    marks = [name for text in PAGES.values() for name in MARK.findall(text)]
    assert sorted(marks) == sorted(name for name in NAMES if name != "optim")


def test_every_page_is_in_the_table_of_contents():
    tables = "".join(part for text in PAGES.values() for part in re.findall(r"```{toctree}(.*?)```", text, re.DOTALL))
    listed = re.findall(r"^(?:[^:<\n][^<\n]* <)?([\w/-]+)>?$", tables, re.MULTILINE)  # all tables are at the top
    assert sorted(f"{name}.md" for name in listed) == sorted(PAGES.keys() - {"index.md"})


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    for is_picture, target in LINK.findall(BLOCK.sub("", PAGES[page])):
        parts = urlsplit(target)
        if parts.scheme:
            assert parts.scheme == "https", target
            assert re.fullmatch(r"[\w.-]+\.\w+", parts.netloc), target
            continue
        path = (DOCS / page).parent / unquote(parts.path) if parts.path else DOCS / page
        assert path.is_file(), f"{target} in {page}"
        if parts.fragment and not is_picture:
            text = BLOCK.sub("", path.read_text(encoding="utf-8"))
            headings = [heading_id(title) for title in re.findall(r"^#+ (.*)$", text, re.MULTILINE)]
            assert parts.fragment in headings, f"{target} in {page}"


def test_every_page_to_play_with_is_shown_and_has_a_still():
    """A film whose name a picture has stands below that picture, folded, and has no still."""
    shown = re.findall(r"\]\((?:\.\./)?play/([\w-]+)\.png\)", "".join(PAGES.values()))
    unfolded = sorted(name for name in pages() if not (DOCS / "pictures" / f"{name}.svg").exists())
    assert sorted(shown) == unfolded
    assert sorted(path.stem for path in (DOCS / "play").glob("*.png")) == unfolded


def test_every_picture_is_used_in_both_themes():
    pictures = {path.name for path in (DOCS / "pictures").glob("*.svg")}
    used = set(re.findall(r"pictures/([\w-]+\.svg)\)", "".join(PAGES.values())))
    assert pictures == used | {name.replace(".svg", "-dark.svg") for name in used}


def test_the_film_of_a_network_of_ones_own_takes_at_most_20_lines():
    section = PAGES["start.md"].partition("## Eleven lines")[2]
    block = re.search(r"```python\n(.*?)```", section, re.DOTALL)[1]
    assert "run.film(" in block
    assert len(CODE.findall(block)) <= 20


def test_llms_txt_is_short_and_its_links_are_pages():
    text = (DOCS / "llms.txt").read_text(encoding="utf-8")
    assert len(text) < 6000
    pages = [target.replace(".html", ".md") for _, target in LINK.findall(text)]
    assert len(pages) > 5
    assert set(pages) <= PAGES.keys()


def test_a_missing_tool_is_said_in_words(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "furo" else name)
    with pytest.raises(SystemExit, match=r"The manual needs furo. Run `make docs`, which installs them"):
        exec((DOCS / "conf.py").read_text(encoding="utf-8"), {})
