"""What the tests of runs share."""

import pytest
import torch


@pytest.fixture(autouse=True)
def _threads():
    """A resumed run restores its thread count; each test leaves the count as it was."""
    count = torch.get_num_threads()
    yield
    torch.set_num_threads(count)
