"""The list of runs in a real browser: at every size, by keyboard, live, and its address round trip."""

import re
import time

import pytest

from steepest.records.run import Event
from steepest.runs.store import Store
from tests.page import boxes
from tests.runs.server.conftest import begun, ended, grow, serving
from tests.runs.server.many import fill

pytestmark = pytest.mark.slow

LONG = "resnet50-imagenet-adamw-wd0.05-bs1024-mixup0.8-cutmix1.0-ema0.9999-warmup5"
ODD = "<b>bold</b> \x1b[31m \u202ereversed"


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """A server of runs of each kind."""
    store = Store(tmp_path_factory.mktemp("list") / "runs")
    for i, rule in enumerate(("adam", "momentum", "gradient_descent")):
        ended(
            store,
            "digits",
            60,
            rule=rule,
            lr=0.001 * 10**i,
            seed=i,
            batch_size=64,
            validation_samples=60,
            task="digits",
        )
    store.begin(LONG, {"rule": "adamw", "stages": [], "schedule": "warmup(5%) >> cosine"}, {}, 0, ODD).close(
        "done", 1.0
    )
    failed = begun(store, "digits", 20, rule="adam")
    failed.event(Event(20, "failed", f"ValueError: {'a long reason ' * 6}", "the run failed"))
    failed.close("failed", 3.0)
    stopped = begun(store, "ball", 30, rule="nesterov", metric="loss", better="lower")
    stopped.close("stopped", 3.0)
    live = begun(store, "digits", 30, rule="adam")
    with serving(store) as served:
        yield served
    live.close("interrupted", 1.0)


class Window:
    """Opens pages of a server, and collects what the console says."""

    def __init__(self, browser):
        self.browser, self.contexts, self.complaints = browser, [], []

    def __call__(self, served, path="/", width=1400, height=900, scheme="light", **options):
        size = {"width": width, "height": height}
        context = self.browser.new_context(viewport=size, color_scheme=scheme, reduced_motion="reduce", **options)
        self.contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(15_000)
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.goto(f"http://127.0.0.1:{served.port}{path}")
        if options.get("java_script_enabled", True):
            page.locator(".live", has_text="live").wait_for()
        page.evaluate("document.fonts.ready.then(() => 1)")
        return page


@pytest.fixture
def window(browser):
    window = Window(browser)
    yield window
    for context in window.contexts:
        context.close()
    assert window.complaints == []


def address(page):
    return re.sub(r"^http://[^/]+", "", page.url)


def rows(page):
    return page.locator("tbody tr").evaluate_all("rows => rows.map(row => row.dataset.key)")


def becomes(read, page, expected):
    """Waits until what is read of a page is as expected: a page asks its server, and half a word may be asked first."""
    deadline = time.monotonic() + 15
    while read(page) != expected and time.monotonic() < deadline:
        page.wait_for_timeout(50)
    assert read(page) == expected


def until(page, condition, argument=None):
    """Waits for a condition; the page's policy lets no text be run in it, so it is asked again and again."""
    deadline = time.monotonic() + 15
    while not page.evaluate(condition, argument):
        assert time.monotonic() < deadline, condition
        page.wait_for_timeout(50)


# -- Looking -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_overlaps_and_nothing_is_too_small(window, axe, shown, scheme):
    runs = [run for run in shown.store.names() if "ball" not in run][:3]
    page, wrong = window(shown, "/?" + "&".join(f"run={run}" for run in runs), scheme=scheme), {}
    for width, height in boxes.SIZES:
        boxes.resize(page, width, height, scheme)
        wrong |= {(width, height): found} if (found := boxes.problems(page, axe)) else {}
    assert wrong == {}
    paper = "rgb(15, 19, 23)" if scheme == "dark" else "rgb(250, 248, 243)"
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == paper
    assert page.evaluate("document.fonts.check('20px \"Steepest Serif\"')")


def test_running_does_not_look_like_failed(window, shown):
    page = window(shown)
    look = "e => { const s = getComputedStyle(e); return [s.color, s.fontWeight, e.querySelector('svg').innerHTML] }"
    running, failed = (page.locator(f".st.{status}").first.evaluate(look) for status in ("running", "failed"))
    assert all(a != b for a, b in zip(running, failed, strict=True))
    assert page.locator(".is-running .progress").count() == 1
    assert "ValueError: a long reason" in page.locator(".is-failed").inner_text()


def test_a_long_id_ends_as_it_does_and_its_whole_text_is_there(window, shown):
    (run,) = [run for run in shown.store.names() if run.startswith("resnet")]
    for width in (1400, 380):
        link = window(shown, width=width).locator(f'tr[data-key="{run}"] .id')
        assert link.locator(".tail").inner_text() == run[-5:]
        assert link.evaluate("e => e.textContent") == run
        assert link.evaluate("e => e.scrollWidth <= e.closest('tr').clientWidth")
        assert link.get_attribute("title") == run


# -- Asking ------------------------------------------------------------------------------------------------------------


def test_by_keyboard_alone(window, shown):
    page = window(shown)
    page.keyboard.press("/")
    page.keyboard.type("rule=adam lr>0.0001 digits")
    becomes(address, page, "/?q=rule%3Dadam+lr%3E0.0001+digits")
    until(page, "document.querySelectorAll('tbody tr').length < 4")
    page.keyboard.press("Escape")
    becomes(address, page, "/")
    until(page, "document.querySelectorAll('tbody tr').length === 7")
    page.keyboard.press("Escape")
    page.keyboard.press("Tab")
    page.get_by_role("columnheader", name="lr").get_by_role("link").focus()
    page.keyboard.press("Enter")
    page.locator('th[aria-sort="ascending"]', has_text="lr").wait_for()
    becomes(address, page, "/?sort=lr")
    assert page.evaluate("document.activeElement.closest('th').className").startswith("lr")
    boxes_ = page.get_by_role("checkbox")
    for i in (1, 2):
        boxes_.nth(i).focus()
        page.keyboard.press("Space")
        page.locator(".tray li").nth(i - 1).wait_for()
    page.get_by_role("button", name="Compare 2").press("Enter")
    page.wait_for_selector("html[data-ready]")
    assert address(page).startswith("/compare?run=")


