"""The manual as it is built: it needs no network, can be searched, is readable on a telephone, and hinders nobody."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from tests.page.conftest import missing

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
SERIOUS = ("serious", "critical")
LOOKED_AT = ("start", "descent", "howto/compare", "api/schedules", "playbook", "playbook/explodes")
MAX_BYTES = 30_000_000


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """What `make docs` has built from these sources, else a build of our own."""
    built = ROOT / "build" / "docs"
    sources = [
        path for folder in ("docs", "steepest") for path in (ROOT / folder).rglob("*.*") if path.suffix != ".pyc"
    ]
    newest = max(path.stat().st_mtime for path in sources)
    if (built / "searchindex.js").exists() and (built / "searchindex.js").stat().st_mtime > newest:
        return built
    if importlib.util.find_spec("furo") is None or importlib.util.find_spec("myst_parser") is None:
        missing("there is no Sphinx with furo and MyST: make docs")
    folder = tmp_path_factory.mktemp("site")
    options = ["--fail-on-warning", "--keep-going", "--quiet", "--doctree-dir", str(folder / "doctrees")]
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *options, "docs", str(folder / "docs")],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder / "docs"


@pytest.fixture
def visit(browser, site):
    """Opens a page from its file; every request and complaint is collected."""
    contexts, requests, complaints = [], [], []

    def opened(name, width=1000, height=900, scheme="light"):
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: requests.append(request.url))
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto((site / f"{name}.html").as_uri())
        return page

    yield opened
    for context in contexts:
        context.close()
    assert [url for url in requests if not url.startswith(("file:", "data:", "blob:"))] == []
    assert complaints == []


def test_it_is_small_and_asks_for_nothing(site):
    assert sum(path.stat().st_size for path in site.rglob("*") if path.is_file()) < MAX_BYTES
    assert (site / "llms.txt").exists()
    for path in site.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert 'src="http' not in text
        assert '<link rel="stylesheet" href="http' not in text


@pytest.mark.parametrize("name", LOOKED_AT)
@pytest.mark.parametrize(("width", "scheme"), [(380, "dark"), pytest.param(1400, "light", marks=pytest.mark.long)])
def test_a_page_fits_and_axe_finds_nothing_serious(visit, axe, name, width, scheme):
    page = visit(name, width, scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.evaluate(axe)
    violations = page.evaluate("axe.run(document, {iframes: false, preload: false})")["violations"]
    assert [(v["id"], [n["target"] for n in v["nodes"]][:3]) for v in violations if v["impact"] in SERIOUS] == []


@pytest.mark.long
def test_every_page_fits_on_a_telephone(visit, site):
    page, wide = visit("index", 380), {}
    for path in sorted(site.rglob("*.html")):
        page.goto(path.as_uri(), wait_until="domcontentloaded")
        width = page.evaluate("document.documentElement.scrollWidth")
        if width > 380:
            wide[str(path.relative_to(site))] = width
    assert wide == {}


def test_a_page_to_play_with_has_its_place_in_the_text_and_plays(visit):
    page = visit("descent", 1000, 1400)
    frame = page.locator("iframe.play").first
    frame.scroll_into_view_if_needed()
    inside = page.frame_locator("iframe.play").first
    inside.locator(".go[aria-label=Pause]").wait_for()
    page.wait_for_function("document.querySelector('iframe.play').style.height !== ''")
    box = frame.bounding_box()
    assert box["height"] >= inside.locator("#app").bounding_box()["height"]
    assert inside.locator("body").evaluate("body => document.documentElement.scrollWidth <= innerWidth")


def test_a_page_of_the_playbook_has_a_film_that_plays(visit):
    page = visit("playbook/explodes", 1000, 1400)
    assert not page.locator("details.film iframe").is_visible()
    page.locator("details.film summary").click()
    page.locator("details.film iframe").scroll_into_view_if_needed()
    page.frame_locator("details.film iframe").locator(".go[aria-label=Pause]").wait_for()


def test_pages_to_play_with_follow_the_theme_of_the_manual(visit):
    page = visit("descent", 1000, 1400)
    page.locator("iframe.play").first.scroll_into_view_if_needed()
    inside = page.frame_locator("iframe.play").first
    inside.locator(".go").wait_for()
    for theme in ("dark", "light"):
        page.evaluate("theme => { document.body.dataset.theme = theme; }", theme)
        inside.locator(f"html[data-theme={theme}]").wait_for()


def test_the_search_works_from_a_file(visit, site):
    page = visit("search")
    page.goto((site / "search.html").as_uri() + "?q=momentum")
    page.locator("#search-results li a").first.wait_for()
    assert page.locator("#search-results li").count() > 3


def test_a_frozen_reader_sees_the_stills(browser, site):
    context = browser.new_context(java_script_enabled=False, viewport={"width": 1000, "height": 900})
    page = context.new_page()
    page.goto((site / "descent.html").as_uri())
    stills = page.locator("noscript img")
    assert stills.count() == 8
    assert all(stills.nth(k).evaluate("image => image.getAttribute('src')").startswith("play/") for k in range(8))
    assert len(list((site / "play").glob("*.png"))) == 9
    context.close()
