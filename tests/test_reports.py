"""Public reports of trouble with training: each test names the thread, and asks for what its author wanted."""

import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss
from torch.utils.data import DataLoader, Dataset, TensorDataset

import steepest as sd
from steepest.errors import SteepestError


def numbers(n=120, features=6, seed=0):
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(n, features, generator=random)
    return x, x.sum(1, keepdim=True)


def linear(features=6, seed=0):
    torch.manual_seed(seed)
    return nn.Linear(features, 1)


def losses(task, **given):
    given = {"rule": "gradient_descent", "lr": 0.01, "schedule": "constant", "batch_size": 30, "steps": 12, **given}
    return [step.loss for step in sd.descend(task, **given)]


def plain_losses(model, loss, batches, lr=0.01):
    """Plain PyTorch on the same batches."""
    optimizer, seen = torch.optim.SGD(model.parameters(), lr=lr), []
    for x, y in batches:
        optimizer.zero_grad()
        value = loss(model(x), y)
        value.backward()
        optimizer.step()
        seen.append(value.item())
    return seen


# -- Data --------------------------------------------------------------------------------------------------------------


class Halves(nn.Linear):
    """Writes into the tensor that it is given, as some models of transformers do with labels and positions."""

    def forward(self, x):
        x /= 2
        return super().forward(x)


@pytest.mark.parametrize("batch_size", ["full", 30])
def test_a_model_that_writes_into_its_input(batch_size, tmp_path):
    """huggingface/transformers#47741: the caller's tensors change, and with them the data of the next epoch."""
    x, y = numbers()
    before, changed = x.clone(), Halves(6, 1)
    changed.load_state_dict(linear().state_dict())
    clean = nn.Sequential(linear())
    task = sd.Task(changed, (x, y), mse_loss, validation=(x[:20], y[:20]))
    other = sd.Task(clean, (before / 2, y), mse_loss, validation=(before[:20] / 2, y[:20]))
    given = {"batch_size": batch_size}
    assert losses(task, **given) == pytest.approx(losses(other, **given), rel=1e-5)
    run = sd.fit(task, "gradient_descent", 0.01, batch_size=batch_size, epochs=3, runs=tmp_path)
    assert torch.equal(x, before)
    assert run.metric == pytest.approx(mse_loss(run.model(x[:20].clone()), y[:20]).item(), rel=1e-6)
    sd.locate(task, run)
    run.film(tmp_path / "film.html")
    assert torch.equal(x, before)


def test_an_augmentation_that_writes_into_its_input():
    """facebookresearch/pycls#21: images are flipped in place, and each epoch sees what the last one left."""
    x, y = numbers()
    before, seen = x.clone(), []

    def augment(batch, generator):
        batch[0].mul_(2)
        seen.append(batch[0].abs().max().item())
        return batch

    losses(sd.Task(linear(), (x, y), mse_loss, validation=(x, y), augment=augment), batch_size="full")
    assert torch.equal(x, before)
    assert set(seen) == {2 * x.abs().max().item()}


class Drawn(Dataset):
    """Draws its samples by the global generators, as augmentation does."""

    def __len__(self):
        return 24

    def __getitem__(self, index):
        x = np.float32([np.random.rand(), random.random(), torch.rand(()).item()])
        return x, x.sum(keepdims=True)


@pytest.mark.parametrize("workers", [0, 2])
def test_augmentation_differs_between_workers_epochs_and_samples(workers):
    """pytorch/pytorch#5059 and #41329: workers draw the same numbers, in each epoch again."""
    seen = []

    def loss(output, target):
        seen.extend(target.flatten().tolist())
        return mse_loss(output, target)

    def draw(data):
        seen.clear()
        x = torch.zeros(4, 3)
        losses(sd.Task(linear(3), data, loss, validation=(x, x[:, :1])), batch_size=None if workers else 6, steps=8)
        return list(seen)

    data = DataLoader(Drawn(), 6, num_workers=workers) if workers else Drawn()
    first = draw(data)
    assert len(set(first)) == len(first) == 48
    assert draw(data) == first  # and the same again with the same seed


def test_a_loader_that_drops_its_only_batch_is_refused():
    """RasmussenLab/vamb#425: a data set smaller than the batch has no batch to train on."""
    x, y = numbers(20)
    loader = DataLoader(TensorDataset(x, y), 64, drop_last=True)
    model = linear()
    before = model.weight.clone()
    with pytest.raises(SteepestError, match="at least one sample, got an empty DataLoader"):
        losses(sd.Task(model, loader, mse_loss, validation=(x, y)), batch_size=None)
    assert torch.equal(model.weight, before)


class Packed:
    """Batches by a number of edges: their number differs from epoch to epoch."""

    def __init__(self, x, y):
        self.x, self.y, self.epoch = x, y, 0

    def __len__(self):
        return 5

    def __iter__(self):
        self.epoch += 1
        yield from zip(self.x.split(20 + 10 * (self.epoch % 2)), self.y.split(20 + 10 * (self.epoch % 2)), strict=True)


