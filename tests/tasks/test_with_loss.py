"""A loss with parameters is trained with the model, as one module with the loss's names under `loss.`."""

import copy
import functools

import pytest
import torch
from torch import nn
from torch.func import functional_call

import steepest as sd
from steepest.errors import TaskError
from steepest.tasks import Space, Task
from steepest.tasks.objective import Loss, Objective
from steepest.tasks.with_loss import ModelWithLoss, parts, stateful_module, with_loss


class Uncertainty(nn.Module):
    """Kendall et al. 2018, arXiv:1705.07115: each part of the loss has a log variance that is learned."""

    def __init__(self):
        super().__init__()
        self.s = nn.Parameter(torch.zeros(2))

    def forward(self, output, target):
        return (torch.exp(-self.s) * (output - target).square().mean(0) + self.s).sum()

    def scaled(self, output, target, scale=1.0):
        return scale * self(output, target)


class Centres(nn.Module):
    """A centre of each class that moves, in a buffer (no parameters)."""

    def __init__(self):
        super().__init__()
        self.register_buffer("centre", torch.zeros(2))

    def forward(self, output, target):
        if self.training:
            self.centre = 0.9 * self.centre + 0.1 * output.detach().mean(0)
        return (output - target - self.centre).square().mean()


FORMS = {
    "module": lambda loss: loss,
    "method": lambda loss: loss.scaled,
    "partial of a method": lambda loss: functools.partial(loss.scaled, scale=1.0),
    "partial of a module": lambda loss: functools.partial(loss),
}


def network():
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return nn.Linear(4, 2)


def samples():
    g = torch.Generator().manual_seed(0)
    x = torch.randn(80, 4, generator=g)
    return x, torch.stack([x[:, 0], 5 * x[:, 1] + 3 * torch.randn(80, generator=g)], 1)


def task_of(loss, model=None):
    return Task(network() if model is None else model, samples(), loss, validation=samples())


def losses(task, steps=8):
    return [s.loss for s in sd.descend(task, "adam", lr=0.03, schedule="constant", batch_size="full", steps=steps)]


def in_torch(steps=8):
    net, loss, (x, y) = network(), Uncertainty(), samples()
    optimizer = torch.optim.Adam([*net.parameters(), *loss.parameters()], lr=0.03)
    values = []
    for _ in range(steps):
        value = loss(net(x), y)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        values.append(value.item())
    return values, loss.s.detach()


@pytest.mark.parametrize("form", list(FORMS))
def test_it_is_trained_as_in_torch_and_begins_again(form):
    loss = Uncertainty()
    task = task_of(FORMS[form](loss))
    expected, s = in_torch()
    first = losses(task)
    assert first == pytest.approx(expected, abs=1e-5)
    assert torch.allclose(loss.s, s, atol=1e-6)
    assert losses(task) == first
    assert task.change_note() == ""


def test_its_names_follow_the_models():
    task = task_of(Uncertainty())
    space = Space(task.build(0), groups={"loss.*": {"lr_scale": 0.1}}, no_decay=["loss.s"])
    assert space.names == ("weight", "bias", "loss.s")
    assert space.overrides[space.rows[2]] == {"weight_decay": 0.0, "lr_scale": 0.1}
    assert space.modules == (task.model, task.model, task.loss)
    assert space.size == 12


def test_a_copy_has_its_own_loss():
    task = task_of(functools.partial(Uncertainty().scaled, scale=1.0))
    module = task.copy(0)
    assert isinstance(module, ModelWithLoss)
    assert module.loss is not task.loss.func.__self__
    assert module.function.func.__self__ is module.loss
    with torch.no_grad():
        module.get_submodule("loss").s += 1
    assert torch.equal(task.loss.func.__self__.s, torch.zeros(2))
    assert torch.equal(task.copy(0).loss.s, torch.zeros(2))
    again = copy.deepcopy(module)
    assert torch.equal(again.loss.s, module.loss.s)
    assert again.function.func.__self__ is again.loss


def test_models_by_seed_get_the_loss_at_its_start():
    loss = Uncertainty()
    task = task_of(loss, lambda seed: nn.Linear(4, 2))
    losses(task)
    assert loss.s.abs().sum() > 0.1
    assert torch.equal(task.build(3).loss.s, torch.zeros(2))
    assert task.build(3).loss is loss
    assert task.copy(3).loss is not loss


