"""The page of several runs in a real browser: what it says, at every size, by keyboard."""

from dataclasses import replace

import numpy as np
import pytest

from steepest.records.config import Config, StageConfig
from steepest.records.run import Event, History, Measurement, Record, Step, Steps
from steepest.search.comparison import by_settings, compare_ends
from steepest.view.film import document, side_by_side
from tests.page import boxes

pytestmark = pytest.mark.slow

RULES = ("momentum", "adam", "gradient_descent", "nesterov", "lion", "rmsprop")
DIVERGED = float("nan")


def history(end, rule="adam", seed=0, steps=400, name="digits", rewind=False, status="done", **settings):
    """A run whose metric goes to its end, with a rewind in the middle if asked."""
    t = np.arange(1, steps + 1)
    loss = 2.3 * np.exp(-t / (40 + 3 * len(rule))) + 0.01
    kept = [Step(int(i), i / 20, 0.1, float(x), float(x), 0.1) for i, x in zip(t, loss, strict=True)]
    values = [(k, end if k == steps else round(130 * (1 - np.exp(-k / 60))) / 144) for k in range(20, steps + 1, 20)]
    metric = settings.pop("metric", "accuracy")
    measurements = [Measurement(k, k / 20, "validation", metric, float(v)) for k, v in values]
    config = Config(
        **{
            "task": "digits", "source": "digits", "rule": rule, "stages": (StageConfig(rule, {"beta": 0.9}),),
            "lr": 0.1, "schedule": "warmup(5%) >> cosine", "batch_size": 64, "epochs": 20, "seed": seed,
            "metric": metric, "better": "higher", "weights": 26122, "validation_samples": 144, "steps": steps,
        } | settings
    )  # fmt: skip
    events = (Event(200, "rewind", "loss rising", "rewound to step 150"),) if rewind else ()
    record = Record(f"{name}-{rule[:3]}{seed}", name, status, "2026-01-01", 1.0, config, {}, Steps.of(kept),
                    tuple(measurements), events)  # fmt: skip
    return History(record, {200: 150} if rewind else {}, None)


def film(*histories):
    groups = by_settings([h.record for h in histories])
    return document.encode(side_by_side.of_runs(histories, compare_ends(groups)))


def three():
    ends = (141 / 144, 140 / 144, 125 / 144)
    return film(*(history(end, rule) for end, rule in zip(ends, RULES)))


LONG = "a-name-with-many-hyperparameters-in-it-wd0.05-bs1024-mixup0.8-cutmix1.0-ema0.9999"
FILMS = {
    "three": three,
    "six": lambda: film(*(history(k / 144, rule) for k, rule in zip((141, 140, 125, 16, 137, 141), RULES))),
    "seeds": lambda: film(*(history(k / 144, rule, seed=s) for rule, end in (("adam", 138), ("lion", 120))
                            for s, k in enumerate((end, end + 2, end - 1)))),
    "no interval": lambda: film(*(history(v, rule, metric="rmse [m]", better="lower", validation_samples=None)
                                  for v, rule in zip((3.2e-9, 4.1e9, 0.2), RULES))),
    "diverged": lambda: film(history(DIVERGED, "adam"), history(DIVERGED, "lion"), history(0.9, "momentum")),
    "rewound": lambda: film(history(0.9, "adam", rewind=True), history(0.8, "lion", status="running")),
    "long names": lambda: film(history(0.9, "adam", name=LONG), history(0.8, "lion", name=LONG[::-1])),
}  # fmt: skip


def headline(page):
    """Its spaces before units do not break."""
    return page.locator("h1").inner_text().replace("\u00a0", " ")


@pytest.mark.parametrize("kind", FILMS)
def test_nothing_overlaps_and_nothing_is_too_small(opened, axe, kind):
    page, wrong = opened(FILMS[kind]()), {}
    for width, height in boxes.SIZES:
        boxes.resize(page, width, height, ("light", "dark")[(width + len(kind)) % 2])
        found = boxes.problems(page, axe if (width, height) in ((1400, 900), (380, 800)) else None)
        wrong |= {(width, height): found} if found else {}
    assert wrong == {}


def test_a_winner_only_where_it_is_certain(opened):
    page = opened(three())
    assert headline(page) == "Momentum and adam tie at 97.2–97.9 %; gradient descent ends 10 points lower."
    rows = page.locator(".pair").all_inner_texts()
    assert [row.split("\n")[-1] for row in rows] == ["tie", "momentum higher", "adam higher"]
    assert page.locator(".ends .tie").inner_text() == "tie"
    assert "steepest race digits --rules momentum,adam --seeds 8" in page.locator(".lead code").inner_text()
    assert "The same in all three: task digits" in page.locator(".same").inner_text()


def test_the_bar_of_a_difference_crosses_no_difference_where_it_is_a_tie(opened):
    page = opened(three())
    for pair in page.locator(".pair").all():
        zero, bar = (pair.locator(f".gauge .{part}").bounding_box() for part in ("none", "interval"))
        crosses = bar["x"] < zero["x"] < bar["x"] + bar["width"]
        assert crosses == ("tie" in pair.get_attribute("class").split())


def test_tabs_are_one_stop_and_arrows_go_between_them(opened):
    page = opened(three())
    page.get_by_role("tab", name="Accuracy").focus()
    for name in ("Train loss", "Gradient", "Learning rate", "Accuracy"):
        page.keyboard.press("ArrowRight")
        assert page.get_by_role("tab", selected=True).inner_text() == name
        assert page.evaluate("document.activeElement.textContent") == name
    assert page.locator('[role=tab][tabindex="0"]').count() == 1
    page.keyboard.press("Tab")
    page.keyboard.press("Home")
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    slider = page.get_by_role("slider", name="Step")
    assert slider.get_attribute("aria-valuetext").startswith("step 3; momentum –")
    page.keyboard.press("End")
    assert "momentum 97.9 %, adam 97.2 %" in slider.get_attribute("aria-valuetext")
    assert "step 400" in page.locator(".at-step").inner_text()


def test_undone_steps_look_undone(opened):
    page = opened(FILMS["rewound"]())
    page.get_by_role("tab", name="Train loss").click()
    paths = page.locator(".line .undone").evaluate_all("paths => paths.map(path => path.getAttribute('d').length)")
    assert paths[0] > 100
    assert paths[1] == 0
    assert page.get_by_role("row", name="rewinds 1 0").count() == 1
    assert "so far" in headline(page)
    assert page.locator("header .running").count() == 1


def test_a_value_that_is_no_number_is_a_gap_with_a_mark(opened):
    page = opened(FILMS["diverged"]())
    gaps = page.locator(".line .gap").evaluate_all("paths => paths.map(path => path.getAttribute('d') !== '')")
    assert gaps == [True, True, False]
    assert headline(page) == "Adam and lion diverged; momentum at 90.0 %."
    assert "NaN" not in page.locator("main").inner_text()


def test_what_people_write_is_shown_as_written(opened):
    odd = replace(history(0.9).record, name="<b>bold</b>")
    whole = film(replace(history(0.9), record=odd), history(0.8, "lion", name="a&b"))
    page = opened(whole)
    assert page.locator("main b", has_text="bold").count() == 0
    assert "<b>bold</b>" in headline(page)
