"""Which samples a step sees, for every kind of data."""

import random
from typing import ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from steepest.errors import InputError, TaskError
from steepest.tasks import data
from steepest.tasks.batches import Batches
from steepest.tasks.objective import Objective
from steepest.tasks.task import Task


def numbered(n, width=1):
    """Sample i holds i in every place, and its target is i."""
    i = torch.arange(n)
    return i[:, None].repeat(1, width).double(), i


def seen(parts):
    """The samples' numbers in a step's micro-batches."""
    return [i for part in parts for i in part[-1].tolist()]


def joined(lists):
    return [x for part in lists for x in part]


def same(one, other):
    a, b = joined(one), joined(other)
    return len(a) == len(b) and all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def copied(parts):
    return [tuple(x.clone() for x in part) for part in parts]


def states():
    python, numpy = random.getstate(), np.random.get_state()
    return python, numpy[1].tolist(), numpy[2], torch.default_generator.get_state().tolist()


class Noisy(Dataset):
    """A Dataset with a random transform, by all three global generators."""

    def __init__(self, n):
        self.n = n

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        return torch.rand(3) + random.random() + np.random.rand(), i


class NoisyMany(Noisy):
    """The same, fetched many at once."""

    def __init__(self, n):
        super().__init__(n)
        self.asked = []

    def __getitems__(self, chosen):
        self.asked.append(chosen)
        return [self[i] for i in chosen]


class Stream(IterableDataset):
    """Samples without a known number."""

    def __init__(self, n):
        self.n = n

    def __iter__(self):
        return iter([(torch.full((2,), float(i)), i) for i in range(self.n)])


class CountedStream(Stream):
    def __len__(self):
        return self.n


def shifted(batch, generator):
    x, y = batch
    return x + torch.rand(x.shape, generator=generator, dtype=x.dtype), y


def shifted_in_place(batch, generator):
    x, y = batch
    x += torch.rand(x.shape, generator=generator, dtype=x.dtype)
    y *= -1
    return x, y


# -- Order -------------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(1, 60), st.data(), st.integers(0, 2**40), st.sampled_from(["tensors", "dataset"]))
def test_an_epoch_is_a_permutation(n, draw, seed, kind):
    size = draw.draw(st.integers(1, n))
    source = numbered(n) if kind == "tensors" else TensorDataset(*numbered(n))
    batches = Batches(source, size, seed)
    steps = batches.steps_per_epoch
    assert steps == -(-n // size)
    for epoch in range(3):
        found = [seen(batches(epoch * steps + k)) for k in range(1, steps + 1)]
        assert [len(x) for x in found] == [size] * (steps - 1) + [n - size * (steps - 1)]
        assert sorted(joined(found)) == list(range(n))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(1, 40), st.data(), st.integers(0, 2**40))
def test_any_order_of_asking_gives_the_same(n, draw, seed):
    size, accumulate = draw.draw(st.integers(1, n)), 1
    accumulate = draw.draw(st.integers(1, size))
    asked = draw.draw(st.lists(st.integers(1, 4 * n), min_size=1, max_size=12))
    once = Batches(numbered(n), size, seed, accumulate=accumulate, augment=shifted)
    for t in asked:
        fresh = Batches(numbered(n), size, seed, accumulate=accumulate, augment=shifted)
        assert same(once(t), fresh(t))


def test_tensors_and_a_dataset_of_them_come_in_one_order():
    n, size = 53, 8
    tensors, dataset = Batches(numbered(n), size, 4), Batches(TensorDataset(*numbered(n)), size, 4)
    for t in range(1, 20):
        assert same(tensors(t), dataset(t))


def test_epochs_and_seeds_differ():
    n = 50
    orders = {tuple(joined(seen(Batches(numbered(n), 7, seed)(t)) for t in range(1 + 8 * e, 9 + 8 * e)))
              for seed in range(4) for e in range(4)}  # fmt: skip
    assert len(orders) == 16


