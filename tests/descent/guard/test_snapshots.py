"""Snapshots: three, the older the further apart; and states as flat tensors and JSON."""

import json
import math

import pytest
import torch

from steepest.descent.guard.snapshots import Snapshots
from steepest.runs.best import BestPoint
from steepest.runs.store.state import pack, unpack
from steepest.tasks.module_state import ModuleState


def taken(*ts, **given):
    snapshots = Snapshots(every=10, **given)
    for t in ts:
        snapshots.take(t, {"t": t})
    return snapshots


def ages(snapshots):
    return [t for t, _ in snapshots.good]


def test_a_state_is_good_once_the_next_is_taken():
    snapshots = taken(0, 10)
    assert ages(snapshots) == [0]
    assert snapshots.candidate == (10, {"t": 10})


@pytest.mark.parametrize("n", range(3, 60))
def test_three_are_kept_and_the_oldest_is_neither_new_nor_ancient(n):
    snapshots = taken(*range(0, 10 * n, 10))
    newest, oldest = ages(snapshots)
    assert newest == 10 * (n - 2)
    assert 10 <= newest - oldest <= 50
    assert snapshots.candidate == (10 * (n - 1), {"t": 10 * (n - 1)})


def test_going_back_takes_the_newest_good_one_and_then_an_older_one():
    snapshots = taken(0, 10, 20, 30)
    newest, older = ages(snapshots)
    assert [snapshots.back()[0] for _ in range(6)] == 3 * [newest] + 3 * [older]
    assert snapshots.candidate is None


def test_after_a_new_one_has_survived_the_newest_is_taken_again():
    snapshots = taken(0, 10, 20)
    snapshots.back()
    for t in (20, 30):
        snapshots.take(t, {"t": t})
    assert snapshots.back()[0] == 20


def test_where_memory_is_short_there_is_one():
    snapshots = taken(0, 10, 20, single=True)
    assert ages(snapshots) == [20]
    assert snapshots.candidate is None


def test_the_best_is_the_lowest():
    snapshots = taken(0, 10, 20, 30)
    assert snapshots.best(lambda state: -state["t"])[0] == max(ages(snapshots))


def test_state_round_trip():
    snapshots, twin = taken(0, 10, 20), Snapshots()
    snapshots.back()
    twin.load(snapshots.state())
    assert twin == snapshots


def test_the_best_point_by_either_direction():
    for higher, values, at in ((True, [0.1, 0.5, math.nan, 0.3], 2), (False, [0.5, 0.1, math.nan, 0.3], 2)):
        best, w = BestPoint(higher), torch.zeros(1)
        for t, value in enumerate(values, 1):
            w.fill_(t)
            best.update(t, value, ModuleState({"w": w}))
        assert (best.t, best.since) == (at, 2)
        assert best.tensors is not None
        assert best.tensors["w"].item() == at


def test_pack_keeps_everything():
    nested = {
        "a": torch.arange(3), "b": [1, 2.5, None, True, "x", math.inf], "c": (torch.ones(2), {"d": torch.zeros(0)}),
        3: {"inner": {7: torch.full((1,), 2.0)}},
    }  # fmt: skip
    tensors = {}
    packed = json.loads(json.dumps(pack(nested, tensors)))
    back = unpack(packed, tensors)
    assert len(tensors) == 4
    assert torch.equal(back["a"], nested["a"])
    assert back["b"] == nested["b"]
    assert isinstance(back["c"], tuple)
    assert torch.equal(back["c"][0], torch.ones(2))
    assert back[3]["inner"][7].item() == 2.0


def test_what_is_no_number_and_no_tensor_cannot_be_packed():
    with pytest.raises(TypeError, match="a/b is set"):
        pack({"a": {"b": {1}}}, {})
