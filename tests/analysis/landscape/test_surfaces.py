"""The surfaces of a film: what its planes show, and that a path lies on the surface it is drawn on."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import steepest as sd
from steepest.analysis.landscape.surfaces import measure_surfaces
from steepest.analysis.landscape.watch import Watch
from steepest.errors import InputError
from steepest.tasks.terrains import TERRAINS
from steepest.view.film import npz
from tests.oracles import loss_under


class Quadratic(nn.Module):
    """L(w) = Σ λᵢ (wᵢ − cᵢ)² / 2, at its saddle c."""

    def __init__(self, curvatures):
        super().__init__()
        shape = 2, len(curvatures) // 2
        self.centre = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        self.w = nn.Parameter(self.centre.clone())
        self.curvatures = torch.tensor(curvatures, dtype=torch.float64).view(shape)

    def forward(self):
        return 0.5 * (self.curvatures * (self.w - self.centre).square()).sum()


def still(model):
    return sd.Task(model=model, objective=lambda module, batch: module())


def spirals(n=400, seed=0):
    g = torch.Generator().manual_seed(seed)
    y = torch.randint(0, 3, (n,), generator=g)
    r = torch.rand(n, generator=g)
    angle = 4 * r + 2 * torch.pi / 3 * y + 0.2 * torch.randn(n, generator=g)
    return torch.stack([r * angle.cos(), r * angle.sin()], 1), y


def network(seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 3))


@pytest.fixture(scope="module")
def trained():
    """A network, and where it went."""
    data = spirals()
    task = sd.Task(model=network(0), loss=cross_entropy, data=data, validation=data)
    descent = sd.descend(task, "adam", 1e-2, "warmup(5%) >> cosine", batch_size=50, epochs=10, guard=True)
    for _ in descent:
        pass
    return task, descent.path


@pytest.mark.parametrize("curvatures", [[1.0] * 900 + [-1.0] * 100, [412.0, *np.linspace(0.1, 5, 60), -0.83]])
def test_a_saddle_looks_like_one_by_default(curvatures):
    model = Quadratic(curvatures)
    found = measure_surfaces(still(model), model, model.w.detach().reshape(-1).clone(), {}, ("curvature", "random"))
    grid = found.grids["curvature"]
    across, along = grid.loss[25], grid.loss[:, 25]
    assert (np.diff(across, 2) > 0).all()
    assert (np.diff(along, 2) < 0).all()
    assert across[-1] == pytest.approx(-along[-1], rel=1e-3)  # each axis in its own scale: both are seen
    assert f"{max(curvatures):.3g} and −{-min(curvatures):.3g}" in grid.caption
    assert grid.y.hi / grid.x.hi == pytest.approx((max(curvatures) / -min(curvatures)) ** 0.5, rel=1e-3)
    bowl = found.grids["random"]
    assert bowl.loss.min() >= 0
    assert "shows a bowl although the point is a saddle" in bowl.caption
    if len(curvatures) == 1000:
        assert "0.80 ± 0.027" in bowl.caption


@pytest.mark.parametrize("kind", ["curvature", "principal", "random"])
def test_a_point_in_the_plane_lies_on_the_surface(trained, kind):
    """Within the stated error, at every point of a path that is put into the plane."""
    task, path = trained
    end = torch.from_numpy(path.points[-1])
    found = measure_surfaces(task, task.model, end, {"adam": path.points}, (kind,))
    grid, projection = found.grids[kind], found.projections[kind]["adam"]
    flat = np.stack([grid.x.lo + (grid.x.hi - grid.x.lo) * np.linspace(0.1, 0.9, 20),
                     grid.y.lo + (grid.y.hi - grid.y.lo) * np.linspace(0.15, 0.8, 20)])  # fmt: skip
    assert projection.off[-1] == pytest.approx(0, abs=1e-4)
    again = measure_surfaces(task, task.model, end, {"flat": _points(trained, kind, flat)}, (kind,))
    on = again.projections[kind]["flat"] if kind != "principal" else None
    if on is None:  # the plane of that path is another one: the original's, by its own points
        inside = projection.off < 1e-4
        checked = [(projection.x[i], projection.y[i], found.losses["adam"][i]) for i in np.flatnonzero(inside)]
    else:
        assert on.off == pytest.approx(0, abs=1e-4)
        checked = list(zip(on.x, on.y, again.losses["flat"], strict=True))
    assert checked
    for x, y, loss in checked:
        value, error = loss_under(grid, x, y)
        assert abs(value - loss) <= error + 1e-5


def _points(trained, kind, at):
    """Points of a plane that is chosen as `measure_surfaces` does: through three of its own."""
    task, path = trained
    end = torch.from_numpy(path.points[-1])
    if kind == "principal":
        return path.points
    from steepest.analysis.landscape import surfaces as room

    watch = Watch(None, lambda stage, count, total: None)
    end_point = room._end_point(task, task.model, end, 1, watch, 0)
    losses = {"adam": room._losses(end_point.surface, torch.from_numpy(path.points), watch)}
    plane = room._random_plane(end_point, "", 0)
    if kind == "curvature":
        plane = room._curvature_plane(end_point, losses, 0.0)
    return np.stack([plane.point(*p).numpy() for p in at.T.tolist()])


def test_losses_are_those_of_the_whole_sample(trained):
    task, path = trained
    found = measure_surfaces(task, task.model, torch.from_numpy(path.points[-1]), {"adam": path.points}, ("principal",))
    model = network(0)
    for k in (0, 17, len(path.points) - 1):
        torch.nn.utils.vector_to_parameters(torch.from_numpy(path.points[k].copy()), model.parameters())
        with torch.no_grad():
            loss = cross_entropy(model(task.data[0]), task.data[1]).item()
        assert found.losses["adam"][k] == pytest.approx(loss, rel=1e-4)
    assert found.grids["principal"].error.max() <= 0.01 * found.grids["principal"].range
    assert "400 training samples" in found.grids["principal"].caption


def test_a_saddle_and_the_way_out_are_marked():
    land = TERRAINS["saddle"]
    model = land.model((0.0, 0.0))
    found = measure_surfaces(still(model), model, model.w.detach().clone(), {}, ("curvature",), verdict="SADDLE")
    saddle, escape = found.grids["curvature"].marks
    assert (saddle.kind, saddle.x, saddle.y, saddle.loss) == ("saddle", 0, 0, 0)
    assert escape.kind == "escape"
    assert escape.loss < 0


def test_what_diverged_is_left_out():
    model = TERRAINS["bowl"].model()
    points = np.array([[1.0, 1], [0.5, np.nan], [0.2, 0.1], [0, 0], [np.inf, 0]])
    found = measure_surfaces(still(model), model, torch.zeros(2, dtype=torch.float64), {"a": points}, ("principal",))
    assert found.indices["a"].tolist() == [0, 2, 3]
    assert found.losses["a"] == pytest.approx([2, 0.05, 0])


def test_a_plane_that_cannot_be_is_said():
    model = TERRAINS["bowl"].model()
    end = torch.zeros(2, dtype=torch.float64)
    found = measure_surfaces(still(model), model, end, {"a": np.ones((2, 2))}, ("principal", "curvature"))
    assert list(found.grids) == ["curvature"]
    assert "No principal plane: A path needs at least 3 points for a principal plane, got 2" in found.messages[0]
    with pytest.raises(InputError, match="planes must be some of curvature, principal, random, got 'top'"):
        measure_surfaces(still(model), model, end, {}, ("top",))
    with pytest.raises(InputError, match=r"must have shape \[points, 2\], got \(4, 3\)"):
        measure_surfaces(still(model), model, end, {"a": np.ones((4, 3))})


def test_a_survey_on_disk(trained, tmp_path):
    task, path = trained
    found = measure_surfaces(task, task.model, torch.from_numpy(path.points[-1]), {"adam, seed 1": path.points})
    again = npz.load(npz.save(tmp_path / "s.npz", found))
    assert list(again.grids) == list(found.grids) == ["curvature", "principal", "random"]
    for kind, grid in found.grids.items():
        other = again.grids[kind]
        np.testing.assert_array_equal(other.loss, grid.loss)
        np.testing.assert_array_equal(other.error, grid.error)
        assert (other.x, other.y, other.caption, other.marks) == (grid.x, grid.y, grid.caption, grid.marks)
        for one, two in zip(
            again.projections[kind]["adam, seed 1"], found.projections[kind]["adam, seed 1"], strict=True
        ):
            np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(again.eigenvalues, found.eigenvalues)
    with np.load(tmp_path / "s.npz") as file:
        assert file["principal/loss"].shape == (51, 51)
        assert file["principal/x"].shape == (51,)
    (tmp_path / "s.npz").write_bytes(b"PK nothing")
    with pytest.raises(sd.StoreError, match="Make the film again"):
        npz.load(tmp_path / "s.npz")
