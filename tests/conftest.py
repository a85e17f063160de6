"""How tests run: the same examples and the same random numbers every time, however slow or small the machine."""

import os
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings

settings.register_profile("steepest", deadline=None, derandomize=True)
settings.load_profile("steepest")


MEMORY = Path("/dev/shm")
"""A file system in memory, where there is one: each of a database's thousands of writes waits 5 ms for a disk."""
MEMORY_BYTES = 4 * 2**30
"""Free in it, or the folders of tests are on disk: those of the whole suite take a fraction of this."""

if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free >= MEMORY_BYTES:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))


def pytest_configure(config):
    """A DataLoader's warning that a machine of one processor has fewer than the workers that are tested."""
    config.addinivalue_line("filterwarnings", "ignore:.*worker processes in total:UserWarning")


@pytest.fixture(autouse=True)
def same_random_numbers():
    """A test that seeds nothing does not depend on those before it."""
    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)
