"""The film's schema, and the page with a film in it."""

import base64
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest

from steepest.errors import InputError
from steepest.records.surfaces import Axis, Grid, Mark, Projection
from steepest.records.verdict import Number, Verdict
from steepest.view.film import document
from steepest.view.film.schema import Attempt, Film, FilmEvent, Member, MetricInfo, Result, Series

SCHEMA = (Path(__file__).parents[3] / "page" / "src" / "film" / "film.ts").read_text()
GRID = Grid(
    "terrain", Axis("x", -1, 1, 3), Axis("y", 0, 1, 2, 0.5), np.arange(6.0).reshape(2, 3), None, "a caption",
    marks=(Mark("minimum", 0.0, 0.5, 1.0, "here"),),
)  # fmt: skip


def keys(interface):
    """The fields of an interface of the page, and those that may be missing."""
    body = re.search(rf"export interface {interface} {{(.*?)\n}}", SCHEMA, re.S)[1]
    found = re.findall(r"^  (\w+)(\??):", body, re.M)
    return {name for name, _ in found}, {name for name, mark in found if mark}


def read(column):
    array = np.frombuffer(base64.b64decode(column["data"]), f"<{column['dtype']}")
    return array.reshape(column["shape"])


def a_film(**given):
    member = Member("adam", "adam", given.pop("hyper", {"lr": 0.1}), t=np.zeros(1), loss=np.ones(1), **given)
    return Film("run", "</script>", "", 3, {}, {"adam": member})


def made():
    verdict = Verdict("MINIMUM", "a sentence", "advice", (Number("sharpness", 1.0, 0.5, math.inf, 2.0, "2/lr"),))
    one = np.ones(1)
    info = MetricInfo("accuracy", "%", "higher", 144)
    event = FilmEvent(3, "rewind", "", 1, "loss rising", "rewound", "it fell", 2)
    told = {"metric": info, "metrics": {"metric f1": info}, "result": (Result("Validation accuracy", "97.2 %", ""),)}
    member = document.encode_member(
        Member("adam", eigenvalues=(2, -1.0), events=(event,), attempts=(Attempt(0, 3, False),), has_guard=True, **told)
    )
    return {
        "Col": document.column([1.0]),
        "Surface": document.encode_surface(GRID),
        "Axis": document.encode_surface(GRID)["x"],
        "Mark": document.encode_surface(GRID)["marks"][0],
        "Curve": document.encode_series(Series(one, one, one, one, True)),
        "Member": member,
        "FilmEvent": member["events"][0],
        "Metric": member["metric"],
        "Result": member["result"][0],
        "Attempt": member["attempts"][0],
        "Film": document.encode(a_film()),
        "Verdict": document.encode_verdict(verdict),
        "Quantity": document.encode_verdict(verdict)["numbers"][0],
    }


@pytest.mark.parametrize("interface", made())
def test_has_the_fields_that_the_page_reads(interface):
    fields, optional = keys(interface)
    found = set(made()[interface])
    assert found <= fields
    assert fields - found <= optional


@pytest.mark.parametrize("dtype", ["f4", "i4"])
def test_columns_come_back(dtype):
    values = np.array([[0, 1, -7], [2**24, 5, 3]])
    assert read(document.column(values, dtype)).tolist() == values.tolist()


def test_columns_keep_what_is_not_finite():
    found = read(document.column([math.nan, math.inf, 1e300, -0.0]))
    np.testing.assert_array_equal(found, [math.nan, math.inf, math.inf, 0])


def test_a_path_lies_on_its_surfaces():
    on = {"plane": Projection(np.array([1.0, 2.0]), np.array([3.0, 4.0]), np.array([0.0, 0.5]))}
    path = document.encode_member(Member("a", t=np.array([0, 5]), loss=np.array([9.0, 8.0]), on=on))["path"]
    assert read(path["t"]).tolist() == [0, 5]
    assert {key: read(column).tolist() for key, column in path["on"]["plane"].items()} == {
        "x": [1, 2], "y": [3, 4], "off": [0, 0.5],
    }  # fmt: skip


def test_a_member_of_which_little_is_known():
    found = document.encode_member(Member("a"))
    assert "eigenvalues" not in found
    assert found["verdict"] is None
    assert read(found["path"]["t"]).tolist() == []
    assert document.quantities(None) == []


def test_numbers_of_a_verdict_have_symbols_names_and_ends():
    numbers = (
        Number("smallest Hessian eigenvalue", -0.8, -0.9, -0.7, words="exact"),
        Number("mine", 1.0, 1.0, 1.0),
        Number("noise scale", math.inf, 3.0, math.inf),
        Number("sharpness", 2.0, 1.0, math.inf, 4.0),
    )
    first, second = document.encode_verdict(Verdict("SADDLE", "s", "a", numbers), "adam")["numbers"]
    assert first == {
        "name": "λ_min", "value": -0.8, "lo": -0.9, "hi": -0.7, "text": "smallest curvature; exact", "reference": 0.0,
        "title": "Smallest curvature", "display": "−0.8 ± 0.1", "state": "act",
        "words": "the loss falls along this direction: a saddle",
    }  # fmt: skip
    assert second == {
        "name": "λ_P", "value": 2.0, "lo": 1.0, "hi": None, "text": "sharpness", "reference": 4.0, "title": "Stability",
        "display": "50 % of the limit", "words": "learning rate below where adam becomes unstable", "state": "ok",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["greatest curvature", "least curvature", "squared norm of the gradient"])
def test_labels_of_older_versions_are_known(name):
    (quantity,) = document.quantities(Verdict("SADDLE", "", "", (Number(name, 1.0, 0.5, 2.0),)))
    assert quantity.name in {symbol for symbol, _ in document.SYMBOLS.values()}


def test_the_page_holds_the_film_and_nothing_of_it_is_html():
    html = document.page(document.encode(a_film()), events='/events?run="a"', runs="/")
    tag, text = re.search(r'<script type="application/json" (id="film"[^>]*)>(.*?)</script>', html, re.S).groups()
    assert tag == 'id="film" data-events="/events?run=&quot;a&quot;" data-list="/"'
    assert json.loads(text) == document.encode(a_film())
    assert 'id="film">null<' in document.page(None)  # and no list to go back to
    with pytest.raises(ValueError, match="JSON compliant"):
        document.page({**document.encode(a_film()), "steps": math.nan})


def test_a_number_that_is_not_finite_is_left_out_or_a_word():
    film = document.encode(a_film(eigenvalues=(math.nan, 2.0), hyper={"lr": math.inf, "beta": 0.9}))
    (member,) = film["members"].values()
    assert member["eigenvalues"] == [2.0]
    assert member["hyper"] == {"lr": "inf", "beta": 0.9}
    document.page(film)


def test_a_film_is_written(tmp_path):
    out = document.write(a_film(), tmp_path / "a.HTML")
    assert out.read_text(encoding="utf-8") == document.page(document.encode(a_film()))
    with pytest.raises(InputError, match=r"must end in .html"):
        document.write(a_film(), tmp_path / "a.mp4")
    with pytest.raises(InputError, match=r"Cannot write the film to .*No such file"):
        document.write(a_film(), tmp_path / "nowhere" / "a.html")
