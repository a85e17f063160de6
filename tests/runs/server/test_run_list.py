"""The list: what a row says, what the address asks for, what is ticked."""

import re
import sqlite3
from contextlib import closing
from html import unescape
from types import SimpleNamespace

import pytest

from steepest.records.run import Event
from steepest.runs.server import marks, run_list
from steepest.runs.server.entry import entry
from steepest.runs.server.query import SORT_COLUMNS, Query, Search
from steepest.runs.server.run_list import RunList
from steepest.runs.store import Store
from steepest.runs.store.counts import Counts
from tests.runs.server.conftest import begun, ended, serving
from tests.runs.server.many import fill


def text_of(html):
    """Tags left out; what is only for narrow windows too."""
    narrow = r'<small class="(?:facts|named)">.*?</small>'
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", re.sub(narrow, "", html)))).strip()


def rows(html):
    """The rows of the list as text."""
    return [text_of(row).replace(" -", "-", 1) for row in re.findall(r"<tr data-key.*?</tr>", html, re.DOTALL)]


def ids(html):
    """The ids of the list, in its order."""
    return re.findall(r'<tr data-key="(.*?)"', html)


def listed(store, **query):
    return RunList(store).content(Query(**query))


# -- Rows --------------------------------------------------------------------------------------------------------------


def test_a_row_says_how_a_run_is_and_how_it_was_made(tmp_path):
    store = Store(tmp_path)
    old = ended(store, "old", 20, lr=0.25, batch_size="full")
    failed = begun(store, "failed", 3, batch_size=64)
    failed.close("failed", 75)
    new = begun(store, "new", 30, seed=7, validation_samples=60)
    html = listed(store)
    assert "3 runs, one training now." in html
    assert ids(html) == [new.id, failed.id, old]
    shown = rows(html)
    assert shown[0].startswith(f"{new.id} cosine running 96.7 % adam 0.1")
    assert "30 of 60" in shown[0]
    assert "7 30 of 60" in shown[0]
    assert 'aria-label="95 % interval 88.6 % to 99.1 %"' in html
    assert "failed – not measured adam 0.1 64 0 3 of 60" in shown[1]
    assert "took 1 min 15 s" in html
    assert "0.25 all 0 20 of 60" in shown[2]
    assert "adam · lr 0.1 · batch 64 · seed 0 · 3 of 60 steps" in html
    assert f'href="/runs/{old}"' in html
    assert html.count('<svg class="spark"') == 3
    new.close("done", 2.0)
    assert "3 runs." in listed(store)


@pytest.mark.parametrize("status", ["running", "done", "stopped", "interrupted", "failed"])
def test_a_status_is_a_word_and_a_shape_of_its_own(tmp_path, status):
    store = Store(tmp_path)
    writer = begun(store)
    if status != "running":
        writer.close(status, 1.0)
    html = listed(store)
    shape = marks.STATUS_SHAPES[status]
    assert f"{shape}</svg>{status}</span>" in html
    assert list(marks.STATUS_SHAPES.values()).count(shape) == 1
    assert ("progress" in html) == (status == "running")
    if status == "running":
        writer.close("done", 1.0)


def test_rewinds_and_undone_steps_are_counted(tmp_path):
    store = Store(tmp_path)
    writer = begun(store, steps=40)
    writer.event(Event(40, "rewind", "loss rising", "rewound to step 20"))
    writer.go_back(20)
    writer.close("done", 1.0)
    assert "done 1 rewind" in rows(listed(store))[0]
    assert store.counts()[writer.id] == (40, 1, "")


@pytest.mark.parametrize(
    ("status", "kind"), [("failed", "failed"), ("stopped", "stop"), ("interrupted", "interrupted")]
)
def test_a_run_that_did_not_reach_its_end_says_why(tmp_path, status, kind):
    store = Store(tmp_path)
    writer = begun(store)
    writer.event(Event(40, kind, "ValueError: <mine>", "the run ended"))
    writer.close(status, 1.0)
    assert "ValueError: <mine> cosine" in rows(listed(store))[0]
    assert ids(listed(store, text="mine")) == [writer.id]


def test_a_damaged_run_is_marked_and_hides_no_other(tmp_path):
    store = Store(tmp_path)
    run, other = ended(store, "bad"), ended(store)
    with closing(sqlite3.connect(tmp_path / "runs.db")) as database, database:
        database.execute("UPDATE runs SET seconds='long' WHERE id=?", (run,))
    html = listed(store)
    (row,) = [row for row in rows(html) if "damaged" in row]
    assert f"Remove it with: steepest rm {run}" in row
    assert "seconds" in row
    assert f'href="/runs/{run}"' not in html
    assert f'value="{run}"' not in html
    assert f'href="/runs/{other}"' in html
    assert "Damaged<b>1</b>" in html
    assert ids(listed(store, status="damaged")) == [run]


def test_an_explosion_cannot_hide_in_the_small_curve():
    assert "class=bad" not in marks.draw_curve([3.0, 2.0, 1.0])
    assert 'class=bad d="M55.0 0v5M110.0 0v5"' in marks.draw_curve([3.0, float("nan"), float("inf")])
    assert "no steps yet" in marks.draw_curve([])