def test_many_windows_are_one_order(monkeypatch):
    n, size = 101, 4
    one = Batches(numbered(n, width=5), size, 2)
    plain = [copied(one(t)) for t in range(1, 80)]
    monkeypatch.setattr("steepest.tasks.batches.WINDOW_BYTES", 3 * size * 48)
    small = Batches(numbered(n, width=5), size, 2)
    for t in (*range(1, 80), 50, 3, 79, 1):
        assert same(small(t), plain[t - 1])


def test_inputs_stay_with_their_targets():
    batches = Batches(numbered(40, width=3), 7)
    for t in range(1, 13):
        ((x, y),) = batches(t)
        assert torch.equal(x, y[:, None].repeat(1, 3).double())


def test_a_full_batch_is_all_the_data_in_its_own_order():
    batches = Batches(numbered(9), "full")
    assert batches.steps_per_epoch == 1
    assert seen(batches(1)) == seen(batches(5)) == list(range(9))


def test_single_samples():
    batches = Batches(numbered(5), 1)
    assert batches.steps_per_epoch == 5
    assert sorted(joined(seen(batches(t)) for t in range(1, 6))) == list(range(5))


def test_one_tensor_alone_is_a_batch_of_one_part():
    ((x,),) = Batches(torch.arange(6.0), 4)(1)
    assert len(x) == 4


def test_no_data_gives_none():
    assert Batches(None, None)(3) == [None]
    assert Batches(None, None, accumulate=2)(3) == [None, None]


# -- Accumulation ------------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(1, 40), st.data())
def test_micro_batches_make_up_the_batch(n, draw):
    size = draw.draw(st.integers(1, n))
    accumulate = draw.draw(st.integers(1, size))
    whole, parts = Batches(numbered(n), size), Batches(numbered(n), size, accumulate=accumulate)
    for t in range(1, 2 * whole.steps_per_epoch + 1):
        lengths = [data.count(part) for part in parts(t)]
        assert seen(parts(t)) == seen(whole(t))
        assert len(lengths) == min(accumulate, len(seen(whole(t))))
        assert min(lengths) >= 1
        assert max(lengths) - min(lengths) <= 1


def test_dictionaries_are_split_too():
    class Named(Noisy):
        def __getitem__(self, i):
            return {"x": torch.full((2,), float(i)), "y": i}

    parts = Batches(Named(10), 5, accumulate=2)(1)
    assert [part["x"].shape for part in parts] == [(3, 2), (2, 2)]
    assert all(torch.equal(part["x"][:, 0].long(), part["y"]) for part in parts)


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.GELU(), nn.Flatten(), nn.Linear(64, 16), nn.Tanh(), nn.Linear(16, 5)
    ).double()


def images(n):
    g = torch.Generator().manual_seed(1)
    return torch.randn(n, 1, 6, 6, generator=g, dtype=torch.float64), torch.randint(5, (n,), generator=g)


def gradient(model, parts):
    objective = Objective(model, Task(model, loss=nn.functional.cross_entropy))
    loss = objective.gradient(parts, list(model.parameters()))
    return loss, torch.cat([p.grad.reshape(-1) for p in model.parameters()])


@pytest.mark.parametrize(("n", "size"), [(50, 7), (50, 1), (50, 49), (48, 8)])
def test_the_full_gradient_is_the_weighted_mean_over_mini_batches(n, size):
    model = network()
    loss, g = gradient(model, Batches(images(n), "full")(1))
    batches = Batches(images(n), size, seed=3)
    mean_loss, mean = 0.0, torch.zeros_like(g)
    for t in range(1, batches.steps_per_epoch + 1):
        parts = batches(t)
        share = data.count(parts[0]) / n
        part_loss, part = gradient(model, parts)
        mean_loss, mean = mean_loss + share * part_loss, mean + share * part
    assert abs(mean_loss - loss) <= 1e-12 * loss
    assert (mean - g).norm() <= 1e-12 * g.norm()


