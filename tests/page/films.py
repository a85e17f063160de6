"""Films written by hand: what the page is fed, without a network, a store or a film room."""

import json
from typing import Any

import numpy as np
import torch

from steepest.rules.backends.page import to_program
from steepest.rules.notation.mathml import to_mathml
from steepest.rules.textbook import find_rule
from steepest.tasks.terrains import TERRAINS
from steepest.view.film import document
from steepest.view.film.document import PAGE, SLOT, page
from steepest.view.film.document import column as col

__all__ = ["PAGE", "SLOT", "page"]

Film = dict[str, Any]

# -- Parts -------------------------------------------------------------------------------------------------------------

NAMES = {"gradient_descent": "Gradient descent", "momentum": "Momentum", "adam": "Adam"}
PLAYERS = (
    ("gradient_descent", {"lr": 0.0016}, "constant"),
    ("momentum", {"lr": 0.0005, "beta": 0.95}, "constant"),
    ("adam", {"lr": 0.1, "beta1": 0.9, "beta2": 0.99}, "warmup(40) >> cosine"),
)


def curve(t: Any, lo: Any, hi: Any, mid: Any, log: bool = True) -> dict[str, Any]:
    """A curve of buckets."""
    return document.curve(t, lo, hi, mid, log)


def member(name: str, rule: str, hyper: dict[str, Any], schedule: str = "constant", **given: Any) -> dict[str, Any]:
    """A member of which only what is given is known."""
    formula = to_mathml(find_rule(rule), ("lr", "beta", "beta1"), ("weight_decay",))
    return document.member(name, rule, hyper, schedule, mathml=formula, **given)


def film(kind: str, **given: Any) -> Film:
    """A film of which only what is given is known."""
    nothing = {"title": "", "subtitle": "", "steps": 1, "surfaces": {}, "members": {}}
    return document.film(kind, **nothing | given)


def axis(name: str, lo: float, hi: float, n: int, scale: float = 1.0) -> dict[str, Any]:
    """An axis of a surface."""
    return {"name": name, "lo": lo, "hi": hi, "n": n, "scale": scale}


def play(
    terrain: str = "rosenbrock",
    source: str = "(1 − x)² + 100 (y − x²)²",
    steps: int = 1500,
    start: Any = (-1.5, 2.7),
    height: str = "log",
) -> Film:
    """Three rules on a terrain, which the page lets descend by itself."""
    land = TERRAINS[terrain]
    x, y, values = land.grid(51)
    marks = [
        {"kind": kind, "x": p[0], "y": p[1], "loss": float(land.f(torch.tensor(p, dtype=torch.float64))), "text": kind}
        for kind, points in (("minimum", land.minima), ("saddle", land.saddles), ("maximum", land.maxima))
        for p in points
    ]
    surface = {
        "kind": "terrain", "x": axis("x", x[0], x[-1], 51), "y": axis("y", y[0], y[-1], 51), "height": height,
        "loss": col(values), "error": None, "source": source, "caption": "loss", "marks": marks,
    }  # fmt: skip
    at = {terrain: {"x": col([start[0]]), "y": col([start[1]]), "off": col([0])}}
    members = {
        rule: member(
            NAMES[rule],
            rule,
            hyper,
            schedule,
            js=json.dumps(to_program(find_rule(rule))),
            path={"t": col([0], "i4"), "loss": col([1]), "on": at},
        )
        for rule, hyper, schedule in PLAYERS
    }
    return film("play", title=terrain.capitalize(), steps=steps, surfaces={terrain: surface}, members=members)


