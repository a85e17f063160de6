"""Weights on disk."""

import os

import pytest
import torch

from steepest.errors import StoreError
from steepest.runs.store import weights

POINT = {"w": torch.arange(6.0)}


def test_what_the_disk_refuses_is_said_and_leaves_nothing(tmp_path):
    (tmp_path / "points").write_text("a file where the folder should be", encoding="utf-8")
    with pytest.raises(StoreError, match=r"Cannot write the weights after step 3 to .*Free some space"):
        weights.save(tmp_path / "points", 3, POINT)
    with pytest.raises(StoreError, match="Cannot write the weights"):
        weights.save(tmp_path / ("n" * 300), 3, POINT)


@pytest.mark.parametrize("error", [RuntimeError("DataLoader worker (pid 7) exited"), KeyboardInterrupt()])
def test_another_error_meanwhile_is_none_of_the_disk(error, tmp_path, monkeypatch):
    def interrupt(*_):
        raise error

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(type(error)):
        weights.save(tmp_path, 3, POINT)
    assert list(tmp_path.iterdir()) == []
