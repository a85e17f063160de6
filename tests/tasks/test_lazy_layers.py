"""Lazy layers: a task gives them their weights as the model's own first pass would, and changes nothing else."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import steepest as sd
from steepest.errors import TaskError

X, Y = torch.randn(80, 6, generator=torch.Generator().manual_seed(0)), torch.arange(80.0)[:, None] / 80
IMAGES = X[:, :4].repeat(1, 16).view(-1, 1, 8, 8)


class Counts(nn.Module):
    """Keeps calls and inputs in attributes, in extra state and in a buffer."""

    def __init__(self):
        super().__init__()
        self.calls, self.seen, self.last = 0, [], None
        self.register_buffer("total", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        self.seen.append(len(x))
        self.last = x
        self.total += 1
        return x


class Extra(Counts):
    def get_extra_state(self):
        return {"calls": self.calls}

    def set_extra_state(self, state):
        self.calls = state["calls"]


def dense():
    return nn.Sequential(nn.LazyLinear(8), nn.Tanh(), nn.Linear(8, 4), nn.LazyLinear(1))


def convolution():
    return nn.Sequential(nn.LazyConv2d(3, 3), nn.LazyBatchNorm2d(), nn.ReLU(), nn.Flatten(), nn.LazyLinear(1))


def dropping():
    return nn.Sequential(nn.LazyLinear(8), nn.Dropout(0.5), nn.BatchNorm1d(8), Counts(), Extra(), nn.LazyLinear(1))


MODELS = {"dense": (dense, X), "convolution": (convolution, IMAGES), "dropping": (dropping, X)}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("training", [True, False])
def test_weights_are_those_of_the_model_s_own_first_pass(name, training):
    make, x = MODELS[name]
    torch.manual_seed(5)
    own = make().train(training)
    with torch.no_grad():
        own(x[:32])
    after = torch.get_rng_state()
    torch.manual_seed(5)
    model = make().train(training)
    task = sd.Task(model, (x, Y), F.mse_loss, validation=(x, Y))
    assert torch.equal(torch.get_rng_state(), after)
    assert task.module is model
    assert model.training == training
    for (key, p), q in zip(own.named_parameters(), model.parameters(), strict=True):
        assert torch.equal(p, q), key
    for m in model.modules():
        if isinstance(m, nn.modules.batchnorm._BatchNorm):
            assert (m.running_mean == 0).all()
            assert m.num_batches_tracked == 0
        if isinstance(m, Counts):
            assert (m.calls, m.seen, m.last, m.total.item()) == (0, [], None, 0)
    assert model.state_dict().keys() == own.state_dict().keys()


def loader(**given):
    return DataLoader(TensorDataset(X, Y), batch_size=20, **given)


DATA = {
    "tensors": lambda: {"data": (X, Y)},
    "a dataset": lambda: {"data": TensorDataset(X, Y)},
    "batches": lambda: {"data": [(X[:40], Y[:40]), (X[40:], Y[40:])], "validation": (X, Y)},
    "a loader": lambda: {"data": loader(shuffle=True), "validation": loader()},
    "a stream": lambda: {"data": iter([(X[:40], Y[:40])]), "validation": (X, Y)},
}


@pytest.mark.parametrize("kind", DATA)
def test_every_kind_of_data(kind):
    torch.manual_seed(5)
    model, given = dense(), DATA[kind]()
    after = torch.get_rng_state()
    task = sd.Task(model, loss=F.mse_loss, **given)
    now = torch.get_rng_state()
    torch.set_rng_state(after)
    own = dense()
    torch.set_rng_state(after)  # only the layers draw
    for lazy, layer in ((own[0], model[0]), (own[3], model[3])):
        lazy(torch.zeros(1, layer.in_features))
        assert torch.equal(lazy.weight, layer.weight)
    assert torch.equal(torch.get_rng_state(), now)
    assert torch.equal(task.copy(0)[0].weight, model[0].weight)


def test_a_loader_begins_with_its_own_order():
    generator = torch.Generator().manual_seed(3)
    held = loader(shuffle=True, generator=generator)
    before = generator.get_state()
    sd.Task(dense(), [(X, Y)], F.mse_loss, validation=held)
    assert torch.equal(generator.get_state(), before)


def test_an_objective_and_a_loss_with_lazy_weights():
    def through(model, batch):
        x = batch["x"].requires_grad_()
        return torch.autograd.grad(model(x).sum(), x, create_graph=True)[0].square().mean()

    sd.Task(dense(), {"x": X, "target": Y}, objective=through).copy(0)

    class Head(nn.Module):
        def __init__(self):
            super().__init__()
            self.out = nn.LazyLinear(1)

        def forward(self, output, y):
            return F.mse_loss(self.out(output), y)

    task = sd.Task(nn.Sequential(nn.LazyLinear(4)), (X, Y), Head())
    assert [tuple(p.shape) for p in task.copy(0).parameters()] == [(4, 6), (4,), (1, 4), (1,)]


def test_a_function_that_makes_lazy_models():
    task = sd.Task(lambda seed: dense(), (X, Y), F.mse_loss)
    assert torch.equal(task.copy(1)[0].weight, task.build(1)[0].weight)
    assert not torch.equal(task.copy(1)[0].weight, task.copy(2)[0].weight)
    assert sd.find_lr(task, "adam", steps=30, batch_size=20).best > 0


def test_it_is_said_and_trained(capsys, tmp_path):
    task = sd.Task(dense(), (X, Y), F.mse_loss)
    run = sd.fit(task, "adam", lr=0.01, batch_size=20, epochs=2, runs=tmp_path, locate=False)
    assert "Lazy layers: 0.weight, 0.bias, 3.weight and 1 more initialised by a pass over one batch." in (
        "".join(capsys.readouterr())
    )
    assert run.losses[-1] < run.losses[0]
    assert sd.Task(nn.Linear(6, 1), (X, Y), F.mse_loss).lazy_note() == ""


class Spare(nn.Module):
    def __init__(self):
        super().__init__()
        self.net, self.spare = nn.LazyLinear(1), nn.LazyLinear(2)

    def forward(self, x):
        return self.net(x)


def fails(model, batch):
    raise ValueError("no such thing")


def task(model, **given):
    return sd.Task(model, (X, Y), validation=(X, Y), **given)


IMPOSSIBLE = {
    "fails": (lambda: task(dense(), objective=fails), r"0\.weight must have a shape.*ValueError: no such thing"),
    "unused": (lambda: task(Spare(), loss=F.mse_loss), r"spare\.weight must have a shape.*did not reach it"),
    "streams": (
        lambda: sd.Task(dense(), iter([(X, Y)]), F.mse_loss, validation=iter([(X, Y)])), "can be read only once"
    ),
    "a function": (lambda: task(lambda seed: Spare(), loss=F.mse_loss), r"spare\.weight.*did not reach it"),
}  # fmt: skip
VERBS = {
    "descend": lambda task: list(sd.descend(task, "adam", lr=0.1, steps=2)),
    "fit": lambda task: sd.fit(task, "adam", lr=0.1, steps=2),
    "auto": lambda task: sd.fit(task, "adam", lr="auto", steps=30),
    "find_lr": lambda task: sd.find_lr(task, "adam", steps=30),
    "race": lambda task: sd.race(task, ["adam", "momentum"], lr=0.1, seeds=2, steps=30),
    "locate": sd.locate,
}


@pytest.mark.parametrize("kind", IMPOSSIBLE)
@pytest.mark.parametrize("verb", VERBS)
def test_what_cannot_be_initialised_is_refused_in_words(kind, verb, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make, words = IMPOSSIBLE[kind]
    words = "must have a shape" if verb == "locate" else words
    with pytest.raises(TaskError, match=words):
        VERBS[verb](make())


def test_the_user_s_own_pass_after_all():
    model = Spare()
    task = sd.Task(model, (X, Y), F.mse_loss)
    model.spare(X)
    start = model.net.weight.clone()
    list(sd.descend(task, "adam", lr=0.1, steps=3))
    assert not torch.equal(model.net.weight, start)
    assert torch.equal(task.build(0).net.weight, start)
