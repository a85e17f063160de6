"""Our optimizers against torch's in a loop of one's own, and schedules on optimizers of every kind."""

import copy
import io
import itertools
import pickle
from functools import partial

import pytest
import torch
from accelerate import Accelerator
from torch import nn
from torch.optim import lr_scheduler as peers

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


def test_state_of_another_optimizer_is_refused():
    weights = [nn.Parameter(torch.ones(2))]
    with pytest.raises(sd.InputError, match="state_dict must come from Adam, but its param groups have no betas, eps"):
        sd.optim.Adam(weights).load_state_dict(torch.optim.SGD(weights, lr=0.1).state_dict())


def test_schedule_sets_the_rate_of_every_step():
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(2))], lr=0.5)
    schedule = sd.optim.Schedule(optimizer, "warmup(5) >> cosine", steps=20)
    factor = (sd.warmup(5) >> sd.cosine()).bind(20, 1)
    for t in range(1, 21):
        assert optimizer.param_groups[0]["lr"] == 0.5 * factor(t)
        optimizer.step()
        schedule.step()
    assert schedule.state_dict()["schedule"] == "warmup(5) >> cosine"


# -- On any optimizer --------------------------------------------------------------------------------------------------


def weights(*shapes):
    return [nn.Parameter(torch.ones(shape)) for shape in shapes or [2]]


def made(kind):
    """An optimizer of two param groups with rates 0.4 and 0.1, and momentum 0.9 or betas (0.9, 0.99)."""
    groups = [{"params": weights(), "lr": 0.4}, {"params": weights(), "lr": 0.1}]
    if kind == "split":
        net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2))
        make = partial(torch.optim.SGD, lr=0.4, momentum=0.9)
        return sd.optim.split(net, matrices=make, rest=partial(sd.optim.AdamW, lr=0.1, betas=(0.9, 0.99)))
    if kind == "timm":
        return sd.optim.AdamW([{**group, "lr_scale": 0.5**i, "layer_id": i} for i, group in enumerate(groups)])
    return {
        "torch.SGD": lambda: torch.optim.SGD(groups, momentum=0.9, weight_decay=0.01),
        "torch.AdamW": lambda: torch.optim.AdamW(groups, betas=(0.9, 0.99)),
        "SGD": lambda: sd.optim.SGD(groups, momentum=0.9, weight_decay=0.01),
        "AdamW": lambda: sd.optim.AdamW(groups, betas=(0.9, 0.99)),
        "Lion": lambda: sd.optim.Lion(groups, betas=(0.9, 0.99)),
        "Rule": lambda: sd.optim.RuleOptimizer(groups, sd.adam),
    }[kind]()


KINDS = ("torch.SGD", "torch.AdamW", "SGD", "AdamW", "Lion", "Rule", "split", "timm")


def turn(optimizer, *schedules):
    """One step of training."""
    for group in optimizer.param_groups:
        for p in group["params"]:
            p.grad = torch.full_like(p, 0.1)
    optimizer.step()
    for schedule in schedules:
        schedule.step()


def rates(optimizer, key="lr"):
    return [group[key] for group in optimizer.param_groups]


TEXT = "warmup(3) >> cosine(floor=0.1) * step(2 epochs, gamma=0.5)"


@pytest.mark.parametrize("kind", KINDS)
def test_rates_of_every_optimizer(kind):
    optimizer = made(kind)
    bases = [base * group.get("lr_scale", 1.0) for base, group in zip(rates(optimizer), optimizer.param_groups)]
    schedule = sd.optim.Schedule(optimizer, TEXT, 20, 4)
    factor = sd.schedule.parse(TEXT).bind(20, 4)
    for t in range(1, 25):  # also past the end
        expected = [base * factor(min(t, 20)) for base in bases]
        assert rates(optimizer) == pytest.approx(expected, rel=1e-15)
        assert schedule.get_last_lr() == schedule.get_lr() == rates(optimizer)
        turn(optimizer, schedule)


def saved(*objects):
    """The states of the objects, through a file that is read without running code."""
    file = io.BytesIO()
    torch.save([copy.deepcopy(thing.state_dict()) for thing in objects], file)
    file.seek(0)
    return torch.load(file, weights_only=True)


