"""Where a point is, against points that are known: terrains, linear networks, networks that were trained."""

import collections
import re

import pytest
import torch
from scipy.stats import binom
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss
from torch.utils.data import DataLoader, TensorDataset

import steepest as sd
from benchmarks.geometry.linear_networks import critical_point
from steepest.analysis.location.budget import quick_budget
from steepest.analysis.location.locate import QUICK_PRODUCTS, analyse_point
from steepest.curvature.samples import first_batches, sample_loss_functions
from steepest.curvature.work import Work
from steepest.records.verdict import (
    DESCENDING,
    DIVERGED,
    EDGE_OF_STABILITY,
    GRADIENT_FLAT,
    MAXIMUM,
    MINIMUM,
    NOISE_FLOOR,
    SADDLE,
    UNDECIDED,
)
from steepest.tasks.terrains import TERRAINS

REPETITIONS = 40
COVERED = int(binom.ppf(0.005, REPETITIONS, 0.95))
"""Intervals that cover, of 95 % ones that do what they say: fewer come out once in 200 times."""


def on(terrain, point, **options):
    model = TERRAINS[terrain].model()
    task = sd.Task(model=model, objective=lambda model, batch: model())
    return analyse_point(task, torch.tensor(point, dtype=torch.float64), model, **options)


CRITICAL_POINTS = [(name, p, MINIMUM) for name, t in TERRAINS.items() for p in t.minima]
CRITICAL_POINTS += [(name, p, SADDLE) for name, t in TERRAINS.items() for p in t.saddles if name != "monkey_saddle"]
CRITICAL_POINTS += [(name, p, MAXIMUM) for name, t in TERRAINS.items() for p in t.maxima]
CRITICAL_POINTS += [(name, t.start, DESCENDING) for name, t in TERRAINS.items()]


@pytest.mark.parametrize(("terrain", "point", "kind"), CRITICAL_POINTS)
def test_the_critical_points_of_the_terrains(terrain, point, kind):
    verdict = on(terrain, point)
    assert verdict.kind == kind
    assert verdict.sentence
    assert verdict.advice


def test_himmelblau_has_four_minima_four_saddles_and_a_maximum():
    kinds = collections.Counter(kind for name, _, kind in CRITICAL_POINTS if name == "himmelblau")
    assert (kinds[MINIMUM], kinds[SADDLE], kinds[MAXIMUM]) == (4, 4, 1)


def test_the_hessian_does_not_show_a_monkey_saddle():
    assert on("monkey_saddle", (0.0, 0.0)).kind == UNDECIDED


@pytest.mark.parametrize("point", [(3.0, 2.0), (0.0, 0.0)])
def test_a_quick_check_never_reports_a_minimum(point):
    assert on("himmelblau" if point[0] else "bowl", point, products=QUICK_PRODUCTS).kind == UNDECIDED


class Quadratic(nn.Module):
    """½ Σ dᵢ wᵢ² + 1."""

    def __init__(self, d):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(len(d), dtype=torch.float64))
        self.register_buffer("d", d)

    def forward(self):
        return 0.5 * (self.d * self.w**2).sum() + 1


def of_quadratic(d, w=None, **options):
    model = Quadratic(d)
    task = sd.Task(model=model, objective=lambda model, batch: model())
    return analyse_point(task, torch.zeros(len(d), dtype=torch.float64) if w is None else w, model, **options)


@pytest.mark.parametrize("negative", [100, 1])
def test_a_few_directions_down_among_many_up_are_a_saddle(negative):
    d = torch.cat([torch.ones(1000 - negative), -torch.ones(negative)]).double()
    verdict = of_quadratic(d)
    assert verdict.kind == SADDLE
    assert verdict.number("smallest Hessian eigenvalue").value == pytest.approx(-1.0)


def test_a_slope_without_curvature_is_no_critical_point():
    class Slope(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.zeros(3, dtype=torch.float64))

        def forward(self):
            x, y, z = self.w
            return x**2 + y**2 + 1e-7 * z + 1.0

    model = Slope()
    task = sd.Task(model=model, objective=lambda model, batch: model())
    w = torch.tensor([0.0, 0.0, 1e-3], dtype=torch.float64)
    assert analyse_point(task, w, model).kind in (GRADIENT_FLAT, UNDECIDED)


