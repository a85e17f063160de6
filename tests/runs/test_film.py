"""Films of runs and races that were run, and of those whose model or points are not there."""

import base64
import json

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import mse_loss

import steepest as sd
from steepest.runs import film as filming
from steepest.runs.store import Store


def task(name="line", **given):
    g = torch.Generator().manual_seed(0)
    x = torch.randn(160, 3, generator=g)
    y = x.sum(1, keepdim=True) ** 2

    def network(seed):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))

    return sd.Task(network, (x[:120], y[:120]), mse_loss, validation=(x[120:], y[120:]), name=name, **given)


def shown(path):
    return json.loads(path.read_text().split('id="film">')[1].split("</script>")[0])


def numbers(col):
    return np.frombuffer(base64.b64decode(col["data"]), "<" + col["dtype"]).reshape(col["shape"])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return sd.fit(task(), "adam", 1e-2, batch_size=20, epochs=8, runs=tmp_path_factory.mktemp("runs"))


def test_a_run(run, tmp_path):
    film = shown(run.film(tmp_path / "film.html"))
    assert set(film["surfaces"]) == {"curvature", "principal", "random"}
    assert film["headline"] == run.verdict.sentence
    (member,) = film["members"].values()
    t = numbers(member["path"]["t"])
    assert (t[0], t[-1], len(t)) == (0, 48, 49)
    assert numbers(member["path"]["on"]["curvature"]["off"])[-1] == pytest.approx(0, abs=1e-5)
    model = run.model
    with torch.no_grad():
        whole = mse_loss(model(run.task.data[0]), run.task.data[1]).item()
    assert numbers(member["path"]["loss"])[-1] == pytest.approx(whole, rel=1e-4)


def test_an_opened_run_is_the_same(run, tmp_path):
    one = shown(run.film(tmp_path / "one.html", planes=["principal"]))
    opened = sd.open(run.id, run.store.folder)
    two = shown(opened.film(tmp_path / "two.html", task(), ["principal"]))
    assert list(one["surfaces"]) == ["principal"]
    losses = [numbers(film["surfaces"]["principal"].pop("loss")) for film in (one, two)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)  # points go together where that was faster: rounding
    errors = [numbers(film["surfaces"]["principal"].pop("error")) for film in (one, two)]
    assert errors[0] == pytest.approx(errors[1], rel=1e-3, abs=1e-5)
    assert one == two


def test_its_ground_is_kept(run, tmp_path):
    run.film(tmp_path / "film.html", planes=["principal"])
    kept = filming.stored_surfaces(run.store, run.id)
    assert list(kept.grids) == ["principal"]
    run.film(tmp_path / "film.npz", planes=["principal"])
    with np.load(tmp_path / "film.npz") as file:
        assert file["principal/loss"] == pytest.approx(kept.grids["principal"].loss, rel=1e-5)
    (run.store.folder / run.id / filming.SURVEY).write_bytes(b"damaged")
    assert filming.stored_surfaces(run.store, run.id) is None


def test_without_its_task_the_curves_are_shown(run, tmp_path, capsys):
    film = shown(sd.open(run.id, run.store.folder).film(tmp_path / "film.html"))
    assert film["surfaces"] == {}
    assert len(numbers(film["members"]["run"]["curves"]["loss"]["t"])) == 48
    assert "No surfaces: Run" in capsys.readouterr().err
    with pytest.raises(sd.InputError, match="but the film has none"):
        sd.open(run.id, run.store.folder).film(tmp_path / "film.npz")


def test_with_another_task_too(run, tmp_path, capsys):
    other = task()
    other.data = (other.data[0] + 1, other.data[1])
    film = shown(sd.open(run.id, run.store.folder).film(tmp_path / "film.html", other))
    assert film["surfaces"] == {}
    assert "(data differs: " in capsys.readouterr().err


def test_a_run_without_points(run, tmp_path, capsys):
    mine = sd.fit(task("bare"), "adam", 1e-2, batch_size=20, epochs=2, runs=tmp_path)
    (tmp_path / mine.id / "path.bin").unlink()
    film = shown(mine.film(tmp_path / "film.html"))
    assert set(film["surfaces"]) == {"curvature", "random"}
    assert numbers(film["members"]["run"]["path"]["t"]).tolist() == []
    assert "No path: the run stored no points" in capsys.readouterr().err


def test_what_was_rewound_is_in_the_film(tmp_path):
    """A rate that explodes half-way: the film has the steps that were undone, and the clock goes on."""
    run = sd.fit(task("hot"), "momentum", 0.02, schedule="constant", batch_size=20, epochs=80, runs=tmp_path,
                 clip=None, locate=False)  # fmt: skip
    history = Store(tmp_path).history(run.id)
    film = shown(run.film(tmp_path / "film.html", planes=["principal"]))
    assert film["steps"] == len(history.record.steps) >= len(run.record.steps)
    for event in film["members"]["run"]["events"]:
        assert event["t"] <= film["steps"]
        assert event.get("to", 0) < event["t"]


def test_a_plane_that_there_is_none_of(run, tmp_path):
    with pytest.raises(sd.InputError, match=r"planes must be some of .*, got 'side'"):
        run.film(tmp_path / "film.html", planes=["side"])
    with pytest.raises(sd.InputError, match=r"must end in \.html"):
        run.film(tmp_path / "film.doc")


@pytest.fixture(scope="module")
def race():
    return sd.race(task(), ["adam", "gradient_descent"], 2, {"adam": 1e-2, "gradient_descent": 0.05}, batch_size=20,
                   epochs=4, target=1.0)  # fmt: skip


def test_a_race(race, tmp_path):
    film = shown(race.film(tmp_path / "race.html"))
    assert list(film["members"]) == ["adam", "gradient_descent"]
    assert list(film["surfaces"]) == ["principal"]
    starts = [
        [numbers(m["path"]["on"]["principal"][key])[0] for key in ("x", "y")] for m in film["members"].values()
    ]  # fmt: skip
    assert starts[0] == pytest.approx(starts[1], rel=1e-4)
    assert "PCA plane of the paths" in film["surfaces"]["principal"]["caption"]


def test_a_race_without_points(race, tmp_path, capsys):
    from dataclasses import replace

    bare = sd.Race(replace(race.record, paths=()), race.task)
    assert shown(bare.film(tmp_path / "race.html"))["surfaces"] == {}
    assert "no points of the paths were recorded" in capsys.readouterr().err


def test_a_race_of_models_with_statistics_of_their_own(race, tmp_path, capsys):
    normed = sd.Task(lambda seed: nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)), race.task.data, mse_loss,
                     validation=race.task.validation)  # fmt: skip
    assert shown(sd.Race(race.record, normed).film(tmp_path / "race.html"))["surfaces"] == {}
    assert "batch norm" in capsys.readouterr().err


def test_the_end_is_kept_however_much_happened(tmp_path, monkeypatch):
    monkeypatch.setattr("steepest.descent.path.EVENT_POINTS", 0)
    monkeypatch.setattr("steepest.descent.path.POINTS", 3)
    run = sd.fit(task("ends"), "adam", 1e-2, batch_size=20, steps=7, epochs=None, runs=tmp_path, locate=False)
    assert Store(tmp_path).history(run.id).path.t.tolist() == [0, 3, 6, 7]