def test_the_curve_of_a_run_that_goes_on_leaves_room():
    assert "L27.5 " in marks.draw_curve([3.0, 2.0], share=0.25)


def test_the_scale_is_that_of_most_runs():
    assert marks.common_scale([0.97, 0.98, 0.95, 0.86, 0.118]) == (0.85, 1.0)
    assert marks.common_scale([0.1]) == (0.0, 1.0)
    assert marks.common_scale([]) == (0.0, 1.0)
    assert "outside" in marks.draw_interval(0.118, 0.07, 0.2, (0.8, 1.0), "")


@pytest.mark.parametrize(
    "name", ["<b>bold</b>", "a&b", '"quoted"', "red \x1b[31m", "new\nline", "\u202ereversed", "x" * 200, "名前", "🙂"]
)
def test_what_people_write_is_shown_as_written(tmp_path, name):
    store = Store(tmp_path)
    store.begin(name, {"rule": name, "task": name, "stages": [], "schedule": name}, {}, 0, notes=name).close(
        "done", 1.0
    )
    html = listed(store, runs=tuple(store.names()))
    assert not set(html) & {"\x1b", "\u202e", "\n"}
    assert "<b>bold" not in html
    words = name.encode("unicode_escape").decode() if not name.isprintable() else name
    assert words.replace("\\u202e", "\\u202e") in unescape(html)


# -- What is asked for -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """A store of 240 runs."""
    store = Store(tmp_path_factory.mktemp("many"))
    writer = begun(store, "zz-live", 5, rule="zeal")
    fill(store, 240, 50, measurements_each=2)
    yield SimpleNamespace(store=store, live=writer.id, runs=RunList(store), entries=everything(store))
    writer.close("interrupted", 1.0)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 241), ("digits", 240), ("DIGITS", 240), ("digits-00a", 16), ("momentum", 60), ("momentum adam", 0),
        ("cosine", 241), ("lr>0.006", 35), ("lr >= 0.006", 69), ("lr<0.002", 35), ("lr=0.003", 34), ("batch=64", 120),
        ("batch=64 seed=1", 24), ("seed!=0", 192), ("rule=adamw", 60), ("rule=adam", 120), ("status=failed", 5),
        ("steps>=50", 240), ("accuracy>0.3", 240), ("accuracy>30%", 240), ("accuracy>0.3 accuracy<0.31", 0),
        ("metric>0.99", 0), ("nosuch>3", 0), ("no such run", 0), ("name=live", 1),
    ],
)  # fmt: skip
def test_words_and_conditions(many, text, count):
    html = many.runs.content(Query(text=text))
    found = re.search(r'<a data-key="" [^>]*>All<b>([\d,]+)</b>', html)[1]
    assert int(found) == count
    assert ("No run matches" in html) == (count == 0)


def test_a_condition_that_is_no_number_is_told(many):
    html = many.runs.content(Query(text="lr>high digits-0001"))
    assert "lr must be compared with a number, got &#x27;high&#x27;." in html
    assert ids(html) == ["digits-0001"]
    assert Search("lr>0.1").problem == ""


@pytest.mark.parametrize("key", SORT_COLUMNS)
def test_every_heading_sorts_and_reverses(many, key):
    query = Query(sort=key)
    heading = re.search(
        rf'<th [^>]*aria-sort="ascending"><a href="(.*?)">{SORT_COLUMNS[key].heading}', many.runs.content(query)
    )
    if key != "metric":
        assert heading[1] == ("/" if key == "started" else f"/?sort=-{key}")
    values = [SORT_COLUMNS[key].value(e) for e in ordered(many.entries, sort=key)]
    assert values == sorted(values)
    assert [SORT_COLUMNS[key].value(e) for e in ordered(many.entries, sort=f"-{key}")] == values[::-1]


def everything(store):
    """All runs as the list has them."""
    counts = store.counts()
    return [entry(r, counts.get(r.id, Counts())) for r in store.runs()]


def ordered(entries, **query):
    """Those that are over, in an order."""
    return [e for e in Query(**query).order(entries) if e.status != "running"]


def test_a_running_row_stays_first(many):
    for sort in ("run", "-lr", "started", "-metric"):
        assert ids(many.runs.content(Query(sort=sort)))[0] == many.live


def test_the_best_comes_first_whichever_direction_is_better(tmp_path):
    store = Store(tmp_path)
    for metric, better in (("accuracy", "higher"), ("error", "lower")):
        for steps in (10, 40, 20):
            ended(store, metric, steps, metric=metric, better=better)
    values = [e.value for e in ordered(everything(store), sort="-metric") if e.metric == "accuracy"]
    assert values == sorted(values, reverse=True)
    assert "Metric" in listed(store)


def test_statuses_have_counts_under_the_search(many):
    html = many.runs.content(Query(text="rule=adamw", status="failed"))
    chips = dict(re.findall(r">(\w+)<b>(\d+)</b></a>", html))
    assert chips == {"All": "60", "Running": "0", "Done": "57", "Stopped": "0", "Failed": "3"}
    assert "aria-current=true>Failed" in html
    assert "3 of 241 runs." in html
    assert len(ids(html)) == 3


