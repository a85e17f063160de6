"""What notebooks show: the conclusion first, curves, safe text, both themes."""

import dataclasses
import math
import pickle
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import steepest as sd
from steepest.records import card
from steepest.records.run import Event
from steepest.records.search import Curve, RaceResult, Search, Trial
from steepest.records.verdict import Number, Verdict
from steepest.search.find_lr import Rates
from steepest.search.race import Race
from steepest.view import notebook
from steepest.view.render.theme import THEMES
from steepest.view.svg_chart import Chart, Line

HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "</style><script>alert(1)</script>",
    '"><svg onload=alert(1)>',
    "a\u202eb\x1b",
]


PLAIN_TAGS = {
    *("div", "style", "p", "svg", "text", "line", "path", "polygon", "circle", "table", "tr", "th", "td", "details"),
    *("summary", "code"),
}


class Tags(HTMLParser):
    """The tags of HTML, its text, and whether every tag is closed."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.text, self._open = set(), set(), "", []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag not in ("img",):
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_startendtag(self, tag, attrs):
        self.tags.add(tag)

    def handle_data(self, data):
        if "style" not in self._open:
            self.text += data


def task(name="moons"):
    random = torch.Generator().manual_seed(0)
    x = torch.randn(120, 4, generator=random)
    y = (x.sum(1) > 0).long()
    return sd.Task(
        lambda seed: nn.Linear(4, 2), data=(x[:100], y[:100]), validation=(x[100:], y[100:]), name=name,
        loss=nn.functional.cross_entropy, metrics={"accuracy": sd.accuracy},
    )  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return sd.fit(task(), rule="adam", lr=0.01, epochs=4, batch_size=10, runs=tmp_path_factory.mktemp("runs"))


@pytest.fixture
def search():
    rows = [Trial(lr, 20, loss, 1.0, "works") for lr, loss in ((0.01, 0.5), (0.1, 0.3))]
    rows.append(Trial(1.0, 20, math.inf, -math.inf, "fails", "NaN at step 3"))
    words = "Use lr = 0.05 with adam. Rates from 0.01 to 0.1 work; 1.0 failed."
    return Search(0.05, 0.01, 0.1, 1.0, tuple(rows), 0.7, 60, 100, 1.5, "together", "small", "adam", words)


@pytest.fixture
def race():
    t = np.arange(1, 6)
    curves = [Curve(s, seed, 0.1, t, 1.0 / t + k, t * 0.1, 1e-3) for k, s in enumerate("ab") for seed in range(3)]
    curves.append(Curve("b", 3, 0.1, t[:2], np.array([1.0, math.nan]), t[:2] * 0.1, 1e-3, "NaN"))
    return RaceResult(
        ("a", "b"), tuple(curves), 0.3, False, (), "a ends lower than b. No more is known.", "accuracy", 0
    )


def test_a_run_says_how_it_ended_and_shows_its_curves(run):
    page = Tags(run._repr_html_())
    assert page.text.strip().startswith(f"{100 * run.metric:.1f} % validation accuracy")
    assert all(words in page.text for words in ("Loss", "Accuracy", "Learning rate", run.id, "40 steps", "lr 0.01"))
    assert {"svg", "path", "polygon", "circle"} <= page.tags


def test_a_run_that_goes_on_shows_how_far_it_is(tmp_path):
    model = nn.Linear(2, 1)
    live = sd.watch(model, torch.optim.SGD(model.parameters(), lr=0.1), runs=tmp_path)
    assert "has no steps" in Tags(live._repr_html_()).text
    for loss in (2.0, math.nan, 1.0):
        live.step(loss)
    assert "step 3" in Tags(live._repr_html_()).text.split(".", 2)[1]
    live.close()


def test_every_result_has_its_conclusion_first(run, search, race):
    verdict = Verdict("SADDLE", "At a saddle. It can be left.", "Go on.", (Number("gradient norm", 0.1, 0.1, 0.1),))
    cases = {
        "Use lr = 0.05 with adam.": Rates(search),
        "a ends lower than b.": Race(race, task()),
        "At a saddle.": verdict,
        sd.diagnose(run).sentence.split(". ")[0]: sd.diagnose(run),
        sd.compare(run, run).ends.headline.split(". ")[0]: sd.compare(run, run),
    }
    for lead, result in cases.items():
        first = re.search('<p class="lead">(.*?)</p>', result._repr_html_())
        assert first
        assert first[1].startswith(card.text(lead))
        Tags(result._repr_html_())
    assert "NaN at step 3" in Rates(search)._repr_html_()
    assert "gradient norm" in verdict._repr_html_()


@pytest.mark.parametrize("name", HOSTILE)
def test_names_of_users_stay_text(tmp_path, race, name):
    model = nn.Linear(2, 1)
    with sd.watch(model, torch.optim.SGD(model.parameters(), lr=0.1), runs=tmp_path, name=name) as run:
        run.step(1.0)
        run.note(name)
        run.measure({name: 0.5})
    curves = tuple(dataclasses.replace(c, side=name, failed=name) for c in race.curves)
    sides = dataclasses.replace(race, sides=(name,), curves=curves, verdict=name)
    for shown in (run._repr_html_(), notebook.race_card(sides), Verdict("SADDLE", name, name)._repr_html_()):
        page = Tags(shown)
        assert page.tags <= PLAIN_TAGS
        assert not any(attribute.startswith("on") for attribute in page.attributes)
        assert "\u202e" not in shown
        assert "\x1b" not in shown


def test_colours_are_those_of_the_page_in_both_themes():
    for theme, colours in (("light", card.LIGHT_COLOURS), ("dark", card.DARK_COLOURS)):
        own = THEMES[theme]
        assert [colours[f"c{k}"] for k in range(6)] == list(own.members)
        assert {name: colours[name] for name in ("paper", "ink", "ink2", "ink3", "hair", "bad")} == {
            name: getattr(own, name) for name in ("paper", "ink", "ink2", "ink3", "hair", "bad")
        }
    assert 'data-jp-theme-light="false"' in card.CARD_STYLE
    assert "prefers-color-scheme:dark" in card.CARD_STYLE


@pytest.mark.parametrize(
    ("losses", "words"),
    [([math.nan] * 3, "no value is a finite number"), ([1e6, 1.0, 1e-6], "10⁶"), ([0.0] * 3, "0"), ([-3.0, 2.0], "−2")],
)
def test_a_chart_of_any_numbers(losses, words):
    t = np.arange(1.0, len(losses) + 1)
    chart = Chart("Loss", [Line(t, np.array(losses))], 100, target=1.0).svg([2.0])
    assert words in Tags(chart).text
    assert "nan" not in chart
    assert "inf" not in chart


def test_a_film_is_shown_in_a_frame_that_sees_nothing_of_the_notebook(run, tmp_path):
    film = run.film(tmp_path / "film.html", budget=0.1)
    assert isinstance(film, Path)
    assert film == tmp_path / "film.html"
    assert pickle.loads(pickle.dumps(film)) == film
    shown = film._repr_html_()
    assert shown.startswith('<iframe sandbox="allow-scripts"')
    assert shown.count("<") == 2
    film.unlink()
    assert "no longer there" in film._repr_html_()


def test_a_film_that_is_too_large_is_named(tmp_path, monkeypatch):
    path = tmp_path / "<b>.html"
    path.write_text("x" * 100)
    monkeypatch.setattr(notebook, "MAX_FILM_BYTES", 10)
    assert "Open it in a browser" in notebook.film_html(path)
    assert "<b>" not in notebook.film_html(path)


def test_events_are_folded_where_there_are_many(tmp_path):
    model = nn.Linear(2, 1)
    with sd.watch(model, torch.optim.SGD(model.parameters(), lr=0.1), runs=tmp_path) as run:
        run.step(1.0)
        run.note("one")
        assert "<details>" not in run._repr_html_()
        for _ in range(5):
            run.note("more")
    assert "<summary>6 events</summary>" in run._repr_html_()
    assert isinstance(run.events[0], Event)
