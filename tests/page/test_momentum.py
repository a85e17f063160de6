"""Momentum on a run's own curvature: what the panel shows, and how it is moved."""

import re

import numpy as np
import pytest

from tests.page import boxes, films
from tests.page.test_page import SERIOUS

pytestmark = pytest.mark.slow

EIGENVALUES = [100.0, 30.0, 1.0, -0.5]


def film(rule="momentum", hyper=None, eigenvalues=EIGENVALUES):
    """A run of 2,400 steps with such eigenvalues."""
    made = films.run()
    made["members"]["adam"] |= {"rule": rule, "hyper": hyper or {"lr": 0.01, "beta": 0.5}, "eigenvalues": eigenvalues}
    return made


def shown(opened, made, **window):
    page = opened(made, **window)
    add_momentum(page)
    return page


def add_momentum(page):
    page.get_by_role("button", name="More curves").click()
    page.get_by_role("button", name="Momentum").click()
    page.locator(".momentum").wait_for()


def words(page):
    return page.locator(".momentum .here").first.inner_text()


def circles(page, kind):
    return page.locator(f".directions circle.{kind}").count()


def test_begins_at_the_runs_own_settings(opened):
    page = shown(opened, film())
    assert page.locator(".momentum output").all_inner_texts() == ["0.01", "0.5"]
    assert words(page) == ("4 measured directions: 1 converges, 2 oscillate, 1 grows (negative curvature).")
    assert [circles(page, kind) for kind in ("oscillates", "converges", "grows", "negative")] == [2, 1, 1, 1]
    rows = [row.inner_text().split("\t") for row in page.locator(".momentum tbody tr").all()]
    assert [row[0] for row in rows] == ["100", "30", "1", "−0.5"]
    assert rows[0][1:] == ["0.71", "oscillates"]  # √0.5
    assert float(rows[2][1]) == pytest.approx(max(abs(np.linalg.eigvals([[0.5, 1], [-0.005, 0.99]]))), abs=5e-4)


def test_sliders_move_the_directions(opened):
    page = shown(opened, film(eigenvalues=[100.0, 30.0, 0.1]))
    page.get_by_role("slider", name="learning rate").fill("200")
    page.wait_for_function("() => document.querySelector('.momentum .here').innerText.includes('diverge')")
    assert circles(page, "diverges") == 2
    page.get_by_role("slider", name="learning rate").fill("0")
    page.get_by_role("slider", name="momentum").fill("0")
    page.wait_for_function("() => document.querySelectorAll('.directions circle.slow').length === 1")
    page.get_by_role("slider", name="momentum").focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("() => document.querySelectorAll('.momentum output')[1].innerText !== '0'")


def test_the_best_for_these_eigenvalues(opened):
    page = shown(opened, film())
    best = page.locator(".best")
    assert best.inner_text() == "α 0.033, β 0.67"  # (2/(√100 + √1))², ((√100 − √1)/(√100 + √1))²
    best.focus()
    page.keyboard.press("Enter")
    page.wait_for_function("() => document.querySelector('.momentum .here').innerText.includes('3 oscillate')")
    assert (
        "82 % of the distance is left per step in the slowest direction (now 82 %)"
        in page.locator(".momentum").inner_text()
    )


def test_another_rule_begins_at_the_best(opened):
    page = shown(opened, film("adam", {"lr": 0.001, "beta1": 0.9}))
    assert page.locator(".momentum output").all_inner_texts() == ["0.033", "0.67"]
    assert (
        "This run used adam. Shown: what SGD with momentum would do on its curvature."
        in page.locator(".momentum").inner_text()
    )


@pytest.mark.parametrize("eigenvalues", [[-3.0, -0.1], [2.0], [0.0, 5.0, 5.0], np.geomspace(1e-9, 1e4, 500).tolist()])
def test_any_spectrum_is_shown(opened, eigenvalues):
    page = shown(opened, film(eigenvalues=eigenvalues))
    assert page.locator(".directions circle").count() == sum(x != 0 for x in eigenvalues)
    assert re.match(r"\d+ measured directions?: ", words(page))
    assert ("no best momentum exists" in page.locator(".momentum").inner_text()) == (max(eigenvalues) < 0)


def test_without_eigenvalues_there_is_no_such_panel(opened):
    made = films.run()
    del made["members"]["adam"]["eigenvalues"]
    page = opened(made)
    page.get_by_role("button", name="More curves").click()
    assert page.locator(".menu button").all_inner_texts() == ["Update rule"]


def test_nobody_is_hindered(opened, axe):
    page = shown(opened, film(), width=1024, height=768, scheme="dark")
    found = boxes.violations(page, axe)
    assert [(v["id"], [n["target"] for n in v["nodes"]][:3]) for v in found if v["impact"] in SERIOUS] == []


def resized(page, width, height):
    """The page in a window of another size, once it is drawn there."""
    page.set_viewport_size({"width": width, "height": height})
    page.wait_for_function("width => innerWidth === width", arg=width)
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


def test_tabs_and_a_legend_have_room(opened):
    page = shown(opened, film("adam"), width=1400, height=800)
    for width in (1400, 1180, 1024, 420):
        resized(page, width, 800)
        assert page.get_by_role("tab").all_inner_texts() == ["Loss", "Gradient", "Learning rate", "Momentum"], width
        page.get_by_role("tab", name="Loss").click()
        fits = "[...document.querySelectorAll('.tabs, .key')].every(e => e.scrollWidth <= e.clientWidth + 1)"
        assert page.evaluate(fits), width
        add_momentum(page)  # its tab goes with it


def test_has_room_in_every_window(opened):
    page = shown(opened, film("adam"), width=1400, height=900)
    for width, height in ((1400, 900), (1024, 768), (420, 900)):
        resized(page, width, height)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.locator(".directions").bounding_box()["height"] >= 120, width
        panel, last = (page.locator(s).last.bounding_box() for s in (".momentum", ".momentum .here"))
        assert last["y"] + last["height"] <= panel["y"] + panel["height"] + 1, width
