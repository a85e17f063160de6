"""The door to torch: our optimizers against torch's, in a loop of one's own."""

import copy

import pytest
import torch
from torch import nn

import steepest as sd

PAIRS = {
    "sgd": (lambda p: sd.optim.SGD(p, lr=0.1), lambda p: torch.optim.SGD(p, lr=0.1)),
    "momentum": (lambda p: sd.optim.SGD(p, 0.1, momentum=0.9), lambda p: torch.optim.SGD(p, 0.1, momentum=0.9)),
    "nesterov": (
        lambda p: sd.optim.SGD(p, 0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
        lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
    ),
    "adam": (lambda p: sd.optim.Adam(p, 0.01), lambda p: torch.optim.Adam(p, 0.01)),
    "adamw": (lambda p: sd.optim.AdamW(p, 0.01), lambda p: torch.optim.AdamW(p, 0.01)),
}


def trained(net, optimizer, steps=30, begin=0):
    x = torch.linspace(-1, 1, 20, dtype=torch.float64)[:, None].expand(20, 3)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.99) if begin == 0 else None
    for _ in range(steps):
        optimizer.zero_grad()
        (net(x) - x.sin().sum(1, keepdim=True)).square().mean().backward()
        optimizer.step()
        if scheduler:
            scheduler.step()
    return torch.cat([p.detach().flatten() for p in net.parameters()])


@pytest.mark.parametrize("name", PAIRS)
def test_equals_torch_with_groups_and_a_scheduler(name):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1)).double()
    ends = []
    for make in PAIRS[name]:
        own = copy.deepcopy(net)
        optimizer = make([{"params": own[0].parameters(), "lr": 0.003}, {"params": [own[2].weight]}])
        optimizer.add_param_group({"params": [own[2].bias], "weight_decay": 0.0})
        ends.append(trained(own, optimizer))
    assert (ends[0] - ends[1]).abs().max() < 1e-12
    assert (ends[0] - torch.cat([p.detach().flatten() for p in net.parameters()])).abs().max() > 1e-3


@pytest.mark.parametrize("name", PAIRS)
def test_saved_and_loaded_it_goes_on_as_it_would_have(name):
    net = nn.Linear(3, 1).double()
    first = PAIRS[name][0](net.parameters())
    trained(net, first, 5)
    other = copy.deepcopy(net)
    second = PAIRS[name][0](other.parameters())
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    assert torch.equal(trained(net, first, 5, begin=5), trained(other, second, 5, begin=5))


def test_schedule_sets_the_rate_of_every_step():
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(2))], lr=0.5)
    schedule = sd.optim.Schedule(optimizer, "warmup(5) >> cosine", steps=20)
    factor = (sd.warmup(5) >> sd.cosine()).bind(20, 1)
    for t in range(1, 21):
        assert optimizer.param_groups[0]["lr"] == 0.5 * factor(t)
        optimizer.step()
        schedule.step()
    assert "_factor" not in schedule.state_dict()


def test_schedule_refuses_a_plateau():
    with pytest.raises(sd.InputError, match="schedule cannot contain a plateau, which needs the losses, got plateau"):
        sd.optim.Schedule(torch.optim.SGD([nn.Parameter(torch.ones(2))], lr=0.5), "plateau", steps=20)