@pytest.mark.parametrize(("n", "accumulate"), [(50, 7), (50, 50), (50, 3), (48, 8)])
def test_the_full_gradient_is_that_of_accumulated_micro_batches(n, accumulate):
    model = network()
    loss, g = gradient(model, Batches(images(n), "full")(1))
    parts = Batches(images(n), "full", accumulate=accumulate)(1)
    assert len(parts) == accumulate
    part_loss, part = gradient(model, parts)
    assert abs(part_loss - loss) <= 1e-12 * loss
    assert (part - g).norm() <= 1e-12 * g.norm()


def test_a_short_last_batch_is_accumulated_rightly():
    model, whole, parts = network(), Batches(images(50), 16), Batches(images(50), 16, accumulate=5)
    assert [data.count(part) for part in parts(4)] == [1, 1]  # 50 = 3 · 16 + 2
    for t in range(1, 9):
        (loss, g), (part_loss, part) = gradient(model, whole(t)), gradient(model, parts(t))
        assert abs(part_loss - loss) <= 1e-12 * loss
        assert (part - g).norm() <= 1e-12 * g.norm()


def test_an_iterables_unequal_batches_are_accumulated_rightly():
    x, y = images(20)
    uneven = [(x[:3], y[:3]), (x[3:14], y[3:14]), (x[14:], y[14:])]
    model = network()
    loss, g = gradient(model, [(x, y)])
    part_loss, part = gradient(model, Batches(uneven, None, accumulate=3)(1))
    assert abs(part_loss - loss) <= 1e-12 * loss
    assert (part - g).norm() <= 1e-12 * g.norm()


# -- Datasets ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Noisy, NoisyMany])
@pytest.mark.parametrize("size", [1, 5, "full"])
def test_random_transforms_are_a_function_of_seed_and_step(kind, size):
    one, other = Batches(kind(12), size, 3), Batches(kind(12), size, 3)
    for t in (4, 1, 2, 4, 3, 1):
        before = states()
        assert same(one(t), other(t))
        assert states() == before
        torch.rand(5)
    assert not same(one(1), Batches(kind(12), size, 4)(1))


def test_a_repeated_sample_is_transformed_anew():
    batches = Batches(Noisy(6), "full")
    assert not torch.equal(batches(1)[0][0], batches(2)[0][0])


def test_many_are_fetched_at_once_where_that_is_offered():
    source = NoisyMany(12)
    batches = Batches(source, 5)
    batches(1)
    assert [len(chosen) for chosen in source.asked] == [5]
    assert same(batches(1), Batches(Noisy(12), 5)(1))


# -- Iterables ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_is_a_function_of_the_seed(workers):
    def found(seed):
        batches = Batches(DataLoader(NoisyMany(22), 4, shuffle=True, num_workers=workers), None, seed)
        assert (batches.samples, batches.steps_per_epoch) == (22, 6)
        return [copied(batches(t)) for t in range(1, 13)]

    torch.manual_seed(1)
    one = found(3)
    torch.manual_seed(2)
    random.seed(9)
    np.random.seed(9)
    before = states()
    other = found(3)
    assert states() == before
    assert all(same(a, b) for a, b in zip(one, other, strict=True))
    assert sorted(joined(map(seen, one[:6]))) == sorted(joined(map(seen, one[6:]))) == list(range(22))
    assert joined(map(seen, one[:6])) != joined(map(seen, one[6:]))
    assert not all(same(a, b) for a, b in zip(one, found(4), strict=True))


def test_a_samplers_epoch_is_set():
    class Sampler(torch.utils.data.Sampler):
        epochs: ClassVar = []

        def set_epoch(self, epoch):
            self.epochs.append(epoch)

        def __iter__(self):
            return iter(range(4))

        def __len__(self):
            return 4

    batches = Batches(DataLoader(TensorDataset(*numbered(4)), 2, sampler=Sampler()), None)
    for t in range(1, 6):
        batches(t)
    assert Sampler.epochs == [0, 1, 2]