def test_pages(many):
    found = [ids(many.runs.content(Query(page=page))) for page in (1, 2, 3, 4)]
    assert [len(page) for page in found] == [100, 100, 41, 41]
    assert found[2] == found[3]
    first, last = many.runs.content(Query(page=1)), many.runs.content(Query(page=3))
    assert ("Previous" in first, "Next" in first, "1 – 100 of 241" in first) == (False, True, True)
    assert ("Previous" in last, "Next" in last, "201 – 241 of 241" in last) == (True, False, True)


def test_all_of_it_is_in_the_address(many):
    query = Query(text="a b&c lr>0.1", status="done", rule="adam", sort="-lr", page=3, runs=("digits-0001", "é/ü"))
    with serving(many.store) as served:
        request = served.client.build_request("GET", query.address(page=3))
        parameters = dict(request.url.params)
        assert Query.of(parameters, request.url.params.get_list("run")) == query
        assert served.ask(query.address(page=3)).status_code == 200
    assert Query().address() == "/"
    assert query.address(status="") == "/?q=a+b%26c+lr%3E0.1&rule=adam&sort=-lr&run=digits-0001&run=%C3%A9%2F%C3%BC"


@pytest.mark.parametrize(
    "target", ["/?sort=nonsense", "/?status=no", "/?rule=no", "/?q=%00%1b", "/?run=../x&run=%00", "/?q=lr%3E"]
)
def test_nonsense_in_the_address_is_harmless(served, target):
    assert served.ask(target).status_code == 200


# -- What is read ------------------------------------------------------------------------------------------------------


def test_only_curves_of_the_page_are_read_and_those_once(many, monkeypatch):
    calls = []
    losses = Store.losses_of
    monkeypatch.setattr(Store, "losses_of", lambda self, runs: calls.extend(runs) or losses(self, runs))
    runs = RunList(many.store)
    first = ids(runs.content(Query(text="digits")))
    assert sorted(calls) == sorted(first)
    runs.content(Query(text="digits", page=2))
    runs.content(Query(text="digits"))
    assert len(calls) == 200


# -- The tray ----------------------------------------------------------------------------------------------------------


def test_ticked_runs_stay_on_whatever_page_they_are(many):
    chosen = ("digits-0001", "digits-0005", "digits-00ef")
    html = many.runs.content(Query(text="digits-00e", runs=chosen))
    assert "Compare 3" in html
    assert text_of(re.search(r'<span class="why">.*?</span>', html)[0]) == "same task; rule, lr and seed differ"
    assert re.findall(r'<input type="hidden" name="run" value="(.*?)">(?=.*Compare)', html)[-2:] == list(chosen[:2])
    assert 'value="digits-00ef" checked' in html
    assert html.count(" on m2") == 1
    assert (
        "run=digits-0001&amp;run=digits-0005&amp;run=digits-00ef"
        in re.search(r'data-key="failed" href="(.*?)"', html)[1]
    )


def test_six_at_most(many):
    chosen = tuple(f"digits-{i:04x}" for i in range(6))
    html = many.runs.content(Query(runs=chosen))
    assert html.count("disabled") == 100
    assert "6 at most" in html
    assert Query.of({}, [*chosen, "digits-0009"]).runs == chosen


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({}, "same task and settings"), ({"seed": 1}, "same task; only the seed differs"),
        ({"lr": 0.2, "rule": "momentum"}, "same task; rule and lr differ"), ({"task": "ball"}, "different tasks"),
        ({"batch_size": 9}, "same task; only the batch differs"),
    ],
)  # fmt: skip
def test_the_tray_says_what_differs(tmp_path, changed, words):
    store = Store(tmp_path)
    chosen = (ended(store, task="digits"), ended(store, **{"task": "digits"} | changed))
    assert words in listed(store, runs=chosen)


def test_one_ticked_run_is_not_compared(many):
    html = many.runs.content(Query(runs=("digits-0001",)))
    assert "Tick another run to compare" in html
    assert "Compare 1" not in html


def test_a_ticked_run_that_is_gone_is_left_out(many):
    assert "Compare 2" in many.runs.content(Query(runs=("digits-0001", "nobody", "digits-0002")))
    assert 'class="tray"' not in many.runs.content(Query(runs=("nobody",)))


# -- Without runs ------------------------------------------------------------------------------------------------------


def test_a_folder_without_runs_says_how_to_begin(tmp_path):
    for folder, words in ((tmp_path, "has no runs yet"), (tmp_path / "nowhere", "There is no folder")):
        with serving(Store(folder)) as served:
            page = served.ask().text
            assert words in page
            assert f"steepest train digits --runs {folder} --live" in page
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_appears_later_is_shown(tmp_path):
    store = Store(tmp_path / "later")
    with serving(store) as served:
        assert "There is no folder" in served.ask("/list").text
        run = ended(store)
        assert ids(served.ask("/list").text) == [run]
    assert run_list.RUNS_PER_PAGE == 100
