"""The loss and its gradient at one point, and what measuring leaves as it was."""

import math
import random
import re

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from steepest.errors import InputError, TaskError
from steepest.tasks import data
from steepest.tasks.batches import Batches
from steepest.tasks.buffers import SMALL_BUFFER_NUMEL, Buffers
from steepest.tasks.objective import Objective
from steepest.tasks.task import Task


def network(seed=0, dtype=torch.float32):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(6, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Dropout(0.3), nn.Linear(12, 4)
    ).to(dtype)  # fmt: skip


def samples(n=40, dtype=torch.float32):
    g = torch.Generator().manual_seed(3)
    return torch.randn(n, 6, generator=g, dtype=dtype), torch.randint(4, (n,), generator=g)


def of_loss(model, loss=F.cross_entropy, **given):
    return Objective(model, Task(model, loss=loss, count=given.pop("count", None)), **given)


def of_whole(model, whole, **given):
    return Objective(model, Task(model, objective=whole, count=given.pop("count", None)), **given)


def of_whole_loss(model, **given):
    return of_whole(model, lambda m, b: F.cross_entropy(m(b[0]), b[1]), **given)


def states():
    python, numpy = random.getstate(), np.random.get_state()
    return python, numpy[1].tolist(), numpy[2], torch.default_generator.get_state().tolist()


