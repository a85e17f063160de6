"""Hidden matrices to one optimizer, the rest to another: as two optimizers by hand."""

import copy
import pickle
from functools import partial

import pytest
import torch
from torch import nn

import steepest as sd
from steepest.optim.split import SplitOptimizer

if not hasattr(torch.optim, "Muon"):  # of torch 2.9
    pytest.skip("torch has no Muon", allow_module_level=True)
MUON = partial(torch.optim.Muon, lr=0.02)
ADAMW = partial(sd.optim.AdamW, lr=3e-3)


class Model(nn.Module):
    """A small language model with every kind of parameter."""

    def __init__(self, tied=False):
        super().__init__()
        self.embedding, self.attention = nn.Embedding(9, 4), nn.MultiheadAttention(4, 2, batch_first=True)
        self.norm, self.mlp = nn.LayerNorm(4), nn.Linear(4, 4)
        self.scale, self.head = nn.Parameter(torch.ones(())), nn.Linear(4, 9, bias=False)
        if tied:
            self.head.weight = self.embedding.weight

    def forward(self, x):
        x = self.embedding(x)
        x = self.norm(x + self.attention(x, x, x)[0])
        return self.head(self.scale * self.mlp(x))


MATRICES = {"attention.in_proj_weight", "attention.out_proj.weight", "mlp.weight"}


def model(tied=False):
    torch.manual_seed(0)
    return Model(tied)


def train(net, optimizers, schedulers=(), steps=6):
    x, losses = torch.tensor([[1, 2, 3, 4], [5, 6, 7, 8]]), []
    for _ in range(steps):
        net.zero_grad()
        loss = nn.functional.cross_entropy(net(x).flatten(0, 1), x.flatten())
        loss.backward()
        for one in (*optimizers, *schedulers):
            one.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("tied", [False, True])
def test_what_goes_where(tied):
    optimizer = sd.optim.split(net := model(tied), matrices=MUON, rest=ADAMW)
    matrices, rest = map(set, optimizer.names)
    assert matrices == MATRICES
    assert matrices | rest == {n for n, _ in net.named_parameters()}
    assert str(optimizer).startswith("SplitOptimizer(\n  matrices by Muon (3): attention.in_proj_weight, ")


def test_it_steps_as_the_two_by_hand():
    net, twin = model(), model()
    named = dict(twin.named_parameters())
    by_hand = (
        MUON([p for n, p in named.items() if n in MATRICES]),
        ADAMW([p for n, p in named.items() if n not in MATRICES]),
    )
    optimizer = sd.optim.split(net, matrices=MUON, rest=ADAMW)
    schedulers = [torch.optim.lr_scheduler.LinearLR(o, 0.1, 1.0, 4) for o in (optimizer, *by_hand)]
    assert train(net, [optimizer], schedulers[:1]) == train(twin, by_hand, schedulers[1:])
    assert [g["lr"] for g in optimizer.param_groups] == [g["lr"] for o in by_hand for g in o.param_groups]


def test_state_is_saved_loaded_and_copied():
    net = model()
    optimizer = sd.optim.split(net, matrices=MUON, rest=ADAMW)
    train(net, [optimizer], steps=3)
    twin = copy.deepcopy(net)
    other = sd.optim.split(twin, matrices=MUON, rest=ADAMW)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    third, copied = pickle.loads(pickle.dumps((net, optimizer)))
    losses = train(net, [optimizer])
    assert losses == train(twin, [other])
    assert losses == train(third, [copied])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: sd.optim.split(nn.Embedding(3, 2), matrices=MUON, rest=ADAMW), "matrices must get at least one"),
        (
            lambda: split().load_state_dict(torch.optim.SGD([nn.Parameter(torch.ones(2))]).state_dict()),
            "must have 2 param",
        ),
        (lambda: split().add_param_group({"params": [nn.Parameter(torch.ones(2))]}), "needs one of the two optimizers"),
    ],
)
def test_bad_input_is_answered_in_words(make, words):
    with pytest.raises(sd.InputError, match=words):
        make()


def split() -> SplitOptimizer:
    return sd.optim.split(model(), matrices=MUON, rest=ADAMW)


def test_as_a_rule_of_fit_its_rate_scales_both(tmp_path):
    """lr= is that of the matrices; the rest keeps the ratio of the two rates."""
    x = torch.randint(9, (16, 4), generator=torch.Generator().manual_seed(1))

    def loss(net, batch):
        return nn.functional.cross_entropy(net(batch[0]).flatten(0, 1), batch[0].flatten())

    def task():
        return sd.Task(model(), data=(x, x[:, 0]), objective=loss, validation=(x[:4], x[:4, 0]), name="split")

    rule = sd.optim.split(matrices=MUON, rest=ADAMW)
    given = {"rule": rule, "schedule": "constant", "batch_size": "full", "steps": 8, "runs": tmp_path, "locate": False}
    run = sd.fit(task(), lr=0.01, **given)
    assert run.record.config.rule == "steepest.optim.split.split(matrices=Muon, rest=AdamW)"
    net = model()
    by_hand = sd.optim.split(net, matrices=partial(MUON, lr=0.01), rest=partial(ADAMW, lr=1.5e-3))
    losses = []
    for _ in range(8):
        by_hand.zero_grad()
        value = loss(net, (x,))
        value.backward()
        by_hand.step()
        losses.append(value.item())
    assert run.losses.tolist() == pytest.approx(losses, rel=1e-5)
    half = sd.fit(task(), lr=0.01, **{**given, "steps": 4})
    both = sd.resume(half, task=task(), steps=8, rule=rule, runs=tmp_path)
    assert both.losses.tolist() == run.losses.tolist()
