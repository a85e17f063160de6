"""What the addresses show: the list, a run's page, several runs in one film."""

import json
import re

import numpy as np
import pytest

from steepest.records.surfaces import Axis, Grid, LossSurfaces, Projection
from steepest.runs.server import run_list
from steepest.runs.store import Store
from steepest.view.film import document, film, npz, side_by_side
from tests.runs.server.conftest import begun, ended, serving


def embedded(page):
    """The film in a page."""
    return json.loads(re.search(r'id="film"[^>]*>(.*?)</script>', page, re.DOTALL)[1])


def rows(page):
    """Of the list, tags left out."""
    found = re.findall(r"<tr.*?</tr>", page, re.DOTALL)[1:]
    return [re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", row)).strip() for row in found]


def test_the_list_has_the_newest_first(tmp_path):
    store = Store(tmp_path)
    old, failed = ended(store, "old", 20, lr=0.25), begun(store, "failed", 3)
    failed.close("failed", 75)
    new = begun(store, "new", 30)
    with serving(store) as served:
        page = served.ask().text
        shown = rows(page)
        assert "3 runs, 1 running." in page
        assert [row.split(" ")[0] for row in shown] == [new.id, failed.id, old]
        assert "adam · lr 0.1 · cosine" in shown[0]
        assert "running 0.967 accuracy 30 of 60" in shown[0]
        assert "failed 3 of 60" in shown[1]
        assert "took 1 min 15 s" in shown[1]
        assert "lr 0.25" in shown[2]
        assert f'href="/runs/{old}"' in page
        assert page.count('<svg class="spark"') == 3
        new.close("done", 2.0)
        assert rows(served.ask().text)[0].count("done 0.967") == 1


def test_a_folder_without_runs_says_how_to_begin(tmp_path):
    for folder, words in ((tmp_path, "has no runs yet"), (tmp_path / "nowhere", "There is no folder")):
        with serving(Store(folder)) as served:
            page = served.ask().text
            assert words in page
            assert f"steepest train digits --runs {folder} --live" in page
    assert list(tmp_path.iterdir()) == []


def test_a_long_list_has_pages(tmp_path, monkeypatch):
    monkeypatch.setattr(run_list, "RUNS_PER_PAGE", 2)
    store = Store(tmp_path)
    ids = [ended(store, f"run{i}", 2) for i in range(5)][::-1]
    shown = run_list.RunList(store)
    found = [[run for run in ids if f'value="{run}"' in shown.page(which)] for which in (1, 2, 3, 4)]
    assert found == [ids[:2], ids[2:4], ids[4:], ids[4:]]
    assert ("Newer" in shown.page(1), "Older" in shown.page(1)) == (False, True)
    assert ("Newer" in shown.page(3), "Older" in shown.page(3)) == (True, False)


def test_an_explosion_cannot_hide_in_the_small_curve():
    assert "class=bad" not in run_list.draw_curve([3.0, 2.0, 1.0])
    assert 'class=bad d="M60.0 0v5M120.0 0v5"' in run_list.draw_curve([3.0, float("nan"), float("inf")])
    assert "no steps yet" in run_list.draw_curve([])


def test_a_run_that_is_over(served):
    for run in served.store.names():
        page = served.ask(f"/runs/{run}").text
        assert embedded(page) == document.encode(film.of_run(served.store.history(run)))
        assert "data-events" not in page


def test_a_run_that_goes_on(tmp_path):
    store = Store(tmp_path)
    writer = begun(store)
    with serving(store) as served:
        page = served.ask(f"/runs/{writer.id}").text
        assert embedded(page) == document.encode(film.of_run(store.history(writer.id), live=True))
        assert embedded(page)["headline"] == "97.5 % validation accuracy at step 40 of 60."
        assert f'data-events="/runs/{writer.id}/events"' in page
    writer.close("interrupted", 1.0)


def test_surfaces_are_shown_where_they_were_made_since_the_end(tmp_path):
    store = Store(tmp_path)
    run = ended(store)
    folder = store.folder / run
    (folder / "points").mkdir(parents=True)
    grid = Grid("random", Axis("a", -1, 1, 2), Axis("b", -1, 1, 2), np.ones((2, 2)), None, "a plane")
    none = np.empty(0)
    ground = LossSurfaces(
        {"random": grid}, {"random": {run: Projection(none, none, none)}}, {run: none}, {run: none.astype(int)}
    )
    with serving(store) as served:
        (folder / "points" / "40.safetensors").touch()
        npz.save(folder / "survey.npz", ground)
        assert embedded(served.ask(f"/runs/{run}").text)["surfaces"].keys() == {"random"}
        (folder / "points" / "60.safetensors").touch()  # it went on
        assert embedded(served.ask(f"/runs/{run}").text)["surfaces"] == {}
        (folder / "survey.npz").write_text("damaged")
        assert embedded(served.ask(f"/runs/{run}").text)["surfaces"] == {}


def test_several_runs_in_one_film(served):
    one, other = served.store.names()
    page = served.ask(f"/compare?run={one}&run={other}&run={one}").text
    shown = embedded(page)
    assert shown == document.encode(side_by_side.of_runs([served.store.history(run) for run in (one, other)]))
    assert (shown["kind"], list(shown["members"])) == ("race", [one, other])
    assert shown["headline"] == "digits ended best: validation accuracy 0.975; ball 0.967."
    assert "data-events" not in page
    alone = served.ask(f"/compare?run={one}")
    assert (alone.status_code, alone.headers["location"]) == (303, f"/runs/{one}")


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"metric": "loss"}, "The runs have different metrics, so only their curves can be compared."),
        ({"steps": 5}, "digits ended best: validation accuracy 0.975."),
        ({"better": "lower"}, "The runs have different metrics, so only their curves can be compared."),
    ],
)
def test_what_is_said_of_several_runs(tmp_path, changed, words):
    store = Store(tmp_path)
    runs = [ended(store), ended(store, "other", changed.pop("steps", 40), **changed)]
    assert side_by_side.of_runs([store.history(run) for run in runs]).headline == words


def test_runs_of_one_name_are_called_by_their_ids(tmp_path):
    store = Store(tmp_path)
    one, other = ended(store), begun(store)
    shown = side_by_side.of_runs([store.history(run) for run in (one, other.id)])
    other.close("done", 1.0)
    assert [member.name for member in shown.members.values()] == [one, other.id]
    assert shown.headline == "Both runs are at the same validation accuracy, 0.975."
    assert (shown.live, shown.steps) == (True, 60)


def test_a_database_that_cannot_be_read_is_told(tmp_path):
    store = Store(tmp_path)
    run = ended(store)
    with serving(store) as served:
        for file in tmp_path.glob("runs.db*"):
            file.write_bytes(b"nonsense" * 600)
        for target in ("/", f"/runs/{run}", f"/runs/{run}/events"):
            answer = served.ask(target)
            assert answer.status_code == 500
            assert "Move this file away" in answer.text
            assert "Traceback" not in answer.text
