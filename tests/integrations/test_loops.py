"""Loops as people write them: each is bit for bit the loop alone, or is refused in words."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import steepest as sd
from steepest.integrations.loop_state import LoopState

STEPS = 90


def network(norm=True):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), *([nn.BatchNorm1d(16)] if norm else []), nn.ReLU(), nn.Linear(16, 3))


def batch(t):
    random = torch.Generator().manual_seed(t)
    x = torch.randn(32, 8, generator=random)
    return x, (x[:, :3] + 0.1 * torch.randn(32, 3, generator=random)).argmax(1)


def train(model, make, watched, change=lambda t, model, optimizer: None, *, runs, scheduler=None, steps=STEPS):
    """A loop; gives its tensors and its run."""
    optimizer = make(model.parameters())
    plan = scheduler and scheduler(optimizer)
    run = sd.watch(model, optimizer, scheduler=plan, runs=runs) if watched else None
    for t in range(steps):
        x, y = batch(t)
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step() if run is None else run.step(loss)
        if plan is not None:
            plan.step(loss.item()) if scheduler is plateau else plan.step()
        change(t, model, optimizer)
    if run is not None:
        run.close()
    return [p.detach().clone() for p in (*model.parameters(), *model.buffers())], run


def plateau(optimizer):
    return torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=3)


def one_cycle(optimizer):
    return torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=STEPS)


def adamw(parameters, **settings):
    return torch.optim.AdamW(parameters, lr=1e-2, **settings)


def sgd(parameters):
    return torch.optim.SGD(parameters, lr=1e-2, momentum=0.9)


def adamw_fused(parameters):
    return adamw(parameters, fused=True)


def adamw_tensor_lr(parameters):
    return torch.optim.AdamW(parameters, lr=torch.tensor(1e-2))


@pytest.mark.parametrize("make", [adamw_fused, adamw_tensor_lr, sd.optim.Adam])
def test_any_optimizer(tmp_path, make):
    (alone, _), (watched, run) = (train(network(), make, w, runs=tmp_path) for w in (False, True))
    assert all(torch.equal(a, b) for a, b in zip(alone, watched, strict=True))
    assert len(run.losses) == STEPS


@pytest.mark.parametrize("scheduler", [plateau, one_cycle])
def test_any_scheduler(tmp_path, scheduler):
    (alone, _), (watched, _) = (train(network(), sgd, w, runs=tmp_path, scheduler=scheduler) for w in (False, True))
    assert all(torch.equal(a, b) for a, b in zip(alone, watched, strict=True))


def test_a_compiled_model(tmp_path):
    pairs = []
    for watched in (False, True):
        model = network()
        pairs.append(train(torch.compile(model, backend="eager"), adamw, watched, runs=tmp_path, steps=20)[0])
    assert all(torch.equal(a, b) for a, b in zip(*pairs, strict=True))


# -- Closures ----------------------------------------------------------------------------------------------------------


def train_lbfgs(watched, runs):
    model, (x, y) = network(norm=False), batch(0)
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=4)
    calls = []

    def closure():
        calls.append(1)
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        return loss

    run = sd.watch(model, optimizer, runs=runs) if watched else None
    for _ in range(10):
        optimizer.step(closure) if run is None else run.step(closure)
    if run is not None:
        run.close()
    return [p.detach() for p in model.parameters()], len(calls), run


def test_an_optimizer_that_computes_the_loss_itself(tmp_path):
    (alone, calls, _), (watched, same, run) = train_lbfgs(False, tmp_path), train_lbfgs(True, tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(alone, watched, strict=True))
    assert calls == same
    assert len(run.losses) == 10


def test_without_its_closure_it_is_refused(tmp_path):
    model = nn.Linear(2, 1)
    run = sd.watch(model, torch.optim.LBFGS(model.parameters()), runs=tmp_path)
    with pytest.raises(sd.InputError, match=r"needs a closure for LBFGS.*run.step\(closure\)"):
        run.step(1.0)
    run.close()


# -- A model that changes ----------------------------------------------------------------------------------------------


def freeze(model, optimizer):
    model[0].requires_grad_(False)


def add_layer(model, optimizer):
    torch.manual_seed(3)
    model.insert(2, nn.Linear(16, 16))
    optimizer.add_param_group({"params": list(model[2].parameters()), "lr": 1e-3})


def replace_head(model, optimizer):
    torch.manual_seed(3)
    model[-1] = nn.Sequential(nn.Linear(16, 20), nn.BatchNorm1d(20), nn.Linear(20, 3))
    optimizer.add_param_group({"params": list(model[-1].parameters())})


def begin_optimizer_again(model, optimizer):
    optimizer.state.clear()
    optimizer.param_groups.clear()
    optimizer.add_param_group({"params": list(model.parameters()), "lr": 3e-3})


CHANGES = [freeze, add_layer, replace_head, begin_optimizer_again]


@pytest.mark.parametrize("change", CHANGES)
def test_a_model_that_changes_on_the_way(tmp_path, change):
    def at_40(t, model, optimizer):
        if t == 40:
            change(model, optimizer)

    (alone, _), (watched, run) = (train(network(norm=False), adamw, w, at_40, runs=tmp_path) for w in (False, True))
    assert all(torch.equal(a, b) for a, b in zip(alone, watched, strict=True))
    stored = sd.open(run.id, tmp_path)
    names = set(stored.record.config.parameters)
    assert sum(stored.tensors[name].numel() for name in names) == stored.point.numel()
    assert ("weights" in {e.kind for e in run.events}) == (change in (add_layer, replace_head))


@pytest.mark.parametrize("at", [41, 70])
@pytest.mark.parametrize("change", CHANGES)
def test_a_fault_after_a_change_is_undone(tmp_path, change, at):
    @torch.no_grad()
    def spoil(t, model, optimizer):
        if t == 40:
            change(model, optimizer)
        if t == at:
            model[0].weight.fill_(math.nan)

    tensors, run = train(network(norm=False), adamw, True, spoil, runs=tmp_path)
    assert all(x.isfinite().all() for x in tensors)
    assert "rewind" in {e.kind for e in run.events}


def test_parameters_that_only_the_optimizer_has_go_back_too(tmp_path):
    """As a loss with weights of its own."""
    model, other = nn.Linear(2, 1), nn.Linear(1, 1)
    optimizer = torch.optim.SGD([*model.parameters(), *other.parameters()], lr=0.01)
    with sd.watch(model, optimizer, runs=tmp_path) as run:
        for t in range(120):
            optimizer.zero_grad()
            loss = (other(model(torch.ones(1, 2))) - 1).square().mean() + 0.1
            loss.backward()
            run.step(loss)
            if t == 100:
                with torch.no_grad():
                    other.weight.fill_(math.nan)
    assert "rewind" in {e.kind for e in run.events}
    assert other.weight.isfinite().all()


# -- The learning rate after a rewind ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "scheduler",
    [
        one_cycle,
        lambda o: torch.optim.lr_scheduler.StepLR(o, 20),
        lambda o: sd.optim.Schedule(o, "cosine", steps=STEPS),
    ],
)
@pytest.mark.parametrize("is_passed", [True, False])
def test_the_schedule_keeps_the_place_of_the_loader(scheduler, is_passed):
    model = network()
    optimizer = sgd(model.parameters())
    plan, rates = scheduler(optimizer), []
    loop = LoopState(model, [optimizer], [plan] if is_passed else [])
    for t in range(80):
        if t == 10:
            state = loop.copy()
        if t == 50:
            loop.load(state)
        rates.append(float(optimizer.param_groups[0]["lr"]))
        F.cross_entropy(model(batch(t)[0]), batch(t)[1]).backward()
        optimizer.step()
        plan.step()
    other = sgd(network().parameters())
    same, alone = scheduler(other), []
    for _ in range(80):
        alone.append(float(other.param_groups[0]["lr"]))
        other.step()
        same.step()
    assert rates == pytest.approx(alone)


# -- What is refused ---------------------------------------------------------------------------------------------------


def _of_another():
    return torch.optim.lr_scheduler.StepLR(torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=0.1), 1)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model": 3}, "model must be a torch.nn.Module, got int"),
        ({"model": nn.Linear(2, 2, device="meta")}, "must have data, got parameter weight"),
        ({"optimizer": None}, "got none"),
        ({"scheduler": 3}, "scheduler must have state_dict"),
        ({"scheduler": "cosine"}, "scheduler must have state_dict"),
        ({"scheduler": _of_another()}, "StepLR of another one"),
        ({"scaler": 3}, "must be a torch.amp.GradScaler, got int"),
    ],
)
def test_arguments(tmp_path, changes, words):
    model = nn.Linear(2, 1)
    given = {"model": model, "optimizer": torch.optim.SGD(model.parameters(), lr=0.1)} | changes
    with pytest.raises(sd.InputError, match=words):
        sd.watch(given.pop("model"), given.pop("optimizer"), runs=tmp_path, **given)


def test_one_optimizer_twice(tmp_path):
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(sd.InputError, match="the same SGD twice"):
        sd.watch(model, [optimizer, optimizer], runs=tmp_path)


@pytest.mark.parametrize("loss", [True, "1.5", torch.tensor(1 + 1j), object()])
def test_losses_that_only_look_like_numbers(tmp_path, loss):
    model = nn.Linear(2, 1)
    run = sd.watch(model, torch.optim.SGD(model.parameters(), lr=0.1), runs=tmp_path)
    with pytest.raises(sd.InputError, match="must be a number, got"):
        run.step(loss)
    with pytest.raises(sd.InputError, match="needs the loss of the step"):
        run.step()
    with pytest.raises(sd.InputError, match="needs numbers by name, got float"):
        run.measure(0.5)
    run.close()


def test_a_loop_that_still_calls_its_optimizer_is_told(tmp_path, capsys):
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with sd.watch(model, optimizer, runs=tmp_path):
        optimizer.step()
    assert "run.step(loss) must take the place of optimizer.step()" in capsys.readouterr().err
