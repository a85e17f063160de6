"""The page that `play` writes, for every terrain and for functions that are typed."""

import pytest

from steepest.tasks.terrains import TERRAINS
from steepest.view.play import play
from tests.page.test_page import says

pytestmark = pytest.mark.slow


@pytest.fixture
def played(opened, tmp_path):
    """Opens what `play` writes."""

    def show(terrain, **given):
        return opened.url(play(terrain, tmp_path / "play.html", **given).as_uri())

    return show


def losses(page):
    """What each member's row says its loss is."""
    for superscript in page.locator(".member sup").all():
        superscript.evaluate("e => { e.textContent = 'e' + e.textContent }")
    found = page.locator(".member .loss").all_inner_texts()
    return [float(text.replace("−", "-").replace(" × 10", "").replace("10e", "1e").replace(",", "")) for text in found]


@pytest.mark.parametrize("terrain", TERRAINS)
def test_three_rules_descend_on_every_terrain(played, terrain):
    page = played(terrain)
    ends = losses(page)
    page.keyboard.press("Home")
    page.wait_for_function("() => document.querySelector('.clock b').innerText === '0'")
    starts = losses(page)
    assert len(ends) == 3
    assert all(end < start for end, start in zip(ends, starts, strict=True)), (starts, ends)
    assert page.locator("#function").input_value() == TERRAINS[terrain].formula
    assert page.get_by_role("alert").count() == 0


def test_rules_and_rates_are_chosen(played):
    page = played("rosenbrock", rules=["nesterov", "lion:0.01", "lion:0.003"], steps=50, start=(0.5, 2.0))
    assert page.locator(".member .name").all_inner_texts() == ["Nesterov", "Lion 0.01", "Lion 0.003"]
    assert page.locator(".clock span").inner_text() == "of 50 steps"
    page.keyboard.press("Home")
    stage = page.locator(".stage[aria-label*='Step 0: Nesterov at x 0.5, y 2']")
    stage.wait_for()
    assert set(page.locator("math .hl").all_text_contents()) == {"α", "β"}
    assert "λ" not in page.locator("math").text_content()  # no weight decay


def test_the_rate_of_a_ravine_is_too_small_right_or_diverges(played):
    page = played("ravine")
    page.wait_for_function("() => document.querySelector('.zones').innerText.includes('diverges')")
    assert page.locator(".zones span").all_inner_texts() == ["too low", "good", "diverges"]
    beyond = page.locator(".zoned").evaluate("e => parseFloat(e.style.getPropertyValue('--beyond')) / 100")
    assert 0.037 * 10 ** (1.5 * (2 * beyond - 1)) == pytest.approx(2 / 50)  # 2/λ, on a slider of three decades
    slider = page.get_by_role("slider", name="learning rate")
    for place, words in (
        (110, "gradient descent diverges"),
        (0, "gradient descent is still"),
        (96, "gradient descent in 17"),
    ):
        slider.fill(str(place))
        says(page, words)


def test_a_function_with_gaps_shows_holes_and_says_how_much(played):
    page = played("log(x) + y²", start=(1.5, 1.0))
    assert "The function is undefined on 50 % of this domain." in page.locator(".about").inner_text()
    says(page, "gradient descent, momentum and adam all leave the function’s domain")
    page.locator("#function").fill("x² + y²")
    page.wait_for_function("() => !document.querySelector('.about').innerText.includes('undefined')")
    page.locator("#function").fill("x + * y")
    assert "Character 5: expected a number" in page.get_by_role("alert").inner_text()


def test_critical_points_of_a_typed_function_are_found(played):
    page = played("(x² − 1)² + 3 y² + x/4")
    says(page, "reaches the minimum")
    assert "condition number" in page.locator(".advice").inner_text()


def test_what_falls_off_the_picture_is_lower_than_it(played):
    says(played("saddle"), "momentum and adam are lower than the whole surface shown")


def test_the_page_is_about_the_function_that_is_typed(played):
    page = played("bowl", start=(-1.0, 1.0))
    assert page.locator(".title").inner_text() == "Bowl"
    page.locator("#function").fill("log10(x) + max(|y|, 0.5)")  # no value at the start
    says(page, "domain")
    assert page.locator(".title").inner_text() == "Your function"
    assert page.title() == "log10(x) + max(|y|, 0.5) · steepest"
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("Home")
    label = page.wait_for_selector(".stage[aria-label*='Step 0']").get_attribute("aria-label")
    assert "Gradient descent at x −" not in label
    assert "loss —" not in label
    page.keyboard.press("End")
    page.locator("#function").fill("7")
    says(page, "all end at the lowest point")
    assert page.locator(".scale .ticks").inner_text() == "7"
    page.locator("#function").fill("x² + y²")
    page.wait_for_function("() => document.querySelector('.title').innerText === 'Bowl'")


def test_a_play_tells_no_end_before_it(played):
    page = played("bowl")
    says(page, "reach")
    page.keyboard.press("Home")
    says(page, "descend from x −1.6, y 1.2")
    page.keyboard.press("End")
    says(page, "reach")
