"""The loop, against plain PyTorch loops that do the same on the same batches."""

import copy
import math
import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from steepest.descent.descend import descend
from steepest.descent.loop import Descent
from steepest.descent.settings import resolve
from steepest.descent.stages import stage
from steepest.errors import InputError, TaskError, UnknownNameError
from steepest.records.run import Step
from steepest.rules.textbook import adam, adamw, gradient_descent, lion, momentum, schedule_free_adamw
from steepest.schedule import constant, cosine, parse, plateau, warmup
from steepest.tasks.batches import Batches
from steepest.tasks.task import Task

DOUBLE = torch.float64


def network(*between, seed=0, dtype=DOUBLE, bias=True):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Linear(6, 16, bias=bias), *between, nn.Tanh(), nn.Linear(16, 4, bias=bias)
        ).to(dtype)  # fmt: skip


def samples(n=40, seed=1, dtype=DOUBLE):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, 6, generator=g, dtype=dtype), torch.randint(4, (n,), generator=g)


def task_of(model, data=None, **given):
    return Task(model, samples() if data is None else data, F.cross_entropy, validation=samples(20, seed=2), **given)


def loop(model, optimizer, batches, rates, *, clip=None, cast=None, each=lambda t: None):
    """A plain PyTorch loop; losses and gradient norms. `rates`: of each step, or None to leave the optimizer's."""
    model.train()
    losses, norms = [], []
    for t, rate in enumerate(rates, 1):
        for group in optimizer.param_groups if rate is not None else ():
            group["lr"] = rate
        optimizer.zero_grad()
        parts = batches(t)
        n, mean = sum(len(part[-1]) for part in parts), 0.0
        for *inputs, target in parts:
            with torch.autocast("cpu", dtype=cast, enabled=cast is not None):
                loss = F.cross_entropy(model(*inputs), target) * (len(target) / n)
            loss.backward()
            mean += loss.item()
        norms.append(nn.utils.clip_grad_norm_(model.parameters(), math.inf if clip is None else clip).item())
        optimizer.step()
        losses.append(mean)
        each(t)
    return losses, norms


def assert_same(steps, expected, tolerance=1e-10):
    losses, norms = expected
    assert len(steps) == len(losses)
    assert [step.loss for step in steps] == pytest.approx(losses, rel=tolerance, abs=0)
    assert [step.grad_norm for step in steps] == pytest.approx(norms, rel=10 * tolerance, abs=0)


def assert_near(model, other, tolerance=1e-10):
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        assert (p - q).norm() <= tolerance * q.norm()


def states():
    python, numpy = random.getstate(), np.random.get_state()
    return python, numpy[1].tolist(), numpy[2], torch.default_generator.get_state().tolist()


def bits(tensors):
    return [x.detach().numpy().tobytes() for x in tensors]


# -- Against plain loops -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 7, "full"])
def test_a_rule_under_a_schedule(batch_size):
    model, other = network(), network()
    steps = list(descend(task_of(model), adam, 0.01, warmup("10%") >> cosine, batch_size, steps=30))
    factor = parse("warmup(10%) >> cosine").bind(30, 1)
    optimizer = torch.optim.Adam(other.parameters())
    expected = loop(other, optimizer, Batches(samples(), batch_size), [0.01 * factor(t) for t in range(1, 31)])
    assert_same(steps, expected)
    assert_near(model, other)


def test_float32():
    model, other = network(dtype=torch.float32), network(dtype=torch.float32)
    data = samples(dtype=torch.float32)
    task = Task(model, data, F.cross_entropy, validation=data)
    steps = list(descend(task, momentum, 0.05, "constant", 7, steps=40))
    optimizer = torch.optim.SGD(other.parameters(), momentum=0.9)
    assert_same(steps, loop(other, optimizer, Batches(data, 7), [0.05] * 40), 1e-5)
    assert_near(model, other, 1e-5)


def test_what_a_step_says():
    steps = list(descend(task_of(network()), adam, 0.01, "cosine", 16, epochs=3))
    factor = cosine().bind(9, 3)
    assert [step.t for step in steps] == list(range(1, 10))
    assert [step.epoch for step in steps] == [t / 3 for t in range(1, 10)]
    assert [step.lr for step in steps] == [0.01 * factor(t) for t in range(1, 10)]
    assert all(type(x) is float for step in steps for x in step[1:6])
    assert all(step.event is None for step in steps)


def test_the_length_of_an_update():
    model, before, moved = network(), [], []

    def point():
        return torch.cat([p.detach().reshape(-1) for p in model.parameters()])

    before = point()
    for step in descend(task_of(model), adam, 0.01, "constant", 7, steps=8):
        moved.append((step.update_norm, (point() - before).norm().item()))
        before = point()
    assert all(told == pytest.approx(seen, rel=1e-12) for told, seen in moved)