ORDERS = ("build optimizer schedule", "build schedule optimizer", "optimizer build schedule")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("text", [TEXT, "one_cycle", "cosine_restarts(3, mult=2)", "cosine(min_lr=0.01)"])
def test_right_after_loading_in_any_order(kind, order, text):
    whole = made(kind)
    schedule = sd.optim.Schedule(whole, text, 20, 4)
    expected, stored = [], {}
    for t in range(29):
        expected.append(rates(whole))
        if t in (0, 1, 7, 19, 25):
            stored[t] = saved(whole, schedule)
        turn(whole, schedule)
    for after, pair in stored.items():
        states = dict(zip(("optimizer", "schedule"), pair))
        other = made(kind)
        for move in order.split():
            if move == "build":
                resumed = sd.optim.Schedule(other, text, 20, 4)
            elif move == "optimizer":
                other.load_state_dict(states[move])
            else:
                resumed.load_state_dict(states[move])
        for t in range(after, after + 4):
            assert rates(other) == expected[t] == resumed.get_last_lr()
            turn(other, resumed)


@pytest.mark.parametrize("kind", KINDS)
def test_last_epoch_begins_where_torchs_schedulers_do(kind):
    optimizer, after = made(kind), 6
    schedule = sd.optim.Schedule(optimizer, TEXT, 20, 4)
    for _ in range(after):
        turn(optimizer, schedule)
    continued = sd.optim.Schedule(
        optimizer, TEXT, 20, 4, last_epoch=schedule.last_epoch - 1
    )  # torch takes a step in it
    assert continued.last_epoch == after
    assert rates(optimizer) == schedule.get_last_lr()
    with pytest.raises(sd.InputError, match="last_epoch needs the base value as 'initial_lr' in every param group"):
        sd.optim.Schedule(made(kind), TEXT, 20, 4, last_epoch=3)
    theirs, ours = made("torch.SGD"), made("SGD")
    for group in (*theirs.param_groups, *ours.param_groups):
        group["initial_lr"] = group["lr"]
    peers.LambdaLR(theirs, lambda e: 0.5 ** (e // 5), last_epoch=9)
    sd.optim.Schedule(ours, "step(5, gamma=0.5)", 20, last_epoch=9)
    assert rates(theirs) == rates(ours) == [0.1, 0.025]


@pytest.mark.parametrize("kind", KINDS)
def test_groups_that_are_added_and_removed(kind):
    optimizer = made(kind)
    home = optimizer.optimizers[1] if kind == "split" else optimizer
    schedule = sd.optim.Schedule(optimizer, "linear", 10)
    turn(optimizer, schedule)
    home.add_param_group({"params": weights(), "lr": 0.8})
    turn(optimizer, schedule)
    assert rates(optimizer)[:2] == pytest.approx([0.4 * 0.7, 0.1 * 0.7 * (0.5 if kind == "timm" else 1)])
    assert rates(optimizer)[2] == pytest.approx(0.8 * 0.7)
    state = saved(schedule)[0]
    other = made(kind)
    resumed = sd.optim.Schedule(other, "linear", 10)
    (other.optimizers[1] if kind == "split" else other).add_param_group({"params": weights(), "lr": 0.8})
    resumed.load_state_dict(state)
    assert rates(other) == rates(optimizer)
    if kind != "split":
        del optimizer.param_groups[0]
        turn(optimizer, schedule)
        assert rates(optimizer)[-1] == pytest.approx(0.8 * 0.6)
        assert len(schedule.get_last_lr()) == 2


def test_tensor_rates_are_set_in_place():
    rate = torch.tensor(0.5, dtype=torch.float64)
    for cls in (torch.optim.AdamW, sd.optim.AdamW):
        optimizer = cls(weights(), lr=rate.clone())
        own = optimizer.param_groups[0]["lr"]
        schedule = sd.optim.Schedule(optimizer, "linear", 4)
        schedule.load_state_dict(saved(schedule)[0])
        for t in range(1, 5):
            assert own is optimizer.param_groups[0]["lr"]
            assert own.item() == 0.5 * (1 - t / 4) == schedule.get_last_lr()[0].item()
            turn(optimizer, schedule)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))])
def test_copies_go_on_alone(copied):
    optimizer = torch.optim.SGD(weights(), lr=0.5)
    schedule = sd.optim.Schedule(optimizer, "linear", 10)
    _, other = copied((torch.optim.SGD(weights(), lr=0.5), schedule))
    turn(other.optimizer, other)
    assert (rates(optimizer), rates(other.optimizer)) == ([0.45], [0.4])


