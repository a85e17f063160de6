"""The way over a surface: it stays where an undone attempt ended, jumps back, and goes on from there."""

import numpy as np
import pytest

from steepest.records.surfaces import Projection
from steepest.view.film.schema import Attempt, FilmEvent, Member
from steepest.view.film.way import FORWARD, JUMP, UNDONE, way_of

ATTEMPTS = (Attempt(0, 20, True), Attempt(20, 40, False), Attempt(40, 60, True))


def way(t, **given):
    x = np.arange(len(t), dtype=float)
    member = Member("a", t=np.array(t), loss=x, on={"s": Projection(x, x, x)}, attempts=ATTEMPTS, **given)
    found = way_of(member, "s")
    return list(zip(found.t.tolist(), found.on.x.tolist(), found.state.tolist()))


def test_the_point_of_the_snapshot_is_where_it_goes_on():
    assert way([0, 20, 30, 50, 60]) == [
        (0, 0, FORWARD), (20, 1, FORWARD), (30, 2, UNDONE), (40, 2, UNDONE), (40, 1, JUMP), (50, 3, FORWARD),
        (60, 4, FORWARD),
    ]  # fmt: skip


def test_a_point_that_was_saved_at_the_rewind_is_where_it_goes_on():
    expected = [(0, 0, FORWARD), (30, 1, UNDONE), (40, 1, UNDONE), (40, 2, JUMP), (60, 3, FORWARD)]
    assert way([0, 30, 40, 60]) == expected
    both = way([0, 30, 40, 40, 60])  # where it exploded, and where it went on
    assert both[2:5] == [(40, 2, UNDONE), (40, 2, UNDONE), (40, 3, JUMP)]


def test_the_event_says_how_far_it_went_back():
    events = (FilmEvent(40, "rewind", "", 10),)
    assert (40, 0, JUMP) in way([0, 15, 30, 50], events=events)


@pytest.mark.parametrize("t", [[0], [45, 60], [0, 5]])
def test_few_points(t):
    assert len(way(t)) >= len(t)


def test_without_attempts_all_is_kept():
    member = Member("a", t=np.arange(3), loss=np.ones(3), on={"s": Projection(*np.ones((3, 3)))})
    assert way_of(member, "s").state.tolist() == [FORWARD] * 3
    assert way_of(member, "other") is None