def test_average():
    """It starts without bias: the average after step t has the shares of Adam's first moment."""
    model, other = network(), network()
    mean = [p.detach().clone() for p in other.parameters()]
    validation = []

    @torch.no_grad()
    def each(t):
        share = (0.9 - 0.9**t) / (1 - 0.9**t)
        for a, p in zip(mean, other.parameters(), strict=True):
            a.mul_(share).add_(p, alpha=1 - share)
        at_mean = copy.deepcopy(other)
        for p, a in zip(at_mean.parameters(), mean, strict=True):
            p.copy_(a)
        x, y = samples(20, seed=2)
        validation.append(F.cross_entropy(at_mean(x), y).item())

    task = task_of(model)
    descent = Descent(task, resolve(task, rule=adam, lr=0.01, schedule="constant", batch_size=7, steps=30, average=0.9),
                      task.build(0))  # fmt: skip
    steps, measured = [], []
    for step in descent:
        steps.append(step)
        measured.append(descent.measure()["loss"])
    optimizer = torch.optim.Adam(other.parameters())
    assert_same(steps, loop(other, optimizer, Batches(samples(), 7), [0.01] * 30, each=each))
    assert measured == pytest.approx(validation, rel=1e-10)
    assert_near(model, other)
    descent.finish()
    for p, a in zip(model.parameters(), mean, strict=True):
        assert (p - a).norm() <= 1e-10 * a.norm()


@pytest.mark.parametrize("clip", [0.05, 0.8])
@pytest.mark.parametrize("rule", [momentum, lambda params: torch.optim.SGD(params, lr=0.05, momentum=0.9)])
def test_clip(clip, rule):
    model, other = network(), network()
    steps = list(descend(task_of(model), rule, 0.05, "constant", 7, steps=30, clip=clip))
    optimizer = torch.optim.SGD(other.parameters(), momentum=0.9)
    assert_same(steps, loop(other, optimizer, Batches(samples(), 7), [0.05] * 30, clip=clip))
    assert max(step.grad_norm for step in steps) > clip  # so that something was clipped
    assert_near(model, other)


def test_clip_reaches_only_what_is_too_long():
    assert list(descend(task_of(network()), adam, batch_size=7, steps=20, clip=1e6)) == list(
        descend(task_of(network()), adam, batch_size=7, steps=20)
    )


@pytest.mark.parametrize("accumulate", [3, 7])
def test_accumulate(accumulate):
    model, other = network(), network()
    steps = list(descend(task_of(model), adam, 0.01, "constant", 7, steps=30, accumulate=accumulate))
    optimizer = torch.optim.Adam(other.parameters())
    assert_same(steps, loop(other, optimizer, Batches(samples(), 7), [0.01] * 30))  # as in one piece
    assert_near(model, other)


@pytest.mark.parametrize("accumulate", [1, 3])
def test_bfloat16(accumulate):
    model, other = network(dtype=torch.float32), network(dtype=torch.float32)
    data = samples(dtype=torch.float32)
    task = Task(model, data, F.cross_entropy, validation=data)
    steps = list(
        descend(task, adam, 0.01, "constant", 8, steps=30, accumulate=accumulate, precision="bfloat16", clip=0.5)
    )
    optimizer = torch.optim.Adam(other.parameters())
    batches = Batches(data, 8, accumulate=accumulate)
    # A rounding of a weight in bfloat16 is worth 2⁻⁸, so two correct runs part after some steps.
    expected = loop(other, optimizer, batches, [0.01] * 30, clip=0.5, cast=torch.bfloat16)
    assert_same(steps[:5], [x[:5] for x in expected], 1e-5)
    assert_same(steps, expected, 1e-2)
    assert all(p.dtype is torch.float32 for p in model.parameters())
    exact = list(descend(task, adam, 0.01, "constant", 8, steps=5, clip=0.5))
    assert exact[0].loss != steps[0].loss


def noisy(batch, generator):
    x, y = batch
    return x + 0.3 * torch.randn(x.shape, generator=generator, dtype=x.dtype), y


@pytest.mark.parametrize("accumulate", [1, 2])
def test_augment(accumulate):
    model, other = network(), network()
    task = task_of(model, augment=noisy)
    steps = list(descend(task, adam, 0.01, "constant", 7, steps=30, accumulate=accumulate, seed=5))
    batches = Batches(samples(), 7, 5, accumulate=accumulate, augment=noisy)
    assert_same(steps, loop(other, torch.optim.Adam(other.parameters()), batches, [0.01] * 30))
    plain = list(descend(task_of(network()), adam, 0.01, "constant", 7, steps=30, seed=5))
    assert plain[0].loss != steps[0].loss


def test_an_objective_in_place_of_the_own_one_is_asked():
    """Faults of gradients in the guard's benchmarks are put there."""

    class Odd:
        def gradient(self, batches, tensors):
            return 7.0 + 0 * own.gradient(batches, tensors)

    task = task_of(network())
    descent = Descent(task, resolve(task, steps=3), task.build(0))
    own, descent.objective = descent.objective, Odd()
    assert [step.loss for step in descent] == [7.0] * 3


