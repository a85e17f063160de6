"""The rate of a rule that takes over: against sums by hand, known quadratics, and dense Hessians."""

import copy
import itertools
import math
import re
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import steepest as sd
from steepest.descent import async_loop, handoff
from steepest.descent.loop import Descent
from steepest.descent.settings import resolve
from steepest.records.run import Event
from steepest.schedule import as_schedule
from steepest.tasks import load
from steepest.tasks.batches import Batches
from steepest.tasks.terrains import TERRAINS
from steepest.view.format import describe_event

SAMPLES, BATCH = 60, 12


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)).double()


def samples():
    g = torch.Generator().manual_seed(0)
    x = torch.randn(SAMPLES, 4, generator=g, dtype=torch.float64)
    return x, (x @ torch.randn(4, 3, generator=g, dtype=torch.float64)).argmax(1)


def a_task(model=network, data=None, **given):
    given = given if "objective" in given else {"loss": F.cross_entropy, **given}
    return sd.Task(model, samples() if data is None else data, validation=samples(), **given)


class Sometimes(nn.Module):
    """Its output is no number in one training step of eight, as the step's random numbers have it."""

    def forward(self, x):
        return x / (torch.rand(()) > 1 / 8) if self.training else x


def sometimes(seed):
    return nn.Sequential(*network(seed), Sometimes())


def quadratic(*curvatures, noise=0.0, break_at=()):
    """½ Σ λᵢ wᵢ² and a gradient's noise; in some forward passes it is no number."""
    scales, passes = torch.tensor(curvatures, dtype=torch.float64), itertools.count(1)

    class Bowl(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.ones_like(scales))

        def forward(self):
            broken = math.nan if self.training and next(passes) in break_at else 0.0
            return 0.5 * (scales * self.w.square()).sum() + ((noise * torch.randn_like(scales) + broken) * self.w).sum()

    return sd.Task(Bowl(), objective=lambda model, batch: model())


class Handed(NamedTuple):
    """A descent after the first step of its second stage."""

    descent: Descent
    stride: handoff.StepStatistics | None
    event: Event

    @property
    def ratio(self):
        return ratio(self.stride)

    @property
    def steps(self):
        return self.stride.state()["steps"]


def ratio(stride):
    _, squares, downhill = stride.state().values()
    return squares / downhill


def handed(task, rule, **given):
    given = {"steps": 60, "schedule": "constant", **given}
    if task.data is not None and not hasattr(task.data, "batch_size"):
        given.setdefault("batch_size", BATCH)
    settings = resolve(task, rule=rule, **given)
    d = Descent(task, settings, task.build(settings.seed))
    first = d.stage.last
    while d.t < first:
        d.step()
    stride = d._statistics
    return Handed(d, stride, d.step().event)


# -- The formula -------------------------------------------------------------------------------------------------------


def by_hand(rule, end, window, *, clip=math.inf, factor=lambda t: 1.0, scales=(1.0,) * 4, **given):
    """Σ‖p‖² / Σ(−p·g) with each p and g recorded: p from the points, g from a model of its own."""
    task = a_task()
    clipped = {} if clip == math.inf else {"clip": clip}
    settings = resolve(
        task,
        rule=rule,
        steps=given.pop("steps", 60),
        **{"schedule": "constant", "batch_size": BATCH, **given},
        **clipped,
    )
    d = Descent(task, settings, task.build(0))
    other, batches = copy.deepcopy(d.model), Batches(task.data, BATCH, 0)
    squares, downhill = [], []
    for t in range(1, end + 1):
        before = [p.detach().clone() for p in d.model.parameters()]
        d.step()
        if t <= end - window:
            continue
        other.load_state_dict(dict(zip(other.state_dict(), before, strict=True)))
        x, y = batches(t)[0]
        gradient = torch.autograd.grad(F.cross_entropy(other(x), y), list(other.parameters()))
        norm = math.sqrt(sum(g.square().sum().item() for g in gradient))
        for p, w, g, s in zip(d.model.parameters(), before, gradient, scales, strict=True):
            step = (p.detach() - w) / (factor(t) * s)
            squares.append(step.square().sum().item())
            downhill.append(-(step * g).sum().item() * min(1.0, clip / (norm + 1e-6)))
    return math.fsum(squares) / math.fsum(downhill)


