"""Play: what is descended on, which rules at which rates, and what the page is given. The page itself: tests/page."""

import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import steepest as sd
from steepest.rules.backends.page import to_program
from steepest.rules.textbook import RULES
from steepest.tasks.terrains import TERRAINS, Terrain, parse_terrain
from steepest.view import presets
from steepest.view.play import SIZE, headline_of, path, play

THREE = ["gradient_descent", "momentum", "adam"]


@pytest.fixture
def film(tmp_path):
    """The film in the page that `play` writes."""

    def made(terrain, **given):
        html = play(terrain, tmp_path / "play.html", **given).read_text()
        return json.loads(re.search(r'id="film">(.*?)</script>', html, re.S)[1])

    return made


@pytest.mark.parametrize("name", TERRAINS)
def test_the_page_is_given_all_of_a_terrain(name, film):
    land, found = TERRAINS[name], film(name)
    surface = found["surfaces"][name]
    assert (found["kind"], found["steps"]) == ("play", presets.SCENES[name].steps)
    assert (surface["source"], surface["height"]) == (land.formula, presets.SCENES[name].height)
    kinds = [m["kind"] for m in surface["marks"]]
    assert [kinds.count(k) for k in ("minimum", "saddle", "maximum")] == [
        len(land.minima), len(land.saddles), len(land.maxima),
    ]  # fmt: skip
    assert list(found["members"]) == THREE
    for rule, member in found["members"].items():
        assert member["hyper"] == {**RULES[rule].hypers, "lr": presets.SCENES[name].rates[rule]}
        assert json.loads(member["js"]) == to_program(RULES[rule](lr=member["hyper"]["lr"]))
        assert 'class="hl"' in member["mathml"]
        assert member["schedule"] == "constant"


def test_rules_are_chosen(film):
    @sd.rule
    def mine(w, g, v=0.0, *, lr=0.1, friction=0.3):
        v = v * (1 - friction) + g
        return w - lr * v, v

    found = film("bowl", rules=["adam:0.1", "adam:1", "nadam", mine(friction=0.5)], steps=7)["members"]
    assert [m["name"] for m in found.values()] == ["Adam 0.1", "Adam 1", "NAdam", "Mine"]
    assert [m["hyper"]["lr"] for m in found.values()] == [0.1, 1.0, 0.08, 0.1]
    assert json.loads(found["mine(lr=0.1, friction=0.5)"]["js"])["hypers"]["friction"] == 0.5


def test_rules_are_named_by_the_user(film, tmp_path):
    named = {
        "small": "gradient_descent:0.01",
        "right": sd.gradient_descent(lr=0.1),
        "again": "gradient_descent:0.1",
    }
    found = film("bowl", rules=named, steps=7)["members"]
    assert [(key, m["name"], m["hyper"]["lr"]) for key, m in found.items()] == [
        ("small", "small", 0.01), ("right", "right", 0.1), ("again", "again", 0.1),
    ]  # fmt: skip
    assert film("bowl", rules={})["members"].keys() == film("bowl")["members"].keys()
    with pytest.raises(sd.InputError, match=r"rules must be a list of update rules or their names, or a dict"):
        play("bowl", tmp_path / "play.html", rules={1: "adam"})


def test_functions_domains_and_starts(film):
    found = film("log(x) + y²", domain=((-1, 3), (-1, 1)), start=(2, 0.5))
    surface = found["surfaces"]["function"]
    assert "undefined on 25 % of this domain" in surface["caption"]
    assert (surface["x"]["lo"], surface["y"]["hi"]) == (-1, 1)
    assert found["title"] == "Function"
    assert [m["kind"] for m in film("himmelblau", domain=((0, 5), (0, 5)))["surfaces"]["himmelblau"]["marks"]] == [
        "minimum", "saddle", "saddle",
    ]  # fmt: skip
    assert film("y")["surfaces"]["function"]["source"] == "y"


def test_a_terrain_of_ones_own(film):
    land = Terrain("mine", "x⁴ + y²", lambda w: w[..., 0] ** 4 + w[..., 1] ** 2, (1.0, 1.0), ((-2, 2), (-2, 2)), 0.0)
    found = film(land)
    assert found["surfaces"]["mine"]["source"] == "x⁴ + y²"
    assert list(found["members"]) == THREE


