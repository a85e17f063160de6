"""What the film says in a real browser: results, events, undone steps, gaps."""

import numpy as np
import pytest

from steepest.records.run import Event
from steepest.view.film import film
from steepest.view.film.document import encode
from tests.page.test_page import at_step
from tests.view.film.test_film import steps
from tests.view.film.test_summary import measured, rewound

pytestmark = pytest.mark.slow


def undone():
    """A run of 60 steps, of which 10 were undone."""
    events = (
        Event(25, "lower", "loss rising (5.1)", "lr × 0.25 for up to 50 steps", "50 steps later it was half of that"),
        Event(30, "rewind", "loss rising (9.2)", "rewound to step 20; lr × 0.125 with warmup"),
    )
    return encode(film.of_run(rewound(*events, back={30: 20})))


def of_losses(losses):
    made = measured()
    return encode(film.of_run(film.replace(made, record=film.replace(made.record, steps=steps(60, losses)))))


def words(page, selector):
    return page.locator(selector).inner_text()


def test_events_open_in_a_sheet_and_focus_comes_back(opened):
    page = opened(undone(), 1400, 900)
    link = page.get_by_role("button", name="All 4 events")
    link.focus()
    page.keyboard.press("Enter")
    sheet = page.get_by_role("dialog", name="Events")
    sheet.wait_for()
    assert page.evaluate("document.activeElement.closest('dialog') !== null")
    assert "One rewind, 10 of 60 steps undone." in sheet.inner_text()
    cards = sheet.locator(".card")
    assert cards.count() == 4
    first = cards.nth(0).inner_text().split("\n")
    assert first == [
        "25", "Learning rate lowered", "saw", "Loss rising (5.1).", "did", "lr × 0.25 for up to 50 steps.", "after",
        "50 steps later it was half of that.",
    ]  # fmt: skip
    sheet.get_by_role("button", name="Rewinds 1").click()
    assert cards.count() == 1
    sheet.get_by_role("button", name="Go to step 30").click()
    at_step(page, 30)
    assert sheet.locator(".card.on").count() == 1
    page.keyboard.press("Escape")
    sheet.wait_for(state="hidden")
    assert page.evaluate("document.activeElement.textContent").startswith("All 4 events")


def test_k_folds_undone_steps_away(opened):
    page = opened(undone(), 1400, 900)
    assert words(page, ".clock").split() == ["50", "kept,", "of", "60", "taken"]
    assert page.locator(".lane .undone").count() == 2  # drawn twice: what is to come is faint
    page.keyboard.press("k")
    at_step(page, 50)
    assert words(page, ".clock").split() == ["50", "of", "50", "steps"]
    assert page.locator(".lane .undone").count() == 0
    page.locator("footer").get_by_role("button", name="taken").click()
    at_step(page, 60)


def test_no_end_is_told_before_it(opened):
    page = opened(undone(), 1400, 900)
    assert words(page, "h1") == "97.2 % validation accuracy, after the loss exploded once."
    page.keyboard.press("[")
    at_step(page, 30)
    assert words(page, "h1") == "90.3 % validation accuracy at step 30 of 60"
    assert words(page, ".result > div:nth-child(2) dd").split("\n") == ["—", "at the end"]
    page.keyboard.press("End")
    page.wait_for_function("() => document.querySelector('h1').innerText.includes('exploded')")
    assert words(page, ".result > div:nth-child(1) dd").split("\n") == ["97.2 %", "93 – 99 %, 140 of 144"]


def test_tabs_have_the_metrics_own_name(opened):
    page = opened(undone(), 1400, 900)
    tabs = page.get_by_role("tab")
    assert tabs.all_inner_texts() == ["Loss", "Accuracy", "Gradient", "Learning rate"]
    tabs.first.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_selector("[role=tab][aria-selected=true]:has-text('Accuracy')")
    assert words(page, ".chart.grow .key").split("\n") == ["validation", "95 %", "undone"]


def test_a_run_that_was_never_finite_is_no_flat_line(opened):
    page = opened(of_losses(np.full(60, np.nan)), 1400, 900)
    assert words(page, "h1") == "The loss was never a finite number."
    assert page.locator(".chart.grow canvas").count() == 1  # the validation losses are finite
    assert "NaN" in words(page, ".chart.grow .key")
    assert words(page, ".result > div:nth-child(3) b") == "NaN"


def test_what_is_infinite_is_marked(opened):
    page = opened(of_losses(np.where(np.arange(60) == 30, np.inf, 1.0)), 1400, 900)
    assert words(page, ".chart.grow .key").split("\n") == ["train", "single batches", "validation", "infinite"]


def test_readings_open(opened):
    from tests.page import films

    page = opened(films.run(), 1400, 900)
    row = page.locator(".readings details").nth(1)
    assert row.locator("summary").inner_text().startswith("Smallest curvature")
    row.locator("summary").click()
    assert "λmin" in row.locator(".detail").inner_text().replace("\n", "")
