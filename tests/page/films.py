"""Films written by hand: what the page and pictures get, without a network or a store.

`run`, `race` and `play` are encoded, as the page reads them; the others, such as `a_run`, are as Python has them.
"""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from steepest.records.surfaces import Axis, Grid, Mark, Projection
from steepest.records.verdict import Number, Verdict
from steepest.rules.backends.page import to_program
from steepest.rules.notation.mathml import to_mathml
from steepest.rules.textbook import find_rule
from steepest.tasks.terrains import TERRAINS
from steepest.view.film.document import FILM_SLOT, PAGE, encode, encode_series, page
from steepest.view.film.document import column as col
from steepest.view.film.schema import Film, FilmEvent, Member, Series

__all__ = ["FILM_SLOT", "PAGE", "col", "encode_series", "json", "page"]

Encoded = dict[str, Any]

# -- Parts -------------------------------------------------------------------------------------------------------------

NAMES = {"gradient_descent": "Gradient descent", "momentum": "Momentum", "adam": "Adam"}
PLAYERS = (
    ("gradient_descent", {"lr": 0.0016}, "constant"),
    ("momentum", {"lr": 0.0005, "beta": 0.95}, "constant"),
    ("adam", {"lr": 0.1, "beta1": 0.9, "beta2": 0.99}, "warmup(40) >> cosine"),
)


def series(t: Any, lo: Any, hi: Any, mid: Any, log: bool = True) -> Series:
    """A curve of buckets."""
    return Series(*(np.asarray(v, float) for v in (t, lo, hi, mid)), log)


def member(name: str, rule: str, hyper: dict[str, Any], schedule: str = "constant", **given: Any) -> Member:
    """A member of which only what is given is known."""
    formula = to_mathml(find_rule(rule), ("lr", "beta", "beta1"), ("weight_decay",))
    return Member(name, rule, hyper, schedule, mathml=formula, **given)


def film(kind: str, **given: Any) -> Film:
    """A film of which only what is given is known."""
    nothing = {"title": "", "subtitle": "", "steps": 1, "surfaces": {}, "members": {}}
    return Film(kind, **nothing | given)


def play(*args: Any, **given: Any) -> Encoded:
    """`a_play`, encoded."""
    return encode(a_play(*args, **given))


def run() -> Encoded:
    """`a_run`, encoded."""
    return encode(a_run())


def race(*args: Any, **given: Any) -> Encoded:
    """`a_race`, encoded."""
    return encode(a_race(*args, **given))


def a_play(
    terrain: str = "rosenbrock",
    source: str = "(1 − x)² + 100 (y − x²)²",
    steps: int = 1500,
    start: Any = (-1.5, 2.7),
    height: str = "log",
) -> Film:
    """Three rules on a terrain, which the page lets descend by itself."""
    land = TERRAINS[terrain]
    x, y, values = land.grid(51)
    marks = tuple(
        Mark(kind, p[0], p[1], float(land.f(torch.tensor(p, dtype=torch.float64))), kind)
        for kind, points in (("minimum", land.minima), ("saddle", land.saddles), ("maximum", land.maxima))
        for p in points
    )
    axes = Axis("x", x[0], x[-1], 51), Axis("y", y[0], y[-1], 51)
    surface = Grid("terrain", *axes, values, None, "loss", height, source, marks)
    on = {terrain: Projection(np.array([start[0]]), np.array([start[1]]), np.zeros(1))}
    begin = {"t": np.zeros(1), "loss": np.ones(1), "on": on}
    members = {
        rule: member(NAMES[rule], rule, hyper, schedule, js=json.dumps(to_program(find_rule(rule))), **begin)
        for rule, hyper, schedule in PLAYERS
    }
    return film("play", title=terrain.capitalize(), steps=steps, surfaces={terrain: surface}, members=members)


