"""How many critical points are saddles, by dimension and loss; and how long noise takes to leave one.

Three families whose critical points are all known: random fields are integrated, quartics searched and checked by
Morse's theorem, and factorisations, which are two linear layers on whitened data, have a closed form.
"""

import math
from collections import Counter
from pathlib import Path

import numpy as np

from benchmarks.geometry.critical import Critical, Quartic, factorisation_points, field, morse
from benchmarks.report import table
from steepest.view.figures import curves

TITLE = "Saddles among critical points"

DOCS = Path(__file__).parents[2] / "docs"
DIMENSIONS = range(1, 9)
DRAWS = 100_000
"""Of a random field per dimension: shares are accurate to 0.01."""
QUARTICS = 24
"""Polynomials per dimension."""
STARTS = 200
"""Of Newton's method, in one dimension; in d dimensions d times as many, and twice as many until Morse's sum is 1."""
TRIES = 5
LR, ESCAPE = 0.1, 0.5
"""Of the gradient descents that leave a saddle: the learning rate, and the distance at which they have left."""


def measure() -> list[str]:
    """Lines of the report; the figures too."""
    fields = {d: field(d, DRAWS) for d in DIMENSIONS}
    quartics = {d: [_points(d, n) for n in range(QUARTICS)] for d in DIMENSIONS}
    _draw_shares(fields, quartics)
    _draw_escape()
    rows = [_row(d, fields[d], quartics[d]) for d in DIMENSIONS]
    header = ["dimension", "field: minima", "saddles", "maxima", "quartics: points", "minima", "saddles", "complete",
              "factorisations: points", "saddles"]  # fmt: skip
    return [
        "Shares of all critical points. Field: Gaussian, covariance exp(−r²/2), "
        f"{DRAWS:,} draws per dimension. Quartics: {QUARTICS} random ones per dimension, mean count; complete: "
        "those whose indices satisfy Morse's theorem, which reveals most omissions. Factorisations: families of "
        "critical points of a d × d matrix with d hidden units. The same run draws docs/saddles.png and "
        "docs/escape.png.",
        "",
        *table(header, rows),
    ]


def shares(indices: np.ndarray, weights: np.ndarray, dimension: int) -> tuple[float, float, float]:
    """(minima, saddles, maxima) among critical points."""
    total = weights.sum()
    between = (indices > 0) & (indices < dimension)
    low, middle, high = (float(weights[here].sum() / total) for here in (indices == 0, between, indices == dimension))
    return low, middle, high


def _points(dimension: int, seed: int) -> list[Critical]:
    rng = np.random.default_rng([seed, dimension])
    quartic, points = Quartic.random(dimension, rng), []
    for n in range(TRIES):
        points = max(points, quartic.critical_points(STARTS * dimension * 2**n, rng), key=len)
        if morse(points) == 1:
            break
    return points


def _row(d: int, of_field: tuple[np.ndarray, ...], quartics: list[list[Critical]]) -> list[str]:
    low, middle, high = shares(*of_field[1:], d)
    counts = Counter("minima" if p.index == 0 else "maxima" if p.index == d else "saddles" for q in quartics for p in q)
    total, whole = sum(counts.values()), sum(morse(q) == 1 for q in quartics)
    factors = list(factorisation_points(range(1, d + 1), d))
    saddles = sum(p.index > 0 for p in factors)
    return [
        str(d), f"{low:.1%}", f"{middle:.1%}", f"{high:.1%}", f"{total / len(quartics):.1f}",
        f"{counts['minima'] / total:.1%}", f"{counts['saddles'] / total:.1%}", f"{whole} of {len(quartics)}",
        str(len(factors)), f"{saddles / len(factors):.1%}",
    ]  # fmt: skip


def _draw_shares(fields: dict[int, tuple[np.ndarray, ...]], quartics: dict[int, list[list[Critical]]]) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.2, 4.2), dpi=150, layout="constrained")
    left, right = figure.subplots(1, 2)
    _draw_dimensions(left, fields, quartics)
    _draw_losses(right, fields[8])
    curves.save(figure, DOCS / "saddles.png")


def _draw_dimensions(axes, fields, quartics) -> None:
    d = list(DIMENSIONS)
    minima = {
        "random fields": [shares(*fields[n][1:], n)[0] for n in d],
        "random quartics": [_minima(quartics[n]) for n in d],
        "factorisations": [2.0**-n for n in d],
    }
    for (name, values), colour in zip(minima.items(), curves.FIGURE_COLOURS):
        axes.plot(d, values, "o-", color=colour, markersize=4, linewidth=1.6)
        curves._label(axes, d[-1], values[-1], name, colour)
    axes.set_yscale("log")
    axes.set_yticks([1, 0.1, 0.01, 0.001], ["100 %", "10 %", "1 %", "0.1 %"])
    axes.minorticks_off()
    axes.set_xlim(0.7, 10.6)
    axes.set_xticks(d)
    axes.set_xlabel("dimension; for factorisations size of the matrix", color=curves.MUTED)
    _finish(axes, "Share of critical points that are minima")


