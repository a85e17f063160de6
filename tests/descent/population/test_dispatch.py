"""Many descents: together as one after another, and what each of them does when others fail."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import steepest as sd
from steepest.descent.loop import Descent
from steepest.descent.population import dispatch, population
from steepest.descent.population.dispatch import BATCHED, SEQUENTIAL, run_descents
from steepest.descent.population.population import Plan
from steepest.descent.population.work import CALL_WORK, step_work
from steepest.descent.settings import resolve
from steepest.errors import TaskError


def data(n=200, seed=0):
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 6, generator=random)
    return x, (x[:, :3] + 0.3 * torch.randn(n, 3, generator=random)).argmax(1)


def net(seed, *middle):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 16), *middle, nn.ReLU(), nn.Linear(16, 3))


def task(*middle, **given):
    return sd.Task(
        lambda seed: net(seed, *(type(m)(16) for m in middle)), data(), cross_entropy, validation=data(seed=1), **given
    )


def settings(of, rates=(0.01, 0.03, 0.1), steps=30, rule="adam", **given):
    return [resolve(of, rule=rule, lr=lr, batch_size=32, steps=steps, **given) for lr in rates]


def both(of, chosen, plan=None):
    return [run_descents(of, chosen, plan, strategy=name).members for name in (BATCHED, SEQUENTIAL)]


@pytest.mark.parametrize("rule", ["gradient_descent", "momentum", "adam", "lion", "schedule_free_adamw"])
def test_together_is_as_one_after_another(rule):
    of = task()
    for one, other in zip(*both(of, settings(of, rule=rule)), strict=True):
        np.testing.assert_allclose(one.losses, other.losses, rtol=2e-4)
        assert one.value == pytest.approx(other.value, rel=1e-3)


@pytest.mark.parametrize(
    "given",
    [
        {"clip": 0.05}, {"accumulate": 3}, {"average": 0.9}, {"groups": {"0.*": {"lr_scale": 0.1}}},
        {"schedule": "warmup(5) >> linear"}, {"precision": "bfloat16"},
    ],
    ids=str,
)  # fmt: skip
def test_every_setting_together(given):
    of = task()
    tolerance = 0.05 if "precision" in given else 1e-3
    for one, other in zip(*both(of, settings(of, **given)), strict=True):
        np.testing.assert_allclose(one.losses, other.losses, rtol=tolerance)


def test_other_hyperparameters_and_seeds():
    of = task()
    chosen = [
        resolve(of, rule=sd.momentum(beta=b), lr=0.1, batch_size=32, steps=20, seed=k) for k, b in enumerate((0.5, 0.9))
    ]
    found = run_descents(of, chosen, strategy=BATCHED)
    assert [s.name for s in found.strategies] == [BATCHED]
    for one, other in zip(found.members, run_descents(of, chosen, strategy=SEQUENTIAL).members, strict=True):
        np.testing.assert_allclose(one.losses, other.losses, rtol=1e-3)
    assert found.members[0].losses[0] != found.members[1].losses[0]


@pytest.mark.parametrize(
    "given", [{"weight": torch.tensor([1.0, 4.0, 0.1])}, {"ignore_index": 1}, {"reduction": "sum"}]
)
@pytest.mark.parametrize("seeds", [(0, 0, 0), (0, 1, 2)])
def test_micro_batches_of_losses_that_are_no_mean(given, seeds):
    of = sd.Task(net, data(), nn.CrossEntropyLoss(**given), validation=data(seed=1))
    chosen = [resolve(of, rule="adam", lr=0.01, batch_size=20, accumulate=4, steps=12, seed=s) for s in seeds]
    assert run_descents(of, chosen).strategies[0].name == BATCHED
    for one, other in zip(*both(of, chosen), strict=True):
        np.testing.assert_allclose(one.losses, other.losses, rtol=1e-4)


@pytest.mark.parametrize("seeds", [(0, 0, 0), (0, 1, 2)])
def test_micro_batches_where_a_member_diverges(seeds):
    loss = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 4.0, 0.1]))
    of = sd.Task(net, data(), lambda out, y: loss(out + 0.01 * out**4, y), validation=data(seed=1))
    chosen = [
        resolve(of, rule="momentum", lr=lr, batch_size=20, accumulate=4, steps=12, seed=s)
        for lr, s in zip((1e6, 0.01, 1e30), seeds)
    ]
    one, other = both(of, chosen)
    assert [bool(m.failure) for m in one] == [bool(m.failure) for m in other] == [True, False, True]
    np.testing.assert_allclose(one[1].losses, other[1].losses, rtol=1e-4)


def test_batch_norm_of_each_member():
    of = task(nn.BatchNorm1d(16))
    for one, other in zip(*both(of, settings(of, rule="momentum")), strict=True):
        assert one.value == pytest.approx(other.value, rel=1e-3)


def batches_of_both_epochs():
    x, y = data()
    return [(x[k : k + 25], y[k : k + 25]) for k in range(0, 200, 25)]


@pytest.mark.parametrize(
    ("given", "source"),
    [
        ({"average": 0.9}, None), ({"rule": "schedule_free_adamw"}, None), ({"average": 0.8}, batches_of_both_epochs),
        ({"average": 0.9, "seeds": (0, 1, 2)}, None),
    ],
)  # fmt: skip
def test_batch_norm_s_statistics_are_those_of_the_reported_weights(given, source):
    """As a single descent's, and not those of the weights that took the steps, which one member leaves early."""
    layers = lambda seed: net(seed, nn.BatchNorm1d(16))  # noqa: E731
    of = sd.Task(layers, data() if source is None else source(), cross_entropy, validation=data(seed=1))
    given = {"rule": "momentum", **given}
    seeds = given.pop("seeds", (0, 0, 0))
    rates = (1e9, 0.03, 0.3) if given["rule"] == "momentum" and source is None else (0.02, 0.03, 0.3)
    size = {"batch_size": 32} if source is None else {}
    chosen = [resolve(of, lr=lr, seed=s, steps=30, **size, **given) for lr, s in zip(rates, seeds)]
    for one, other in zip(*both(of, chosen, Plan(interval=15)), strict=True):
        assert list(one.measurements) == list(other.measurements)
        for t, values in one.measurements.items():
            if math.isfinite(values["loss"]):
                assert values["loss"] == pytest.approx(other.measurements[t]["loss"], rel=2e-3)