def test_a_point_of_it_is_a_start():
    task = task_of(Uncertainty())
    point = Space(task.copy(0)).gather() + 1
    other = task.at(point)
    assert torch.equal(Space(other.build(0)).gather(), point)
    assert torch.equal(Space(other.copy(0)).gather(), point)
    assert torch.equal(task.loss.s, torch.zeros(2))


def test_modes_buffers_and_dtypes_are_those_of_both():
    module = with_loss(nn.Sequential(nn.Linear(4, 2), nn.BatchNorm1d(2)), Centres())
    assert [name for name, _ in module.named_buffers()][-1] == "loss.centre"
    assert [m.training for m in module.eval().modules()] == [False] * 4
    assert not module.model.training
    assert all(m.training for m in module.train().modules())
    assert {p.dtype for p in module.double().parameters()} == {torch.float64}
    assert module.loss.centre.dtype is torch.float64
    state = copy.deepcopy(module.state_dict())
    module.loss.centre += 1
    module.load_state_dict(state)
    assert torch.equal(module.loss.centre, torch.zeros(2))


def test_measuring_leaves_its_state():
    task = task_of(Centres())
    module = task.build(0)
    objective = Objective(module, task)
    module.train()
    objective.gradient([samples()], module.parameters())
    centre = module.loss.centre.clone()
    assert centre.abs().sum() > 0
    objective.evaluate([samples()], {})
    assert torch.equal(module.loss.centre, centre)
    task.build(0)
    assert torch.equal(module.loss.centre, torch.zeros(2))


def test_it_is_a_function_of_all_its_weights():
    task = task_of(Uncertainty())
    module = task.copy(0)
    whole, (x, y) = Loss(Objective(module, task)), samples()
    weights = {"model.weight": torch.zeros(2, 4), "model.bias": torch.ones(2), "model.loss.s": torch.ones(2)}
    got = functional_call(whole, weights, ((x, y),))
    expected = (torch.exp(-torch.ones(2)) * (1 - y).square().mean(0) + 1).sum()
    assert torch.allclose(got, expected)


def test_a_shared_tensor_counts_once():
    class Penalty(nn.Module):
        def __init__(self, model):
            super().__init__()
            self.model, self.log_weight = model, nn.Parameter(torch.zeros(()))

        def forward(self, output, target):
            return (output - target).square().mean() + self.log_weight.exp() * self.model.weight.square().sum()

    model = network()
    task = task_of(Penalty(model), model)
    names = [name for name, _ in task.copy(0).named_parameters()]
    assert names == ["weight", "bias", "loss.log_weight"]
    assert losses(task) == losses(task)


def test_a_clash_of_names():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.loss = nn.Linear(4, 2)

        def forward(self, x):
            return self.loss(x)

    with pytest.raises(TaskError, match=r"Model must have no parameter or module named 'loss', .* \(Uncertainty\)"):
        task_of(Uncertainty(), Model())


@pytest.mark.parametrize(
    "loss",
    [nn.functional.mse_loss, nn.MSELoss(), nn.BCEWithLogitsLoss(pos_weight=torch.ones(2)), lambda o, t: o.mean()],
)
def test_a_loss_without_a_state_leaves_the_model_alone(loss):
    model = network()
    task = task_of(loss, model)
    assert stateful_module(loss) is None
    assert task.build(0) is task.module is model
    assert parts(model) == (model, None)


def test_a_compiled_model_keeps_its_names():
    task = task_of(Uncertainty(), torch.compile(network(), backend="eager"))
    module = task.copy(0)
    assert Space(module).names == ("weight", "bias", "loss.s")
    assert Space(module._orig_mod).names == ("weight", "bias", "loss.s")
    assert getattr(task_of(Uncertainty()).copy(0), "_orig_mod", None) is None


def test_a_stored_run_has_it(tmp_path):
    task = task_of(Uncertainty())
    run = sd.fit(task, "adam", lr=0.03, batch_size=20, epochs=2, runs=tmp_path, locate=False)
    stored = sd.open(run.id, runs=tmp_path)
    assert torch.equal(stored.tensors["loss.s"], task.loss.s)
    assert stored.record.config.parameters == ("weight", "bias", "loss.s")
    longer = sd.resume(run.id, task, epochs=4, runs=tmp_path)
    assert len(longer.losses) == 16
