"""Trees of tensors: what a batch counts, and how it is moved, cut and joined."""

import dataclasses
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch.nn.utils.rnn import pack_sequence
from transformers import BatchEncoding
from transformers.modeling_outputs import SequenceClassifierOutput

from steepest.errors import TaskError
from steepest.tasks import batch_tree
from steepest.tasks.batch_tree import JoinError


@dataclasses.dataclass(frozen=True)
class Row:
    x: torch.Tensor
    labels: torch.Tensor
    text: str = "a"


class Pair(NamedTuple):
    x: torch.Tensor
    target: torch.Tensor


def x(n, width=2):
    return torch.arange(n * width).view(n, width)


def trees(n):
    """Batches of n samples, of every kind."""
    y = torch.arange(n)
    return {
        "tensor": x(n),
        "tuple": (x(n), y),
        "named tuple": Pair(x(n), y),
        "dict": {"x": x(n), "labels": y},
        "nested": ({"a": x(n), "b": (x(n), x(n, 3))}, y),
        "encoding": BatchEncoding({"input_ids": x(n), "labels": y}),
        "output": SequenceClassifierOutput(logits=x(n)),
        "dataclass": Row(x(n), y),
        "array": (x(n).numpy(), y),
        "texts": ([str(i) for i in range(n)], y),
        "with a number": (x(n), torch.tensor(3.0), y),
    }


def tensors(tree):
    return [torch.as_tensor(part) for part in batch_tree.leaves(tree) if isinstance(part, torch.Tensor | np.ndarray)]


def texts(tree):
    return [part for part in batch_tree.leaves(tree) if isinstance(part, str)]


@pytest.mark.parametrize("kind", list(trees(1)))
def test_every_kind_is_counted_cut_and_joined(kind):
    whole = trees(7)[kind]
    assert batch_tree.count(whole) == 7
    parts = batch_tree.split(whole, 3)
    assert [batch_tree.count(part) for part in parts] == [3, 2, 2]
    assert all(type(part) is type(whole) for part in parts)
    again = batch_tree.join(parts)
    assert type(again) is type(whole)
    assert all(torch.equal(a, b) for a, b in zip(tensors(again), tensors(whole), strict=True))
    if kind == "texts":
        assert texts(again) == texts(whole)


@pytest.mark.parametrize("kind", list(trees(1)))
def test_every_kind_is_moved(kind):
    whole = trees(4)[kind]
    moved = batch_tree.map_tensors(whole, lambda t: t + 1)
    assert type(moved) is type(whole)
    tensors_of = [[t for t in batch_tree.leaves(tree) if isinstance(t, torch.Tensor)] for tree in (whole, moved)]
    assert all(torch.equal(a + 1, b) for a, b in zip(*tensors_of, strict=True))
    assert type(batch_tree.to_device(whole, "meta")) is type(whole)
    assert all(t.device.type == "meta" for t in batch_tree.tensors(batch_tree.to_device(whole, "meta")))


@pytest.mark.parametrize(
    ("batch", "samples"),
    [
        ((torch.zeros(40), torch.zeros(8), torch.zeros(8)), 8),  # words, offsets, labels
        ({"input_ids": torch.zeros(5, 9), "label": torch.zeros(5), "lengths": torch.zeros(45)}, 5),
        ((torch.zeros(3, 4), [{"boxes": torch.zeros(k, 4)} for k in (9, 2, 1)]), 3),
        ((torch.zeros(3), [torch.zeros(9), torch.zeros(2), torch.zeros(1)]), 3),
        ((pack_sequence([torch.zeros(4, 2), torch.zeros(3, 2)]),), 2),
        ((torch.eye(6).to_sparse(), torch.zeros(6)), 6),
        ((torch.zeros(4), torch.zeros(4), torch.tensor(1.0)), 4),
    ],
    ids=["bag of words", "dict", "objects in images", "sequences", "packed", "sparse", "a number at the end"],
)  # fmt: skip
def test_a_batch_counts_its_targets(batch, samples):
    assert batch_tree.count(batch) == samples


@pytest.mark.parametrize("batch", ["text", object(), {"a": torch.zeros(2), "b": torch.zeros(3)}])
def test_what_cannot_be_counted_asks_for_count(batch):
    with pytest.raises(TaskError, match=r"samples of a batch cannot be counted: .*\. Pass Task\(count=batch -> number"):
        batch_tree.count(batch)


@pytest.mark.parametrize(
    "batch",
    [
        (torch.zeros(40), torch.zeros(8), torch.zeros(8)),
        (pack_sequence([torch.zeros(4, 2), torch.zeros(3, 2)]), torch.zeros(2)),
        (torch.eye(6).to_sparse(), torch.zeros(6)),
    ],
    ids=["bag of words", "packed", "sparse"],
)
def test_what_has_no_row_for_each_sample_is_not_cut(batch):
    with pytest.raises(TaskError, match="can be split only if every tensor has one row for each of its"):
        batch_tree.split(batch, 2)


def test_a_packed_sequence_is_moved_as_one():
    packed = pack_sequence([torch.ones(4, 2), torch.ones(3, 2)])
    moved, _ = batch_tree.map_tensors((packed, torch.zeros(2)), lambda t: t.double())
    assert moved.data.dtype is torch.float64
    assert torch.equal(moved.batch_sizes, packed.batch_sizes)


def test_outputs_of_tokens_are_joined_by_their_samples():
    joined = batch_tree.join([torch.zeros(6, 4), torch.ones(3, 4)], [2, 1])
    assert joined.shape == (9, 4)


def test_a_state_without_samples_first_comes_as_a_list():
    state = [torch.zeros(2, 5, 3), torch.zeros(2, 4, 3)]  # of an LSTM: [layers, samples, …]
    output, of_all = batch_tree.join([(torch.zeros(5, 3), state[0]), (torch.zeros(4, 3), state[1])], [5, 4])
    assert output.shape == (9, 3)
    assert [s.shape for s in of_all] == [s.shape for s in state]


def test_sequences_of_different_lengths_cannot_be_joined():
    with pytest.raises(JoinError, match=r"rows to join must have one shape, got \[2, 5\], \[2, 7\]"):
        batch_tree.join([torch.zeros(2, 5), torch.zeros(2, 7)])
    with pytest.raises(JoinError, match=r"one structure, got tuple with .* and dict with"):
        batch_tree.join([(torch.zeros(2),), {"x": torch.zeros(2)}])


@pytest.mark.parametrize("kind", ["tuple", "dict", "encoding", "dataclass", "nested"])
def test_rows_become_a_batch(kind):
    rows = [batch_tree.map_leaves(part, lambda t: t[0] if isinstance(t, torch.Tensor) else t)
            for part in batch_tree.split(trees(3)[kind], 3)]  # fmt: skip
    batch = batch_tree.collate(rows)
    assert type(batch) is type(trees(3)[kind])
    assert all(torch.equal(a, b) for a, b in zip(tensors(batch), tensors(trees(3)[kind]), strict=True))


@pytest.mark.parametrize("rows", [[(torch.zeros(2),), (torch.zeros(3),)], [object(), object()]])
def test_rows_that_are_no_batch(rows):
    with pytest.raises(
        TaskError, match=r"rows of the Dataset cannot be made a batch .* pass a DataLoader with its own"
    ):
        batch_tree.collate(rows)


def test_batches_are_stacked_with_a_new_dimension():
    stacked = batch_tree.stack([{"x": x(3), "y": (x(3),)}, {"x": x(3), "y": (x(3),)}])
    assert stacked["x"].shape == stacked["y"][0].shape == (2, 3, 2)
