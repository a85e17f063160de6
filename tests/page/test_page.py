"""The page in a real browser: clicked, dragged, scrubbed, typed into, and looked at by axe."""

import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.page import boxes, films

pytestmark = pytest.mark.slow

SERIOUS = ("serious", "critical")


def rested(page):
    """Waits until changes are drawn, and for the fine picture."""
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    page.wait_for_selector(".stage[data-fine]")


def has_played(page, low: int, high: int) -> None:
    """Waits until the film has played through a step between two, now or before."""
    page.wait_for_function("() => history_of.button.has('Pause')")
    page.wait_for_function("([low, high]) => [...history_of.step].some(t => t >= low && t <= high)", arg=[low, high])


def play_slowly(page) -> None:
    """Sets the speed at which a film takes 48 s: longer than any wait of a test."""
    for _ in range(2):
        page.locator(".speed").click()
    page.get_by_role("button", name="Speed 0.25×").wait_for()
    page.evaluate("document.activeElement.blur()")


def at_step(page, low: int, high: int | None = None) -> None:
    """Waits until the film stands at a step, or between two."""
    between = (
        "([low, high]) => { const t = Number(document.querySelector('.scrub').value); return t >= low && t <= high }"
    )
    page.wait_for_function(between, arg=[low, low if high is None else high])


def headline(page) -> str:
    return page.locator("h1").inner_text()


def says(page, words: str) -> None:
    """Waits until the headline has these words."""
    page.wait_for_function("words => document.querySelector('h1').innerText.toLowerCase().includes(words)", arg=words)


# -- Looking -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "width", "scheme"),
    [("run", 1180, "light"), ("race", 420, "dark"), ("play", 1180, "dark"), ("play", 420, "light")],
)
def test_nobody_is_hindered(opened, axe, kind, width, scheme):
    page = opened(getattr(films, kind)(), width, 720, scheme)
    found = boxes.violations(page, axe)
    assert [(v["id"], [n["target"] for n in v["nodes"]][:3]) for v in found if v["impact"] in SERIOUS] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert all(url.startswith(("file:", "data:")) for url in opened.requests)


def test_two_runs_give_the_same_picture(opened):
    opened.again = False  # each in a process of its own
    pictures = []
    for _ in range(2):
        page = opened(films.race())
        rested(page)
        pictures.append(page.screenshot())
    assert pictures[0] == pictures[1]


def test_a_film_without_a_surface_shows_its_curves(opened):
    film = films.run()
    film["surfaces"] = {}
    page = opened(film)
    assert "No surface" in page.locator(".nothing").inner_text()
    assert page.locator(".chart canvas").count() == 2


def test_numbers_are_there_for_those_who_cannot_see(opened):
    page = opened(films.run())
    assert page.locator("table tbody tr").count() == 21
    assert re.match(
        r"Relief\. Loss from .* Step 2400: adam at largest curvature",
        page.locator(".stage").get_attribute("aria-label"),
    )
    assert "step 2,400 of 2,400; adam loss" in page.locator(".scrub").get_attribute("aria-valuetext")


def test_another_plane_is_chosen(opened):
    page = opened(films.run())
    page.locator("select").select_option("random")
    assert "a random plane" in page.locator(".about").inner_text()


# -- Moving ------------------------------------------------------------------------------------------------------------


def test_films_begin_by_themselves_unless_nothing_may_move(opened):
    still = opened(films.race())
    moving = opened(films.race(), motion="no-preference")
    has_played(moving, 1, 990)
    at_step(still, 999)
    assert still.get_by_role("button", name="Play").is_visible()


def test_keys(opened):
    page = opened(films.race())
    press = page.keyboard.press
    for key, at in [("Home", 0), ("ArrowRight", 1), ("Shift+ArrowRight", 51), ("ArrowLeft", 50), ("End", 999)]:
        press(key)
        at_step(page, at)
    press("3")
    page.wait_for_selector(".member:nth-child(3) input:checked", state="attached")
    press("t")
    page.wait_for_selector("html[data-theme=dark]")
    press("c")
    page.wait_for_selector(".stage.large .map")
    press("c")
    page.wait_for_selector(".stage:not(.large)")
    press("Shift+?")
    page.get_by_role("dialog").wait_for()
    press("Escape")
    page.get_by_role("dialog").wait_for(state="hidden")


def test_space_plays_and_pauses(opened):
    opened.again = False  # its clock stands still for good
    page = opened(films.race())
    page.keyboard.press("Home")
    at_step(page, 0)
    page.clock.install(time=0)
    page.clock.pause_at(3600)  # from here on time passes where the test says so
    page.keyboard.press("Space")
    page.clock.run_for(3000)
    step = int(page.locator(".scrub").input_value())
    assert 200 < step < 260  # 3 of 12 seconds of 999 steps
    assert page.get_by_role("button", name="Pause").is_visible()
    page.keyboard.press("Space")
    page.clock.run_for(100)
    at = page.locator(".scrub").input_value()
    page.clock.run_for(3000)
    assert page.locator(".scrub").input_value() == at
    assert page.get_by_role("button", name="Play").is_visible()


def test_shortcuts_yield_to_controls(opened):
    page = opened(films.play("bowl", "x² + y²", 50, (-1.6, 1.2)))
    page.locator("#function").focus()
    page.keyboard.press("t")
    assert page.locator("html").get_attribute("data-theme") == "light"
    assert page.locator("#function").input_value().endswith("t")
    page.get_by_role("slider", name="learning rate").focus()
    before = page.locator(".control output").first.inner_text()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("text => document.querySelector('.control output').innerText !== text", arg=before)
    at_step(page, 50)