# -- Linear networks: every critical point is known, and whether its Hessian shows a saddle ----------------------------


def test_critical_points_of_linear_networks():
    """Thirty of them; `python -m benchmarks locate` has a thousand."""
    counts = collections.Counter()
    for seed in range(30):
        task, w, kind = critical_point(seed)
        counts[kind, analyse_point(task, w, task.model).kind] += 1
    assert {kind for truth, kind in counts if truth != kind} <= {UNDECIDED}, counts
    assert sum(n for (truth, kind), n in counts.items() if truth == kind) == 30, counts
    assert all(counts[kind, kind] >= 4 for kind in (MINIMUM, SADDLE, UNDECIDED))


# -- Networks and their data -------------------------------------------------------------------------------------------


def regression(noise=0.3, samples=400, seed=0):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(samples, 5, generator=g)
    y = torch.sin(x @ torch.randn(5, 1, generator=g)) + noise * torch.randn(samples, 1, generator=g)
    return x, y


def network(width=16):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, width), nn.Tanh(), nn.Linear(width, 1))


def fit_regression(tmp_path, **options):
    data = regression()
    task = sd.Task(network(), data, mse_loss, validation=regression(seed=1))
    return task, sd.fit(task, runs=tmp_path, seed=0, **{"schedule": "constant", "batch_size": 40, **options})


def test_a_young_run_is_still_descending(tmp_path):
    task, run = fit_regression(tmp_path, rule="adam", lr=1e-3, epochs=2)
    assert run.verdict.kind == DESCENDING
    assert sd.locate(task, run).kind == DESCENDING
    assert sd.open(run.id, tmp_path).verdict == run.verdict


def test_small_batches_at_a_constant_learning_rate_end_at_the_noise_floor(tmp_path):
    task, run = fit_regression(tmp_path, rule="gradient_descent", lr=0.3, batch_size=4, epochs=60)
    assert run.verdict.kind == NOISE_FLOOR, str(run.verdict)
    assert run.verdict.sentence.startswith("At the noise floor: at lr = 0.3 the training loss has stopped falling")
    verdict = sd.locate(task, run)
    assert verdict.kind == NOISE_FLOOR
    assert verdict.number("decrease by ten steps at lr / 10").low > 0
    assert verdict.number("batch sharpness").reference == pytest.approx(2 / 0.3)


def test_full_batches_end_at_the_edge_of_stability(tmp_path):
    task, run = fit_regression(tmp_path, rule="gradient_descent", lr=0.5, batch_size="full", steps=1500, guard=False)
    assert run.verdict.kind == EDGE_OF_STABILITY, str(run.verdict)
    assert run.verdict.number("sharpness").reference == pytest.approx(2 / 0.5)
    assert sd.locate(task, run).kind == EDGE_OF_STABILITY


def test_a_loaders_batches_are_not_taken_for_full_ones(tmp_path):
    data = DataLoader(TensorDataset(*regression()), batch_size=20)
    task = sd.Task(network(), data, mse_loss, validation=regression(seed=1))
    run = sd.fit(task, rule="gradient_descent", lr=0.5, schedule="constant", epochs=20, runs=tmp_path)
    assert run.verdict.kind != EDGE_OF_STABILITY
    assert sd.locate(task, run).number("batch sharpness").reference == pytest.approx(2 / 0.5)


def test_a_network_that_generalises_is_not_called_a_saddle(tmp_path):
    task, run = fit_regression(tmp_path, rule="adam", lr=1e-2, epochs=60, schedule="cosine")
    assert run.verdict.kind in (UNDECIDED, DESCENDING)
    assert sd.locate(task, run).kind in (UNDECIDED, DESCENDING)


def test_equal_neurons_sit_on_a_saddle():
    x, y = regression(noise=0.0)
    x, y = torch.cat([x, -x]), torch.cat([y, -y])  # so that the biases have no gradient
    model = network()
    task = sd.Task(model, (x, y), mse_loss, validation=(x, y))
    zero = torch.zeros(sum(p.numel() for p in model.parameters()))
    assert sd.locate(task, zero).kind == SADDLE