FUNCTIONS = [
    "x**2 - y**2",
    "x⁴ + y⁴",
    "(1 - x)² + 100(y - x²)²",
    "sin(3x) cos(2y) + 0.1(x² + y²)",
    "x + y",
    "100(x + 2y)²",
]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("text", FUNCTIONS)
def test_suggested_rates_get_down_and_do_not_leap(text, rule):
    """In 100 steps the loss falls by a tenth of the domain's range at least, and no step is a quarter of the domain."""
    land = parse_terrain(text)
    found = path(land, rule, presets.rate(land, rule), 100)
    inside = np.abs(found.points).max(1) <= 2
    end = len(inside) if inside.all() else int(np.argmin(inside))
    assert np.ptp(land.grid()[2]) * 0.1 < found.losses[0] - found.losses[:end].min()
    assert np.linalg.norm(np.diff(found.points[:end], axis=0), axis=1).max() < 1


def test_gradient_descent_at_the_suggested_rate_never_climbs():
    for text in FUNCTIONS:
        found = path(parse_terrain(text), "gradient_descent", presets.rate(parse_terrain(text), "gradient_descent"), 50)
        assert np.all(np.diff(found.losses) <= 1e-9 * np.abs(found.losses[:-1])), text


def test_rates_without_curvature():
    flat = parse_terrain("3")
    assert presets.rate(flat, "momentum") == RULES["momentum"].hypers["lr"]
    assert presets.rate(replace(flat, domain=((0, 100), (0, 1))), "adam") == 2.0
    assert presets.rate(parse_terrain("x + y"), "momentum") == pytest.approx(0.05 * 4 / np.sqrt(2), rel=0.05)


BAD = {
    "rosenbrok": ({}, "Did you mean 'rosenbrock'"),
    "x + * y": ({}, "character 5: expected a number"),
    "foo(x)": ({}, "there is no ‘foo’"),
    "sqrt(0-1-x²)": ({}, "is undefined everywhere"),
    "log(x)": ({"start": (-1, 0)}, r"log\(x\) has no value at the start \(-1, 0\)"),
    "bowl": ({"start": (5, 0)}, "must lie inside the domain \\(x from -2 to 2"),
    "ravine": ({"start": 3}, "must be two numbers"),
    "saddle": ({"domain": ((0, 0), (1, 2))}, "domain must be"),
    "beale": ({"steps": 0}, "at least 1"),
    "plateau": ({"rules": ["adam:fast"]}, "name:lr"),
    "himmelblau": ({"rules": ["adam:-1"]}, "lr above 0"),
    "rastrigin": ({"rules": ["adma:1"]}, "Did you mean 'adam'"),
    "x": ({"out": "a.bmp"}, r"must end in .html or .png or .gif or .mp4"),
}


@pytest.mark.parametrize("terrain", BAD)
def test_bad_input_is_answered_in_words(terrain, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given, words = BAD[terrain]
    with pytest.raises(sd.InputError, match=words):
        play(terrain, **given)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.long
@pytest.mark.slow
def test_pictures_of_descents(tmp_path):
    out = play("x² + 3y²", tmp_path / "end.png", ["momentum", "adam:0.1"], steps=30)
    with Image.open(out) as image:
        assert image.size == SIZE
    with Image.open(play("himmelblau", tmp_path / "a.gif", ["adam", "momentum:1e9"], steps=20)) as image:
        assert image.n_frames > 20


def test_a_path_ends_where_the_rule_leads():
    found = path(TERRAINS["bowl"], "gradient_descent", 0.1, 3)
    expected = torch.tensor(TERRAINS["bowl"].start) * 0.8**3
    np.testing.assert_allclose(found.points[-1], expected)


@pytest.mark.parametrize(
    ("ends", "start", "words"),
    [
        ({"A": 0.0, "B": 3e-23, "C": 1e-65}, 2.5, "A, B and C all end at the same loss after 9 steps: 0."),
        ({"A": 2.0 + 1e-14, "B": 2.0, "C": 3.0}, 5.0, "A and B end at the same loss after 9 steps: 2."),
        ({"A": 0.12345, "B": 0.12349}, 5.0, "A and B both end at the same loss after 9 steps: 0.123."),
        ({"A": 2e-9, "B": 1e-9}, 5.0, "B is lowest after 9 steps: 1e-09."),
        ({"A": -900.0, "B": -30.0}, 2.0, "A is lowest after 9 steps: -900."),
        ({"A": math.inf, "B": 1e30, "C": -1e30}, 2.0, "A, B and C all diverge."),
        ({"A": math.nan, "B": math.nan}, 2.0, "A and B both leave the domain."),
        ({"A": math.nan, "B": math.inf}, 2.0, "B diverges; A leaves the domain."),
        ({"A": 1.0, "B": math.inf, "C": math.inf}, 2.0, "A is lowest after 9 steps: 1; B and C diverge."),
        ({"A": math.inf}, 2.0, "A diverges."),
    ],
)
def test_a_picture_names_a_winner_only_where_there_is_one(ends, start, words):
    assert headline_of(ends, start, 8.0, 9) == words