def test_scrubbing(opened):
    page = opened(films.run())
    box = page.locator(".scrub").bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    at_step(page, 1170, 1230)
    plot = page.locator(".plot").first.bounding_box()
    page.mouse.move(plot["x"] + 100, plot["y"] + 50)
    page.mouse.down()
    page.mouse.move(plot["x"] + 150, plot["y"] + 50)
    page.mouse.up()
    at_step(page, 1, 1160)
    page.get_by_role("button", name=re.compile("^1,012")).click()
    at_step(page, 1012)


def test_dragging_turns_the_relief(opened):
    page = opened(films.race())
    rested(page)
    before = page.locator(".stage").screenshot()
    box = page.locator(".stage").bounding_box()
    page.mouse.move(box["x"] + 400, box["y"] + 300)
    page.mouse.down()
    page.mouse.move(box["x"] + 600, box["y"] + 320, steps=4)
    page.mouse.up()
    rested(page)
    turned = page.locator(".stage").screenshot()
    page.locator(".stage").focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("+")
    rested(page)
    assert len({before, turned, page.locator(".stage").screenshot()}) == 3
    at_step(page, 999)


# -- Playing -----------------------------------------------------------------------------------------------------------


def test_a_click_starts_elsewhere(opened):
    page = opened(films.play())
    rested(page)
    before = headline(page)
    box = page.locator(".stage").bounding_box()
    page.mouse.click(box["x"] + 480, box["y"] + 330)
    page.wait_for_function("text => document.querySelector('h1').innerText !== text", arg=before)
    has_played(page, 0, 1500)
    again = headline(page)
    page.locator(".inset .map").click(position={"x": 110, "y": 40})
    page.wait_for_function("text => document.querySelector('h1').innerText !== text", arg=again)


def test_a_rate_beyond_the_limit_diverges(opened):
    page = opened(films.play("ravine", "(x² + 50 y²)/2", 300, (-4, 0.9), "linear"))
    assert "diverges there for lr above 0.040" in page.locator(".advice").inner_text()
    slider = page.get_by_role("slider", name="learning rate")
    for place, words in ((0, "gradient descent 12."), (200, "gradient descent diverges at step")):
        slider.fill(str(place))
        says(page, words)


def test_batch_noise_and_schedule_change_the_descent(opened):
    page = opened(films.play())
    page.get_by_role("radio").nth(2).check(force=True)
    changed = "text => document.querySelector('h1').innerText !== text"
    for control, value in (
        (page.get_by_role("slider", name="batch noise"), "80"),
        (page.locator("#schedule"), "warmup(5%) >> linear(end=0.5)"),
    ):
        before = headline(page)
        control.fill(value)
        page.wait_for_function(changed, arg=before)


def test_a_function_is_typed_in(opened):
    page = opened(films.play("bowl", "x² + y²", 400, (-1.6, 1.2), "linear"))
    page.locator("#function").fill("(x² − 1)² + 3 y² + x/4")
    says(page, "reaches the minimum")
    assert "condition number" in page.locator(".advice").inner_text()
    rested(page)


def test_a_mistake_in_a_function_is_shown_where_it_is(opened):
    page = opened(films.play("bowl", "x² + y²", 50, (-1.6, 1.2)))
    for text, character, words in (
        ("x^2 + * y", 7, "expected a number"),
        ("x + foo(y)", 5, "there is no"),
        ("(x", 3, "expected ‘)’"),
    ):
        before = headline(page)
        page.locator("#function").fill(text)
        error = page.get_by_role("alert").inner_text()
        assert f"Character {character}: {words}" in error
        assert page.locator("#function").get_attribute("aria-invalid") == "true"
        assert headline(page) == before
        page.locator("#function").fill(f"x^2 + {character} y^2")
        page.get_by_role("alert").wait_for(state="hidden")


def test_a_function_without_values_somewhere(opened):
    page = opened(films.play("bowl", "x² + y²", 200, (1.6, 1.2)))
    page.locator("#function").fill("log(x) + y²")
    says(page, "domain")
    rested(page)
    for text in ("0", "sqrt(−1 − x²)"):
        page.locator("#function").fill(text)
        rested(page)


# -- Live --------------------------------------------------------------------------------------------------------------


class Live(BaseHTTPRequestHandler):
    """Serves the page, and a run in frames: so much at first, the rest appended."""

    def do_GET(self) -> None:
        self.send_response(200)
        events = self.path == "/events"
        self.send_header("Content-Type", "text/event-stream" if events else "text/html; charset=utf-8")
        self.end_headers()
        if not events:
            html = films.page(None).replace('id="film"', 'id="film" data-events="events"')
            self.wfile.write(html.encode())
            return
        first = films.race(members=1, points=40) | {"live": True, "steps": 20, "headline": "still training"}
        last = [("set", ["steps"], 39), ("set", ["headline"], "done at last"), ("set", ["live"], False)]
        more = films.col([1.0, 2.0])
        frames = [("set", [], first), ("append", ["members", "m0", "curves", "loss", "mid"], more), *last]
        frames.insert(1, ("append", ["members", "m0", "curves", "loss", "t"], films.col([40, 41], "i4")))
        for number, (event, path, value) in enumerate(frames):
            data = films.json.dumps({"path": path, "value": value})
            self.wfile.write(f"id: {number}\nevent: {event}\ndata: {data}\n\n".encode())

    def log_message(self, *args: object) -> None:
        """Says nothing."""


def test_a_live_run_comes_in_frames(opened):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Live)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        page = opened.url(f"http://127.0.0.1:{server.server_port}/")
        says(page, "done at last")
        at_step(page, 39)
        assert page.locator(".clock").inner_text().split() == ["39", "of", "39", "steps"]
    finally:
        server.shutdown()
        server.server_close()
