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


class Windows:
    """Pages that are used again: a new one starts a process, which reads the same script slowly for the first time."""

    def __init__(self, browser: Any) -> None:
        self.browser = browser
        self.idle: list[Any] = []

    def take(self, width: int, height: int, scheme: str, motion: str, again: bool = True) -> Any:
        """An empty page of this size: one that was used before, if there is any and it may be."""
        page = self.idle.pop() if self.idle and again else self.fresh()
        page.emulate_media(color_scheme=scheme, reduced_motion=motion)
        page.set_viewport_size({"width": width, "height": height})
        return page

    def fresh(self) -> Any:
        """A page that nobody has had, in a context of its own."""
        page = self.browser.new_context().new_page()
        page.set_default_timeout(15_000)
        page.add_init_script(WATCH)
        return page

    def give_back(self, page: Any) -> None:
        """Empties a page, whose document is over then, for the next test."""
        page.goto("about:blank")
        self.idle.append(page)


class Opener:
    """Opens films from files, in windows of their own, and collects what the console says."""

    def __init__(self, windows: Windows, folder: Path) -> None:
        self.windows, self.browser, self.folder = windows, windows.browser, folder
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.pages: list[Any] = []
        self.contexts: list[Any] = []
        """Contexts that a test makes itself: closed after it."""
        self.again = True
        """Whether its pages are used again. A test that changes one for good, or compares two processes, says no."""

    def __call__(
        self,
        film: films.Encoded | None,
        width: int = 1180,
        height: int = 720,
        scheme: str = "light",
        motion: str = "reduce",
    ) -> Any:
        """A page that is ready and rests."""
        file = self.folder / f"film{len(self.pages)}.html"
        file.write_text(films.page(film))
        return self.url(file.as_uri(), width, height, scheme, motion)

    def url(self, url: str, width: int = 1180, height: int = 720, scheme: str = "light", motion: str = "reduce") -> Any:
        """The same for a document that is elsewhere."""
        page = self.windows.take(width, height, scheme, motion, self.again)
        self.pages.append(page)
        if not self.again:
            self.contexts.append(page.context)
        page.on("console", self.hear)
        page.on("pageerror", self.hear)
        page.on("request", self.note)
        page.goto(url)
        page.wait_for_selector("html[data-ready]")
        return page

    def hear(self, said: Any) -> None:
        self.complaints.append(getattr(said, "text", str(said)))

    def note(self, request: Any) -> None:
        self.requests.append(request.url)

    def close(self) -> None:
        """Gives its pages back, those of `contexts` excepted, and closes what else it opened."""
        for page in self.pages:
            if page.context not in self.contexts:
                self.windows.give_back(page)
            for event, handler in (("console", self.hear), ("pageerror", self.hear), ("request", self.note)):
                page.remove_listener(event, handler)
        for context in self.contexts:
            context.close()


@pytest.fixture(scope="session")
def windows(browser: Any) -> Windows:
    return Windows(browser)


@pytest.fixture
def opened(windows: Windows, tmp_path: Path) -> Iterator[Opener]:
    opener = Opener(windows, tmp_path)
    yield opener
    opener.close()
    assert opener.complaints == []