@pytest.mark.parametrize("kind", [Stream, CountedStream])
def test_a_loader_of_a_stream(kind):
    with_length = kind is CountedStream
    batches = Batches(DataLoader(kind(10), 4), None)
    assert batches.steps_per_epoch == (3 if with_length else None)
    assert batches.samples == (10 if with_length else None)
    assert [seen(batches(t)) for t in range(1, 5)] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9], [0, 1, 2, 3]]


@pytest.mark.parametrize("kind", [Stream, CountedStream])
def test_a_stream_brings_its_own_batches(kind):
    batches = Batches(kind(3), None)
    assert [batches(t)[0][1] for t in range(1, 5)] == [0, 1, 2, 0]


def test_a_list_of_batches_is_gone_through_again_and_again():
    x, y = numbered(7)
    batches = Batches([(x[:3], y[:3]), [x[3:], y[3:]]], None)
    assert batches.steps_per_epoch == 2
    assert [seen(batches(t)) for t in range(1, 5)] == [[0, 1, 2], [3, 4, 5, 6]] * 2
    assert isinstance(batches(5)[0], tuple)


def test_an_epochs_last_step_may_have_fewer_micro_batches():
    x, y = numbered(5)
    batches = Batches([(x[i : i + 1], y[i : i + 1]) for i in range(5)], None, accumulate=2)
    assert batches.steps_per_epoch == 3
    assert [seen(batches(t)) for t in range(1, 7)] == [[0, 1], [2, 3], [4]] * 2


def test_a_generator_that_ends_early_says_so():
    x, y = numbered(6)
    batches = Batches(((x[i : i + 2], y[i : i + 2]) for i in range(0, 6, 2)), None)
    assert batches.steps_per_epoch is None
    assert joined(seen(batches(t)) for t in (1, 2, 3)) == list(range(6))
    with pytest.raises(TaskError, match=r"generator gave no more batches at step 4. Pass such data, or fewer steps"):
        batches(4)


def test_a_generators_last_step_may_have_fewer_micro_batches():
    x, y = numbered(3)
    batches = Batches(((x[i : i + 1], y[i : i + 1]) for i in range(3)), None, accumulate=2)
    assert [seen(batches(t)) for t in (1, 2)] == [[0, 1], [2]]
    with pytest.raises(TaskError, match="no more batches at step 3"):
        batches(3)


def test_an_iterables_batches_come_in_order():
    batches = Batches([numbered(3)], None)
    batches(1)
    with pytest.raises(InputError, match="t must be at most 2, got 3: an iterable gives its batches in order"):
        batches(3)


# -- Augmentation ------------------------------------------------------------------------------------------------------


def sources():
    x, y = numbered(8)
    return {
        "tensors": ((x, y), 3),
        "full": ((x, y), "full"),
        "dataset": (TensorDataset(x, y), 3),
        "list": ([(x[:5], y[:5]), (x[5:], y[5:])], None),
    }


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("kind", list(sources()))
def test_augmentation_is_a_function_of_batch_seed_step_and_place(kind, accumulate):
    source, size = sources()[kind]
    augmented = Batches(source, size, 5, accumulate=accumulate, augment=shifted)
    plain = Batches(source, size, 5, accumulate=accumulate)
    for t in range(1, 8):
        streams = [data.seeds.generator(5, "augment", t, i) for i in range(accumulate)]
        expected = [shifted(part, stream) for part, stream in zip(plain(t), streams)]
        before = states()
        assert same(augmented(t), expected)
        assert states() == before


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("kind", list(sources()))
def test_augmenting_in_place_never_writes_into_the_users_tensors(kind, accumulate):
    source, size = sources()[kind]
    pure = Batches(source, size, 5, accumulate=accumulate, augment=lambda b, g: (shifted(b, g)[0], -b[1]))
    expected = [copied(pure(t)) for t in range(1, 8)]
    before = copied(source if kind == "list" else [source.tensors if kind == "dataset" else source])
    in_place = Batches(source, size, 5, accumulate=accumulate, augment=shifted_in_place)
    assert all(same(in_place(t), expected[t - 1]) for t in range(1, 8))
    assert same(source if kind == "list" else [source.tensors if kind == "dataset" else source], before)