def test_kinds_go_apart_and_come_back_in_order():
    of = task()
    chosen = [resolve(of, rule=r, lr=0.01, batch_size=32, steps=5) for r in ("adam", "lion", "adam", "lion")]
    chosen.append(resolve(of, rule=torch.optim.SGD, lr=0.01, batch_size=32, steps=5))
    found = run_descents(of, chosen, strategy=BATCHED)
    assert [m.settings for m in found.members] == chosen
    assert [s.name for s in found.strategies] == [BATCHED, BATCHED, SEQUENTIAL]
    assert "torch.optim.Optimizer" in found.strategies[2].reason


def test_a_schedule_that_looks_at_the_loss_goes_alone():
    of = task()
    found = run_descents(of, settings(of, steps=14, schedule="plateau(0.5, patience=1)"), strategy=BATCHED)
    assert found.strategies[0].name == SEQUENTIAL
    assert "depends on the loss" in found.strategies[0].reason


def test_one_that_diverges_touches_no_other_and_costs_nothing_more():
    of = sd.Task(
        lambda seed: net(seed), data(), lambda out, y: (out**4).mean() + cross_entropy(out, y), validation=data(seed=1)
    )
    alone = run_descents(of, settings(of, (0.01, 0.02), rule="momentum"), strategy=BATCHED).members
    found = run_descents(of, settings(of, (0.01, 1e6, 0.02), rule="momentum"), strategy=BATCHED).members
    assert "non-finite" in found[1].failure
    assert found[1].value == math.inf
    assert len(found[1].losses) < 10
    np.testing.assert_allclose(found[0].losses, alone[0].losses, rtol=1e-5)
    np.testing.assert_allclose(found[2].losses, alone[1].losses, rtol=1e-5)


def test_a_guard_judges_each_member_apart():
    of = task()
    calm, wild = settings(of, (0.01, 3e3), steps=200, rule="momentum", guard=True)
    found = run_descents(of, [calm, wild], strategy=BATCHED).members
    assert not found[0].failure
    assert found[1].failure
    assert found[0].losses == pytest.approx(run_descents(of, [calm], strategy=SEQUENTIAL).members[0].losses, rel=1e-3)


def test_a_long_population_is_recorded_and_goes_the_same_way(monkeypatch):
    of = task()
    usual = run_descents(of, settings(of, steps=60), strategy=BATCHED).members
    monkeypatch.setattr(population, "MIN_TRACE_STEPS", 50)
    traced = []
    own = population.Members.trace
    monkeypatch.setattr(population.Members, "trace", lambda *given: traced.append(own(*given)) or traced[-1])
    for one, other in zip(usual, run_descents(of, settings(of, steps=60), strategy=BATCHED).members, strict=True):
        np.testing.assert_allclose(one.losses, other.losses, rtol=1e-6)
    assert traced == [True]