def test_a_model_is_left_as_it_was(tmp_path):
    task, run = fit_regression(tmp_path, rule="adam", lr=1e-3, epochs=1)
    before, state = {n: p.clone() for n, p in task.model.state_dict().items()}, torch.get_rng_state()
    sd.locate(task, run)
    sd.locate(task, run.point)
    assert all(torch.equal(p, before[n]) for n, p in task.model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)


def test_a_loss_that_is_no_mean_over_samples_is_measured_by_batches():
    x, y = regression()
    model = network()
    task = sd.Task(model, (x, y), lambda output, target: (output - target).square().mean().sqrt(), validation=(x, y))
    verdict = sd.locate(task)
    assert verdict.kind == DESCENDING
    assert (
        verdict.number("training loss").low
        < verdict.number("training loss").value
        < verdict.number("training loss").high
    )


# -- Losses that are no means, data that bring their own batches -------------------------------------------------------


def classes(samples=400, seed=0):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(samples, 6, generator=g)
    return x, (
        x @ torch.randn(6, 3, generator=torch.Generator().manual_seed(7)) - torch.tensor([0.0, 0.0, 3.0])
    ).argmax(1)


CLASS_WEIGHTS = torch.tensor([1.0, 2.0, 50.0])


def ignored(y):
    return torch.where(torch.arange(len(y)) % 4 == 0, -100, y)


def masked(output, target):
    real = target != -100
    return cross_entropy(output[real], target[real])


LOSSES = {
    "ignored labels": (cross_entropy, ignored),
    "masked": (masked, ignored),
    "class weights": (lambda o, t: cross_entropy(o, t, weight=CLASS_WEIGHTS.to(o)), lambda y: y),
    "sum": (nn.CrossEntropyLoss(reduction="sum"), lambda y: y),
}


@pytest.mark.parametrize(("loss", "change"), LOSSES.values(), ids=LOSSES)
def test_a_loss_that_weights_samples_is_torchs_on_the_same_samples(loss, change):
    x, y = classes()
    torch.manual_seed(0)
    task = sd.Task(nn.Linear(6, 3), (x, change(y)), loss, validation=(x, change(y)))
    verdict, half = sd.locate(task, products=QUICK_PRODUCTS), sample_loss_functions(task, (200, 200))[1].batches[0]
    with torch.no_grad():
        expected = loss(task.model.double()(half[0]), half[1]).item()
    number = verdict.number("training loss")
    assert number.value == pytest.approx(expected, rel=1e-9)
    assert number.low < number.value < number.high
    assert verdict.kind == DESCENDING
    assert verdict.messages == (() if loss is not masked else verdict.messages)


def test_intervals_of_a_weighted_mean_cover_the_loss_of_all_data():
    """Weights that go with the losses, as class weights do: without the ratio's own error 99 % would be 70."""
    g = torch.Generator().manual_seed(0)
    x, y = classes(20_000)
    y = torch.where(torch.rand(20_000, generator=g) < 0.2, 2, y)
    loss = LOSSES["class weights"][0]
    torch.manual_seed(0)
    model = nn.Linear(6, 3)
    whole, covered = loss(model(x), y).item(), 0
    for seed in range(40):
        rows = torch.randperm(20_000, generator=g)[:400]
        task = sd.Task(model, (x[rows], y[rows]), loss, validation=(x[:9], y[:9]))
        number = sd.locate(task, products=10, seed=seed).number("training loss")
        covered += number.low <= whole <= number.high
    assert covered >= 34  # 38 are expected; fewer come out once in 50 times of 95 % intervals


def test_the_sharpness_of_a_sum_is_that_of_the_rules_steps(tmp_path):
    """A step of 20 samples sees a twentieth of the curvature of 400, and 20 times that of the mean."""
    numbers = {}
    for reduction, lr in {"mean": 0.1, "sum": 0.1 / 20}.items():
        task = sd.Task(network(), regression(), nn.MSELoss(reduction=reduction), validation=regression(seed=1))
        run = sd.fit(task, "gradient_descent", lr, schedule="constant", batch_size=20, epochs=5, runs=tmp_path)
        numbers[reduction] = run.verdict.number("sharpness"), run.verdict.number("‖∇L‖², noise removed")
    (mean, of_mean), (total, of_sum) = numbers["mean"], numbers["sum"]
    assert total.value == pytest.approx(20 * mean.value, rel=1e-3)
    assert total.value / total.reference == pytest.approx(mean.value / mean.reference, rel=1e-3)
    assert of_sum.value > 100 * of_mean.value