# -- Any hyperparameter ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [*itertools.permutations(range(3))])
def test_several_do_not_disturb_each_other(order):
    def build(optimizer):
        makers = [
            lambda: sd.optim.Schedule(optimizer, "warmup(3) >> linear", 10),
            lambda: sd.optim.Schedule(optimizer, "one_cycle(peak=0.8, div=1, final_div=1)", 10, key="momentum"),
            lambda: sd.optim.Schedule(optimizer, "constant(5) >> 0.5 * constant", 10, key="weight_decay"),
        ]
        return [makers[i]() for i in order]

    optimizer = made("SGD")
    schedules = build(optimizer)
    keys = [schedule.key for schedule in schedules]
    bound = {s.key: s.schedule.bind(10, 1) for s in schedules}
    base = {"lr": [0.4, 0.1], "momentum": [0.9, 0.9], "weight_decay": [0.01, 0.01]}
    for t in range(1, 14):
        for key in keys:
            assert rates(optimizer, key) == [b * bound[key](t) for b in base[key]]
        if t == 6:
            states = saved(optimizer, *schedules)
            optimizer = made("SGD")
            schedules = build(optimizer)
            for thing, state in reversed(list(zip((optimizer, *schedules), states))):
                thing.load_state_dict(state)
        turn(optimizer, *schedules)


@pytest.mark.parametrize("kind", ["torch.AdamW", "AdamW", "Lion"])
def test_betas(kind):
    optimizer = made(kind)
    schedule = sd.optim.Schedule(optimizer, "one_cycle(peak=0.9, div=1, final_div=1)", 10, key="beta1")
    other = sd.optim.Schedule(optimizer, "linear(end=0.9)", 10, key="beta2")
    factors = [s.schedule.bind(10, 1) for s in (schedule, other)]
    for t in range(1, 11):
        assert rates(optimizer, "betas")[1] == (0.9 * factors[0](t), 0.99 * factors[1](t))
        assert rates(optimizer) == [0.4, 0.1]
        turn(optimizer, schedule, other)
    assert all("initial_lr" not in group for group in optimizer.param_groups)


def test_groups_without_the_hyperparameter_stay_as_they_are():
    optimizer = made("split")
    schedule = sd.optim.Schedule(optimizer, "linear", 10, key="momentum")
    turn(optimizer, schedule)
    assert [group.get("momentum") for group in optimizer.param_groups] == pytest.approx([0.9 * 0.8, None])
    assert rates(optimizer.optimizers[1], "betas") == [(0.9, 0.99)]
    assert schedule.get_last_lr() == pytest.approx([0.9 * 0.8])


@pytest.mark.parametrize("key", ["momentun", "nesterov", "beta3", "params"])
def test_a_hyperparameter_that_is_not_there_is_refused(key):
    with pytest.raises(sd.InputError, match=f"key must be a number in the param groups, got '{key}'. They have: "):
        sd.optim.Schedule(made("SGD" if key != "beta3" else "AdamW"), "linear", 10, key=key)


def test_a_newer_one_replaces_the_one_before():
    optimizer = made("SGD")
    old = sd.optim.Schedule(optimizer, "linear", 10)
    turn(optimizer, old)
    new = sd.optim.Schedule(optimizer, "cosine", 10)
    assert rates(optimizer) == [0.4 * new.schedule.bind(10, 1)(1), 0.1 * new.schedule.bind(10, 1)(1)]
    before = rates(optimizer)
    for call in (old.step, lambda: old.load_state_dict(old.state_dict())):
        with pytest.raises(sd.InputError, match=r"Schedule linear was replaced by a newer one of lr .* a >> b"):
            call()
    assert rates(optimizer) == before


# -- With memory, and refused states -----------------------------------------------------------------------------------

LOSSES = [3.0, 2.0, 2.0, 2.0, 1.0, 1.5, 1.5, 1.5, 1.5, 1.5]


def test_plateau_equals_torchs():
    theirs, ours = made("torch.SGD"), made("SGD")
    peer = peers.ReduceLROnPlateau(theirs, factor=0.5, patience=1)
    schedule = sd.optim.Schedule(ours, sd.plateau(0.5, patience=1), len(LOSSES) + 1)
    for loss in LOSSES:
        turn(theirs)
        peer.step(loss)
        for p in ours.param_groups[0]["params"]:
            p.grad = torch.zeros_like(p)
        ours.step()
        schedule.step(torch.tensor(loss))
        assert rates(ours) == rates(theirs)
    assert rates(ours)[0] < 0.4


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(
    "text", ["warmup(4) >> plateau(0.5, patience=1)", "plateau(0.5, patience=0) * linear(min_lr=0.01)"]
)
def test_plateau_in_a_sequence_with_its_memory(text, order):
    def epochs(optimizer, schedule, losses):
        for loss in losses:
            turn(optimizer)
            schedule.step()
            turn(optimizer)
            schedule.step(loss)
            yield rates(optimizer)

    whole = made("AdamW")
    schedule = sd.optim.Schedule(whole, text, 20, 2)
    path = list(epochs(whole, schedule, LOSSES))
    assert min(path)[0] < 0.2
    for cut in range(1, len(LOSSES)):
        first = made("AdamW")
        schedule = sd.optim.Schedule(first, text, 20, 2)
        assert list(epochs(first, schedule, LOSSES[:cut])) == path[:cut]
        states = dict(zip(("optimizer", "schedule"), saved(first, schedule)))
        other = made("AdamW")
        for move in order.split():
            if move == "build":
                resumed = sd.optim.Schedule(other, text, 20, 2)
            else:
                (other if move == "optimizer" else resumed).load_state_dict(states[move])
        assert rates(other) == path[cut - 1]
        assert list(epochs(other, resumed, LOSSES[cut:])) == path[cut:]


