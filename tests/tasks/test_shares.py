"""What each batch counts for: the loss and gradient of several batches are those of all their samples at once."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import steepest as sd
from steepest.errors import TaskError
from steepest.tasks import data, evaluation
from steepest.tasks.objective import Objective
from steepest.tasks.task import Task

WEIGHTS = torch.tensor([1.0, 5.0, 20.0], dtype=torch.float64)
CUTS = {
    "even": (0, 15, 30, 45, 60),
    "uneven": (0, 7, 30, 60),
    "single": (0, 1, 2, 21, 22, 23, 60),
    "halves": (0, 20, 60),
}


def network():
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return nn.Linear(6, 3).double()


def samples(kind="classes"):
    g = torch.Generator().manual_seed(0)
    x = torch.randn(60, 6, generator=g, dtype=torch.float64)
    y = (x @ torch.randn(6, 3, generator=g, dtype=torch.float64)).argmax(1)
    if kind == "ignored":
        y[::4] = -100
        y[:20] = -100
    if kind == "one-hot":
        return x, F.one_hot(y, 3).double()
    return x, y


def masked(output, target):
    mask = target[:, 0] > 0
    return ((output - target).square().mean(1) * mask).sum() / mask.sum()


def contrastive(output, target):
    output = F.normalize(output)
    return F.cross_entropy(output @ output.T / 0.1, torch.arange(len(output)))


LOSSES = {
    "mean": (F.cross_entropy, "classes", "mean"),
    "ignored": (F.cross_entropy, "ignored", "other"),
    "class weights": (nn.CrossEntropyLoss(weight=WEIGHTS), "classes", "other"),
    "smooth class weights": (nn.CrossEntropyLoss(weight=WEIGHTS, label_smoothing=0.1), "classes", "other"),
    "sum": (nn.CrossEntropyLoss(reduction="sum"), "classes", "sum"),
    "sum of some": (nn.CrossEntropyLoss(reduction="sum"), "ignored", "sum"),
    "sum over a constant": (lambda o, t: F.cross_entropy(o, t, reduction="sum") / 10, "classes", "sum"),
    "pos_weight": (nn.BCEWithLogitsLoss(pos_weight=WEIGHTS), "one-hot", "mean"),
    "mask": (masked, "one-hot", "other"),
    "hinge": (nn.MultiMarginLoss(), "classes", "mean"),
    "squared sum": (nn.MSELoss(reduction="sum"), "one-hot", "sum"),
}


def parts_of(batch, cuts):
    return [data.slice(batch, low, high) for low, high in zip(CUTS[cuts][:-1], CUTS[cuts][1:])]


def truth(model, loss, batch):
    model.zero_grad()
    value = loss(model(batch[0]), batch[1])
    value.backward()
    return value.item(), torch.cat([p.grad.reshape(-1) for p in model.parameters()])


@pytest.mark.parametrize("cuts", list(CUTS))
@pytest.mark.parametrize("kind", list(LOSSES))
def test_accumulation_is_the_whole_batch(kind, cuts):
    loss, target, reduction = LOSSES[kind]
    model, batch = network(), samples(target)
    value, gradient = truth(model, loss, batch)
    objective = Objective(model, Task(model, loss=loss))
    for _ in range(2):  # the second time with what the first has shown
        got = objective.gradient(parts_of(batch, cuts), model.parameters())
        assert abs(got - value) <= 1e-11 * abs(value)
        assert torch.allclose(
            torch.cat([p.grad.reshape(-1) for p in model.parameters()]), gradient, rtol=1e-9, atol=1e-13
        )
    assert objective.reduction == reduction


@pytest.mark.parametrize("bound", [evaluation.OUTPUT_BYTES, 0])
@pytest.mark.parametrize("cuts", list(CUTS))
@pytest.mark.parametrize("kind", list(LOSSES))
def test_evaluation_is_torchs_value(kind, cuts, bound, monkeypatch):
    monkeypatch.setattr(evaluation, "OUTPUT_BYTES", bound)
    loss, target, _ = LOSSES[kind]
    model, batch = network(), samples(target)
    value, _ = truth(model, loss, batch)
    objective, parts = Objective(model, Task(model, loss=loss)), parts_of(batch, cuts)
    assert abs(objective.evaluate(parts, {})["loss"] - value) <= 1e-11 * abs(value)
    assert abs(objective.value(parts) - value) <= 1e-11 * abs(value)
    assert objective.note == ""


@pytest.mark.parametrize("cuts", list(CUTS))
@pytest.mark.parametrize("kind", list(LOSSES))
def test_shares_make_the_whole_loss(kind, cuts):
    loss, target, reduction = LOSSES[kind]
    model, batch = network(), samples(target)
    value, _ = truth(model, loss, batch)
    objective, parts = Objective(model, Task(model, loss=loss)), parts_of(batch, cuts)
    shares = objective.shares(parts)
    losses = [objective.loss(part).item() for part in parts]
    assert abs(sum(s * x for s, x in zip(shares, losses, strict=True) if s) - value) <= 1e-11 * abs(value)
    assert objective.find_reduction(batch) == reduction
    if reduction == "mean":
        assert shares == [len(part[1]) / 60 for part in parts]


def test_one_batch_has_the_whole_share():
    model = network()
    assert Objective(model, Task(model, loss=contrastive)).shares([samples()]) == [1.0]


def test_numbers_of_a_mean_stay_as_they_were_bit_for_bit():
    model, (x, y) = network().float(), samples()
    parts = parts_of((x.float(), y), "uneven")
    objective = Objective(model, Task(model, loss=F.cross_entropy))
    losses = [F.cross_entropy(model(a), b).item() * len(b) for a, b in parts]
    assert objective.evaluate(parts, {})["loss"] == sum(losses) / 60
    value = objective.gradient(parts, model.parameters())
    gradients = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    expected = []
    for a, b in parts:
        loss = F.cross_entropy(model(a), b)
        (loss * (len(b) / 60)).backward()
        expected.append(loss.detach().double() * len(b) / 60)
    assert value == sum(expected[1:], expected[0]).item()
    assert all(torch.equal(p.grad, g) for p, g in zip(model.parameters(), gradients, strict=True))


@pytest.mark.parametrize("loss", [contrastive, lambda o, t: F.cross_entropy(o, t) + o.square().sum()])
def test_a_loss_that_mixes_samples(loss):
    model, batch = network(), samples()
    objective, parts = Objective(model, Task(model, loss=loss)), parts_of(batch, "even")
    value, _ = truth(model, loss, batch)
    assert abs(objective.evaluate(parts, {})["loss"] - value) <= 1e-11 * abs(value)
    with pytest.raises(TaskError, match=r"no weighted sum of their losses: .* Use accumulate=1, or say with count="):
        objective.gradient(parts, model.parameters())
    assert objective.shares(parts) == [0.25] * 4
    assert "mean by samples" in objective.note


def test_count_says_what_the_loss_does_not():
    model, batch = network(), samples()
    parts = parts_of(batch, "uneven")
    objective = Objective(model, Task(model, loss=contrastive, count=lambda batch: 1.0))
    mean = sum(contrastive(model(a), b).item() for a, b in parts) / 3
    assert abs(objective.gradient(parts, model.parameters()) - mean) <= 1e-12
    assert objective.shares(parts) == [1 / 3] * 3


@pytest.mark.parametrize("cuts", ["even", "halves"])
def test_a_nan_is_no_mean_over_nothing(cuts):
    model, (x, y) = network(), samples("one-hot")
    y[3, 0] = math.nan
    objective, parts = Objective(model, Task(model, loss=F.mse_loss)), parts_of((x, y), cuts)
    assert math.isnan(objective.gradient(parts, model.parameters()))
    assert all(p.grad.isnan().any() for p in model.parameters())
    assert math.isnan(objective.evaluate(parts, {})["loss"])


def test_all_labels_ignored_is_nan_as_in_torch():
    model, (x, y) = network(), samples()
    parts = parts_of((x, torch.full_like(y, -100)), "even")
    assert math.isnan(Objective(model, Task(model, loss=F.cross_entropy)).gradient(parts, model.parameters()))


class Centred(nn.Module):
    """A loss with a state that every call changes, and random numbers."""

    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, output, target):
        self.calls += 1
        return F.cross_entropy(output + 0 * torch.rand(1, dtype=torch.float64), target)


def test_probing_leaves_the_losss_state_and_random_numbers():
    task = Task(network(), loss=Centred())
    model = task.build(0)
    before = torch.get_rng_state()
    Objective(model, task).gradient(parts_of(samples(), "even"), model.parameters())
    assert model.loss.calls == 4
    torch.set_rng_state(before)
    for _ in range(4):
        torch.rand(1, dtype=torch.float64)
    expected = torch.rand(1)
    torch.set_rng_state(before)
    Objective(model, task).gradient(parts_of(samples(), "even"), model.parameters())
    assert torch.equal(torch.rand(1), expected)


# -- Sequences of different lengths ------------------------------------------------------------------------------------


def sequences(lengths, pads=True):
    g = torch.Generator().manual_seed(2)
    batches = []
    for longest in lengths:
        x, y = torch.randint(5, (4, longest), generator=g), torch.randint(5, (4, longest), generator=g)
        if pads:
            y[1, longest // 2 :] = -100
        batches.append((x, y))
    return batches


def language_model():
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return nn.Sequential(nn.Embedding(5, 8), nn.Linear(8, 5)).double()


def over_tokens(reduction):
    return lambda output, target: F.cross_entropy(output.transpose(1, 2), target, reduction=reduction)


def test_sums_over_sequences_of_different_lengths_add_up():
    model, parts = language_model(), sequences([6, 9, 4])
    objective = Objective(model, Task(model, loss=over_tokens("sum")))
    total = sum(over_tokens("sum")(model(x), y).item() for x, y in parts)
    assert abs(objective.gradient(parts, model.parameters()) - total) <= 1e-10
    assert abs(objective.evaluate(parts, {})["loss"] - total) <= 1e-10


@pytest.mark.parametrize("pads", [True, False])
def test_means_over_sequences_of_different_lengths_need_count(pads):
    model, parts = language_model(), sequences([6, 9, 4], pads)
    with pytest.raises(TaskError, match=r"outputs cannot be joined \(rows to join .*\)\. Pass Task\(count=batch ->"):
        Objective(model, Task(model, loss=over_tokens("mean"))).gradient(parts, model.parameters())
    objective = Objective(model, Task(model, loss=over_tokens("mean")))
    mean = sum(over_tokens("mean")(model(x), y).item() for x, y in parts) / 3
    assert abs(objective.evaluate(parts, {})["loss"] - mean) <= 1e-12
    assert "mean by samples" in objective.note
    counted = Task(model, loss=over_tokens("mean"), count=lambda batch: (batch[1] != -100).sum())
    tokens = torch.tensor([(y != -100).sum() for _, y in parts], dtype=torch.float64)
    losses = torch.tensor([over_tokens("mean")(model(x), y).item() for x, y in parts], dtype=torch.float64)
    assert (
        abs(Objective(model, counted).gradient(parts, model.parameters()) - (tokens @ losses / tokens.sum())) <= 1e-12
    )


def test_a_descent_with_a_sum_is_that_without_accumulation():
    x, y = samples("one-hot")

    def losses(accumulate):
        task = sd.Task(network(), (x, y), nn.MSELoss(reduction="sum"), validation=(x, y))
        return [s.loss for s in sd.descend(task, "momentum", lr=1e-4, batch_size=20, steps=6, accumulate=accumulate)]

    assert losses(3) == pytest.approx(losses(1), rel=1e-12)


# -- An objective in the loss's place ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("reduction", "scale"), [("mean", 1), ("sum", 60)])
def test_the_reduction_of_an_objective(reduction, scale):
    model = network()
    task = Task(model, objective=lambda m, b: F.cross_entropy(m(b[0]), b[1], reduction=reduction))
    objective = Objective(model, task)
    assert objective.find_reduction(samples()) == reduction
    assert objective.per_sample(120.0, 60) == 120 / scale
