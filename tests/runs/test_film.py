"""Films of runs and races that were run, and of those whose model or points are not there."""

import base64
import json
import sys

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
    start, reason = run.verdict.sentence.split(": ", 1)
    assert film["headline"].endswith(f", {start.lower()}.")
    assert film["advice"].split("\n")[0].lower() == reason.lower()
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


# -- Whatever is brought, a film has its curves at least ---------------------------------------------------------------


class Noisy(nn.Module):
    """Draws random numbers in every pass."""

    def __init__(self):
        super().__init__()
        self.net = nn.Linear(3, 1)

    def forward(self, x):
        return self.net(x + 0.1 * torch.randn_like(x))


class Decides(nn.Module):
    """Looks at its numbers, and counts its calls in a buffer."""

    def __init__(self):
        super().__init__()
        self.net = nn.Linear(3, 1)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        return self.net(x if x.sum().item() > -1e9 else -x) * (1 + 1e-3 * self.calls)


def half_of(output, target):
    return mse_loss(output[target > 1], target[target > 1])


def with_numpy(output, target):
    return mse_loss(output, target) + 0 * float(output.detach().numpy().mean())


def slope(model, batch):
    x = batch[0].clone().requires_grad_()
    return (torch.autograd.grad(model(x).sum(), x, create_graph=True)[0] - 1).square().mean()


def net(*changes):
    torch.manual_seed(0)
    layers = [nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)]
    return nn.Sequential(*(change(layers[0]) for change in changes), *layers[len(changes) :])


def brought(model, loss=mse_loss, data=None, **given):
    x, y = task().data
    return sd.Task(model, (x, y) if data is None else data, loss, validation=(x, y), name="brought", **given)


BROUGHT = {
    "noise": lambda: brought(Noisy(), None, objective=lambda m, b: mse_loss(m(b[0]), b[1])),
    "an if": lambda: brought(Decides(), None, objective=lambda m, b: mse_loss(m(b[0]), b[1])),
    "a mask": lambda: brought(net(), half_of),
    "numpy": lambda: brought(net(), with_numpy),
    "a slope": lambda: brought(net(), None, objective=slope),
    "a sum": lambda: brought(net(), nn.MSELoss(reduction="sum")),
    "weight_norm": lambda: brought(net(nn.utils.weight_norm)),
    "spectral_norm": lambda: brought(net(nn.utils.spectral_norm)),
    "batches": lambda: brought(net(), data=list(zip(*(z.split(30) for z in task().data)))),
}


@pytest.mark.parametrize("make", BROUGHT.values(), ids=BROUGHT)
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_whatever_torch_cannot_map_has_surfaces(make, tmp_path):
    """The surface at its centre is the loss of the end, by plain evaluation."""
    own = make()
    size = {} if isinstance(own.data, list) else {"batch_size": 30}
    mine = sd.fit(own, "adam", 1e-2, epochs=3, runs=tmp_path, locate=False, **size)
    before, state = {n: x.clone() for n, x in mine.model.state_dict().items()}, torch.get_rng_state()
    film = shown(mine.film(tmp_path / "film.html", planes=["principal"]))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(x, before[n]) for n, x in mine.model.state_dict().items())
    (member,) = film["members"].values()
    grid = film["surfaces"]["principal"]
    at, losses = member["path"]["on"]["principal"], numbers(member["path"]["loss"])
    x, y = (np.linspace(grid[axis]["lo"], grid[axis]["hi"], grid[axis]["n"]) for axis in "xy")
    i, j = (int(np.abs(line - numbers(at[axis])[-1]).argmin()) for line, axis in ((y, "y"), (x, "x")))
    near = numbers(grid["loss"])[max(0, i - 1) : i + 2, max(0, j - 1) : j + 2]
    assert near.min() - 0.02 * abs(near).max() <= losses[-1] <= near.max() + 0.02 * abs(near).max()