def linear(t, steps=60):
    return 1 - t / steps


@pytest.mark.parametrize("first", ["adam", "rmsprop", "lion", "nesterov", "schedule_free_adamw", sd.adamw], ids=str)
def test_against_sums_by_hand(first):
    stages = sd.stage(first, 40, lr=0.01) >> sd.stage("momentum")
    found = handed(a_task(), stages)
    expected = by_hand(stages, end=40, window=40)
    assert found.ratio == pytest.approx(expected, rel=1e-9)
    assert found.descent.base_lr == pytest.approx(0.1 * expected, rel=1e-9)
    assert found.event.t == 41
    assert found.event.done == f"switched to momentum, lr {0.1 * expected:.4g}, derived from the last 40 steps"


def test_the_schedule_the_groups_and_the_clipping_are_taken_out():
    stages = sd.stage("adam", 40, lr=0.01) >> sd.stage("momentum")
    given = {"clip": 0.4, "schedule": "linear", "groups": {"2.*": {"lr_scale": 0.2}}}
    found = handed(a_task(), stages, **given)
    expected = by_hand(stages, end=40, window=40, factor=linear, scales=(1.0, 1.0, 0.2, 0.2), **given)
    assert found.ratio == pytest.approx(expected, rel=1e-9)
    assert found.descent.step().lr == found.descent.base_lr * linear(42)


def test_only_the_last_hundred_steps_count():
    stages = sd.stage("adam", 130, lr=0.01) >> sd.stage("momentum", 10)
    found = handed(a_task(), stages, steps=140)
    assert found.steps == 100
    assert found.ratio == pytest.approx(by_hand(stages, end=130, window=100, steps=140), rel=1e-9)


def test_of_a_run_that_is_stretched_the_last_hundred_count():
    task, stages = a_task(), sd.stage("adam", "90%", lr=0.01) >> sd.stage("momentum", "10%")
    short, long = (
        Descent(task, resolve(task, rule=stages, batch_size=BATCH, steps=n), task.build(0)) for n in (60, 200)
    )
    for _ in range(50):
        short.step()
    long.load(copy.deepcopy(short.state()))
    while long.t < 180:
        long.step()
    assert long._statistics.state()["steps"] == 100


@pytest.mark.parametrize("rule", ["gradient_descent", sd.momentum(beta=0.6), sd.nesterov(beta=0.95)], ids=str)
def test_the_betas_share_is_that_of_the_new_rule(rule):
    found = handed(a_task(), sd.stage("adam", 40, lr=1e-4) >> sd.stage(rule))
    beta = getattr(rule, "hypers", {}).get("beta", 0.0)
    assert found.descent.base_lr == pytest.approx((1 - beta) * found.ratio, rel=1e-12)


def test_a_scheduled_beta_is_that_of_the_first_step():
    found = handed(a_task(), sd.stage("adam", 40, lr=1e-4) >> sd.stage(sd.momentum(beta=0.9 * sd.linear)))
    assert found.descent.base_lr == pytest.approx((1 - 0.9 * linear(41)) * found.ratio, rel=1e-12)


# -- Known answers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given",
    [{}, {"clip": 0.1}, {"schedule": "warmup(9) >> cosine"}, {"groups": {"0.*": {"lr_scale": 3.0}}}, {"accumulate": 3}],
    ids=str,
)
@pytest.mark.parametrize("rule", ["gradient_descent", sd.momentum(beta=0.0), sd.nesterov(beta=0.0)], ids=str)
def test_gradient_descent_handed_to_itself_keeps_its_rate(rule, given):
    found = handed(a_task(), sd.stage("gradient_descent", 40, lr=0.03) >> sd.stage(rule), **given)
    assert found.descent.base_lr == pytest.approx(0.03, rel=1e-12)


def test_a_heavy_ball_where_gradients_last_keeps_its_rate():
    found = handed(quadratic(1.0, 2.0), sd.stage("momentum", 300, lr=1e-4) >> sd.stage("momentum"), steps=400)
    assert found.descent.base_lr == pytest.approx(1e-4, rel=0.02)