def test_points_and_measurements_on_the_way():
    of = task()
    plan = Plan(interval=10, points=4)
    for one, other in zip(*both(of, settings(of), plan), strict=True):
        assert list(one.measurements) == list(other.measurements) == [10, 20, 30]
        assert list(one.points) == list(other.points) == [0, 10, 20, 30]
        path = one.path("x")
        assert path.points.shape == (4, 16 * 7 + 3 * 17)
        np.testing.assert_allclose(path.points, other.path("x").points, rtol=1e-2, atol=1e-4)


def test_only_the_steps_of_the_chosen_strategy_are_reported():
    of, counted = task(), []
    found = run_descents(of, settings(of), Plan(on_step=lambda members: counted.append(len(members))))
    assert [s.name for s in found.strategies] == [BATCHED]
    assert sum(counted) == sum(len(m.losses) for m in found.members) == 90


@pytest.mark.parametrize(("width", "name"), [(16, BATCHED), (300, SEQUENTIAL)])
def test_the_strategy_follows_from_the_work_of_a_step(width, name):
    """By no clock: 2 x (operations forward) + 4 x (backward) for each weight of a matrix and each sample."""
    layers = nn.Linear(6, width), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 3)
    of = sd.Task(nn.Sequential(*layers), data(), cross_entropy, validation=data(seed=1))
    own = settings(of, steps=3)
    (strategy,) = run_descents(of, own).strategies
    assert strategy.name == name
    first = Descent(of, own[0], of.copy(0))
    samples = first.batches.batch_size
    assert step_work(first) == CALL_WORK + 6 * samples * (6 * width + width * width + width * 3)
    assert f"{step_work(first):.1e} operations" in strategy.reason


def test_small_convolutions_go_together_up_to_more_work():
    class Image(nn.Sequential):
        def forward(self, x):
            return super().forward(x.repeat(1, 24).view(-1, 1, 12, 12))

    layers = (nn.Conv2d(1, 12, 3), nn.ReLU(), nn.Conv2d(12, 12, 3), nn.Flatten(), nn.LazyLinear(3))
    model = Image(*layers)
    model(torch.zeros(1, 6))
    of = sd.Task(model, data(), cross_entropy, validation=data(seed=1))
    assert step_work(Descent(of, settings(of)[0], of.copy(0))) > dispatch.MAX_DENSE_WORK * CALL_WORK
    assert run_descents(of, settings(of)).strategies[0].name == BATCHED


def test_a_model_that_cannot_be_mapped_goes_alone_and_that_is_said():
    class Branches(nn.Linear):
        def forward(self, x):
            return super().forward(x) * (2 if self.weight.sum() > 0 else 1)

    of = sd.Task(lambda seed: Branches(6, 3), data(), cross_entropy, validation=data(seed=1))
    found = run_descents(of, settings(of), strategy=BATCHED)
    assert found.strategies[0].name == SEQUENTIAL
    assert "torch.func cannot batch this model" in found.strategies[0].reason


def test_too_many_for_the_memory_go_in_parts(monkeypatch):
    of = task()
    whole = run_descents(of, settings(of), strategy=BATCHED)
    first = dispatch._max_batch
    monkeypatch.setattr(dispatch, "free_memory", lambda device: 50_000)
    assert 1 <= first(Descent(of, settings(of)[0], of.copy(0))) < 3
    parts = run_descents(of, settings(of), strategy=BATCHED)
    assert parts.strategies[0].size < 3
    for one, other in zip(whole.members, parts.members, strict=True):
        np.testing.assert_allclose(one.losses, other.losses, rtol=1e-4)


def test_the_task_s_own_model_stays_as_it_is():
    own = net(0)
    of = sd.Task(own, data(), cross_entropy, validation=data(seed=1))
    before = {n: x.clone() for n, x in own.state_dict().items()}
    both(of, settings(of))
    assert all(torch.equal(x, before[n]) for n, x in own.state_dict().items())


def test_a_module_that_cannot_be_copied_is_named():
    class Single(nn.Linear):
        def __deepcopy__(self, memo):
            raise RuntimeError("I am one of a kind")

    of = sd.Task(Single(6, 3), data(), cross_entropy, validation=data(seed=1))
    with pytest.raises(TaskError, match=r"one of a kind.*a function seed -> module"):
        run_descents(of, settings(of))


