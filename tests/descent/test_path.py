"""Which points of a descent are kept."""

import numpy as np
import pytest
import torch

import steepest as sd
from steepest.descent.path import EVENT_POINTS, POINTS, PointSelection
from steepest.tasks.terrains import TERRAINS


@pytest.mark.parametrize("steps", [1, 7, 160, 161, 1000, 99_999])
def test_evenly_and_no_more_than_fit(steps):
    selection = PointSelection(10, steps)
    kept = [t for t in range(1, steps + 1) if selection.selects(t)]
    assert min(steps, POINTS) / 2 <= len(kept) <= POINTS
    assert set(np.diff(kept)) <= {selection.every}


def test_events_are_kept_beside_them():
    selection = PointSelection(10, 100_000)
    assert not selection.selects(1)
    assert [selection.selects(t, True) for t in range(1, EVENT_POINTS + 2)] == [True] * EVENT_POINTS + [False]
    assert selection.selects(selection.every)


@pytest.mark.parametrize("fitting", [0, 3, 10, 200, 1000])
def test_the_budget_holds(fitting):
    selection = PointSelection(1000, 5000, budget=4000 * fitting)
    kept = sum(selection.selects(t, True) for t in range(1, 5001))
    assert kept <= fitting
    assert (selection.every == 0) == (fitting < 3)


def test_a_block_is_not_cut():
    assert PointSelection(10, 420, block=16).every % 16 == 0


def test_the_path_of_a_loop():
    land = TERRAINS["rosenbrock"]
    task = sd.Task(model=land.model(), objective=lambda model, batch: model())
    descent = sd.descend(task, "momentum", 1e-4, "constant", steps=1000, no_decay=None)
    w = [np.array(land.start)]
    for _ in descent:
        w.append(task.model.w.detach().numpy().copy())
    path = descent.path
    assert path.name == "momentum"
    assert (path.t[0], path.t[-1], len(path.t)) == (0, 1000, 144)
    assert path.points == pytest.approx(np.array(w)[path.t], rel=1e-6)
    inside = torch.tensor(path.points[:-1], dtype=torch.float64)
    assert path.losses[:-1] == pytest.approx(land.f(inside).numpy(), rel=1e-4)


def test_a_loop_that_was_left():
    task = sd.Task(model=TERRAINS["bowl"].model(), objective=lambda model, batch: model())
    descent = sd.descend(task, "momentum", 1e-3, "constant", steps=10_000)
    for step in descent:
        if step.t == 100:
            descent.close()
    assert descent.path.t.tolist() == [0, 63, 100]