@pytest.mark.parametrize("beta", [0.5, 0.9])
def test_a_heavy_ball_of_noise_has_its_share(beta):
    rule = sd.momentum(beta=beta)
    task = quadratic(*[1e-6] * 400, noise=1.0)
    found = handed(task, sd.stage(rule, 300, lr=1e-3) >> sd.stage(rule), steps=400)
    assert found.descent.base_lr == pytest.approx(1e-3 / (1 + beta), rel=0.05)


@pytest.mark.parametrize(
    ("first", "then", "expected"),
    [
        (1.5 / 40, "gradient_descent", 1 / 40),
        (0.9 / 40, "gradient_descent", 0.9 / 40),
        (30 / 40, sd.momentum(beta=0.9), 1.9 / 40),
        (30 / 40, sd.nesterov(beta=0.5), 1.5 / 2 / 40),
    ],
)
def test_half_the_stability_limit_bounds_it(first, then, expected):
    """Clipping keeps steps short where the rate is beyond all limits."""
    stages = sd.stage("gradient_descent", 20, lr=first) >> sd.stage(then)
    found = handed(quadratic(40.0, 10.0, 1.0), stages, clip=0.001)
    assert found.descent.base_lr == pytest.approx(expected, rel=1e-6)
    assert ("half the stability limit (λ_max 40); " in found.event.done) == (first > expected)


def test_the_bound_is_of_the_greatest_rate_of_the_stage():
    stages = sd.stage("gradient_descent", 20, lr=1.5 / 40) >> sd.stage("gradient_descent")
    found = handed(quadratic(40.0, 1.0), stages, clip=0.001, schedule="constant(30) >> 2 * constant")
    assert found.descent.base_lr == pytest.approx(0.5 / 40, rel=1e-6)


# -- Curvature ---------------------------------------------------------------------------------------------------------


def dense(task, model, scales):
    """The whole Hessian of the loss, S^½ H S^½, in evaluation mode."""
    names, parts = zip(*model.named_parameters(), strict=True)
    ends = list(itertools.accumulate(p.numel() for p in parts))

    def loss(w: Tensor):
        split = [w[e - p.numel() : e].view_as(p) for e, p in zip(ends, parts, strict=True)]
        x, y = task.data
        return F.cross_entropy(torch.func.functional_call(model, dict(zip(names, split, strict=True)), (x,)), y)

    model.eval()
    found = torch.autograd.functional.hessian(loss, torch.cat([p.detach().reshape(-1) for p in parts]))
    root = torch.cat([torch.full((p.numel(),), s**0.5, dtype=p.dtype) for p, s in zip(parts, scales, strict=True)])
    return root[:, None] * found * root


def normed(seed=0):
    torch.manual_seed(seed)
    layers = nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.5), nn.Linear(8, 3)
    return nn.Sequential(*layers).double()


@pytest.mark.parametrize("scales", [(1.0,) * 6, (1.0, 1.0, 1.0, 1.0, 9.0, 0.0)], ids=str)
def test_curvature_is_that_of_the_model_as_it_is(scales):
    """With its batch norm's statistics of now and without dropout; the descent is left as it was."""
    task = a_task(normed)
    d = Descent(task, resolve(task, rule="adam", lr=0.01, batch_size=BATCH, steps=60), task.build(0))
    for _ in range(40):
        d.step()
    before, state = d.end_state().tensors, copy.deepcopy(d.model.state_dict())
    found = handoff.max_curvature(d, scales)
    assert found == pytest.approx(
        torch.linalg.eigvalsh(dense(task, copy.deepcopy(d.model), scales))[-1].item(), rel=0.01
    )
    assert all(torch.equal(x, state[name]) for name, x in before.items())
    assert d.model.training


class Attention(nn.Module):
    """One head over eight places: torch's fast kernel for it has no second derivative."""

    def __init__(self):
        super().__init__()
        self.into, self.out = nn.Linear(4, 12), nn.Linear(4, 3)

    def forward(self, x):
        q, k, v = self.into(x.unsqueeze(1).unsqueeze(1).expand(-1, 1, 8, 4)).split(4, -1)
        return self.out(F.scaled_dot_product_attention(q, k, v).mean((1, 2)))


