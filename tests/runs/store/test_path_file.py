"""The way of a descent on disk, and a run as it happened."""

import os

import numpy as np
import pytest
import torch

from steepest.records.run import Event, Step
from steepest.runs.store import Store, path_file
from steepest.runs.store.path_file import PathFile


def point(x):
    return [torch.full((2, 3), float(x)).t(), torch.full((2,), -float(x), dtype=torch.float64)]


def test_what_is_appended_is_read_back(tmp_path):
    kept = PathFile(tmp_path)
    for attempt, t in ((0, 0), (0, 5), (1, 4)):
        kept.append(attempt, t, [torch.arange(6.0).view(2, 3).t() + t, torch.ones(2, dtype=torch.float64)])
    kept.close()
    found = path_file.read(tmp_path, 8)
    assert found["attempt"].tolist() == [0, 0, 1]
    assert found["t"].tolist() == [0, 5, 4]
    assert found["w"][1].tolist() == [5, 8, 6, 9, 7, 10, 1, 1]


def test_half_a_point_is_none(tmp_path):
    kept = PathFile(tmp_path)
    for t in range(3):
        kept.append(0, t, point(t))
    kept.close()
    file = tmp_path / path_file.PATH_FILE
    os.truncate(file, file.stat().st_size - 5)
    assert path_file.read(tmp_path, 8)["t"].tolist() == [0, 1]
    path_file.trim(tmp_path, 8, 0, 7)  # as a run does that goes on
    kept.append(0, 2, point(2))
    kept.close()
    assert path_file.read(tmp_path, 8)["w"][:, 0].tolist() == [0, 1, 2]


def test_a_full_disk_leaves_no_half_point(tmp_path):
    class Full(PathFile):
        """Whose second tensor does not fit."""

    kept = PathFile(tmp_path)
    kept.append(0, 0, point(0))
    broken = [torch.ones(6), _Unwritable()]
    with pytest.raises(OSError, match="No space left"):
        kept.append(0, 1, broken)
    kept.append(0, 2, point(2))
    kept.close()
    assert path_file.read(tmp_path, 8)["t"].tolist() == [0, 2]


class _Unwritable:
    def detach(self):
        raise OSError(28, "No space left on device")


@pytest.mark.parametrize(("attempt", "t", "left"), [(1, 9, 5), (1, 6, 4), (1, 4, 3), (0, 5, 2), (0, 4, 1)])
def test_trim(tmp_path, attempt, t, left):
    kept = PathFile(tmp_path)
    rows = [(0, 0), (0, 5), (1, 3), (1, 6), (1, 9)]
    for row in rows:
        kept.append(*row, point(1))
    kept.close()
    path_file.trim(tmp_path, 8, attempt, t)
    assert [tuple(r) for r in path_file.read(tmp_path, 8)[["attempt", "t"]].tolist()] == rows[:left]


def test_nothing_was_kept(tmp_path):
    path_file.trim(tmp_path, 8, 0, 3)
    assert len(path_file.read(tmp_path, 8)) == 0


def test_history_counts_what_was_rewound(tmp_path):
    """Steps 1 … 6, back to 3, 4 … 5, back to 4, 5 … 8: eleven steps were taken, eight stand."""
    store = Store(tmp_path)
    writer = store.begin("x", {"weights": 1}, {}, 0)
    taken = 0
    for first, last, back in ((1, 6, 3), (4, 5, 4), (5, 8, None)):
        for t in range(first, last + 1):
            taken += 1
            writer.step(Step(t, t / 10, 0.1, float(taken), 1.0, 1.0))
            writer.keep(t, [torch.tensor([float(taken)])])
        if back is not None:
            writer.event(Event(last, "rewind", "seen", "done"))
            writer.go_back(back)
            writer.keep(back, [torch.tensor([-1.0])])
    writer.close("done", 1.0)

    assert store.read(writer.id).steps.t.tolist() == list(range(1, 9))
    history = store.history(writer.id)
    assert history.record.steps.t.tolist() == list(range(1, 13))
    assert history.record.steps.loss.tolist() == list(range(1, 13))
    assert history.back == {6: 3, 8: 7}
    assert [e.t for e in history.record.events] == [6, 8]
    assert history.path.t.tolist() == [1, 2, 3, 4, 5, 6, 6, 7, 8, 8, 9, 10, 11, 12]
    assert np.all(np.diff(history.path.t) >= 0)