def test_a_metric_without_a_plateau_is_refused():
    optimizer = made("SGD")
    schedule = sd.optim.Schedule(optimizer, "linear", 10)
    with pytest.raises(sd.InputError, match=r"metric must be given to a schedule with a plateau, got 0\.5 for linear"):
        schedule.step(0.5)
    assert schedule.last_epoch == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schedule": "cosine"}, "schedule must be warmup.* >> plateau.*, got cosine"),
        ({"steps": 99}, "steps must be 20, got 99"),
        ({"steps_per_epoch": 3}, "steps_per_epoch must be 2, got 3"),
        ({"key": "momentum"}, "key must be lr, got momentum"),
        ({"offset": -1}, "offset must be 0, got -1"),
        ({"plateaus": []}, "must have 1 plateaus"),
        ({"plateaus": [{"scale": 1.0}]}, "the state of a plateau must have the keys"),
        (None, "state_dict must come from sd.optim.Schedule, got the keys "),
    ],
)
def test_another_schedules_state_is_refused_and_nothing_changes(change, words):
    optimizer = made("SGD")
    schedule = sd.optim.Schedule(optimizer, "warmup(4) >> plateau(0.5, patience=1)", 20, 2)
    turn(optimizer, schedule)
    before, state = rates(optimizer), saved(schedule)[0]
    given = peers.StepLR(made("SGD"), 3).state_dict() if change is None else {**state, "last_epoch": 9, **change}
    with pytest.raises(sd.InputError, match=words):
        schedule.load_state_dict(given)
    assert rates(optimizer) == before
    assert saved(schedule)[0] == state


def test_a_state_of_before_is_read():
    """That of Steepest 0.1 has no schedule in it; torch wrote it."""
    optimizer = made("SGD")
    schedule = sd.optim.Schedule(optimizer, "linear", 10)
    state = {"base_lrs": [0.4, 0.1], "last_epoch": 4, "_step_count": 5, "_is_initial": False}
    state |= {"_get_lr_called_within_step": False, "_last_lr": [0.2, 0.05]}
    with pytest.warns(DeprecationWarning, match="does not name its schedule"):
        schedule.load_state_dict(state)
    assert rates(optimizer) == [0.2, 0.05]
    assert schedule.last_epoch == 4


def test_a_function_of_ones_own():
    optimizer = made("SGD")
    schedule = sd.optim.Schedule(optimizer, lambda t, T: 1 / t, 10)
    turn(optimizer, schedule)
    assert rates(optimizer) == [0.2, 0.05]
    assert schedule.state_dict()["schedule"] == "custom(lambda)"


def test_least_rate_of_groups_with_other_rates():
    optimizer = made("SGD")
    schedule = sd.optim.Schedule(optimizer, "cosine(min_lr=0.2)", 10)
    for _ in range(12):
        turn(optimizer, schedule)
    assert rates(optimizer) == pytest.approx([0.2, 0.1])  # the second is below it from the start
    with pytest.raises(sd.InputError, match="min_lr must be for key='lr', got cosine"):
        sd.optim.Schedule(optimizer, "cosine(min_lr=0.2)", 10, key="momentum")


def test_a_step_that_is_taken_too_early_is_warned_of():
    schedule = sd.optim.Schedule(made("torch.SGD"), "linear", 10)
    with pytest.warns(UserWarning, match="after optimizer.step"):
        schedule.step()


