"""What the tests of runs share."""

import pytest
import torch


@pytest.fixture(autouse=True)
def _threads():
    """A resumed run restores its thread count; each test leaves the count as it was."""
    count = torch.get_num_threads()
    yield
    torch.set_num_threads(count)


@pytest.fixture(autouse=True)
def _time_for_the_quick_check(monkeypatch):
    """However busy the machine, a run ends with its quick check."""
    monkeypatch.setattr("steepest.runs.trainer.QUICK_MIN_S", 60.0)