def a_run(steps: int = 2400, points: int = 800) -> Film:
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
    surface = Grid(
        "curvature", Axis("largest curvature", -1, 1, n, 0.021), Axis("smallest curvature", -1, 1, n, 0.46),
        height(grid[None, :], grid[:, None]), np.full((n, n), 0.004), "loss on 1,500 training digits, ± 0.004",
        marks=(Mark("saddle", 0.0, 0.0, 0.412, "saddle"), Mark("escape", 0.0, 0.62, 0.398, "0.398 ± 0.002")),
    )  # fmt: skip
    axes = Axis("first direction", -1, 1, n, 1.4), Axis("second direction", -1, 1, n, 1.4)
    bowl = 0.412 + 0.5 * (grid[None, :] ** 2 + 1.1 * grid[:, None] ** 2)
    random_plane = Grid("random", *axes, bowl, None, "a random plane: saddles look convex here")
    kept = np.linspace(0, steps, points).astype(int)
    on = {
        "curvature": Projection(a[kept], b[kept], 0.3 * np.exp(-kept / 500)),
        "random": Projection(0.2 * a[kept], -0.3 * a[kept], 2 * np.exp(-kept / 500)),
    }
    window = np.ones(25) / 25
    middle = np.convolve(np.pad(smooth + blow, 12, mode="edge"), window, "valid")
    curves = {
        "loss": series(t, batch * 0.93, batch, middle), "lr": series(t, rate, rate, rate, log=False),
        "held_out": series(epochs, *[(smooth * 1.06 + 0.02)[epochs]] * 3),
        "grad_norm": series(t, *[np.exp(0.3 * random.normal(size=t.size)) * (0.05 + np.exp(-t / 200))] * 3),
    }  # fmt: skip
    events = (
        FilmEvent(402, "clip", "gradient clipped: norm 40.2, threshold 3.1"),
        FilmEvent(1012, "rewind", "rewound to step 860: loss rising since 930; lr × 0.5", 860),
        FilmEvent(steps, "stop", "the gradient is no longer measurable"),
    )
    numbers = (
        Number("largest Hessian eigenvalue", 412, 406, 418, 500, "2/α = 500: below the edge of stability"),
        Number("smallest Hessian eigenvalue", -0.83, -0.88, -0.78, words="on the evaluation half"),
        Number("‖∇L‖², noise removed", 0.0004, -0.0002, 0.001, words="unbiased, can be negative"),
        Number("noise scale", 2250, 1900, 2700, 64, "your batch is 64"),
    )
    eigenvalues = (412.0, 260.0, 131.0, *np.geomspace(80, 0.05, 24).round(4).tolist(), -0.06, -0.21, -0.83)
    whole = member(
        "adam", "adam", {"lr": 0.008}, "warmup(5%) >> cosine", t=kept, loss=smooth[kept], on=on, curves=curves,
        events=events, verdict=Verdict("SADDLE", "At a saddle.", "Train on.", numbers), eigenvalues=eigenvalues,
    )  # fmt: skip
    return film(
        "run", title="digits, MLP 64-128-128-10", steps=steps,
        subtitle="26,122 weights · adam · warmup(5%) » cosine · batch 64",
        headline="At a saddle: a step of length 0.12 along λ_min lowers the loss from 0.412 to 0.398 ± 0.002.",
        advice="Train on: gradient noise from smaller batches, or a small random perturbation, escapes it.",
        surfaces={"curvature": surface, "random": random_plane}, members={"adam": whole},
    )  # fmt: skip


def a_race(members: int = 5, points: int = 1000, n: int = 51) -> Film:
    """Heavy balls of different rates in a bent valley, on one recorded surface with a hole and a diverged corner."""
    x, y = np.linspace(-2, 2, n), np.linspace(-1, 3, n)

    def height(u: Any, v: Any) -> Any:
        return (1 - u) ** 2 + 20 * (v - u * u) ** 2

    values = height(x[None, :], y[:, None])
    values[: n // 6, : n // 5] = np.inf
    values[-(n // 8) :, -(n // 8) :] = np.nan
    surface = Grid(
        "principal", Axis("first component", -2, 2, n), Axis("second component", -1, 3, n), values, None,
        "83 % of the path's variance; a random walk has 76 %", "log",
        marks=(Mark("minimum", 1.0, 1.0, 0.0, "minimum"),),
    )  # fmt: skip
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
        on = {"principal": Projection(*at.T, np.linspace(0, 0.1 * i, points))}
        rate = np.full(points, lr)
        curves = {"loss": series(t, loss, loss, loss), "lr": series(t, rate, rate, rate)}
        arrived = np.flatnonzero(loss < 0.01)
        reached = (FilmEvent(int(arrived[0]), "target", "reached loss 0.01"),) if arrived.size else ()
        folk[f"m{i}"] = member(
            f"lr {lr:.2g}", "momentum", {"lr": float(lr), "beta": 0.9}, t=t, loss=loss, on=on, curves=curves,
            events=reached,
        )  # fmt: skip
    return film(
        "race", title="valley, five rates", subtitle="momentum · 3 seeds each", steps=points - 1,
        surfaces={"principal": surface},
        headline=f"lr {rates[-1]:.2g} reaches loss 0.01 first, and lr {rates[0]:.2g} last.",
        advice="Each rule at its own best rate, over 8 seeds.", members=folk,
    )  # fmt: skip


LONG = 1_000_000
SPIKES = [int(s) for s in np.linspace(50_000, 950_000, 19)]


def million(buckets: int = 4096, steps: int = LONG) -> Encoded:
    """A run of a million steps in buckets, with spikes of one step each."""
    random = np.random.default_rng(3)
    loss = (2 * np.exp(-np.arange(steps) / 2e5) + 0.3) * np.exp(0.1 * random.normal(size=steps))
    loss[SPIKES] = 9.0
    split = np.array_split(loss, buckets)
    starts = np.cumsum([0, *(len(part) for part in split[:-1])])
    loss_curve = series(starts, [p.min() for p in split], [p.max() for p in split], [np.median(p) for p in split])
    rate = series(starts, *[np.full(buckets, 1e-3)] * 3, log=False)
    long = a_run()
    only = replace(
        next(iter(long.members.values())), curves={"loss": loss_curve, "lr": rate}, events=(),
        t=np.linspace(0, steps, 800).astype(int),
    )  # fmt: skip
    return encode(replace(long, steps=steps, title="a million steps", members={"adam": only}))