def test_one_weight_has_curves(tmp_path, capsys):
    x = torch.linspace(-1, 1, 64)[:, None]
    one = sd.Task(nn.Linear(1, 1, bias=False), (x, 2 * x), mse_loss, validation=(x, 2 * x), name="one")
    mine = sd.fit(one, "gradient_descent", 0.1, batch_size="full", steps=30, runs=tmp_path)
    film = shown(mine.film(tmp_path / "film.html"))
    assert film["surfaces"] == {}
    assert len(numbers(film["members"]["run"]["curves"]["loss"]["t"])) == 30
    assert "A plane needs at least 2 weights, got 1" in capsys.readouterr().err


@pytest.mark.parametrize("steps", [4, 60])
def test_a_run_that_exploded_has_curves(steps, tmp_path):
    mine = sd.fit(task("exploded"), "gradient_descent", 1e6, batch_size=20, steps=steps, guard=False, runs=tmp_path)
    assert mine.verdict.kind == "DIVERGED"
    assert sd.locate(mine.task, mine).kind == "DIVERGED"
    film = shown(mine.film(tmp_path / "film.html"))
    assert len(numbers(film["members"]["run"]["curves"]["loss"]["t"])) == steps
    assert mine.film(tmp_path / "film.png").stat().st_size > 1000


def test_a_torch_optimizer_has_a_film(tmp_path):
    mine = sd.fit(task("foreign"), lambda p: torch.optim.Adadelta(p), 1.0, batch_size=20, epochs=2, runs=tmp_path)
    assert set(shown(mine.film(tmp_path / "film.html"))["surfaces"]) == {"curvature", "principal", "random"}


def test_a_model_that_fails_in_evaluation_has_curves(tmp_path, capsys):
    class Fails(nn.Module):
        def __init__(self):
            super().__init__()
            self.net, self.works = net(), True

        def forward(self, x):
            if not self.works:
                raise RuntimeError("no longer")
            return self.net(x)

    mine = sd.fit(brought(Fails()), "adam", 1e-2, batch_size=30, epochs=2, runs=tmp_path, locate=False)
    mine.model.works = False
    assert shown(mine.film(tmp_path / "film.html"))["surfaces"] == {}
    assert "No surfaces: RuntimeError: no longer" in capsys.readouterr().err


def test_a_budget_leaves_out_what_is_not_done_in_time(run, tmp_path, capsys):
    film = shown(run.film(tmp_path / "film.html", budget=1e-6))
    assert film["surfaces"] == {}
    assert "the budget of 1e-06 s was used up before. Pass a larger one, or fewer planes." in capsys.readouterr().err
    assert set(shown(run.film(tmp_path / "film.html", budget=600))["surfaces"]) == {"curvature", "principal", "random"}
    with pytest.raises(sd.InputError, match="budget must be positive seconds, got 0"):
        run.film(tmp_path / "film.html", budget=0)


@pytest.mark.parametrize(("stage", "planes"), [("loss along the path", []), ("curvature plane", ["principal"])])
def test_ctrl_c_leaves_the_surfaces_that_are_done(run, stage, planes):
    def interrupt(name, count, total):
        if name == stage:
            raise KeyboardInterrupt

    kinds = ["principal", "curvature", "random"]
    film, surfaces = filming.run_film(run.store, run.id, run.task, run.model, kinds, "", None, interrupt)
    assert list(film.surfaces) == planes
    assert surfaces.messages[-1].endswith(": interrupted.")


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
    assert "Principal plane of the paths" in film["surfaces"]["principal"]["caption"]


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


@pytest.mark.parametrize(
    ("name", "words"), [("film.xyz", "out must end in"), ("film.mp4", r"pip install 'steepest\[video\]'")]
)
def test_what_cannot_be_written_is_said_before_anything_is_measured(run, tmp_path, monkeypatch, name, words):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)  # as if it were not installed
    monkeypatch.setattr("steepest.runs.run.run_film", lambda *_: pytest.fail("it was measured"))
    with pytest.raises(sd.InputError, match=words):
        run.film(tmp_path / name)