def test_attention():
    x, y = samples()
    found = handed(a_task(Attention(), (x.float(), y)), sd.stage("adam", 40) >> sd.stage("momentum"))
    assert "the rule's default" not in found.event.done


# -- Where nothing follows ---------------------------------------------------------------------------------------------


def nearest(model, batch):
    """The distance in each coordinate, summed: torch has no second derivative of it."""
    return F.cross_entropy(-torch.cdist(model(batch[0]), torch.eye(3).double(), p=1), batch[1])


def uphill(params):
    return torch.optim.SGD(params, lr=0.01, maximize=True)


@pytest.mark.parametrize(
    ("task", "first", "says"),
    [
        (lambda: a_task(objective=nearest), "adam", "λ_max, which bounds a derived lr, is unknown ("),
        (a_task, uphill, "the last 40 steps did not descend"),
        (lambda: quadratic(1.0, break_at=range(1, 41)), "adam", "the stage before took no step that counts"),
    ],
    ids=["no second derivative", "uphill", "no steps"],
)
def test_its_own_rate_where_nothing_follows(task, first, says):
    found = handed(task(), sd.stage(first, 40, lr=0.01) >> sd.stage("momentum"))
    assert found.descent.base_lr == sd.momentum.hypers["lr"]
    assert f"switched to momentum, lr 0.01, the rule's default: {says}" in found.event.done


@pytest.mark.parametrize(
    ("stage", "rate", "says"),
    [
        (sd.stage("momentum", lr=0.05), 0.05, "as given"),
        (sd.stage(sd.momentum(lr=0.07)), 0.07, "as given"),
        (sd.stage("lion"), 1e-4, "the rule's default: its steps are not sums of gradients"),
        (
            sd.stage(lambda params: torch.optim.SGD(params, lr=0.3)),
            0.3,
            "the rule's default: its steps are not sums of gradients",
        ),
    ],
)
def test_what_does_not_follow(stage, rate, says):
    found = handed(a_task(), sd.stage("adam", 40) >> stage)
    assert found.stride is None
    assert found.descent.base_lr == rate
    assert found.event.done.endswith(f", lr {rate:.4g}, {says}")


def test_steps_that_were_not_taken_do_not_count():
    broken = (7, 8, 21, 38)
    stages = sd.stage("gradient_descent", 40, lr=0.01) >> sd.stage("gradient_descent")
    found = handed(quadratic(1.0, 3.0, break_at=broken), stages)
    assert found.steps == 40 - len(broken)
    assert found.descent.base_lr == pytest.approx(0.01, rel=1e-12)


@pytest.mark.parametrize("guard", [False, True])
def test_a_hand_off_in_a_step_that_is_not_taken_is_still_told(guard):
    found = handed(quadratic(1.0, 3.0, break_at=(41,)), sd.stage("adam", 40) >> sd.stage("momentum"), guard=guard)
    assert found.event.kind == "skip"
    assert re.match("adam's stage ended; non-finite gradient", found.event.seen)
    assert re.search("; step skipped$", found.event.done)


# -- Other optimizers, data and schedules ------------------------------------------------------------------------------


def test_from_an_optimizer_of_torch():
    def theirs(params):
        return torch.optim.Adam(params, lr=0.01)

    ours = handed(a_task(), sd.stage("adam", 40, lr=0.01) >> sd.stage("momentum"), clip=0.3)
    found = handed(a_task(), sd.stage(theirs, 40) >> sd.stage("momentum"), clip=0.3)
    assert found.descent.base_lr == pytest.approx(ours.descent.base_lr, rel=1e-7)
    assert found.event.seen == "Adam's stage ended"


@pytest.mark.parametrize(
    "data",
    [
        lambda: torch.utils.data.TensorDataset(*samples()),
        lambda: torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*samples()), batch_size=BATCH),
    ],
    ids=["a Dataset", "a DataLoader"],
)
def test_data_of_other_kinds(data):
    stages = sd.stage("gradient_descent", 40, lr=0.03) >> sd.stage("gradient_descent")
    assert handed(a_task(data=data()), stages).descent.base_lr == pytest.approx(0.03, rel=1e-12)


