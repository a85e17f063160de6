"""The digits: which are learned from, chosen by and judged by, and where a descent starts."""

import numpy as np
import pytest
import torch

from steepest.tasks.digits import TEST, VALIDATION, images, task


def test_images():
    x, y = images()
    assert x.shape == (1797, 64)
    assert x.dtype is torch.float32
    assert y.dtype is torch.int64
    assert (x.min(), x.max()) == (0, 1)
    assert torch.equal(x * 16, (x * 16).round())  # sixteenths: nothing was lost
    assert len(torch.unique(x, dim=0)) == len(x)
    assert sorted(set(y.tolist())) == list(range(10))


def test_the_test_split_is_the_last_360_of_the_permutation():
    x, y = images()
    order = np.random.RandomState(0).permutation(1797)
    pixels, labels = task().test
    assert torch.equal(pixels, x[order[-360:]])
    assert torch.equal(labels, y[order[-360:]])


def test_splits_are_disjoint_and_leave_nothing_out():
    made = task()
    parts = [made.data, made.validation, made.test]
    assert [len(x) for x, _ in parts] == [len(y) for _, y in parts] == [1797 - 360 - 144, 144, 360]
    assert (TEST, VALIDATION) == (360, 144)
    rows = [{tuple(row) for row in x.tolist()} for x, _ in parts]  # no two images are equal
    assert sum(map(len, rows)) == len(set.union(*rows)) == 1797


def test_labels_belong_to_their_images():
    x, y = images()
    label_of = {tuple(row): label for row, label in zip(x.tolist(), y.tolist(), strict=True)}
    made = task()
    for pixels, labels in (made.data, made.validation, made.test):
        assert [label_of[tuple(row)] for row in pixels.tolist()] == labels.tolist()


def start(seed: int) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in task().build(seed).parameters()])


def test_a_seed_is_a_start():
    assert len(start(0)) == 64 * 128 + 128 + 128 * 128 + 128 + 128 * 10 + 10
    assert torch.equal(start(3), start(3))
    assert not torch.equal(start(3), start(4))


@pytest.mark.parametrize("seed", [0, 1])
def test_a_start_is_not_the_callers_random_state(seed):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    found = start(seed)
    assert torch.equal(torch.rand(3), expected)
    torch.manual_seed(6)
    assert torch.equal(start(seed), found)