def _minima(quartics: list[list[Critical]]) -> float:
    points = [p for q in quartics for p in q]
    return sum(p.index == 0 for p in points) / len(points)


def _draw_losses(axes, of_field: tuple[np.ndarray, ...]) -> None:
    """Share of descent directions by loss: the mean of a field, each point of a factorisation."""
    points = list(factorisation_points(range(1, 9), 8))
    worst, most = max(p.loss for p in points), max(p.index for p in points)
    axes.plot([p.loss / worst for p in points], [p.index / most for p in points], ".", color=curves.FIGURE_COLOURS[2],
              markersize=4, alpha=0.6)  # fmt: skip
    axes.text(0.72, 0.14, "factorisations 8 × 8,\nwidth 8: all 256", color=curves.FIGURE_COLOURS[2], fontsize=9)
    losses, indices, weights = of_field
    edges = np.linspace(-3, 3, 21)
    place = np.digitize(losses, edges)
    x, y = [], []
    for n in range(1, len(edges)):
        here = place == n
        x.append(losses[here].mean())
        y.append(float(np.average(indices[here], weights=weights[here])) / 8)
    x = (np.array(x) + 3) / 6  # three deviations below the mean to three above
    axes.plot(x, y, color=curves.FIGURE_COLOURS[0], linewidth=1.8)
    axes.text(0.02, 0.52, "random field in\n8 dimensions: mean", color=curves.FIGURE_COLOURS[0], fontsize=9)
    axes.set_xlabel("loss (0 lowest, 1 highest; field: −3 to +3 deviations)", color=curves.MUTED)
    axes.set_ylabel("directions that go down, of the most there are", color=curves.MUTED)
    _finish(axes, "The higher, the more ways down")


def _draw_escape() -> None:
    """Steps until a descent has left the saddle, by the noise of a step."""
    from matplotlib.figure import Figure

    sigmas = 10.0 ** np.arange(-17, 0)
    times = np.array([[_left(s, np.random.default_rng([k, n])) for k in range(40)] for n, s in enumerate(sigmas)])
    figure = Figure(figsize=(7.2, 4.2), dpi=150, layout="constrained")
    axes = figure.subplots()
    jitter = 10 ** np.random.default_rng(0).uniform(-0.18, 0.18, times.shape)
    axes.plot(sigmas[:, None] * jitter, times, ".", color=curves.FIGURE_COLOURS[0], markersize=3, alpha=0.35)
    law = [math.log(ESCAPE / _amplitude(s)) / math.log(1 + LR) + _delay() for s in sigmas]
    axes.plot(sigmas, law, color=curves.INK, linewidth=1.6)
    axes.set_xscale("log")
    axes.set_ylim(0, 480)
    axes.set_xlabel("noise σ of a step's gradient along the way out", color=curves.MUTED)
    axes.set_ylabel("steps until |y| > ½", color=curves.MUTED)
    axes.axvspan(3e-18, 3e-16, color=curves.FIGURE_COLOURS[1], alpha=0.12, linewidth=0)
    axes.text(5e-16, 30, "rounding of float64:\nall that full batch has", color=curves.FIGURE_COLOURS[1], fontsize=9)
    axes.annotate("log(1/σ) / log(1 + α)", (sigmas[9], law[9]), xytext=(14, 12), textcoords="offset points",
                  color=curves.INK, fontsize=9)  # fmt: skip
    _finish(axes, "Ten times less noise, 24 steps longer at the saddle (α = 0.1)")
    curves.save(figure, DOCS / "escape.png")


def _left(sigma: float, rng: np.random.Generator) -> int:
    """Steps of gradient descent on −y²/2 + y⁴/4 from y = 0, with noise, until |y| > ½."""
    y, t = 0.0, 0
    while abs(y) <= ESCAPE:
        y, t = y + LR * (y - y**3 + sigma * rng.standard_normal()), t + 1
    return t


def _amplitude(sigma: float) -> float:
    """exp E log|y| of the noise of all steps, as if it had been there from the start."""
    deviation = LR * sigma / math.sqrt((1 + LR) ** 2 - 1)
    return deviation * math.exp(-(np.euler_gamma + math.log(2)) / 2)


def _delay() -> float:
    """Steps by which the walls of the valley slow the escape."""
    y, t = 1e-9, 0
    while y <= ESCAPE:
        y, t = y + LR * (y - y**3), t + 1
    return t - math.log(ESCAPE / 1e-9) / math.log(1 + LR)


def _finish(axes, title: str) -> None:
    axes.set_title(title, loc="left", color=curves.INK, fontsize=11, fontweight="bold")
    curves.plain(axes)