def test_epochs_of_different_lengths_lose_no_batch():
    """tensorflow/tensorflow#41571: a longer epoch was cut, a shorter one ended the training."""
    x, y = numbers()
    found = losses(sd.Task(linear(), Packed(x, y), mse_loss, validation=(x, y)), batch_size=None, steps=14)
    again = Packed(x, y)
    batches = [*again, *again, *again, *again][:14]
    assert found == pytest.approx(plain_losses(linear(), mse_loss, batches), rel=1e-5)


# -- Losses ------------------------------------------------------------------------------------------------------------


def test_the_last_group_of_micro_batches_is_not_scaled_down():
    """Lightning-AI/pytorch-lightning#19987, huggingface/transformers#38837: 5 batches in groups of 2 leave one, whose
    gradient was halved."""
    x, y = numbers(100)
    loader = DataLoader(TensorDataset(x, y), 20)
    task = sd.Task(linear(), loader, mse_loss, validation=(x, y))
    found = losses(task, batch_size=None, accumulate=2, steps=6)
    groups = [(x[lo : lo + 40], y[lo : lo + 40]) for lo in (0, 40, 80)] * 2
    assert found == pytest.approx(plain_losses(linear(), mse_loss, groups), rel=1e-5)


@pytest.mark.parametrize("loss", [mse_loss, nn.L1Loss(reduction="sum"), nn.HuberLoss()])
def test_a_short_last_batch_counts_for_its_samples(loss, tmp_path):
    """keras-team/keras#20241: the mean of the batches' losses is not the loss of the samples."""
    x, y = numbers(1030)  # measured in batches of 1,024 samples: the last has six
    y[-6:] += 100
    run = sd.fit(
        sd.Task(linear(), (x, y), loss, validation=(x, y)), "adam", 1e-3, epochs=1, runs=tmp_path, locate=False
    )
    assert run.metric == pytest.approx(loss(run.model(x), y).item(), rel=1e-5)


def test_tokens_are_counted_across_micro_batches():
    """huggingface/transformers#24725: the mean of means over tokens is not the mean over the batch's tokens."""
    random = torch.Generator().manual_seed(0)
    x, y = torch.randn(40, 5, 3, generator=random), torch.randint(4, (40, 5), generator=random)
    y[torch.rand(40, 5, generator=random) < 0.5] = -100

    def make():
        torch.manual_seed(0)
        return nn.Linear(3, 4)

    def loss(output, target):
        return cross_entropy(output.flatten(0, 1), target.flatten())

    def task():
        return sd.Task(make(), (x, y), loss, validation=(x, y), count=lambda batch: (batch[-1] != -100).sum())

    assert losses(task(), batch_size="full", accumulate=7) == pytest.approx(losses(task(), batch_size="full"), rel=1e-5)


def test_a_loss_of_shape_one_is_refused_in_words():
    """pytorch/pytorch#9811: the losses of replicas are gathered as a vector."""
    x, y = numbers()
    task = sd.Task(linear(), (x, y), lambda output, target: mse_loss(output, target)[None], validation=(x, y))
    with pytest.raises(SteepestError, match=r"scalar.*shape \(1,\)"):
        losses(task)


# -- Models ------------------------------------------------------------------------------------------------------------


class Frozen(nn.Module):
    """A batch norm that stays in evaluation mode: `train` is overridden, and returns nothing."""

    def __init__(self):
        super().__init__()
        self.norm, self.f = nn.BatchNorm1d(6), nn.Linear(6, 1)

    def train(self, mode=True):
        super().train(mode)
        self.norm.eval()

    def forward(self, x):
        return self.f(self.norm(x))


def test_a_frozen_batch_norm_stays_frozen(tmp_path):
    """pytorch/pytorch#66073, pgniewko/gt-pyg#112: the next `model.train()` thaws it, and its statistics drift."""
    x, y = numbers()
    model = Frozen()
    task = sd.Task(model, (5 + x, y), mse_loss, validation=(5 + x, y))
    run = sd.fit(task, "adam", 1e-2, batch_size=30, epochs=3, runs=tmp_path)
    assert torch.equal(model.norm.running_mean, torch.zeros(6))
    assert not model.norm.training
    sd.find_lr(task, "adam", batch_size=30, epochs=3)
    sd.locate(task, run)
    run.film(tmp_path / "film.html")
    assert torch.equal(model.norm.running_mean, torch.zeros(6))


class Heads(nn.Module):
    """An auxiliary head in training only, as Inception has; the output is another type then."""

    def __init__(self):
        super().__init__()
        self.f, self.aux = nn.Linear(6, 1), nn.Linear(6, 1)

    def forward(self, x):
        return (self.f(x), self.aux(x)) if self.training else self.f(x)