# -- Losses that cannot be used ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("whole", "says"),
    [
        (lambda m, b: F.cross_entropy(m(b[0]), b[1], reduction="none"),
         r"loss must be a scalar tensor, got shape \(40,\)\. Take its mean, as reduction='mean' does"),
        (lambda m, b: F.cross_entropy(m(b[0]), b[1])[None], r"must be a scalar tensor, got shape \(1,\)"),
        (lambda m, b: m(b[0]).mean().item(), r"loss must be a scalar tensor, got float"),
        (lambda m, b: None, "loss must be a scalar tensor, got NoneType None"),
        (lambda m, b: (m(b[0]).mean(), {}), "loss must be a scalar tensor, got tuple"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("micro", [1, 2])
def test_a_loss_that_is_not_a_scalar(whole, says, micro):
    model = network()
    with pytest.raises(TaskError, match=says):
        of_whole(model, whole).gradient([samples()] * micro, list(model.parameters()))


@pytest.mark.parametrize(
    "whole",
    [
        lambda m, b: F.cross_entropy(m(b[0]), b[1]).detach(),
        lambda m, b: torch.tensor(m(b[0]).mean().item()),
        lambda m, b: torch.no_grad()(m)(b[0]).mean(),
        lambda m, b: b[0].mean(),
    ],
)
@pytest.mark.parametrize("micro", [1, 2])
def test_a_loss_without_a_gradient(whole, micro):
    model = network()
    with pytest.raises(
        TaskError, match=r"loss does not depend on any trainable weight. Is something detached, under no_grad, or"
    ):
        of_whole(model, whole).gradient([samples()] * micro, list(model.parameters()))


def test_an_unknown_precision():
    with pytest.raises(
        InputError, match=r"precision must be 'bfloat16' or 'float32', got 'float16'. For float64, convert"
    ):
        of_loss(network(), precision="float16")


# -- Gradients ---------------------------------------------------------------------------------------------------------


def plain(model, parts, loss=F.cross_entropy):
    model.zero_grad()
    value = loss(model(*parts[:-1]), parts[-1])
    value.backward()
    return value.item(), [p.grad for p in model.parameters()]


@pytest.mark.parametrize("precision", [None, "float32"])
def test_the_gradient_is_torchs(precision):
    model, other = network().eval(), network().eval()
    loss = of_loss(model, precision=precision).gradient([samples()], list(model.parameters()))
    expected, gradients = plain(other, samples())
    assert loss == expected
    assert all(torch.equal(p.grad, g) for p, g in zip(model.parameters(), gradients, strict=True))


def test_float64_stays_float64():
    model = network(dtype=torch.float64).eval()
    of_loss(model).gradient([samples(dtype=torch.float64)], list(model.parameters()))
    assert all(p.grad.dtype is torch.float64 for p in model.parameters())


def test_old_gradients_are_dropped():
    model = network().eval()
    objective = of_loss(model)
    objective.gradient([samples()], list(model.parameters()))
    first = [p.grad.clone() for p in model.parameters()]
    objective.gradient([samples()], list(model.parameters()))
    assert all(torch.equal(p.grad, g) for p, g in zip(model.parameters(), first, strict=True))


def test_a_parameter_that_is_not_used_has_no_gradient():
    model = network()
    model.spare = nn.Linear(2, 2)
    whole = lambda m, b: F.cross_entropy(nn.Sequential.forward(nn.Sequential(*list(m)[:5]), b[0]), b[1])  # noqa: E731
    of_whole(model, whole).gradient([samples()], list(model.parameters()))
    assert model.spare.weight.grad is None
    assert model[0].weight.grad is not None


def test_several_inputs_are_given_in_order():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Linear(6, 4)

        def forward(self, x, scale):
            return self.a(x) * scale[:, None]

    x, y = samples()
    model = Two()
    loss = of_loss(model).loss((x, torch.full((40,), 2.0), y))
    assert torch.equal(loss, F.cross_entropy(model.a(x) * 2, y))


@pytest.mark.parametrize("micro", [1, 4])
def test_bfloat16_is_autocast(micro):
    model, other = network().eval(), network().eval()
    parts = list(zip(*(x.tensor_split(micro) for x in samples()), strict=True))
    loss = of_loss(model, precision="bfloat16").gradient(parts, list(model.parameters()))
    expected = 0.0
    for x, y in parts:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            value = F.cross_entropy(other(x), y)
        (value * (len(x) / 40)).backward()
        expected += value.item() * len(x) / 40
    assert loss == expected
    assert all(torch.equal(p.grad, q.grad) for p, q in zip(model.parameters(), other.parameters(), strict=True))
    assert all(p.dtype is p.grad.dtype is torch.float32 for p in model.parameters())
    exact, gradients = plain(network().eval(), samples())
    assert exact != loss
    assert all((p.grad - g).norm() <= 0.02 * g.norm() for p, g in zip(model.parameters(), gradients, strict=True))


# -- What a mean is over -----------------------------------------------------------------------------------------------


def tokens(n=9, seed=0):
    """Sequences of different lengths: padding has the target −100."""
    g = torch.Generator().manual_seed(seed)
    x, y = torch.randint(11, (n, 7), generator=g), torch.randint(11, (n, 7), generator=g)
    lengths = torch.randint(1, 8, (n,), generator=g)
    y[torch.arange(7) >= lengths[:, None]] = -100
    return x, y


def language_model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Embedding(11, 8), nn.Tanh(), nn.Linear(8, 11)).double()


def over_tokens(output, target):
    return F.cross_entropy(output.flatten(0, 1), target.flatten())


def count_tokens(batch):
    return (batch[-1] != -100).sum().item()


def test_tokens_weight_accumulation():
    model = language_model()
    parameters = list(model.parameters())
    full = of_loss(model, over_tokens, count=count_tokens).gradient([tokens()], parameters)
    g = torch.cat([p.grad.reshape(-1) for p in parameters])
    parts = Batches(tokens(), "full", accumulate=4)(1)
    assert len({count_tokens(part) / len(part[0]) for part in parts}) > 1

    loss = of_loss(model, over_tokens, count=count_tokens).gradient(parts, parameters)
    mean = torch.cat([p.grad.reshape(-1) for p in parameters])
    assert abs(loss - full) <= 1e-12 * full
    assert (mean - g).norm() <= 1e-12 * g.norm()

    of_the_loss = of_loss(model, over_tokens).gradient(parts, parameters)
    without_count = torch.cat([p.grad.reshape(-1) for p in parameters])
    assert abs(of_the_loss - full) <= 1e-12 * full
    assert (without_count - g).norm() <= 1e-12 * g.norm()


def test_tokens_weight_measuring():
    model = language_model()
    objective = of_loss(model, over_tokens, count=count_tokens)
    found = objective.evaluate(data.in_batches(tokens(), 2), {})["loss"]
    assert abs(found - over_tokens(model(tokens()[0]), tokens()[1]).item()) <= 1e-12 * found


def padding_alone():
    x, y = tokens()
    return x, torch.full_like(y, -100)


def test_a_micro_batch_of_padding_alone_weighs_nothing():
    """Its loss is a mean over nothing, NaN, and must not get into the others'."""
    model = language_model()
    parameters = list(model.parameters())
    objective = of_loss(model, over_tokens, count=count_tokens)
    expected = objective.gradient([tokens()], parameters)
    gradients = [p.grad.clone() for p in parameters]
    assert math.isnan(objective.loss(padding_alone()).item())
    assert objective.gradient([padding_alone(), tokens()], parameters) == expected
    assert all(torch.equal(p.grad, g) for p, g in zip(parameters, gradients, strict=True))
    found = objective.evaluate([padding_alone(), tokens()], {"all": lambda output, target: len(target)})
    assert found == {"loss": pytest.approx(expected, rel=1e-12), "all": 18}


def test_a_count_may_be_a_tensor():
    model = language_model()
    objective = of_loss(model, over_tokens, count=lambda batch: (batch[-1] != -100).sum())
    loss = objective.gradient([tokens(), tokens(seed=1)], list(model.parameters()))
    assert type(loss) is float
    assert loss == of_loss(model, over_tokens, count=count_tokens).gradient(
        [tokens(), tokens(seed=1)], list(model.parameters())
    )


@pytest.mark.parametrize("given", [-1, math.nan, math.inf, None, "nine", torch.ones(2), torch.tensor(-3)])
def test_a_count_that_is_no_number(given):
    model = language_model()
    objective = of_loss(model, over_tokens, count=lambda batch: given)
    says = rf"count\(batch\) must return the number of samples or tokens .*, got {re.escape(repr(given))}"
    with pytest.raises(TaskError, match=says):
        objective.gradient([tokens()] * 2, list(model.parameters()))
    with pytest.raises(TaskError, match=says):
        objective.evaluate([tokens()], {})


def test_nothing_counts():
    model = language_model()
    objective = of_loss(model, over_tokens, count=count_tokens)
    with pytest.raises(TaskError, match=r"got 0 for each of the 3 micro-batches of a step. Remove batches"):
        objective.gradient([padding_alone()] * 3, list(model.parameters()))
    with pytest.raises(TaskError, match=r"got 0 for each of the 2 evaluation batches"):
        objective.evaluate([padding_alone()] * 2, {})


# -- Measuring ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 7, 40, 100])
def test_the_mean_loss_is_that_of_all_samples(size):
    model = network(dtype=torch.float64)
    x, y = samples(dtype=torch.float64)
    found = of_loss(model).evaluate(data.in_batches((x, y), size), {})
    expected = F.cross_entropy(model.eval()(x), y).item()
    assert found.keys() == {"loss"}
    assert abs(found["loss"] - expected) <= 1e-12 * expected


def test_the_mean_of_an_objective_is_that_of_all_samples():
    model = network(dtype=torch.float64)
    x, y = samples(dtype=torch.float64)
    found = of_whole_loss(model).evaluate(data.in_batches((x, y), 7), {})
    assert abs(found["loss"] - F.cross_entropy(model.eval()(x), y).item()) <= 1e-12


def test_metrics_get_all_outputs_and_all_targets():
    model, asked = network(), []

    def greatest(output, target):
        asked.append((output.shape, target.clone()))
        return output.max()

    x, y = samples()
    found = of_loss(model).evaluate(data.in_batches((x, y), 7), {"greatest": greatest, "spread": lambda o, t: o.std()})
    output = model.eval()(x)
    assert [shape for shape, _ in asked] == [(40, 4)]
    assert torch.equal(asked[0][1], y)
    assert list(found) == ["loss", "greatest", "spread"]
    assert abs(found["greatest"] - output.max().item()) <= 1e-5
    assert abs(found["spread"] - output.std().item()) <= 1e-5
    assert all(type(value) is float for value in found.values())


@pytest.mark.parametrize("make", [of_loss, of_whole_loss])
def test_measuring_is_under_the_autocast_of_training(make):
    model, other = network(), network().eval()
    found = make(model, precision="bfloat16").evaluate(data.in_batches(samples(), 7), {})["loss"]
    expected = 0.0
    for x, y in zip(*(part.split(7) for part in samples()), strict=True):
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
            expected += F.cross_entropy(other(x), y).item() * len(x)
    assert found == expected / 40
    assert found != make(model).evaluate(data.in_batches(samples(), 7), {})["loss"]


def test_metrics_get_float32_of_what_autocast_made():
    model, other, seen = network(), network().eval(), []
    objective = of_loss(model, precision="bfloat16")
    objective.evaluate(data.in_batches(samples(), 40), {"first": lambda output, target: seen.append(output) or 0.0})
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        output = other(samples()[0])
    assert output.dtype is torch.bfloat16
    assert seen[0].dtype is torch.float32
    assert torch.equal(seen[0], output.float())


def test_a_model_of_its_own_dtype_keeps_it_for_metrics():
    seen = []
    for dtype in (torch.bfloat16, torch.float64):
        of_loss(network(dtype=dtype)).evaluate([samples(dtype=dtype)], {"of": lambda o, t: seen.append(o.dtype) or 0.0})
    assert seen == [torch.bfloat16, torch.float64]


def test_a_loss_that_is_not_a_scalar_is_refused_in_measuring_too():
    objective = of_loss(network(), lambda output, target: F.cross_entropy(output, target, reduction="none"))
    with pytest.raises(TaskError, match=r"loss must be a scalar tensor, got shape \(7,\)"):
        objective.evaluate(data.in_batches(samples(), 7), {})


def test_nothing_measured_is_not_a_number():
    assert math.isnan(of_loss(network()).evaluate([], {"accuracy": lambda o, t: 1.0})["loss"])


class Counting(nn.Module):
    """Writes a buffer at every pass, also in eval mode, and draws random numbers of three kinds."""

    def __init__(self):
        super().__init__()
        self.body = network()
        self.register_buffer("passes", torch.zeros(()))
        self.register_buffer("anew", torch.zeros(3))

    def forward(self, x):
        self.passes += 1
        self.anew = self.anew + 1
        return self.body(x) + torch.rand(1) * 1e-3 + random.random() * 1e-3 + np.random.rand() * 1e-3


@pytest.mark.parametrize("ends", ["well", "badly"])
def test_measuring_leaves_mode_buffers_and_random_state(ends):
    model = Counting()
    model.train()
    model.body[1].eval()  # a frozen BatchNorm stays frozen
    model.body[3].p = 0.5
    modes = [m.training for m in model.modules()]
    buffers = {name: (id(b), b.clone()) for name, b in model.named_buffers()}
    parts = data.in_batches(samples(), 7)
    loss = F.cross_entropy if ends == "well" else lambda output, target: 1 / 0
    before = states()
    objective = of_loss(model, loss)
    if ends == "well":
        objective.evaluate(parts, {})
    else:
        with pytest.raises(ZeroDivisionError):
            objective.evaluate(parts, {})
    assert states() == before
    assert [m.training for m in model.modules()] == modes
    assert all(id(b) == buffers[name][0] and torch.equal(b, buffers[name][1]) for name, b in model.named_buffers())
    assert all(p.grad is None for p in model.parameters())


def test_measuring_leaves_the_random_state_of_a_shuffling_loader():
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*samples()), 7, shuffle=True)
    objective = of_loss(network())
    before = states()
    objective.evaluate(data.in_batches(loader, 1), {})
    assert states() == before


