"""Curvature of the demo's network: what a Hessian-vector product costs, and how many of them an answer takes."""

import functools
import math
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import steepest as sd
from benchmarks.geometry.density import density
from benchmarks.geometry.edges import largest
from benchmarks.problems import networks
from benchmarks.report import check, span, table
from benchmarks.timing import seconds
from steepest.curvature.extremes import extremes, materialize, unit
from steepest.curvature.loss_function import LossFunction
from steepest.curvature.samples import sample_loss_functions
from steepest.tasks import load

TITLE = "Curvature"

ROUNDS, FEW = 9, 3
ACCURACY = 1e-5
TOLERANCES = [10.0**-k for k in range(1, 13)]
MAX_PRODUCTS = 2_000
"""Of power iteration."""
CLASSES = 10
SAMPLES = 400
"""Training samples on which eigenvalues are compared."""


def measure() -> list[str]:
    """Lines of the report."""
    torch.set_num_threads(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of peers, when they are imported and compiled
        return [*_products(), "", *_largest(), "", *_densities(), "", *_outliers()]


def train(task: sd.Task, seed: int, epochs: int) -> nn.Module:
    """A model of the task after a number of epochs of Adam."""
    model = task.copy(seed)
    alone = sd.Task(model, task.data, task.loss, validation=task.validation)
    for _ in sd.descend(alone, "adam", 3e-3, "warmup(5%) >> cosine", batch_size=64, epochs=epochs, seed=seed):
        pass
    return model


def subset(digits: sd.Task, model: Any) -> sd.Task:
    """A task with a model and the first SAMPLES digits."""
    x, y = digits.data
    return sd.Task(model, (x[:SAMPLES], y[:SAMPLES]), cross_entropy, validation=digits.validation)


def full_loss(task: sd.Task, model: nn.Module, dtype: torch.dtype) -> LossFunction:
    """The loss over all training data."""
    return sample_loss_functions(task, (len(task.data[0]),), dtype=dtype, model=model)[0]


# -- Products ----------------------------------------------------------------------------------------------------------


def theirs(model: nn.Module, task: sd.Task, dtype: torch.dtype) -> Any:
    """curvlinops' Hessian of the same loss, in one batch."""
    from curvlinops import HessianLinearOperator

    x, y = task.data
    net = model.to(dtype)
    parameters = list(net.parameters())
    return HessianLinearOperator(net, nn.CrossEntropyLoss(), parameters, [(x.to(dtype), y)], check_deterministic=False)


def _plain(model: nn.Module, task: sd.Task, dtype: torch.dtype) -> tuple[Callable, Callable]:
    """Loss and gradient, and a product from a graph of its own, in plain torch."""
    net, (x, y) = model.to(dtype), task.data
    x, parts = x.to(dtype), list(net.parameters())

    def gradient(graph: bool = False) -> tuple[Tensor, ...]:
        return torch.autograd.grad(cross_entropy(net(x), y), parts, create_graph=graph)

    def product(v: Tensor) -> tuple[Tensor, ...]:
        split = [s.view(p.shape) for s, p in zip(v.split([p.numel() for p in parts]), parts)]
        return torch.autograd.grad(gradient(True), parts, split)

    return gradient, product


def _products() -> list[str]:
    task, rows, worst = load("digits"), [], 0.0
    for dtype in (torch.float32, torch.float64):
        surface = full_loss(task, task.copy(0), dtype)
        h, v = surface.hessian(surface.start), torch.randn(surface.size, dtype=dtype)
        gradient, product = _plain(task.copy(0), task, dtype)
        other = theirs(task.copy(0), task, dtype)
        fast = torch.compile(lambda x, other=other: other @ x)
        contenders = {
            "loss and gradient": gradient,
            "`H @ v`": lambda h=h, v=v: h @ v,
            "a new graph for each product": lambda product=product, v=v: product(v),
            "curvlinops": lambda other=other, v=v: other @ v,
            "curvlinops, compiled": lambda fast=fast, v=v: fast(v),
        }
        times = seconds(contenders, ROUNDS)
        base = times["loss and gradient"]
        worst = max(worst, times["`H @ v`"] / base)
        rows += [[str(dtype)[6:], name, span(s), f"{s / base:.2f}"] for name, s in times.items()]
    return [
        f"The demo's network at its start, all {len(task.data[0]):,} training samples; medians of {ROUNDS} rounds.",
        "",
        *table(["precision", "what", "time", "÷ loss and gradient"], rows),
        "",
        f"Target: a product ≤ 3.5 × loss and gradient: met {check(worst, 3.5)}.",
    ]


# -- The largest eigenvalue --------------------------------------------------------------------------------------------


class CountingMatrix:
    """A matrix that counts its products."""

    def __init__(self, product: Callable[[Tensor], Tensor], size: int) -> None:
        self.shape, self.dtype, self.device, self.products = (size, size), torch.float64, torch.device("cpu"), 0
        self._product = product

    def __matmul__(self, v: Tensor) -> Tensor:
        self.products += 1
        return self._product(v)


def by_lanczos(a: CountingMatrix, tolerance: float) -> float:
    """Ours; it gives the smallest eigenvalue too."""
    return extremes(a, MAX_PRODUCTS, tolerance).greatest.value


def by_eigsh(a: CountingMatrix, tolerance: float) -> float:
    """scipy's implicitly restarted Lanczos method."""
    return largest(a, unit(a, 0).numpy(), tolerance)[0]


def by_power(a: CountingMatrix, tolerance: float) -> float:
    """Power iteration until two successive Rayleigh quotients agree, as in PyHessian (arXiv:1912.07145)."""
    v, before = unit(a, 0), math.inf
    for _ in range(MAX_PRODUCTS):
        u = a @ v
        value = float(v @ u)
        v = u / u.norm()
        if abs(value - before) <= tolerance * abs(value):
            break
        before = value
    return value


def _largest() -> list[str]:
    digits = load("digits")
    model, task = train(digits, 0, 5), subset(digits, digits.model)
    surface = full_loss(task, model, torch.float64)
    h = surface.hessian(surface.start)
    true = extremes(h, 500, 1e-13).greatest.value
    other = theirs(task.copy(0), task, torch.float64)
    sd.Space(other._model_func).scatter(surface.start)
    fast = torch.compile(lambda x: other @ x)
    methods = {
        "`extremes`": (by_lanczos, h.__matmul__),
        "eigsh, our products": (by_eigsh, h.__matmul__),
        "eigsh, curvlinops": (by_eigsh, other.__matmul__),
        "eigsh, curvlinops compiled": (by_eigsh, fast),
        "power iteration, our products": (by_power, h.__matmul__),
    }
    runs = {name: _loosest(method, product, surface.size, true) for name, (method, product) in methods.items()}
    times = seconds(
        {
            name: lambda m=method, p=product, t=runs[name][0]: m(CountingMatrix(p, surface.size), t)
            for name, (method, product) in methods.items()
        },
        FEW,
    )
    ours = times["`extremes`"]
    rows = []
    for name, (tolerance, products, error) in runs.items():
        numbers = f"{tolerance:.0e}", str(products), f"{error:.0e}", span(times[name]), f"{times[name] / ours:.2f}"
        rows.append([name, *numbers])
    return [
        f"The largest eigenvalue of the demo's network after 5 epochs, {SAMPLES} samples, float64, to {ACCURACY:.0e}: "
        "each method at the loosest tolerance that reaches it; ours gives the smallest eigenvalue too. Medians of "
        f"{FEW} rounds.",
        "",
        *table(["method", "its tolerance", "products", "error", "time", "÷ ours"], rows),
    ]


def _loosest(method: Callable, product: Callable, size: int, true: float) -> tuple[float, int, float]:
    """The loosest tolerance that reaches the accuracy; products and error there."""
    for tolerance in TOLERANCES:
        a = CountingMatrix(product, size)
        error = abs(method(a, tolerance) / true - 1)
        if error <= ACCURACY or tolerance == TOLERANCES[-1]:
            return tolerance, a.products, error
    raise AssertionError


# -- The density -------------------------------------------------------------------------------------------------------

PROBES, WIDTH = 10, 0.01
"""The width is relative to the largest eigenvalue."""


def _densities() -> list[str]:
    from curvlinops.papyan2020traces.spectrum import fast_lanczos

    digits = load("digits")
    small = functools.partial(networks.dense, widths=(64, 24, 10))
    task = subset(digits, small)
    model = train(task, 0, 5)
    surface = full_loss(task, model, torch.float64)
    h, other = surface.hessian(surface.start), theirs(task.copy(0), task, torch.float64)
    sd.Space(other._model_func).scatter(surface.start)
    true = torch.linalg.eigvalsh(materialize(h))
    width = WIDTH * float(true[-1])
    grid = torch.linspace(float(true[0]), float(true[-1]), 200, dtype=torch.float64)
    truth = _heights(true, torch.full_like(true, 1 / len(true)), grid, width)

    def compare(steps: int) -> list[list[str]]:
        def peers() -> tuple[Tensor, Tensor]:
            torch.manual_seed(0)
            pairs = [fast_lanczos(other, steps) for _ in range(PROBES)]
            return torch.cat([a for a, _ in pairs]), torch.cat([b[0].square() for _, b in pairs]) / PROBES

        contenders = {"`density`": lambda: density(h, PROBES, steps), "curvlinops": peers}
        times = seconds(contenders, FEW)
        errors = {
            name: (_heights(*call(), grid, width) - truth).abs().sum() / truth.sum()
            for name, call in contenders.items()
        }
        return [[str(steps), name, f"{errors[name]:.3f}", span(times[name])] for name in contenders]

    return [
        f"The density of {surface.size:,} eigenvalues of 64-24-10 after 5 epochs, {SAMPLES} samples, float64, {PROBES} "
        f"probes, each eigenvalue smoothed by {WIDTH:.0%} of the largest; the error is the mean distance from the "
        "density of the exact spectrum ÷ its mean.",
        "",
        *table(["steps", "what", "error", "time"], [*compare(20), *compare(80)]),
    ]


def _heights(values: Tensor, weights: Tensor, grid: Tensor, width: float) -> Tensor:
    return torch.exp(-(((grid[:, None] - values) / width) ** 2) / 2) @ weights


# -- Outliers ----------------------------------------------------------------------------------------------------------


def _outliers() -> list[str]:
    task, rows, near = load("digits"), [], 0
    for epochs in (2, 5, 20):
        for seed in range(3):
            model = train(task, seed, epochs)
            surface = full_loss(task, model, torch.float32)
            spectrum = extremes(surface.hessian(surface.start), 100, 1e-12)
            values = spectrum.values.flip(0)[: 3 * CLASSES]
            count = int((values[:-1] / values[1:])[: 2 * CLASSES].argmax()) + 1
            near += abs(count - CLASSES) <= 1
            around = [f"{values[i]:.3g}" for i in (0, count - 1, count)]
            rows.append([str(epochs), str(seed), str(count), *around, f"{spectrum.least.value:.2g}"])
    head = ["epochs", "seed", "outliers", "largest", "last outlier", "next", "smallest"]
    return [
        f"Outliers of the demo's network, whose data has {CLASSES} classes: the eigenvalues above the largest ratio of "
        f"neighbours among the first {2 * CLASSES}. Their number is within 1 of the number of classes in {near} of "
        f"{len(rows)}.",
        "",
        *table(head, rows),
    ]