# -- Among torch's schedulers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["SGD", "AdamW"])
@pytest.mark.parametrize("options", [{}, {"three_phase": True}, {"anneal_strategy": "linear", "pct_start": 0.4}])
def test_one_cycle_of_rate_and_momentum_trains_as_torchs(kind, options):
    key = "momentum" if kind == "SGD" else "beta1"
    words = f"rise={options.get('pct_start', 0.3)}, phases={3 if 'three_phase' in options else 2}, "
    words += f"anneal={options.get('anneal_strategy', 'cos')}"
    theirs, ours = made(f"torch.{kind}"), made(kind)
    peer = peers.OneCycleLR(theirs, [0.4, 0.1], total_steps=20, base_momentum=0.81, max_momentum=0.9, **options)
    schedules = [
        sd.optim.Schedule(ours, f"one_cycle({words})", 20),
        sd.optim.Schedule(ours, f"one_cycle({words}, peak=0.9, div=1, final_div=1)", 20, key=key),
    ]
    for t in range(20):
        turn(theirs)
        turn(ours, *schedules)
        if t < 19:
            peer.step()
    for group, other in zip(ours.param_groups, theirs.param_groups):
        for p, q in zip(group["params"], other["params"]):
            assert torch.allclose(p, q, rtol=1e-6)


@pytest.mark.filterwarnings("ignore:The epoch parameter")  # SequentialLR's own call in older versions
def test_in_torchs_sequence():
    for own_first in (False, True):
        optimizer = made("SGD")
        first = peers.LambdaLR(optimizer, lambda e: (e + 1) / 4) if not own_first else None
        own = sd.optim.Schedule(optimizer, "linear(10)", 10)
        second = first or peers.LambdaLR(optimizer, lambda e: 0.5**e)
        parts = [own, second] if own_first else [second, own]
        sequence = peers.SequentialLR(optimizer, parts, milestones=[4])
        factors = [[(e + 1) / 4 for e in range(4)], [1 - t / 10 for t in range(1, 7)]]
        if own_first:
            factors = [[1 - t / 10 for t in range(1, 5)], [0.5**e for e in range(6)]]
        for factor in (*factors[0], *factors[1]):
            assert rates(optimizer) == pytest.approx([0.4 * factor, 0.1 * factor])
            turn(optimizer, sequence)


def test_an_index_as_in_torch():
    optimizer = made("SGD")
    schedule = sd.optim.Schedule(optimizer, "linear", 10)
    schedule.step(6)
    assert schedule.last_epoch == 6
    assert rates(optimizer) == pytest.approx([0.4 * 0.3, 0.1 * 0.3])


# -- Among other libraries ---------------------------------------------------------------------------------------------


def test_accelerates_wrapper():
    accelerator = Accelerator(cpu=True)
    net = nn.Linear(2, 2)
    optimizer = sd.optim.AdamW(net.parameters(), lr=0.5)
    schedule = sd.optim.Schedule(optimizer, "warmup(2) >> linear", 10)
    net, optimizer, schedule = accelerator.prepare(net, optimizer, schedule)
    seen = []
    for _ in range(10):
        seen.append(schedule.get_last_lr()[0])
        accelerator.backward(net(torch.ones(1, 2)).sum())
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    assert seen == [0.5 * sd.schedule.parse("warmup(2) >> linear").bind(10, 1)(t) for t in range(1, 11)]
    schedule.load_state_dict(saved(schedule)[0])


@pytest.mark.filterwarnings("ignore")  # Lightning's own
def test_lightnings_monitor(tmp_path):
    lightning = pytest.importorskip("lightning.pytorch")

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = nn.Linear(2, 1)

        def training_step(self, batch, _):
            return self.net(batch[0]).square().mean()

        def configure_optimizers(self):
            optimizer = sd.optim.SGD(self.parameters(), lr=0.5, momentum=0.9)
            schedule = sd.optim.Schedule(optimizer, "warmup(2) >> linear", 6)
            return [optimizer], [{"scheduler": schedule, "interval": "step", "name": "rate"}]

    monitor = lightning.callbacks.LearningRateMonitor(logging_interval="step", log_momentum=True)
    seen = []

    class Logger(lightning.loggers.CSVLogger):
        def log_metrics(self, metrics, step=None):
            seen.extend(value for name, value in metrics.items() if name == "rate")

    trainer = lightning.Trainer(
        max_epochs=1, callbacks=[monitor], logger=Logger(tmp_path), accelerator="cpu", enable_progress_bar=False,
        enable_model_summary=False, enable_checkpointing=False, log_every_n_steps=1,
    )  # fmt: skip
    trainer.fit(Module(), torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.ones(6, 2))))
    assert seen == [0.5 * sd.schedule.parse("warmup(2) >> linear").bind(6, 1)(t) for t in range(1, 7)]
