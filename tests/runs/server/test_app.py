"""What the addresses show: a run's page, several runs in one film, and errors; the list has its own tests."""

import json
import re

import numpy as np
import pytest

from steepest.records.surfaces import Axis, Grid, LossSurfaces, Projection
from steepest.runs.store import Store
from steepest.search.comparison import compare_ends
from steepest.view.film import document, film, npz, side_by_side
from tests.runs.server.conftest import begun, ended, serving


def embedded(page):
    """The film in a page."""
    return json.loads(re.search(r'id="film"[^>]*>(.*?)</script>', page, re.DOTALL)[1])


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


def compared(store, *runs):
    """The film of several runs."""
    histories = [store.history(run) for run in runs]
    return side_by_side.of_runs(histories, compare_ends([[history.record] for history in histories]))


def test_several_runs_in_one_film(served):
    one, other = served.store.names()
    page = served.ask(f"/compare?run={one}&run={other}&run={one}").text
    shown = embedded(page)
    assert shown == document.encode(compared(served.store, one, other))
    assert (shown["kind"], list(shown["members"])) == ("compare", [one, other])
    assert shown["headline"] == "Validation accuracy: digits 97.5 %, ball 96.7 %."
    assert shown["comparison"]["pairs"][0]["result"] == "unknown"
    assert "data-events" not in page
    alone = served.ask(f"/compare?run={one}")
    assert (alone.status_code, alone.headers["location"]) == (303, f"/runs/{one}")


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"metric": "loss"}, "The runs have different metrics, so only their curves can be compared."),
        ({"steps": 5}, "Validation accuracy: digits 97.5 %; other has not measured it."),
        ({"better": "lower"}, "The runs have different metrics, so only their curves can be compared."),
        ({"task": "ball"}, "The runs are of different tasks, so only their curves can be compared."),
        ({"data": "1 sample"}, "The runs were trained on different data, so only their curves can be compared."),
    ],
)
def test_what_is_said_of_several_runs(tmp_path, changed, words):
    store = Store(tmp_path)
    runs = [ended(store, data="2 samples"), ended(store, "other", changed.pop("steps", 40), **changed)]
    assert compared(store, *runs).headline == words


def test_runs_of_one_name_are_called_by_their_ids(tmp_path):
    store = Store(tmp_path)
    one, other = ended(store), begun(store)
    shown = compared(store, one, other.id)
    other.close("done", 1.0)
    assert [member.name for member in shown.members.values()] == [one, other.id]
    assert shown.headline == "Both runs end at the same validation accuracy so far, 97.5 %."
    assert (shown.live, shown.steps) == (True, 60)


def test_runs_that_differ_in_their_seeds_are_groups(tmp_path):
    store = Store(tmp_path)
    runs = [ended(store, steps=30 + 10 * seed, seed=seed, rule=rule, stages=[{"rule": rule}])
            for rule in ("adam", "momentum") for seed in (0, 1, 2)]  # fmt: skip
    with serving(store) as served:
        shown = embedded(served.ask("/compare?" + "&".join(f"run={run}" for run in runs)).text)
    groups = shown["comparison"]["groups"]
    assert [(group["label"], group["runs"]) for group in groups] == [("adam", runs[:3]), ("momentum", runs[3:])]
    assert shown["comparison"]["basis"] == "seeds"
    assert shown["headline"] == "Adam and momentum tie at 97.4 %."


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
