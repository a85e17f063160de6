"""How tests run: the same examples and the same random numbers every time, however slow or small the machine."""

import random

import numpy as np
import pytest
import torch
from hypothesis import settings

settings.register_profile("steepest", deadline=None, derandomize=True)
settings.load_profile("steepest")


def pytest_configure(config):
    """A DataLoader's warning that a machine of one processor has fewer than the workers that are tested."""
    config.addinivalue_line("filterwarnings", "ignore:.*worker processes in total:UserWarning")


@pytest.fixture(autouse=True)
def same_random_numbers():
    """A test that seeds nothing does not depend on those before it."""
    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)
