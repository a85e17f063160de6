"""The parts of a batch that processes get are the batch, for any number of them."""

import hashlib

import pytest
import torch
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

from steepest.tasks.batches import Batches, EmptyPart, part_of

SAMPLES, STEPS = 50, 12


def numbered():
    return torch.arange(float(SAMPLES))[:, None], torch.arange(SAMPLES)


SOURCES = {
    "tensors": (numbered, 8),
    "dict": (lambda: dict(zip(("x", "labels"), numbered(), strict=True)), 8),
    "full": (numbered, "full"),
    "dataset": (lambda: TensorDataset(*numbered()), 8),
    "loader": (lambda: DataLoader(TensorDataset(*numbered()), 8, shuffle=True), None),
}


def target_of(batch):
    return batch["labels"] if isinstance(batch, dict) else batch[-1]


def order(source, ranks, accumulate=1):
    """A hash of the samples of all steps, in their order, as so many processes see them."""
    make, size = SOURCES[source]
    parts = [Batches(make(), size, 3, accumulate=accumulate) for _ in range(ranks)]
    for rank, own in enumerate(parts):
        own.rank, own.ranks = rank, ranks
    seen = []
    for t in range(1, STEPS + 1):
        by_rank = [own(t) for own in parts]
        for micro in zip(*by_rank, strict=True):
            seen += [target_of(part).tolist() for part in micro if not isinstance(part, EmptyPart)]
    return hashlib.sha256(repr([i for rows in seen for i in rows]).encode()).hexdigest()


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("source", SOURCES)
def test_any_number_of_processes_sees_the_same_samples_in_the_same_order(source, accumulate):
    assert len({order(source, ranks, accumulate) for ranks in (1, 2, 3, 4)}) == 1


def test_a_batch_with_fewer_samples_than_processes_has_empty_parts():
    last = Batches(numbered(), 8, 0)
    last.rank, last.ranks = 3, 4
    (part,) = last(7)  # of two samples
    assert isinstance(part, EmptyPart)
    assert len(part.like[0]) == 1


@pytest.mark.parametrize("samples", [1, 4, 7, 33])
@pytest.mark.parametrize("parts", [1, 2, 3, 5])
def test_parts_differ_by_one_sample_at_most(samples, parts):
    bounds = [part_of(samples, i, parts) for i in range(parts)]
    sizes = [high - low for low, high in bounds]
    assert max(sizes) - min(sizes) <= 1
    assert [0, *(high for _, high in bounds)] == [*(low for low, _ in bounds), samples]


def test_a_loader_that_is_split_already_is_left_alone():
    dataset = TensorDataset(*numbered())
    loaders = [DataLoader(dataset, 5, sampler=DistributedSampler(dataset, 2, rank)) for rank in range(2)]
    seen = []
    for rank, loader in enumerate(loaders):
        own = Batches(loader, None, 0)
        own.rank, own.ranks = rank, 2
        seen += [i for t in range(1, 6) for batch in own(t) for i in batch[-1].tolist()]
    assert sorted(seen) == list(range(SAMPLES))


def test_each_process_has_random_numbers_of_its_own():
    noise = []
    for rank in range(2):
        own = Batches(numbered(), 8, 0, augment=lambda batch, g: (torch.rand(4, generator=g),))
        own.rank, own.ranks = rank, 2
        noise.append(own(1)[0][0])
    assert not torch.equal(*noise)