def padded(batch_size, lengths=(3, 5, 4, 7)):
    """Batches of sequences, each padded to a length of its own."""
    g = torch.Generator().manual_seed(0)
    x = [torch.randn(batch_size, lengths[k % len(lengths)], 4, generator=g) for k in range(12)]
    return [(b, b.sum((1, 2))[:, None]) for b in x]


class Sequence(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.rnn, self.out = nn.GRU(4, 5, batch_first=True), nn.Linear(5, 1)

    def forward(self, x):
        return self.out(self.rnn(x)[1][0])


class Endless(torch.utils.data.IterableDataset):
    """Data without length."""

    def __iter__(self):
        while True:
            yield from zip(*(z.split(20) for z in regression()))


ITERABLES = {
    "loader": (network, DataLoader(TensorDataset(*regression()), batch_size=32, shuffle=True)),
    "list": (network, list(zip(*(z.split(30) for z in regression())))),
    "one batch": (network, [regression()]),
    "padded": (Sequence, padded(20)),
    "endless": (network, Endless()),
}


@pytest.mark.parametrize(("make", "batches"), ITERABLES.values(), ids=ITERABLES)
def test_an_iterable_is_data(make, batches):
    task = sd.Task(make(), batches, mse_loss, validation=regression(seed=1))
    verdict = sd.locate(task, products=60, samples=300)
    half = first_batches(batches, 300)[1::2] or [tuple(z[200:] for z in batches[0])]
    with torch.no_grad():
        squares = torch.cat([(task.model(x) - y).square() for x, y in half])
    assert verdict.number("training loss").value == pytest.approx(squares.mean().item(), rel=1e-5)
    assert (verdict.number("noise scale") is None) == (len(getattr(batches, "__dict__", batches)) == 1)
    assert str(verdict) == str(sd.locate(task, products=60, samples=300))


def test_an_iterable_of_too_few_samples_is_refused():
    task = sd.Task(network(), [tuple(z[:8] for z in regression())], mse_loss, validation=regression(seed=1))
    with pytest.raises(sd.InputError, match=r"needs at least 16 samples .*, got 8"):
        sd.locate(task)


# -- Interruptions, and what fails on the way --------------------------------------------------------------------------


def test_ctrl_c_gives_what_was_measured():
    def interrupt(stage, products, total):
        if stage == "gradient noise":
            raise KeyboardInterrupt

    task = sd.Task(network(), regression(), mse_loss, validation=regression(seed=1))
    verdict = analyse_point(task, sd.Space(task.model).gather(), task.model, notify=interrupt)
    assert verdict.kind == DESCENDING
    assert verdict.number("training loss") is not None
    assert verdict.number("noise scale") is None
    assert verdict.messages == ("Interrupted: the verdict is from what was measured so far.",)


def test_ctrl_c_before_anything_was_measured_is_passed_on():
    def interrupt(stage, products, total):
        raise KeyboardInterrupt

    task = sd.Task(network(), regression(), mse_loss, validation=regression(seed=1))
    with pytest.raises(KeyboardInterrupt):
        analyse_point(task, sd.Space(task.model).gather(), task.model, notify=interrupt)


class Fails(nn.Module):
    """Cannot be evaluated outside of training."""

    def __init__(self):
        super().__init__()
        self.net = network()

    def forward(self, x):
        if not self.training:
            raise RuntimeError("no predictions here")
        return self.net(x)


def test_a_model_that_cannot_be_evaluated_is_refused_in_words():
    task = sd.Task(Fails(), regression(), mse_loss, validation=regression(seed=1))
    with pytest.raises(sd.TaskError, match=r"cannot be evaluated at the point \(RuntimeError: no predictions here\)"):
        sd.locate(task)


def test_a_loss_beyond_its_precision_has_diverged():
    model = network()
    with torch.no_grad():
        model[2].weight.fill_(1e30)
    task = sd.Task(model, regression(), mse_loss, validation=regression(seed=1))
    verdict = sd.locate(task)
    assert verdict.kind == DIVERGED
    assert "more than float32 can hold" in verdict.sentence


# -- The look at the end of a run --------------------------------------------------------------------------------------


def test_the_quick_check_follows_from_sizes():
    work = Work(operations=20, flops=50_000)
    assert quick_budget(work, 420, 64, 1293) == quick_budget(work, 420, 64, 1293)
    products, samples = quick_budget(work, 10, 64, 1293)
    assert (products, samples) == (60, 128)
    assert quick_budget(work, 100_000, 64, 1293) == (60, 1024)
    costly = Work(operations=2000, flops=1e9)
    assert quick_budget(costly, 10, 64, 1293) is None
    products, samples = quick_budget(costly, 700, 64, 1293)
    assert 10 <= products < 60
    assert samples == 64


# -- Words -------------------------------------------------------------------------------------------------------------


def test_a_flat_direction_that_leads_down_is_named():
    verdict = on("monkey_saddle", (0.0, 0.0))
    assert verdict.sentence.startswith("Undecided: a step along a near-flat direction lowers the loss by ")
    assert verdict.advice == "Perturb the weights slightly and train on."


def test_a_minimum_is_strict_where_the_bound_is_positive():
    assert on("bowl", (0.0, 0.0)).sentence.startswith("At a strict minimum: with probability 0.99 every Hessian")


def test_an_escape_is_shown_only_where_the_curvature_is_negative():
    assert on("bowl", (0.0, 0.0)).number("decrease along λ_min") is None
    assert on("saddle", (0.0, 0.0)).number("decrease along λ_min").words.endswith("mean of both signs")


@pytest.mark.parametrize(
    ("options", "advice"),
    [
        ({"products": QUICK_PRODUCTS}, "To test for a minimum run `steepest locate RUN`."),
        ({"samples": 200}, "A minimum can be confirmed only on all 400 training samples: `--samples 400`."),
        ({"products": 61}, "Use more products: `--products 122`."),
    ],
)
def test_the_advice_follows_from_what_the_analysis_did(options, advice):
    """A linear regression at its solution; the smallest of 40 eigenvalues is near 0, and takes products to bound."""
    g = torch.Generator().manual_seed(0)
    x = torch.randn(400, 40, generator=g, dtype=torch.float64) * torch.logspace(0, -4, 40, dtype=torch.float64)
    y = torch.randn(400, 1, generator=g, dtype=torch.float64)
    task = sd.Task(nn.Linear(40, 1, bias=False).double(), (x, y), mse_loss, validation=(x, y))
    verdict = sd.locate(task, torch.linalg.lstsq(x, y).solution.flatten(), **options)
    assert (verdict.kind, verdict.headline) == (UNDECIDED, "Stationary")
    assert "no negative curvature was measured" in verdict.sentence
    assert verdict.advice == advice


def test_negative_curvature_on_all_data_needs_no_more_products(tmp_path):
    task, run = fit_regression(tmp_path, rule="adam", lr=1e-2, epochs=60, schedule="cosine")
    verdict = sd.locate(task, run)
    assert verdict.kind == UNDECIDED
    assert "The smallest eigenvalue on all data is -" in verdict.sentence
    assert verdict.sentence.endswith("slight negative curvature is normal for trained networks.")
    assert verdict.advice == ""


# -- Beside the verdict, in a full analysis ----------------------------------------------------------------------------


class Layered(nn.Module):
    """A loss of three small layers' weights, the sharpest of them inside."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).double()
        self.register_buffer("x", torch.randn(40, 2, dtype=torch.float64))

    def forward(self):
        return (self.net(self.x).squeeze() - torch.sin(3 * self.x[:, 0])).square().mean()


def dense(model, loss, names):
    """The block of the Hessian [P, P] of these parameters, by torch's own second derivatives."""
    parameters = {n: p.detach() for n, p in model.named_parameters()}

    def at(*parts):
        return loss(lambda *x: torch.func.functional_call(model, {**parameters, **dict(zip(names, parts))}, x))

    parts = tuple(parameters[n] for n in names)
    blocks = torch.autograd.functional.hessian(at, parts)
    return torch.cat([torch.cat([b.reshape(p.numel(), -1) for b in row], 1) for p, row in zip(parts, blocks)])


def test_the_sharpest_layer_is_that_of_the_dense_hessians_blocks():
    model = Layered()
    verdict = sd.locate(sd.Task(model, objective=lambda model, batch: model()), products=1000)
    blocks = {n: dense(model, lambda f: f(), (f"net.{n}.weight", f"net.{n}.bias")) for n in (0, 2, 4)}
    top = {n: float(torch.linalg.eigvalsh(b)[-1]) for n, b in blocks.items()}
    sharpest = max(top, key=lambda n: top[n])
    number = verdict.number("sharpest layer")
    assert number.value == number.low == number.high == pytest.approx(top[sharpest], rel=1e-6)
    assert f"λ_max of layer net.{sharpest}, of 3 layers, with the others fixed; exact" in str(verdict)


def test_the_sharpest_layer_is_measured_on_the_evaluation_half():
    x, y = (z.double() for z in regression(noise=1.0))
    model = network(width=8).double()
    task = sd.Task(model, (x, y), mse_loss, validation=(x, y))
    number = sd.locate(task, products=1000).number("sharpest layer")
    (search, _), (evaluation, _) = (part.batches[0] for part in sample_loss_functions(task, (200, 200)))
    labels = {tuple(a.tolist()): b for a, b in zip(x, y)}
    by_layer = {}
    for n in (0, 2):
        on = [
            dense(model, lambda f, s=s: mse_loss(f(s), torch.stack([labels[tuple(a.tolist())] for a in s])),
                  (f"{n}.weight", f"{n}.bias"))
            for s in (search, evaluation)
        ]  # fmt: skip
        values, vectors = torch.linalg.eigh(on[0])
        by_layer[float(values[-1])] = float(vectors[:, -1] @ on[1] @ vectors[:, -1])
    assert number.value == pytest.approx(by_layer[max(by_layer)], rel=1e-6)
    assert number.low < number.value < number.high
    assert number.words.endswith("on the evaluation half")


def test_of_two_layers_alike_neither_is_claimed():
    x, _ = regression()
    model = nn.Sequential(nn.Linear(5, 5, bias=False), nn.Linear(5, 5, bias=False))
    for layer in model:
        nn.init.eye_(layer.weight)
    task = sd.Task(model, (x, 2 * x), mse_loss, validation=(x, x))
    words = sd.locate(task).number("sharpest layer").words
    assert re.match(r"λ_max of layer [01] \(or layer [01]: their intervals overlap\), of 2 layers", words)


def linear_regression(seed, samples=800):
    """y = x·θ + ε at w = 0, the covariance of x known: (task, C, θ)."""
    g = torch.Generator().manual_seed(seed)
    c, theta = torch.tensor([4.0, 2.0, 1.0, 0.5, 0.25]), torch.tensor([0.4, -0.6, 0.8, -0.2, 1.0])
    x = torch.randn(samples, 5, generator=g) * c.sqrt()
    y = x @ theta[:, None] + torch.randn(samples, 1, generator=g)
    model = nn.Linear(5, 1, bias=False)
    nn.init.zeros_(model.weight)
    return sd.Task(model, (x, y), lambda a, b: (a - b).square().mean() / 2, validation=(x, y)), c, theta


def test_the_critical_batch_size_covers_that_of_a_linear_regression():
    """Σ = C (θᵀCθ + 1) + Cθ(Cθ)ᵀ by Isserlis, H = C: tr(HΣ) ÷ GᵀHG of gradient descent."""
    _, c, theta = linear_regression(0)
    g = (c * theta).double()
    sigma = torch.diag(c.double()) * (float(theta @ (c * theta)) + 1) + torch.outer(g, g)
    truth = float((c.double() * sigma.diagonal()).sum() / (g @ (c * g)))
    numbers = [sd.locate(linear_regression(seed)[0]).number("critical batch size") for seed in range(REPETITIONS)]
    assert sum(n.low <= truth <= n.high for n in numbers) >= COVERED
    assert all("an estimate" in n.words for n in numbers)


def test_a_rule_without_a_known_scale_has_no_critical_batch_size():
    task, *_ = linear_regression(0)
    assert sd.locate(task, rule=sd.lion(), lr=1e-4).number("critical batch size") is None
    assert sd.locate(task, rule=sd.momentum(), lr=1e-2).number("critical batch size") is not None


def test_a_quick_check_has_neither():
    task, *_ = linear_regression(0)
    verdict = sd.locate(task, products=QUICK_PRODUCTS)
    assert verdict.number("critical batch size") is verdict.number("sharpest layer") is None
    assert sd.locate(task).number("sharpest layer") is None  # there is one layer


# -- What cannot be analysed -------------------------------------------------------------------------------------------


def test_a_point_that_is_not_finite_has_diverged():
    assert on("bowl", (float("nan"), 0.0)).kind == DIVERGED
    assert on("rosenbrock", (1e200, 0.0)).kind == DIVERGED


def test_a_point_of_another_shape_is_refused():
    with pytest.raises(sd.InputError, match=r"point must have shape \(2,\).*got \(3,\)"):
        on("bowl", (0.0, 0.0, 0.0))


def test_too_few_samples_are_refused():
    x, y = regression(samples=12)
    task = sd.Task(network(), (x, y), mse_loss, validation=(x, y))
    with pytest.raises(sd.InputError, match=r"needs at least 16 samples .*, got 12"):
        sd.locate(task)


def test_a_rule_without_its_learning_rate_is_refused():
    x, y = regression()
    with pytest.raises(sd.InputError, match="Pass both rule and lr"):
        sd.locate(sd.Task(network(), (x, y), mse_loss), rule=sd.adam())


class Twice(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return 2 * x

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, g):
        return 2 * g


class Doubling(nn.Module):
    def forward(self, x):
        return Twice.apply(x)


def test_a_run_without_a_second_derivative_has_what_can_be_had(tmp_path):
    x, y = regression()
    model = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), Doubling(), nn.Linear(4, 1))
    task = sd.Task(model, (x, y), mse_loss, validation=(x, y))
    run = sd.fit(task, rule="adam", epochs=1, runs=tmp_path)
    assert run.status == "done"
    verdict = sd.locate(task, run)
    model[2] = nn.Flatten()  # the same loss, with a second derivative
    with torch.no_grad():
        model[3].weight.mul_(2.0)
    exact = sd.locate(sd.Task(model, (x, y), mse_loss, validation=(x, y)))
    for one in (run.verdict, verdict):
        (words,) = one.messages
        assert words.startswith("Doubling (2) has no second derivative")
        assert words.endswith("curvature is measured by differences of gradients.")
        assert words in str(one)
    assert sd.open(run.id, tmp_path).verdict == run.verdict
    assert (verdict.kind, exact.messages) == (exact.kind, ())
    assert verdict.number("training loss") == pytest.approx(exact.number("training loss"), abs=1e-6)