class Power(nn.Module):
    """Does more in training than in evaluation, which vmap lacks: as a spectral norm does."""

    def __init__(self) -> None:
        super().__init__()
        self.f = nn.Linear(6, 3)

    def forward(self, x):
        norm = torch.empty(())
        if self.training:
            torch.div(self.f.weight.detach().norm(), 2.0, out=norm)
        return self.f(x)


class Drop(nn.Module):
    """Leaves a layer out in some of the passes, counted for all of its kind: the first ones do not show it."""

    t = 0

    def __init__(self) -> None:
        super().__init__()
        self.f = nn.Linear(6, 3)

    def forward(self, x):
        Drop.t += self.training
        return self.f(x) if Drop.t % 20 or torch.rand(1).item() < 2 else self.f(x).tanh()


@pytest.mark.parametrize("model", [Power, Drop])
def test_what_only_a_step_shows_goes_one_after_another_and_that_is_said(model):
    of = sd.Task(lambda seed: model(), data(), cross_entropy, validation=data(seed=1))
    found = run_descents(of, settings(of))
    (strategy,) = found.strategies
    assert strategy.name == SEQUENTIAL
    assert "torch.func cannot batch this model (RuntimeError" in strategy.reason
    alone = run_descents(of, settings(of), strategy=SEQUENTIAL)
    assert [m.losses for m in found.members] == [m.losses for m in alone.members]


class Keeps(nn.Module):
    """Keeps something from batch to batch, as `keep(self, h)` has it, where only a plain attribute has it."""

    def __init__(self, keep) -> None:
        super().__init__()
        self.f, self.keep, self.kept, self.count = nn.Linear(6, 3), keep, None, 0

    def forward(self, x):
        h = self.f(x)
        self.keep(self, h)
        return h + 0.1 * (0 if not isinstance(self.kept, torch.Tensor) else self.kept.mean()) + 0.01 * self.count


def carry(model, h):
    model.kept = h.detach()


def average(model, h):
    model.kept = h.detach() if model.kept is None else 0.9 * model.kept.mean() + 0.1 * h.detach()


def append(model, h):
    model.kept = [*(model.kept or []), h.detach()]


def cache(model, h):
    model.kept = {**(model.kept or {}), "last": h.detach()}


def count(model, h):
    model.count = min(3, model.count + 1)


class Saved(Keeps):
    """The same counter as extra state."""

    def get_extra_state(self):
        return {"count": self.count}

    def set_extra_state(self, state):
        self.count = state["count"]


@pytest.mark.parametrize("keep", [carry, average, append, cache, count])
@pytest.mark.parametrize("kind", [Keeps, Saved])
def test_a_model_that_keeps_something_in_an_attribute_goes_alone(kind, keep):
    own = kind(keep)
    of = sd.Task(own, data(), cross_entropy, validation=data(seed=1))
    found = run_descents(of, settings(of, steps=5))
    assert found.strategies[0].name == SEQUENTIAL
    name = "count" if keep is count else "kept"
    assert f"forward writes to {name}: " in found.strategies[0].reason
    assert (own.kept, own.count) == (None, 0)
    for member in found.members:
        (one,) = run_descents(of, [member.settings], strategy=SEQUENTIAL).members
        assert one.losses == member.losses


def test_the_work_of_a_step_leaves_no_trace():
    of = sd.Task(Keeps(carry), data(), cross_entropy, validation=data(seed=1))
    descent = Descent(of, settings(of)[0], of.copy(0))
    assert step_work(descent) == step_work(descent)
    assert descent.model.kept is None


def batches_of_size(n):
    x, y = data()
    return [(x[k : k + n], y[k : k + n]) for k in range(0, len(x), n)]


def test_the_work_of_a_step_where_the_data_bring_their_batches():
    """6 operations for each weight of a matrix and each sample of a batch, whatever the split to count on."""
    for source, n in ((batches_of_size(20), 20), ((b for b in batches_of_size(20)), 32)):
        of = sd.Task(net(0), source, cross_entropy, validation=data(seed=1))
        own = resolve(of, rule="adam", lr=0.1, steps=4)
        assert step_work(Descent(of, own, of.copy(0))) == CALL_WORK + 6 * n * (6 * 16 + 16 * 3)


class Sparse(nn.Module):
    """Averages over a graph, which is a sparse matrix."""

    def __init__(self, layout) -> None:
        super().__init__()
        self.f, matrix = nn.Linear(6, 3), torch.eye(6).roll(1, 0)
        self.graph = matrix.to_sparse() if layout == "coo" else matrix.to_sparse_csr()

    def forward(self, x):
        return self.f((self.graph @ x.T).T)