def test_validation_is_not_augmented():
    model = network()
    task = task_of(model, augment=lambda batch, generator: (batch[0] * 0, batch[1]))
    descent = Descent(task, resolve(task, steps=1), task.build(0))
    x, y = samples(20, seed=2)
    assert descent.measure()["loss"] == pytest.approx(F.cross_entropy(model(x), y).item(), rel=1e-12)


@pytest.mark.parametrize("text", [False, True])
def test_a_plateau_in_a_sequence(text):
    model, other = network(), network()
    schedule = "warmup(5%) >> plateau(0.5, patience=1)" if text else warmup("5%") >> plateau(0.5, patience=1)
    steps = list(descend(task_of(model), momentum, 0.3, schedule, 8, epochs=20))

    optimizer = torch.optim.SGD(other.parameters(), lr=0.3, momentum=0.9)
    watch = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=1, eps=0)
    rates = []

    def rate():
        for t in range(1, 101):
            rates.append(optimizer.param_groups[0]["lr"] * min(1, t / 5))
            yield rates[-1] if t < 5 else None

    def each(t):
        if t <= 5:
            optimizer.param_groups[0]["lr"] = 0.3
        elif t % 5 == 0:  # the first epoch is all warmup
            x, y = samples(20, seed=2)
            watch.step(F.cross_entropy(other(x), y).item())

    expected = loop(other, optimizer, Batches(samples(), 8), rate(), each=each)
    assert_same(steps, expected, 1e-8)
    assert [step.lr for step in steps] == pytest.approx(rates, rel=1e-12)
    assert steps[-1].lr < 0.3 / 4  # so that something was reduced


def test_a_plateau_watches_the_loss_where_there_is_no_validation_data():
    model = nn.Linear(1, 1, bias=False)
    task = Task(model, objective=lambda model, batch: (model.weight * 0).sum() + 1.0)
    steps = list(descend(task, gradient_descent, 1.0, plateau(0.5, patience=1), steps=6))
    assert [step.lr for step in steps] == [1.0, 1.0, 1.0, 0.5, 0.5, 0.25]


def sources():
    x, y = samples()
    return {
        "dataset": (TensorDataset(x, y), 7),
        "loader": (DataLoader(TensorDataset(x, y), 7, shuffle=True), None),
        "list": ([(x[i : i + 7], y[i : i + 7]) for i in range(0, 40, 7)], None),
    }


