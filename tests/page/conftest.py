"""A browser for the page's tests: Debian's chromium, driven by playwright. Without it they skip; in CI they fail."""

import importlib.util
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.page import films

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
AXE = Path(__file__).parents[2] / "page" / "node_modules" / "axe-core" / "axe.min.js"

WATCH = """
window.history_of = { step: new Set(), button: new Set() };
new MutationObserver(() => {
  const [scrub, button] = ['.scrub', '.go'].map(name => document.querySelector(name));
  if (scrub) history_of.step.add(Number(scrub.value));
  if (button) history_of.button.add(button.getAttribute('aria-label'));
}).observe(document, { subtree: true, childList: true, attributes: true, characterData: true });
"""
"""Records every step and every label of the play button: what a test asks for later may be over by then."""


def missing(what: str) -> None:
    """Skips a test that lacks something, or fails it in CI."""
    if os.environ.get("CI"):
        pytest.fail(f"{what}; CI must have it")
    pytest.skip(what)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    chromium = shutil.which("chromium")
    if chromium is None:
        missing("there is no chromium: apt-get install chromium")
    if importlib.util.find_spec("playwright") is None:
        missing("there is no playwright: pip install playwright")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def axe() -> str:
    """The source of axe-core, which looks for what hinders people."""
    if not AXE.exists():
        missing("there is no axe-core: npm ci in page/")
    return AXE.read_text()


class Opener:
    """Opens films from files, in windows of their own, and collects what the console says."""

    def __init__(self, browser: Any, folder: Path) -> None:
        self.browser, self.folder = browser, folder
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.contexts: list[Any] = []

    def __call__(
        self,
        film: films.Encoded | None,
        width: int = 1180,
        height: int = 720,
        scheme: str = "light",
        motion: str = "reduce",
    ) -> Any:
        """A page that is ready and rests."""
        file = self.folder / f"film{len(self.contexts)}.html"
        file.write_text(films.page(film))
        return self.url(file.as_uri(), width, height, scheme, motion)

    def url(self, url: str, width: int = 1180, height: int = 720, scheme: str = "light", motion: str = "reduce") -> Any:
        """The same for a document that is elsewhere."""
        size = {"width": width, "height": height}
        context = self.browser.new_context(viewport=size, color_scheme=scheme, reduced_motion=motion)
        self.contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(15_000)
        page.add_init_script(WATCH)
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))
        page.goto(url)
        page.wait_for_selector("html[data-ready]")
        return page


@pytest.fixture
def opened(browser: Any, tmp_path: Path) -> Iterator[Opener]:
    opener = Opener(browser, tmp_path)
    yield opener
    for context in opener.contexts:
        context.close()
    assert opener.complaints == []