def test_an_output_that_differs_between_training_and_evaluation(tmp_path):
    """pytorch/vision#302: Inception gives two outputs in training, one in evaluation."""

    def loss(output, target):
        if isinstance(output, tuple):
            return mse_loss(output[0], target) + 0.4 * mse_loss(output[1], target)
        return mse_loss(output, target)

    x, y = numbers()
    task = sd.Task(Heads(), (x, y), loss, validation=(x, y))
    run = sd.fit(task, "adam", 1e-2, batch_size=30, epochs=3, runs=tmp_path)
    assert run.metric == pytest.approx(mse_loss(run.model.eval()(x), y).item(), rel=1e-6)
    verdict = sd.locate(task, run)
    assert verdict.number("training loss").value == pytest.approx(run.metric, rel=0.2)
    run.film(tmp_path / "film.html")


class Losses(nn.Module):
    """Gives losses in training and boxes in evaluation, as the detectors of torchvision do."""

    def __init__(self):
        super().__init__()
        self.f = nn.Linear(6, 1)

    def forward(self, x, y=None):
        return {"box": mse_loss(self.f(x), y)} if self.training else [{"boxes": b} for b in self.f(x)]


def test_an_objective_that_works_in_training_only_is_said(tmp_path):
    """pytorch/vision#1574, #1350: a detector has no losses in evaluation mode."""
    x, y = numbers()
    task = sd.Task(Losses(), (x, y), objective=lambda m, b: sum(m(*b).values()), validation=(x, y))
    with pytest.raises(SteepestError, match="evaluation mode"):
        sd.fit(task, "adam", 1e-2, batch_size=30, epochs=3, runs=tmp_path)


def test_tied_weights_move_once(tmp_path):
    """rwth-i6/returnn#1319: a tensor under two names is listed, and decayed, twice."""

    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.a = nn.Linear(6, 6, bias=False)
            self.b = nn.Linear(6, 6, bias=False)
            self.b.weight = self.a.weight

        def forward(self, x):
            return self.b(self.a(x))

    x, _ = numbers()
    task = sd.Task(Tied(), (x, x), mse_loss, validation=(x, x))
    run = sd.fit(task, sd.gradient_descent(weight_decay=0.1), 0.05, "constant", "full", steps=20, runs=tmp_path)
    twin = Tied()
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.05, weight_decay=0.1)
    for _ in range(20):
        optimizer.zero_grad()
        mse_loss(twin(x), x).backward()
        optimizer.step()
    assert run.point.numel() == 36
    torch.testing.assert_close(run.model.a.weight, twin.a.weight)
    assert run.model.a.weight is run.model.b.weight


def test_a_wrapped_model_is_the_model(tmp_path):
    """pytorch/pytorch#101107: names of a compiled model begin with `_orig_mod.`, and its weights fit nowhere else."""
    x, y = numbers()
    model = linear()
    wrapped = torch.compile(model, backend="eager")
    run = sd.fit(sd.Task(wrapped, (x, y), mse_loss, validation=(x, y)), "adam", 1e-2, epochs=2, runs=tmp_path)
    fresh = linear(seed=1)
    fresh.load_state_dict(run.tensors)
    assert torch.equal(fresh.weight, model.weight)


# -- Searches and resumption -------------------------------------------------------------------------------------------


def test_a_search_leaves_no_trace(tmp_path):
    """davidtvs/pytorch-lr-finder#11, fastai/fastai#3013, Lightning-AI/pytorch-lightning#9672: a search in front of a
    training changes its result."""
    x, y = numbers()

    def train(search):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.2), nn.ReLU(), nn.Linear(8, 1))
        task = sd.Task(model, (x, y), mse_loss, validation=(x, y))
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        if search:
            sd.find_lr(task, "adam", batch_size=30, epochs=10)
            assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
            assert all(p.grad is None for p in model.parameters())
            assert model.training
        return sd.fit(task, "adam", 1e-2, batch_size=30, epochs=3, runs=tmp_path, locate=False).losses

    assert np.array_equal(train(search=True), train(search=False))


def test_a_run_stopped_within_an_epoch_sees_the_rest_of_it(tmp_path):
    """Lightning-AI/pytorch-lightning#5325, PolymathicAI/the_well#77: the rest of the epoch is skipped, the schedule
    begins again."""
    x, y = numbers()
    calls = [0]

    def loss(output, target):
        calls[0] += output.requires_grad
        if calls[0] == 7:  # of twelve: the third of the second epoch
            raise KeyboardInterrupt
        return mse_loss(output, target)

    def task(function):
        return sd.Task(linear(), (x, y), function, validation=(x, y), name="rest")

    given = {"rule": "adam", "lr": 1e-2, "batch_size": 30, "epochs": 3, "checkpoint_every": 1, "locate": False}
    whole = sd.fit(task(mse_loss), **given, runs=tmp_path / "whole")
    run = sd.fit(task(loss), **given, runs=tmp_path)
    assert run.status == "interrupted"
    again = sd.resume(run.id, task(mse_loss), runs=tmp_path)
    assert np.array_equal(again.losses, whole.losses)
    assert torch.equal(again.point, whole.point)
