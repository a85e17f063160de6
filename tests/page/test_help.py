"""How to read this: pins on the page, a ring around what an entry is about, and where the focus goes."""

import pytest

from tests.page import films
from tests.page.test_layout import settled

pytestmark = pytest.mark.slow

LINES = """() => [...document.querySelectorAll('.reading p')].map(p => {
  const { height } = p.getBoundingClientRect();
  return [p.textContent, Math.round(height / parseFloat(getComputedStyle(p).lineHeight))];
}).filter(([, lines]) => lines > 3)"""
FOCUS = "() => [document.activeElement.closest('dialog') !== null, document.activeElement.getAttribute('aria-label')]"


def test_each_part_has_a_pin_and_a_ring(opened):
    page = opened(films.run(), 1400, 900)
    settled(page)
    page.get_by_role("button", name="How to read this").click()
    dialog = page.get_by_role("dialog", name="How to read this")
    entries = page.locator(".reading li")
    numbers = [str(i + 1) for i in range(entries.count())]
    assert len(numbers) >= 6
    assert page.locator(".pins .pin").all_inner_texts() == numbers
    for i, place in ((0, ".scene"), (3, ".chart.grow"), (len(numbers) - 1, ".lanes")):
        entries.nth(i).hover()
        ring, part = page.locator(".ring").bounding_box(), page.locator(place).bounding_box()
        assert abs(ring["x"] + 8 - part["x"]) < 2
        assert abs(ring["height"] - 8 - part["height"]) < 2
        assert part["x"] >= dialog.bounding_box()["x"] + dialog.bounding_box()["width"] or place == ".lanes"
    assert page.evaluate(LINES) == []
    assert "Space" in page.locator(".symbols.keys").inner_text()


@pytest.mark.parametrize(("width", "height"), [(1400, 900), (380, 800)])
def test_the_focus_goes_in_and_back(opened, width, height):
    page = opened(films.race(), width, height)
    button = page.get_by_role("button", name="How to read this")
    button.focus()
    page.keyboard.press("Enter")
    page.wait_for_function(f"({FOCUS})()[0]")  # the focus moves once the panel is drawn
    assert page.evaluate(FOCUS) == [True, "Close"]
    is_modal = page.evaluate("document.querySelector('dialog.read').matches(':modal')")
    assert is_modal is (width < 1000)
    assert page.evaluate(LINES) == []
    page.keyboard.press("Escape")
    page.get_by_role("dialog").wait_for(state="hidden")
    page.wait_for_function(f"!({FOCUS})()[0]")
    assert page.evaluate(FOCUS) == [False, "How to read this"]
    page.keyboard.press("?")
    page.get_by_role("dialog", name="How to read this").wait_for()
    page.get_by_role("button", name="Close").click()
    page.get_by_role("dialog").wait_for(state="hidden")


def test_one_finger_scrolls_and_turns_and_two_zoom(opened):
    page = opened(films.run(), 380, 800)
    settled(page)
    client = page.context.new_cdp_session(page)
    stage = page.locator(".stage").bounding_box()
    x, y = stage["x"] + 150, stage["y"] + 120

    def touch(kind, *points):
        fingers = [{"x": px, "y": py, "id": i} for i, (px, py) in enumerate(points)]
        client.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": fingers})

    def start():
        page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        boxes = page.evaluate("() => document.querySelector('.stage').textBoxes.map(b => [b.label.text, b.label.x])")
        return dict(boxes)["step 2,400"]

    before = start()
    touch("touchStart", (x, y))
    for i in range(1, 6):
        touch("touchMove", (x + 12 * i, y))
    touch("touchEnd")
    turned = start()
    assert abs(turned - before) > 1
    assert page.evaluate("scrollY") == 0
    touch("touchStart", (x, y), (x + 40, y))
    for i in range(1, 6):
        touch("touchMove", (x - 4 * i, y), (x + 40 + 4 * i, y))
    touch("touchEnd")
    assert page.evaluate("scrollY") == 0
    assert page.evaluate("visualViewport.scale") == 1
    assert start() != turned
    touch("touchStart", (x, y + 100))
    for i in range(1, 9):
        touch("touchMove", (x, y + 100 - 15 * i))
    touch("touchEnd")
    page.wait_for_function("() => scrollY > 30")