@pytest.mark.parametrize("given", [{}, {"clip": 0.3, "groups": {"2.*": {"lr_scale": 0.2}}}], ids=str)
def test_on_an_asynchronous_device(given):
    """There steps go in blocks, their numbers stay there, and steps that are not taken have NaN for a scale."""
    found = []
    for steps in (iter, async_loop.steps):
        task, stages = a_task(sometimes), sd.stage("adam", 40, lr=0.01) >> sd.stage("momentum")
        d = Descent(task, resolve(task, rule=stages, batch_size=BATCH, steps=60, **given), task.build(0))
        events = [step.event for step in steps(d) if step.event]
        found.append((d.base_lr, [e.kind for e in events], d.space.gather()))
    (rate, kinds, end), (rate_too, kinds_too, end_too) = found
    assert kinds == kinds_too
    assert {"skip", "stage"} <= set(kinds)
    assert rate == pytest.approx(rate_too, rel=1e-9)
    assert torch.allclose(end, end_too, rtol=1e-9)


def test_a_terrain_and_a_plateau():
    task = sd.Task(model=TERRAINS["rosenbrock"].model(), objective=lambda model, batch: model())
    found = handed(task, sd.stage("adam", 40) >> sd.stage("momentum"), schedule="plateau(0.5, patience=3)")
    assert "the rule's default" not in found.event.done


def test_three_stages_each_from_the_one_before():
    stages = sd.stage("gradient_descent", 20, lr=0.03) >> sd.stage("momentum", 20) >> sd.stage("gradient_descent", 20)
    found = handed(a_task(), stages)
    assert found.descent.base_lr == pytest.approx(0.003, rel=1e-12)
    for _ in range(19):
        found.descent.step()
    stride = found.descent._statistics
    assert stride.state()["steps"] == 20
    found.descent.step()
    assert found.descent.base_lr == pytest.approx(ratio(stride), rel=1e-12)


def test_the_loss_does_not_jump():
    task, end = load("digits"), 140
    stages = sd.stage("adam", "70%") >> sd.stage("momentum", "30%")
    losses = [step.loss for step in sd.descend(task, stages, steps=200, guard=True)]
    assert np.mean(losses[end : end + 20]) < 1.05 * np.mean(losses[end - 20 : end])


# -- Going back over it ------------------------------------------------------------------------------------------------


def test_a_rewind_across_a_hand_off():
    """Three gradients in a row that are not finite are a divergence: back before the hand-off, and over it again.

    After each of the first two, the guard looks at the batch once more.
    """
    ends, events = [], []
    for broken in ((), range(68, 73)):
        task = quadratic(*np.geomspace(0.1, 10, 20), noise=0.1, break_at=broken)
        stages = sd.stage("adam", 65, lr=0.01) >> sd.stage("momentum")
        settings = resolve(task, rule=stages, steps=90, schedule="cosine", guard=sd.Guard(snapshot_every=20))
        d = Descent(task, settings, task.build(0))
        events.append([step.event for step in d if step.event])
        ends.append(d.space.gather())
    assert [(e.t, e.kind) for e in events[1]] == [
        (66, "stage"), (68, "skip"), (69, "skip"), (70, "rewind"), (66, "stage"),
    ]  # fmt: skip
    assert {e for e in events[1] if e.kind == "stage"} == set(events[0])
    assert torch.equal(*ends)


def test_it_is_in_the_record(tmp_path, capsys):
    stages = sd.stage("adam", "70%") >> sd.stage("momentum")
    run = sd.fit(load("digits"), stages, steps=60, epochs=None, runs=tmp_path)
    (event,) = sd.open(run.id, tmp_path).events
    assert (event.t, event.kind, event.seen) == (43, "stage", "adam's stage ended")
    assert describe_event(event) in capsys.readouterr().err
    factor = as_schedule("warmup(5%) >> cosine").bind(60, 21)(43)
    assert f"switched to momentum, lr {run.record.steps.lr[42] / factor:.4g}, " in event.done