@pytest.mark.parametrize("kind", ["tensors", "full", "dataset"])
def test_augmenting_in_place_can_be_asked_twice(kind):
    source, size = sources()[kind]
    batches = Batches(source, size, 5, augment=shifted_in_place)
    first = copied(batches(2))
    batches(1)
    assert same(batches(2), first)


# -- Measuring, counting, setting aside --------------------------------------------------------------------------------


def as_given(kind, n=10):
    x, y = numbered(n)
    return {
        "tensors": (x, y),
        "dataset": TensorDataset(x, y),
        "loader": DataLoader(TensorDataset(x, y), 3),
        "list": [[x[:4], y[:4]], [x[4:], y[4:]]],
    }[kind]


@pytest.mark.parametrize("kind", ["tensors", "dataset", "loader", "list"])
@pytest.mark.parametrize("size", [1, 4, 100])
def test_the_whole_is_every_sample_once_in_order(kind, size):
    before = states()
    parts = list(data.in_batches(as_given(kind), size))
    assert seen(parts) == list(range(10))
    assert all(isinstance(part, tuple) for part in parts)
    if kind != "loader":  # which draws a seed from the caller's state; evaluate() puts it back
        assert states() == before


def test_the_whole_of_nothing_is_one_batch_of_none():
    assert list(data.in_batches(None, 4)) == [None]


def test_measuring_random_transforms_gives_the_same_each_time():
    one, other = list(data.in_batches(Noisy(7), 3)), list(data.in_batches(Noisy(7), 3))
    assert same(one, other)


@pytest.mark.parametrize(
    ("batch", "expected"),
    [
        (torch.zeros(3, 2), 3),
        (torch.tensor(1.0), 1),
        ((torch.zeros(4), torch.zeros(4)), 4),
        ({"x": torch.zeros(5, 1)}, 5),
        (("text", torch.zeros(2)), 2),
        ([{"x": torch.zeros(6)}, torch.zeros(6)], 6),
        (None, 1),
        ((), 1),
    ],
)
def test_samples_in_a_batch(batch, expected):
    assert data.count(batch) == expected


@pytest.mark.parametrize("kind", ["tensors", "dataset"])
def test_what_is_set_aside_is_a_function_of_the_seed(kind):
    def numbers(split):
        return joined(seen([part]) for part in data.in_batches(split, 100))

    before = states()
    rest, aside = data.set_aside(as_given(kind, 30), 0.1)
    again, _ = data.set_aside(as_given(kind, 30), 0.1)
    other, _ = data.set_aside(as_given(kind, 30), 0.1, seed=1)
    assert states() == before
    assert (len(numbers(rest)), len(numbers(aside))) == (27, 3)
    assert sorted(numbers(rest) + numbers(aside)) == list(range(30))
    assert numbers(rest) == numbers(again) != numbers(other)


def test_too_little_to_set_aside():
    with pytest.raises(TaskError, match="at least 10 samples for a 10% validation split, got 9"):
        data.set_aside(numbered(9), 0.1)