def test_measuring_is_a_function_of_the_point_alone():
    model = Counting()
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed)
        found.append(of_loss(model).evaluate(data.in_batches(samples(), 7), {})["loss"])
    assert found[0] == found[1]


# -- Buffers -----------------------------------------------------------------------------------------------------------


def test_no_buffers():
    assert not Buffers(nn.Linear(2, 2))
    assert Buffers(nn.BatchNorm1d(2))


def test_buffers_are_put_back_where_they_were():
    model = Counting()
    buffers = Buffers(model)
    before = {name: (id(b), b.clone()) for name, b in model.named_buffers()}
    buffers.save()
    model(samples()[0] * float("nan"))
    assert model.body[1].running_mean.isnan().any()
    buffers.restore()
    assert all(id(b) == before[name][0] and torch.equal(b, before[name][1]) for name, b in model.named_buffers())


def test_shared_buffers_are_put_back_once():
    norm = nn.BatchNorm1d(6)
    model = nn.Sequential(norm, norm)
    buffers = Buffers(model)
    buffers.save()
    model(samples()[0])
    buffers.restore()
    assert torch.equal(norm.running_mean, torch.zeros(6))
    assert norm.num_batches_tracked == 0


def test_large_buffers_that_never_change_are_not_copied():
    model, g = nn.Sequential(nn.BatchNorm1d(SMALL_BUFFER_NUMEL + 1)), torch.Generator().manual_seed(0)
    model.register_buffer("table", torch.zeros(SMALL_BUFFER_NUMEL + 1))
    model.register_buffer("small", torch.zeros(SMALL_BUFFER_NUMEL))
    buffers = Buffers(model)
    buffers.save()
    model(torch.randn(2, SMALL_BUFFER_NUMEL + 1, generator=g))
    buffers.detect_changes()
    buffers.save()
    copied = {id(b): copy is not None for b, _, copy in buffers._copies}
    assert not copied[id(model.table)]
    assert copied[id(model.small)]
    assert copied[id(model[0].running_mean)]
    before = model[0].running_mean.clone()
    model(torch.randn(2, SMALL_BUFFER_NUMEL + 1, generator=g))
    buffers.restore()
    assert torch.equal(model[0].running_mean, before)


def test_a_wide_batch_norm_that_was_frozen_at_first():
    model = nn.Sequential(nn.BatchNorm1d(SMALL_BUFFER_NUMEL + 1)).eval()
    x = torch.randn(2, SMALL_BUFFER_NUMEL + 1, generator=torch.Generator().manual_seed(0))
    buffers = Buffers(model)
    buffers.save()
    model(x)
    buffers.detect_changes()
    buffers.save()
    model.train()(x)
    buffers.restore()
    assert torch.equal(model[0].running_mean, torch.zeros(SMALL_BUFFER_NUMEL + 1))