def run(steps: int = 2400, points: int = 800) -> Film:
    """A network's run whose numbers are invented: it rewinds once, and stops at a saddle."""
    random = np.random.default_rng(11)
    t = np.arange(steps + 1)

    def height(a: Any, b: Any) -> Any:
        return 0.412 + 0.34 * a * a * (1 + 0.25 * b) - 0.30 * b * b + 0.105 * b**4 + 0.05 * a**4

    a = -0.86 * np.exp(-t / 420) + np.cumsum(random.normal(0, 2.2e-3, t.size)) * np.exp(-t / 900)
    b = -0.08 * np.exp(-t / 900) + np.cumsum(random.normal(0, 1e-3, t.size))
    b -= b[-1] * t / steps
    smooth = height(a, b) + 1.75 * np.exp(-t / 160)
    blow = np.where((t > 930) & (t < 1012), 7 * np.clip((t - 930) / 82, 0, 1) ** 3, 0)
    batch = (smooth + blow) * np.exp(0.13 * random.normal(size=t.size)) + np.where(t == 402, 3.6, 0)
    warm = np.where(t > 1012, 0.5 * np.minimum(1, (t - 1012) / 60), 1) * np.minimum(1, t / 120)
    rate = 0.008 * warm * (0.5 + 0.5 * np.cos(np.pi * t / (steps * 1.35)))
    epochs = t[::60]
    n = 51
    grid = np.linspace(-1, 1, n)
    surface = {
        "kind": "curvature", "height": "linear", "source": None,
        "x": axis("greatest curvature", -1, 1, n, 0.021), "y": axis("least curvature", -1, 1, n, 0.46),
        "loss": col(height(grid[None, :], grid[:, None])), "error": col(np.full((n, n), 0.004)),
        "caption": "loss on 1,500 training digits, ± 0.004",
        "marks": [
            {"kind": "saddle", "x": 0.0, "y": 0.0, "loss": 0.412, "text": "saddle"},
            {"kind": "escape", "x": 0.0, "y": 0.62, "loss": 0.398, "text": "0.398 ± 0.002"},
        ],
    }  # fmt: skip
    random_plane = surface | {
        "kind": "random", "x": axis("first direction", -1, 1, n, 1.4), "y": axis("second direction", -1, 1, n, 1.4),
        "loss": col(0.412 + 0.5 * (grid[None, :] ** 2 + 1.1 * grid[:, None] ** 2)), "marks": [], "error": None,
        "caption": "a random plane: saddles look convex here",
    }  # fmt: skip
    kept = np.linspace(0, steps, points).astype(int)
    where = {
        "curvature": {"x": col(a[kept]), "y": col(b[kept]), "off": col(0.3 * np.exp(-kept / 500))},
        "random": {"x": col(0.2 * a[kept]), "y": col(-0.3 * a[kept]), "off": col(2 * np.exp(-kept / 500))},
    }
    window = np.ones(25) / 25
    middle = np.convolve(np.pad(smooth + blow, 12, mode="edge"), window, "valid")
    curves = {
        "loss": curve(t, batch * 0.93, batch, middle), "lr": curve(t, rate, rate, rate, log=False),
        "held_out": curve(epochs, *[(smooth * 1.06 + 0.02)[epochs]] * 3),
        "grad_norm": curve(t, *[np.exp(0.3 * random.normal(size=t.size)) * (0.05 + np.exp(-t / 200))] * 3),
    }  # fmt: skip
    events = [
        {"t": 402, "kind": "clip", "text": "clipped: gradient norm 38 σ above the median"},
        {"t": 1012, "kind": "rewind", "to": 860, "text": "diverging since 930, rewound to step 860, rate halved"},
        {"t": steps, "kind": "stop", "text": "gradient no longer seen above its noise"},
    ]
    numbers = [
        {
            "name": "λ_max",
            "value": 412,
            "lo": 406,
            "hi": 418,
            "reference": 500,
            "text": "2/α = 500: below the edge of stability",
        },
        {
            "name": "λ_min",
            "value": -0.83,
            "lo": -0.88,
            "hi": -0.78,
            "reference": 0,
            "text": "below zero on data that did not choose the direction",
        },
        {
            "name": "‖∇L‖^2",
            "value": 0.0004,
            "lo": -0.0002,
            "hi": 0.001,
            "reference": 0,
            "text": "not distinguishable from zero",
        },
        {"name": "B", "value": 2250, "lo": 1900, "hi": 2700, "reference": 64, "text": "noise scale; your batch is 64"},
    ]
    verdict = {"kind": "SADDLE", "text": "Stopped at a saddle.", "advice": "Train on.", "numbers": numbers}
    path = {"t": col(kept, "i4"), "loss": col(smooth[kept]), "on": where}
    eigenvalues = [412.0, 260.0, 131.0, *np.geomspace(80, 0.05, 24).round(4).tolist(), -0.06, -0.21, -0.83]
    whole = member(
        "adam",
        "adam",
        {"lr": 0.008},
        "warmup(5%) >> cosine",
        path=path,
        curves=curves,
        events=events,
        verdict=verdict,
        eigenvalues=eigenvalues,
    )
    return film(
        "run", title="digits, MLP 64-128-128-10", steps=steps,
        subtitle="26,122 weights · adam · warmup(5%) » cosine · batch 64",
        headline="Stopped at a saddle: 0.12 along the direction of least curvature the loss falls from 0.412 to "
        "0.398 ± 0.002.",
        advice="Train on for some 300 steps with momentum and it will leave by itself. The rate of 0.0040 is below the "
        "edge of stability.",
        surfaces={"curvature": surface, "random": random_plane}, members={"adam": whole},
    )  # fmt: skip