def scripted():
    return torch.jit.script(net(0))


def half_compiled():
    model = net(0)
    model[2] = torch.compile(model[2], backend="eager")
    return model


class Mapped(nn.Linear):
    """Maps itself over samples."""

    def forward(self, x):
        return torch.func.vmap(super().forward)(x)


@pytest.mark.filterwarnings("ignore:Sparse", "ignore:.*jit", "ignore:The .grad attribute")
@pytest.mark.parametrize(
    "make",
    [lambda: Sparse("coo"), lambda: Sparse("csr"), scripted, half_compiled, lambda: Mapped(6, 3)],
    ids=["coo", "csr", "scripted", "half compiled", "mapped"],
)
def test_work_and_memory_of_models_of_every_kind(make):
    of = sd.Task(make(), data(), cross_entropy, validation=data(seed=1))
    own = settings(of, steps=3)
    one = Descent(of, own[0], of.copy(0))
    assert step_work(one) >= CALL_WORK + 6 * 32 * (18 if one.space.size < 40 else 144)
    assert dispatch._max_batch(one) > 3
    found = run_descents(of, own)
    for a, b in zip(found.members, run_descents(of, own, strategy=SEQUENTIAL).members, strict=True):
        np.testing.assert_allclose(a.losses, b.losses, rtol=1e-4)


def test_work_that_cannot_be_counted_is_that_of_dense_layers():
    class Refuses(nn.Linear):
        def forward(self, x):
            if torch.utils._python_dispatch.is_in_torch_dispatch_mode():
                raise RuntimeError("not here")
            return super().forward(x)

    of = sd.Task(Refuses(6, 3), data(), cross_entropy, validation=data(seed=1))
    assert step_work(Descent(of, settings(of)[0], of.copy(0))) == CALL_WORK + 3 * 2 * 21 * 32


class Hooked(nn.Module):
    """Holds a tensor with a graph after a pass, in a dict of lists."""

    def __init__(self) -> None:
        super().__init__()
        self.f, self.last = nn.Linear(6, 3), {}

    def forward(self, x):
        h = self.f(x)
        self.last["all"] = [(h,)]
        return h


@pytest.mark.filterwarnings("ignore:.*weight_norm.*is deprecated")
@pytest.mark.parametrize(
    "make", [Hooked, lambda: nn.utils.weight_norm(nn.Linear(6, 3)), lambda: nn.utils.spectral_norm(nn.Linear(6, 3))]
)
def test_a_model_that_holds_a_graph_is_copied(make):
    model = make()
    model(data()[0])
    of = sd.Task(model, data(), cross_entropy, validation=data(seed=1))
    found = run_descents(of, settings(of, steps=5))
    for a, b in zip(found.members, run_descents(of, settings(of, steps=5), strategy=SEQUENTIAL).members, strict=True):
        np.testing.assert_allclose(a.losses, b.losses, rtol=1e-4)


class Features(nn.Module):
    """Random features, frozen; a scale in an attribute, and a matrix that is no buffer."""

    def __init__(self, seed, scale=1.0, matrix=None) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.frozen, self.head, self.scale, self.matrix = nn.Linear(6, 16), nn.Linear(16, 3), scale, matrix
        self.frozen.requires_grad_(False)

    def forward(self, x):
        h = self.scale * torch.tanh(self.frozen(x))
        return self.head(h if self.matrix is None else h @ self.matrix)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (Features, ""), (lambda seed: Features(seed, 1.0 + seed), "scale"),
        (lambda seed: Features(0, 1.0, (1.0 + seed) * torch.eye(16)), "matrix"),
        (lambda seed: Features(0, 1.0, torch.eye(16)), ""),
    ],
)  # fmt: skip
def test_models_of_different_seeds_keep_what_is_their_own(make, name):
    of = sd.Task(make, data(), cross_entropy, validation=data(seed=1))
    chosen = [resolve(of, rule="adam", lr=0.03, batch_size=32, steps=15, seed=k) for k in range(3)]
    found = run_descents(of, chosen)
    assert found.strategies[0].name == (SEQUENTIAL if name else BATCHED)
    assert not name or f"models of different seeds differ in {name}" in found.strategies[0].reason
    for one, other in zip(found.members, run_descents(of, chosen, strategy=SEQUENTIAL).members, strict=True):
        np.testing.assert_allclose(one.losses, other.losses, rtol=1e-4)
        assert one.value == pytest.approx(other.value, rel=1e-4)