# -- Bad input ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ((torch.zeros(5, 2), torch.zeros(4)), r"data tensors must have the same length, got \[5, 4\]"),
        ((torch.zeros(0, 2), torch.zeros(0)), r"must have at least one sample, got 0"),
        ([], r"must have at least one sample, got an empty list"),
        (TensorDataset(torch.zeros(0)), r"must have at least one sample, got an empty TensorDataset"),
        (
            (torch.tensor(1.0),),
            r"data\[0\] must be a dense tensor of shape \[samples, ...\], got torch.strided of shape \(\)",
        ),
        ((torch.eye(3).to_sparse(),), r"data\[0\] must be a dense .*, got torch.sparse_coo of shape \(3, 3\)"),
        (
            "mnist",
            r"must be a tuple of tensors \(the last is the target\), a dict .* or an iterable of batches, got str",
        ),
        ({"x": [1.0, 2.0]}, r"data must be a tuple of tensors .*, got dict"),
        (7, r"data must be a tuple of tensors .*, got int"),
        (np.zeros((3, 2), object), r"data must be numbers, got ndarray of dtype object \(int\). Encode texts"),
        ((np.zeros((3, 2)), np.zeros(4)), r"data tensors must have the same length, got \[3, 4\]"),
        ((torch.zeros(3), np.array(["a", "b", "c"])), r"data\[1\] must be numbers, got ndarray of dtype <U1 \(str_\)"),
        (
            {"x": torch.zeros(3), "y": torch.eye(3).to_sparse()},
            r"data\['y'\] must be a dense tensor .*, got torch.sparse",
        ),
        (
            [(torch.zeros(3), 1)],
            r"data must be an iterable of batches, got a list of tuple whose targets are single num",
        ),
    ],
)
def test_data_that_cannot_be_used(source, says):
    with pytest.raises(TaskError, match=says):
        Batches(source, None if isinstance(source, list | str | dict) else 1)


def test_values_that_are_not_finite_are_counted_and_found():
    x, y = torch.zeros(20, 3), torch.zeros(20)
    x[4, 1] = x[4, 2] = x[11, 0] = float("nan")
    x[7, 2] = -float("inf")
    with pytest.raises(TaskError) as caught:
        Batches((x, y), 4)
    assert str(caught.value) == (
        "data[0] must be finite, got 3 NaN and 1 infinite values in 3 of 20 samples (first: 4, 7, 11). "
        "Remove or fill them."
    )
    y[2] = float("inf")
    with pytest.raises(
        TaskError, match=r"data\[1\] must be finite, got 0 NaN and 1 infinite values in 1 of 20 samples \(first: 2\)"
    ):
        Batches((torch.zeros(20, 3), y), 4)


def test_infinities_of_both_signs_are_found():
    with pytest.raises(TaskError, match="0 NaN and 2 infinite values in 2 of 3"):
        Batches((torch.tensor([float("inf"), 0.0, -float("inf")]),), 1)


def test_large_finite_values_are_allowed():
    x = torch.full((100,), 60000.0, dtype=torch.float16)
    assert torch.isinf(x.sum())
    Batches((x,), 4)


@pytest.mark.parametrize(
    ("size", "says"),
    [
        (0, "batch_size must be 'full' or an integer ≥ 1, got 0"),
        (-3, "integer ≥ 1, got -3"),
        (11, r"batch_size must be ≤ 10 \(the number of samples\), got 11. Use 'full'"),
        ("half", "integer ≥ 1, got 'half'"),
        (2.5, "integer ≥ 1, got 2.5"),
        (True, "integer ≥ 1, got True"),
        (None, "integer ≥ 1, got None"),
    ],
)
@pytest.mark.parametrize("kind", ["tensors", "dataset"])
def test_batch_sizes_that_cannot_be_meant(kind, size, says):
    with pytest.raises(InputError, match=says):
        Batches(as_given(kind), size)


@pytest.mark.parametrize("accumulate", [0, -1, 1.5, True, "2"])
def test_accumulation_that_cannot_be_meant(accumulate):
    with pytest.raises(InputError, match=r"accumulate must be an integer ≥ 1, got "):
        Batches(numbered(10), 5, accumulate=accumulate)


def test_more_micro_batches_than_samples():
    with pytest.raises(InputError, match=r"accumulate must be ≤ batch_size \(5\), got 6"):
        Batches(numbered(10), 5, accumulate=6)


def test_an_iterable_has_its_own_batch_size():
    with pytest.raises(InputError, match=r"batch_size cannot be used with a DataLoader, which already has batches"):
        Batches(as_given("loader"), 8)