def test_the_address_makes_the_same_page_again(window, shown):
    page = window(shown, "/?q=digits&status=done&rule=adam&sort=-lr")
    assert page.locator("[name=q]").input_value() == "digits"
    assert page.locator("[aria-current=true]").inner_text().startswith("Done")
    assert page.locator("[name=rule]").input_value() == "adam"
    before = rows(page)
    page.get_by_role("link", name="Failed").click()
    until(page, "document.querySelectorAll('tbody tr').length === 1")
    page.locator(".is-failed").wait_for()
    assert "status=failed" in address(page)  # set before the rows are asked for
    page.go_back()
    becomes(rows, page, before)
    page.reload()
    becomes(rows, page, before)


def test_the_selection_survives_search_and_pages(window, tmp_path):
    store = Store(tmp_path)
    fill(store, 150, 20)
    with serving(store) as served:
        page = window(served, "/?sort=run")
        page.get_by_label("compare digits-0001", exact=True).check()
        page.locator(".tray li").nth(0).wait_for()
        page.get_by_role("link", name="Next").click()
        until(page, "document.querySelectorAll('tbody tr').length < 100")
        page.get_by_label("compare digits-0090", exact=True).check()
        page.locator(".tray li").nth(1).wait_for()
        page.locator("[name=q]").fill("digits-0022")
        until(page, "document.querySelectorAll('tbody tr').length === 1")
        page.get_by_label("compare digits-0022", exact=True).check()
        page.get_by_role("button", name="Compare 3").wait_for()
        assert page.locator(".tray").inner_text().split()[0] == "digits-0001"
        page.get_by_role("link", name="do not compare digits-0090").click()
        page.get_by_role("button", name="Compare 2").click()
        page.wait_for_selector("html[data-ready]")
        assert address(page) == "/compare?run=digits-0001&run=digits-0022"


def test_six_at_most(window, tmp_path):
    store = Store(tmp_path)
    fill(store, 8, 20)
    with serving(store) as served:
        page = window(served)
        for i in range(6):
            page.get_by_role("checkbox").nth(i).check()
            page.locator(".tray li").nth(i).wait_for()
        until(page, "document.querySelectorAll('tbody input:disabled').length === 3")
        page.get_by_role("checkbox").nth(0).uncheck()
        until(page, "!document.querySelector('tbody input:disabled')")


# -- Live --------------------------------------------------------------------------------------------------------------


def test_rows_change_in_place_and_none_moves_under_the_pointer(window, tmp_path):
    store = Store(tmp_path)
    old = ended(store, "old", 20)
    live = begun(store, "live", 20)
    with serving(store) as served:
        page = window(served)
        page.evaluate("window.before = document.querySelector('tbody tr')")
        grow(live, 40, 20)
        page.locator(".is-running", has_text="40 of 60").wait_for()
        assert page.evaluate("before.isConnected && before === document.querySelector('tbody tr')")
        page.locator("tbody tr").nth(1).hover()
        new = ended(store, "new", 10)
        grow(live, 50, 40)
        page.locator(".is-running", has_text="50 of 60").wait_for()
        assert rows(page) == [live.id, old]
        page.mouse.move(5, 5)
        becomes(rows, page, [live.id, new, old])
        page.get_by_label(f"compare {old}").focus()
        live.close("done", 2.0)
        page.locator("tbody tr .st.running").wait_for(state="detached")
        assert page.evaluate("document.activeElement.value") == old  # what has the focus stays where it is
    page.locator(".live.lost", has_text="not connected").wait_for()
    assert all("Failed to load resource" in words for words in window.complaints)
    window.complaints.clear()


def test_a_folder_that_appears_later(window, tmp_path):
    store = Store(tmp_path / "later")
    with serving(store) as served:
        page = served and window.browser.new_context().new_page()
        page.goto(f"http://127.0.0.1:{served.port}/")
        assert "There is no folder" in page.locator("h1").inner_text()
        run = ended(store)
        page.get_by_role("link", name=run).wait_for(timeout=15_000)
        page.context.close()


# -- Without scripts ---------------------------------------------------------------------------------------------------


def test_links_and_forms_work_without_scripts(window, shown):
    page = window(shown, java_script_enabled=False)
    page.locator("[name=q]").fill("digits")
    page.locator("[name=rule]").select_option("momentum")
    page.get_by_role("button", name="Show").click()
    page.wait_for_url("**/?*rule=momentum*")
    assert len(rows_without_scripts(page)) == 1
    page.get_by_role("link", name="Done").click()
    page.wait_for_url("**/?*status=done*")
    page.goto(f"http://127.0.0.1:{shown.port}/?sort=lr")
    for i in (1, 2):
        page.get_by_role("checkbox").nth(i).check()
    page.get_by_role("button", name="Compare").click()
    page.wait_for_url("**/compare?run=*")


def rows_without_scripts(page):
    return re.findall(r"<tr data-key", page.content())


def test_the_theme_is_chosen_and_stays(window, shown):
    page = window(shown)
    page.get_by_role("button", name="Dark theme").click()
    page.get_by_role("link", name="Done").click()
    page.reload()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(15, 19, 23)"
    page.get_by_role("button", name="Light theme").click()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(250, 248, 243)"