def race(members: int = 5, points: int = 1000, n: int = 51) -> Film:
    """Heavy balls of different rates in a bent valley, on one recorded surface with a hole and a diverged corner."""
    x, y = np.linspace(-2, 2, n), np.linspace(-1, 3, n)

    def height(u: Any, v: Any) -> Any:
        return (1 - u) ** 2 + 20 * (v - u * u) ** 2

    values = height(x[None, :], y[:, None])
    values[: n // 6, : n // 5] = np.inf
    values[-(n // 8) :, -(n // 8) :] = np.nan
    surface = {
        "kind": "principal", "height": "log", "loss": col(values), "error": None, "source": None,
        "x": axis("first component", -2, 2, n, 1.0), "y": axis("second component", -1, 3, n, 1.0),
        "caption": "83 % of the path's spread; a random walk shows 76 %",
        "marks": [{"kind": "minimum", "x": 1.0, "y": 1.0, "loss": 0.0, "text": "minimum"}],
    }  # fmt: skip
    rates = np.geomspace(3e-4, 4e-3, members)
    folk = {}
    for i, lr in enumerate(rates):
        u, v, p, q = -1.5 + 0.1 * i, 2.4, 0.0, 0.0
        at = np.empty((points, 2))
        for k in range(points):
            at[k] = u, v
            p = 0.9 * p + -2 * (1 - u) - 80 * u * (v - u * u)
            q = 0.9 * q + 40 * (v - u * u)
            u, v = u - lr * p, v - lr * q
        t, loss = np.arange(points), height(*at.T)
        on = {"principal": {"x": col(at[:, 0]), "y": col(at[:, 1]), "off": col(np.linspace(0, 0.1 * i, points))}}
        rate = np.full(points, lr)
        curves = {"loss": curve(t, loss, loss, loss), "lr": curve(t, rate, rate, rate)}
        arrived = np.flatnonzero(loss < 0.01)
        reached = [{"t": int(arrived[0]), "kind": "target", "text": "reached loss 0.01"}] if arrived.size else []
        path = {"t": col(t, "i4"), "loss": col(loss), "on": on}
        folk[f"m{i}"] = member(
            f"lr {lr:.2g}", "momentum", {"lr": float(lr), "beta": 0.9}, path=path, curves=curves, events=reached
        )
    return film(
        "race", title="valley, five rates", subtitle="momentum · 3 seeds each", steps=points - 1,
        surfaces={"principal": surface},
        headline=f"lr {rates[-1]:.2g} reaches loss 0.01 first, and lr {rates[0]:.2g} last.",
        advice="Each rule at its own best rate, over 8 seeds.", members=folk,
    )  # fmt: skip


LONG = 1_000_000
SPIKES = [int(s) for s in np.linspace(50_000, 950_000, 19)]


def million(buckets: int = 4096, steps: int = LONG) -> Film:
    """A run of a million steps in buckets, with spikes of one step each."""
    random = np.random.default_rng(3)
    loss = (2 * np.exp(-np.arange(steps) / 2e5) + 0.3) * np.exp(0.1 * random.normal(size=steps))
    loss[SPIKES] = 9.0
    split = np.array_split(loss, buckets)
    starts = np.cumsum([0, *(len(part) for part in split[:-1])])
    loss_curve = curve(starts, [p.min() for p in split], [p.max() for p in split], [np.median(p) for p in split])
    rate = curve(starts, *[np.full(buckets, 1e-3)] * 3, log=False)
    long = run()
    only = next(iter(long["members"].values()))
    only |= {"curves": {"loss": loss_curve, "lr": rate}, "events": []}
    only["path"]["t"] = col(np.linspace(0, steps, 800).astype(int), "i4")
    return long | {"steps": steps, "title": "a million steps", "members": {"adam": only}}