class Graph(nn.Module):
    """Two layers over the edges of one graph, whose matrix is in the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x, edges):
        return self.second(edges @ torch.tanh(self.first(x)))


def graph(kind):
    """All nodes of a graph by a sparse matrix, or those of a block, which has fewer targets than sources."""
    torch.manual_seed(0)
    x, edges, y = torch.randn(30, 3), (torch.rand(30, 30) < 0.1).float() + torch.eye(30), torch.arange(30) % 2
    return (x, edges.to_sparse(), y) if kind == "sparse" else (x, edges[:25], y[:25])


@pytest.mark.parametrize("kind", ["sparse", "block"])
def test_a_batch_that_cannot_be_cut_in_two_is_both_halves(kind):
    x, edges, y = batch = graph(kind)
    task = sd.Task(Graph(), [batch], objective=lambda m, b: cross_entropy(m(*b[:2]), b[2]), validation=[batch])
    verdict = sd.locate(task, products=40)
    loss = verdict.number("training loss")
    assert loss.value == pytest.approx(cross_entropy(task.model(x, edges), y).item(), rel=1e-6)
    assert loss.low == loss.value == loss.high
    assert "on all samples" in loss.words
    assert any("no samples are held back" in words for words in verdict.messages)


def test_a_batch_that_can_be_cut_is_held_back_by_half():
    batch = torch.randn(40, 3), torch.arange(40) % 2
    verdict = sd.locate(sd.Task(nn.Linear(3, 2), [batch], cross_entropy, validation=[batch]), products=40)
    assert not any("held back" in words for words in verdict.messages)