@pytest.mark.parametrize("kind", list(sources()))
@pytest.mark.parametrize("accumulate", [1, 2])
def test_other_kinds_of_data(kind, accumulate):
    model, other = network(), network()
    data, size = sources()[kind]
    steps = list(descend(task_of(model, data), adam, 0.01, "cosine", size, epochs=4, accumulate=accumulate, seed=3))
    T = 24 if kind == "dataset" or accumulate == 1 else 12
    assert [step.epoch for step in steps] == [t / (T // 4) for t in range(1, T + 1)]
    factor = cosine().bind(T, T // 4)
    batches = Batches(sources()[kind][0], size, 3, accumulate=accumulate)
    rates = [0.01 * factor(t) for t in range(1, T + 1)]
    assert_same(steps, loop(other, torch.optim.Adam(other.parameters()), batches, rates))
    assert_near(model, other)


def test_a_generator_of_batches():
    x, y = samples()
    parts = [(x[i : i + 7], y[i : i + 7]) for i in range(0, 35, 7)]
    model, other = network(), network()
    steps = list(descend(task_of(model, iter(parts)), adam, 0.01, "constant", steps=5))
    optimizer = torch.optim.Adam(other.parameters())
    assert_same(steps, loop(other, optimizer, lambda t: [parts[t - 1]], [0.01] * 5))


def test_a_generator_that_ends_early_keeps_what_was_learned():
    x, y = samples()
    model, other = network(), network()
    run = descend(task_of(model, iter([(x, y)] * 3)), adam, 0.01, "constant", steps=5)
    seen = []
    with pytest.raises(TaskError, match="gave no more batches at step 4"):
        seen.extend(iter(lambda: next(run), None))
    optimizer = torch.optim.Adam(other.parameters())
    assert_same(seen, loop(other, optimizer, lambda t: [(x, y)], [0.01] * 3))
    assert_near(model, other)


def test_stages():
    model, other = network(), network()
    stages = stage(adam, "60%") >> stage(momentum(beta=0.8), lr=0.05)
    steps = list(descend(task_of(model), stages, 0.01, "cosine", 7, steps=30))
    factor, batches = cosine().bind(30, 6), Batches(samples(), 7)
    first = loop(other, torch.optim.Adam(other.parameters()), batches, [0.01 * factor(t) for t in range(1, 19)])
    second = loop(other, torch.optim.SGD(other.parameters(), momentum=0.8), lambda t: batches(t + 18),
                  [0.05 * factor(t) for t in range(19, 31)])  # fmt: skip
    assert_same(steps, [a + b for a, b in zip(first, second, strict=True)])
    assert_near(model, other)
    assert steps[18].lr == 0.05 * factor(19)


def test_a_stage_with_anothers_optimizer():
    model, other = network(), network()
    stages = stage(adam, 10) >> stage(lambda params: torch.optim.SGD(params, lr=0.1, momentum=0.9))
    steps = list(descend(task_of(model), stages, 0.01, "constant", 7, steps=20))
    batches = Batches(samples(), 7)
    first = loop(other, torch.optim.Adam(other.parameters()), batches, [0.01] * 10)
    optimizer = torch.optim.SGD(other.parameters(), lr=0.1, momentum=0.9)
    second = loop(other, optimizer, lambda t: batches(t + 10), [0.1] * 10)
    assert_same(steps, [a + b for a, b in zip(first, second, strict=True)])


@pytest.mark.parametrize("beta", [0.9 * cosine, constant(5) >> cosine, cosine], ids=str)
def test_a_scheduled_hyperparameter(beta):
    model, other = network(), network()
    steps = list(descend(task_of(model), momentum(beta=beta), 0.02, "constant", 7, steps=30))
    optimizer = torch.optim.SGD(other.parameters(), lr=0.02, momentum=0.5)
    bound = (beta() if isinstance(beta, type) else beta).bind(30, 6)

    def batches(t, source=Batches(samples(), 7)):
        optimizer.param_groups[0]["momentum"] = bound(t)
        return source(t)

    assert_same(steps, loop(other, optimizer, batches, [None] * 30))
    assert_near(model, other)


def test_groups_and_no_decay():
    model, other = network(), network()
    groups = {"2.*": {"lr_scale": 0.1, "beta1": 0.5}}
    steps = list(descend(task_of(model), adamw(weight_decay=0.3), 0.01, "cosine", 7, steps=30, groups=groups))
    factor = cosine().bind(30, 6)
    p = dict(other.named_parameters())
    optimizer = torch.optim.AdamW([
        {"params": [p["0.weight"]], "weight_decay": 0.3},
        {"params": [p["0.bias"]], "weight_decay": 0.0},
        {"params": [p["2.weight"]], "weight_decay": 0.3, "betas": (0.5, 0.999)},
        {"params": [p["2.bias"]], "weight_decay": 0.0, "betas": (0.5, 0.999)},
    ])  # fmt: skip

    def batches(t, source=Batches(samples(), 7)):
        for group, scale in zip(optimizer.param_groups, (1, 1, 0.1, 0.1), strict=True):
            group["lr"] = 0.01 * factor(t) * scale
        return source(t)

    assert_same(steps, loop(other, optimizer, batches, [None] * 30))
    assert_near(model, other)


FOREIGN = {
    "SGD": lambda params: torch.optim.SGD(params, lr=0.05, momentum=0.9, nesterov=True),
    **({"Muon": lambda params: torch.optim.Muon(params, lr=0.02)} if hasattr(torch.optim, "Muon") else {}),
    "Rprop": lambda params: torch.optim.Rprop(params, lr=0.01),
}


@pytest.mark.parametrize("kind", list(FOREIGN))
@pytest.mark.parametrize("lr", [None, 0.03])
def test_a_torch_optimizer_as_a_rule(kind, lr):
    model, other = network(bias=False), network(bias=False)
    steps = list(descend(task_of(model), FOREIGN[kind], lr, "cosine", 7, steps=20))
    optimizer, factor = FOREIGN[kind](other.parameters()), cosine().bind(20, 6)
    base = lr or optimizer.param_groups[0]["lr"]
    expected = loop(other, optimizer, Batches(samples(), 7), [base * factor(t) for t in range(1, 21)])
    assert_same(steps, expected)
    assert_near(model, other)
    assert steps[0].lr == base * factor(1)


def test_a_torch_optimizers_groups_keep_the_ratio_of_their_rates():
    model, other = network(), network()

    def make(params):
        params = list(params)
        return torch.optim.SGD([{"params": params[:2], "lr": 0.1}, {"params": params[2:], "lr": 0.02}])

    steps = list(descend(task_of(model), make, 0.2, "constant", 7, steps=20))
    optimizer = torch.optim.SGD(
        [{"params": other[0].parameters(), "lr": 0.2}, {"params": other[2].parameters(), "lr": 0.04}]
    )
    assert_same(steps, loop(other, optimizer, Batches(samples(), 7), [None] * 20))


def test_schedule_free_reports_its_average():
    model = network()
    task = task_of(model)
    descent = Descent(task, resolve(task, rule=schedule_free_adamw, schedule="constant", batch_size=7, steps=20),
                      task.build(0))  # fmt: skip
    list(descent)
    own = [p.detach().clone() for p in model.parameters()]
    measured = descent.measure()["loss"]
    assert bits(model.parameters()) == bits(own)
    descent.finish()
    x, y = samples(20, seed=2)
    assert F.cross_entropy(model(x), y).item() == pytest.approx(measured, rel=1e-12)
    assert bits(model.parameters()) != bits(own)


# -- A batch that is not finite ----------------------------------------------------------------------------------------


class Wide(nn.Module):
    """A batch norm with more features than are copied as a matter of course."""

    def __init__(self):
        super().__init__()
        self.a, self.norm, self.b = nn.Linear(6, 5000), nn.BatchNorm1d(5000), nn.Linear(5000, 4)

    def forward(self, x):
        return self.b(self.norm(self.a(x)).relu())


def normed():
    return network(nn.BatchNorm1d(16), dtype=torch.float32)


def wide():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Wide()


RULES = {
    "momentum": {"rule": momentum},
    "adam": {"rule": adam},
    "average": {"rule": adam, "average": 0.9},
    "clip": {"rule": momentum, "clip": 0.1},
    "schedule-free": {"rule": schedule_free_adamw},
    "torch": {"rule": lambda params: torch.optim.Adam(params, lr=0.01)},
}


def everything(make, parts, **given):
    """Weights, buffers and what the rule remembers after a run, as bits; and the run's steps."""
    task = Task(make(), parts, F.cross_entropy, validation=parts[:1])
    n = -(-len(parts) // given.get("accumulate", 1))
    settings = resolve(task, lr=0.01, schedule="constant", steps=n, **given)
    descent = Descent(task, settings, task.build(0))
    steps = list(descent)
    state = descent.update.state()
    if "slots" in state:
        memory = [x for by in state["slots"].values() for x in by.values()], state["scalars"]
    else:
        memory = [x for by in state["optimizer"]["state"].values() for x in by.values()], None
    return steps, [
        bits(descent.model.parameters()),
        bits(descent.model.buffers()),
        bits(memory[0]),
        memory[1],
        state["t"],
    ]


def parts_of(n=6):
    x, y = samples(8 * n, dtype=torch.float32)
    return [(x[i : i + 8], y[i : i + 8]) for i in range(0, 8 * n, 8)]


def spoilt(part, value):
    x = part[0].clone()
    x[3, 2] = value
    return x, part[1]


@pytest.mark.parametrize("rule", list(RULES))
@pytest.mark.parametrize("place", [0, 2, 6])
def test_a_nan_batch_is_as_if_never_seen(rule, place):
    parts = parts_of()
    steps, expected = everything(normed, parts, **RULES[rule])
    bad = [*parts[:place], spoilt(parts[0], math.nan), *parts[place:]]
    seen, found = everything(normed, bad, **RULES[rule])
    assert found == expected
    skipped = seen.pop(place)
    assert [step[3:] for step in seen] == [step[3:] for step in steps]
    assert (skipped.update_norm, skipped.event.kind, skipped.event.t) == (0.0, "skip", place + 1)
    assert skipped.event.seen == "non-finite gradient (norm nan, loss nan)"
    assert skipped.event.done == "step skipped"
    assert math.isnan(skipped.loss)


@pytest.mark.parametrize("value", [math.inf, -math.inf])
def test_an_infinite_batch_is_as_if_never_seen(value):
    parts = parts_of()
    _, expected = everything(normed, parts, rule=adam)
    seen, found = everything(normed, [*parts[:3], spoilt(parts[0], value), *parts[3:]], rule=adam)
    assert seen[3].event is not None
    assert found == expected


def test_a_wide_batch_norm_too():
    parts = parts_of(4)
    _, expected = everything(wide, parts, rule=momentum)
    _, found = everything(wide, [*parts[:3], spoilt(parts[0], math.nan), parts[3]], rule=momentum)
    assert found == expected


@pytest.mark.parametrize("which", [0, 1])
def test_a_nan_micro_batch_is_as_if_its_step_was_never_seen(which):
    parts = parts_of()
    bad = [parts[0], parts[1]]
    bad[which] = spoilt(bad[which], math.nan)
    _, expected = everything(normed, parts, rule=adam, accumulate=2)
    seen, found = everything(normed, [*parts[:2], *bad, *parts[2:]], rule=adam, accumulate=2)
    assert seen[1].event is not None
    assert found == expected


# -- Randomness --------------------------------------------------------------------------------------------------------


def restless():
    return network(nn.Dropout(0.3), nn.BatchNorm1d(16), nn.Dropout(0.3), dtype=torch.float32)


def run(make, data=None, body=lambda: None, **given):
    data = samples(dtype=torch.float32) if data is None else data
    task = Task(make(), data, F.cross_entropy, validation=samples(20, seed=2, dtype=torch.float32), augment=noisy)
    steps = []
    for step in descend(task, **{"rule": adam, "epochs": 3, "clip": 1.0, **given}):
        steps.append(step)
        body()
    return steps, bits(task.model.parameters()), bits(task.model.buffers())


def loader():
    return DataLoader(TensorDataset(*samples(dtype=torch.float32)), 7, shuffle=True)


KINDS = {
    "tensors": (lambda: None, 7),
    "dataset": (lambda: TensorDataset(*samples(dtype=torch.float32)), 7),
    "loader": (loader, None),
}


@pytest.mark.parametrize("kind", list(KINDS))
def test_the_same_seed_gives_the_same_run_bit_for_bit(kind):
    make, size = KINDS[kind]
    torch.manual_seed(1)
    one = run(restless, make(), batch_size=size, seed=3)
    torch.manual_seed(2)
    assert run(restless, make(), batch_size=size, seed=3) == one
    other = run(restless, make(), batch_size=size, seed=4)
    assert other[0][0].loss != one[0][0].loss
    assert other[1] != one[1]


def test_dropout_alone_differs_between_seeds_and_steps():
    x, y = samples(8, dtype=torch.float32)
    still = {"rule": gradient_descent, "lr": 1e-30, "schedule": "constant", "batch_size": "full"}
    dropping = lambda: network(nn.Dropout(0.5), dtype=torch.float32)  # noqa: E731
    task = Task(dropping(), (x, y), F.cross_entropy, validation=(x, y))
    losses = [[step.loss for step in descend(task, steps=5, seed=seed, **still)] for seed in (0, 1)]
    assert len({*losses[0], *losses[1]}) == 10


def draw():
    torch.rand(3), np.random.rand(), random.random()
    torch.manual_seed(0)


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("schedule", ["cosine", "plateau(0.5, patience=1)"])
def test_what_the_for_body_draws_changes_nothing(kind, schedule):
    make, size = KINDS[kind]
    plain = run(restless, make(), batch_size=size, schedule=schedule)
    assert run(restless, make(), draw, batch_size=size, schedule=schedule) == plain


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("schedule", ["cosine", "plateau(0.5, patience=1)"])
def test_the_callers_random_state_is_left_alone(kind, schedule):
    make, size = KINDS[kind]
    before = states()
    found = []
    run(restless, make(), lambda: found.append(states() == before), batch_size=size, schedule=schedule)
    assert all(found)
    assert states() == before


def test_the_callers_random_state_is_left_alone_by_a_step_that_fails():
    def failing(model, batch):
        torch.rand(3)
        raise KeyError

    task = Task(nn.Linear(1, 1), objective=failing)
    before = states()
    with pytest.raises(KeyError):
        next(descend(task, steps=1))
    assert states() == before


# -- Stepping ----------------------------------------------------------------------------------------------------------


def test_a_step_is_frozen():
    step = next(descend(task_of(network()), steps=1))
    assert isinstance(step, Step)
    with pytest.raises(AttributeError):
        step.loss = 0.0
    assert hash(step) == hash(Step(*step))


def test_the_models_mode_is_put_back():
    for training in (True, False):
        model = network(nn.Dropout(0.5)).train(training)
        modes = []
        for _ in descend(task_of(model), batch_size=7, steps=2):
            modes.append(model.training)
        assert modes == [True, True]
        assert model.training is training


def test_the_body_may_leave_early():
    model, other = network(), network()
    for step in descend(task_of(model), adam, 0.01, "constant", 7, steps=30):
        if step.t == 4:
            break
    loop(other, torch.optim.Adam(other.parameters()), Batches(samples(), 7), [0.01] * 4)
    assert_near(model, other)


def test_the_body_may_measure_and_change_the_mode():
    x, y = samples(20, seed=2)
    model = network(nn.Dropout(0.5))
    plain = [step.loss for step in descend(task_of(network(nn.Dropout(0.5))), adam, 0.01, "constant", 7, steps=10)]
    found = []
    for step in descend(task_of(model), adam, 0.01, "constant", 7, steps=10):
        found.append(step.loss)
        model.eval()
        F.cross_entropy(model(x), y).backward()
        model.train()
    assert found == plain


def test_gradients_are_left_for_the_body_to_look_at():
    model = network()
    for step in descend(task_of(model), adam, 0.01, "constant", 7, steps=3):
        norm = torch.cat([p.grad.reshape(-1) for p in model.parameters()]).norm().item()
        assert norm == pytest.approx(step.grad_norm, rel=1e-12)


def test_metrics_are_measured_beside_the_loss():
    task = task_of(network(), metrics={"first": lambda output, target: output[0, 0]}, test=samples(10, seed=3))
    descent = Descent(task, resolve(task, steps=2, batch_size=7), task.build(0))
    list(descent)
    assert list(descent.measure()) == list(descent.measure("test")) == ["loss", "first"]


def test_a_split_that_is_not_there_gives_nothing():
    task = task_of(network())
    assert Descent(task, resolve(task, steps=1), task.build(0)).measure("test") == {}


def test_without_data_an_epoch_is_a_step():
    model = nn.Linear(2, 1, bias=False)
    start = model.weight.detach().clone()
    task = Task(model, objective=lambda model, batch: 0.5 * model.weight.square().sum())
    steps = list(descend(task, gradient_descent, 0.1, "constant", epochs=5))
    assert [step.epoch for step in steps] == [1, 2, 3, 4, 5]
    assert torch.allclose(model.weight, start * 0.9**5)


def test_frozen_parameters_stay():
    model = network()
    model[0].weight.requires_grad_(False)
    before = model[0].weight.clone()
    list(descend(task_of(model), adamw(weight_decay=0.1), 0.01, batch_size=7, steps=5))
    assert torch.equal(model[0].weight, before)


# -- Choices -----------------------------------------------------------------------------------------------------------

RECIPE = {"rule": "adamw", "lr": 3e-3, "schedule": "cosine", "batch_size": 16, "epochs": 5, "clip": 1.0}


def chosen(recipe=RECIPE, **given):
    return resolve(task_of(network(), recipe=recipe), **given)


def test_a_recipe_is_used_where_nothing_is_said():
    s = chosen()
    assert s.stages.parts[0].rule == adamw
    assert (s.lr, str(s.schedule), s.batch_size, s.epochs, s.steps, s.clip) == (3e-3, "cosine", 16, 5, None, 1.0)


@pytest.mark.parametrize(
    ("given", "changed"),
    [
        ({"lr": 0.1}, {"lr": 0.1}),
        ({"rule": "adamw"}, {"lr": 3e-3}),
        ({"rule": adamw}, {"lr": 3e-3}),
        ({"rule": "lion"}, {"lr": lion.hypers["lr"]}),
        ({"rule": lion, "lr": 1e-5}, {"lr": 1e-5}),
        ({"rule": adamw(lr=0.5)}, {"lr": 0.5}),
        ({"rule": stage("adamw", 3) >> stage("momentum")}, {"lr": 3e-3}),  # of the first stage
        ({"rule": stage("momentum", 3) >> stage("adamw")}, {"lr": momentum.hypers["lr"]}),
        ({"steps": 7}, {"steps": 7, "epochs": None}),
        ({"epochs": 2}, {"steps": None, "epochs": 2}),
        ({"clip": None, "batch_size": None}, {"clip": 1.0, "batch_size": 16}),
    ],
)
def test_what_is_said_comes_before_the_recipe(given, changed):
    s = chosen(**given)
    assert {name: getattr(s, name) for name in changed} == changed


def test_a_recipes_rate_belongs_to_adam_where_it_names_no_rule():
    recipe = {"lr": 3e-3, "epochs": 1}
    assert chosen(recipe).lr == chosen(recipe, rule="adam").lr == chosen(recipe, rule=adam).lr == 3e-3
    assert chosen(recipe, rule="lion").lr == lion.hypers["lr"]


def test_a_recipe_may_name_what_has_a_default():
    recipe = {"accumulate": 2, "no_decay": ["0.*"], "epochs": 1}
    task = task_of(network(), recipe=recipe)
    steps = list(descend(task, batch_size=8))
    assert steps == list(descend(task_of(network()), batch_size=8, epochs=1, accumulate=2, no_decay=["0.*"]))
    assert (chosen(recipe).accumulate, chosen(recipe).no_decay) == (2, ["0.*"])
    assert (chosen(recipe, accumulate=3).accumulate, chosen(recipe, no_decay=None).no_decay) == (3, None)
    assert chosen({}, steps=1, no_decay=None).no_decay is None


def test_defaults():
    s = chosen({}, steps=1)
    assert s.stages.parts[0].rule == adam
    assert (str(s.schedule), s.batch_size) == ("warmup(5%) >> cosine", 40)  # 64, or all where there are fewer


def test_a_rules_own_rate_is_used_where_none_is_given():
    assert next(descend(task_of(network()), momentum(lr=0.2), schedule="constant", steps=1)).lr == 0.2
    assert next(descend(task_of(network()), momentum, schedule="constant", steps=1)).lr == 0.01


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, "The run must have a length, got neither epochs nor steps. Pass one: epochs=20, or --epochs 20."),
        ({"epochs": 2, "steps": 3}, "Pass either epochs or steps, not both."),
        ({"epochs": 0}, "epochs must be an integer ≥ 1, got 0"),
        ({"steps": -1}, "steps must be an integer ≥ 1, got -1"),
        ({"steps": 2.5}, "steps must be an integer ≥ 1, got 2.5"),
        ({"epochs": True}, "epochs must be an integer ≥ 1, got True"),
        ({"steps": 1, "lr": 0}, "lr must be a positive number or 'auto', got 0"),
        ({"steps": 1, "lr": -0.1}, "lr must be a positive number or 'auto', got -0.1"),
        ({"steps": 1, "lr": math.nan}, "lr must be a positive number or 'auto', got nan"),
        ({"steps": 1, "lr": "fast"}, "lr must be a positive number or 'auto', got 'fast'"),
        ({"steps": 1, "clip": 0.0}, "clip must be positive, got 0.0"),
        ({"steps": 1, "clip": math.inf}, "clip must be positive, got inf"),
        ({"steps": 1, "batch_size": 0}, "batch_size must be 'full' or an integer ≥ 1, got 0"),
        ({"steps": 1, "batch_size": 41}, r"batch_size must be ≤ 40 \(the number of samples\), got 41"),
        ({"steps": 1, "accumulate": 0}, "accumulate must be an integer ≥ 1, got 0"),
        ({"steps": 1, "seed": 1.5}, "seed must be an integer, got 1.5"),
        ({"steps": 1, "average": 1.0}, "average must be at least 0 and below 1, such as 0.999, got 1.0"),
        (
            {"steps": 1, "average": 0.9, "rule": schedule_free_adamw},
            "average cannot be used with schedule_free_adamw, which reports an average of its own",
        ),
        ({"steps": 1, "precision": "half"}, "precision must be 'bfloat16' or 'float32', got 'half'"),
        (
            {"steps": 1, "device": "gpu"},
            r"Device 'gpu' is not available \(.*\)\. Use 'cpu' or 'auto'\.",
        ),
        ({"steps": 1, "rule": 3}, "rule must be a name such as 'adam', a rule such as sd.adam"),
        ({"steps": 1, "rule": "adma"}, "Unknown rule 'adma'. Did you mean 'adam'?"),
        ({"steps": 1, "groups": {"head.*": {"lr_scale": 0.1}}}, r"groups: no parameter matches 'head.\*'"),
        ({"steps": 1, "schedule": "cosin"}, "Invalid schedule at character 1: unknown 'cosin'"),
        (
            {"steps": 1, "rule": lambda params: params},
            "the function passed as rule must return a torch.optim.Optimizer, got list",
        ),
        (
            {"steps": 1, "rule": momentum(lr=cosine)},
            "Rule momentum: lr must be a number, got a schedule. Pass the factor as schedule=",
        ),
        (
            {"steps": 9, "rule": stage("adam", 4) >> stage("momentum", 4)},
            "must add up to the run's 9 steps .*, got 8. Change the lengths",
        ),
        ({"steps": 9, "rule": stage("adam") >> stage("momentum")}, "at most one stage may omit its length"),
        (
            {"steps": 9, "rule": stage("adam", 9) >> stage("momentum")},
            "must add up to the run's 9 steps with at least one step each, got 9",
        ),
        (
            {"steps": 1, "rule": torch.optim.SGD, "average": 0.9},
            "average needs a rule of Steepest, got torch's SGD. Drop average=0.9",
        ),
        (
            {"steps": 1, "rule": torch.optim.SGD, "groups": {"*": {"lr_scale": 0.1}}},
            "groups needs a rule of Steepest, got torch's SGD. Drop groups=",
        ),
    ],
)
def test_choices_that_cannot_be_meant_are_refused_before_the_first_step(given, says):
    model = network()
    before = bits(model.parameters())
    with pytest.raises(InputError, match=says):
        descend(task_of(model), **given)
    assert bits(model.parameters()) == before


def test_a_stages_rate_is_positive():
    with pytest.raises(InputError, match="stage: lr must be positive, got 0"):
        stage("adam", lr=0)


def test_epochs_of_data_without_a_length():
    with pytest.raises(InputError, match=r"epochs needs data with a length; this iterable has none. Pass steps."):
        descend(task_of(network(), iter([samples()])), epochs=3)


def test_a_recipe_that_cannot_be_meant():
    with pytest.raises(
        InputError, match=r"task sequential: recipe must only have the keys rule, lr, schedule.* got 'lrr'"
    ):
        chosen({"lrr": 0.1}, steps=1)


def test_an_unknown_rule_has_its_own_error():
    with pytest.raises(UnknownNameError):
        chosen(rule="sdg")


def test_a_model_with_nothing_to_train():
    with pytest.raises(TaskError, match="Tanh has nothing to train: it has no parameters"):
        descend(task_of(nn.Tanh()), steps=1)


def test_sparse_gradients_are_refused():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(5, 4, sparse=True), nn.Flatten(), nn.Linear(4, 2))
    x = torch.arange(5)[:, None]
    task = Task(model, (x, x[:, 0] % 2), F.cross_entropy, validation=(x, x[:, 0] % 2))
    with pytest.raises(
        TaskError, match=r"gradient of 0.weight must be dense, got torch.sparse_coo. Build the embedding with sparse"
    ):
        list(descend(task, steps=1))


class Named(torch.utils.data.Dataset):
    """Samples as dictionaries."""

    def __len__(self):
        return 40

    def __getitem__(self, i):
        x, y = samples()
        return {"input": x[i], "label": y[i]}


@pytest.mark.parametrize("accumulate", [1, 3])
def test_an_objective_of_whole_batches(accumulate):
    model, other = network(), network()

    def objective(model, batch):
        return F.cross_entropy(model(batch["input"]), batch["label"])

    task = Task(model, Named(), objective=objective, validation=Named())
    steps = list(descend(task, adam, 0.01, "constant", 7, steps=12, accumulate=accumulate))
    optimizer = torch.optim.Adam(other.parameters())
    assert_same(steps, loop(other, optimizer, Batches(samples(), 7), [0.01] * 12))
