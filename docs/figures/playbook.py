"""Pictures and films of the playbook: trainings before and after the cure, made by the code of the page with them."""

import contextlib
import doctest
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from docs.extension.plays import DOCS
from docs.figures import films
from docs.figures.descents import names_at_ends, smooth
from docs.figures.paper import bare, in_both_themes
from steepest.view.render.theme import Theme

PAGES = DOCS / "playbook"
HEIGHT = 2.1
"""Inches."""
POINTS = 150
"""Values of a curve that are drawn: a picture shows no more."""
Curve = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Picture:
    """What a page's picture shows.

    Attributes:
        runs: a curve's name, and the variable of the page that holds its run.
        what: "training" or "validation" loss, or a metric's name.
        most: values above are drawn there.
        mean: steps that a training curve is the mean of; the steps themselves are drawn faintly behind it.
        is_log: whether the axis is logarithmic.
        x: "step" or "epoch".
        film: the name of the curve whose run is filmed; "" for the first one.
        first: steps before a run's first one, of runs that go on from another's end.
    """

    runs: dict[str, str]
    what: str = "training"
    most: float = np.inf
    mean: int = 10
    is_log: bool = True
    x: str = "step"
    film: str = ""
    first: dict[str, int] = field(default_factory=dict)


BEFORE_AND_AFTER = {"before": "run", "after": "cured"}
PICTURES: dict[str, Picture] = {
    "nan": Picture(BEFORE_AND_AFTER, film="after"),
    "explodes": Picture({"before": "run", "guard": "guarded", "auto": "cured"}, most=1e3),
    "oscillates": Picture(BEFORE_AND_AFTER, mean=1, is_log=False),
    "bad-samples": Picture(BEFORE_AND_AFTER, mean=1),
    "sorted-data": Picture(BEFORE_AND_AFTER, mean=2),
    "own-loop": Picture(BEFORE_AND_AFTER),
    "plateau": Picture(BEFORE_AND_AFTER, is_log=False),
    "no-gradient": Picture({"error rate": "run", "cross entropy": "cured"}, is_log=False),
    "same-loss": Picture(BEFORE_AND_AFTER, is_log=False),
    "deep": Picture({"sigmoids": "run", "residual": "cured"}, is_log=False),
    "too-slow": Picture({"before": "run", "auto": "cured"}, is_log=False),
    "frozen-rate": Picture({"a batch": "run", "an epoch": "cured"}),
    "noise-floor": Picture(BEFORE_AND_AFTER, "validation", is_log=False),
    "softmax-twice": Picture(BEFORE_AND_AFTER),
    "input-scales": Picture({"before": "run", "adam": "adam", "scaled": "cured"}),
    "overfitting": Picture({"before": "run", "decay": "cured"}, "validation", is_log=False),
    "labels": Picture(BEFORE_AND_AFTER, "validation"),
    "eval-mode": Picture(BEFORE_AND_AFTER, "validation"),
    "below-training": Picture({"dropout 0.7": "run", "0.1": "cured"}),
    "metric": Picture({"argmin": "run", "argmax": "cured"}, "accuracy", is_log=False),
    "rare-class": Picture({"before": "run", "weight 10": "cured"}, "recall", is_log=False),
    "fine-tuning": Picture(BEFORE_AND_AFTER, "validation", is_log=False),
    "seeds": Picture({f"seed {seed}": f"runs[{seed}]" for seed in range(5)}, mean=20),
    "batch-size": Picture({"20": "small", "500": "run", "500, own rate": "cured"}, x="epoch"),
    "resume": Picture({"weights alone": "run", "resumed": "cured"}, first={"weights alone": 110}),
    "refused": Picture({"batch size 49": "run"}),
}


def code(page: str) -> list[doctest.Example]:
    """The examples of a page that end without an exception."""
    text = (PAGES / f"{page}.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    examples = [example for block in blocks for example in doctest.DocTestParser().get_examples(block)]
    return [example for example in examples if example.exc_msg is None]


def names_of(page: str) -> dict[str, Any]:
    """Runs a page's code in the folder that is the present one; returns its variables."""
    names: dict[str, Any] = {}
    for example in code(page):
        exec(compile(example.source, f"{page}.md", "exec"), names)
    return names


def draw(page: str) -> list[Path]:
    """The curves of a page's runs, and the film of one."""
    picture = PICTURES[page]
    with TemporaryDirectory() as folder, contextlib.chdir(folder):
        names = names_of(page)
        runs = {label: eval(variable, names) for label, variable in picture.runs.items()}
        run = runs[picture.film or next(iter(runs))]
        film = films.keep(f"playbook-{page}", run.film("film.html"))
        curves = {label: _curve(run, picture) for label, run in runs.items()}
        curves |= {label: (curves[label][0] + first, curves[label][1]) for label, first in picture.first.items()}
        faint = {label: _steps(run, picture) for label, run in runs.items()}
    drawn = partial(_draw, picture=picture, curves=curves, faint=faint)
    return [*in_both_themes(f"playbook-{page}", HEIGHT, drawn), film]


def _curve(run: Any, picture: Picture) -> Curve:
    if picture.what != "training":
        name = "loss" if picture.what == "validation" else picture.what
        series = [m for m in run.metrics if m.split == "validation" and m.name == name]
        return np.array([m.t for m in series]), np.minimum([m.value for m in series], picture.most)
    t, values = _steps(run, picture, every=1)
    means = smooth(np.where(np.isfinite(values), values, 0.0), picture.mean)
    means[~np.isfinite(values)] = np.nan
    return _thin(t), _thin(means)


def _steps(run: Any, picture: Picture, every: int = 0) -> Curve:
    if picture.what != "training":
        return np.array([]), np.array([])
    steps = run.record.steps
    values = np.where(np.isfinite(steps.loss), np.minimum(steps.loss, picture.most), np.nan)
    at = steps.t if picture.x == "step" else steps.epoch
    return (at, values) if every else (_thin(at), _thin(values))


def _thin(values: np.ndarray) -> np.ndarray:
    """Every n-th value, so that there are about POINTS, and the last one."""
    every = max(1, len(values) // POINTS)
    kept = values[::every]
    return kept if (len(values) - 1) % every == 0 else np.append(kept, values[-1])


def _draw(figure: Figure, theme: Theme, picture: Picture, curves: dict[str, Curve], faint: dict[str, Curve]) -> None:
    axes = figure.add_subplot()
    bare(axes, picture.x, f"{picture.what.capitalize()}{' loss' * (picture.what in ('training', 'validation'))}")
    if picture.is_log:
        axes.set_yscale("log")
    most = max(at[-1] for at, _ in curves.values())
    ends = {}
    for k, (label, (at, values)) in enumerate(curves.items()):
        colour = theme.colour(k)
        x, y = faint[label]
        axes.plot(x + picture.first.get(label, 0), y, color=colour, linewidth=0.7, alpha=0.35)
        axes.plot(at, values, color=colour, linewidth=1.8)
        ends[label] = _end(at, values)
    axes.set_xlim(0, most * 1.26)
    axes.set_xticks([tick for tick in axes.get_xticks() if tick <= most])
    _y_axis(axes, picture, ends)
    for k, (label, (at, _)) in enumerate(curves.items()):
        x, y = ends[label]
        if x < at[-1]:  # numbers end before the run does
            axes.plot(x, y, "x", color=theme.colour(k), markersize=8, markeredgewidth=2)
    names_at_ends(figure, axes, ends, [theme.name_colour(k) for k in range(len(curves))])


def _end(at: np.ndarray, values: np.ndarray) -> tuple[float, float]:
    """The last point that is a number; the middle of the left edge if there is none."""
    finite = np.flatnonzero(np.isfinite(values))
    return (float(at[finite[-1]]), float(values[finite[-1]])) if len(finite) else (0.0, 1.0)


def _y_axis(axes: Axes, picture: Picture, ends: dict[str, tuple[float, float]]) -> None:
    if not picture.is_log:
        axes.set_ylim(bottom=0)
        return
    low, high = axes.get_ylim()
    low, high = min(low, *(0.8 * y for _, y in ends.values())), max(high, *(1.25 * y for _, y in ends.values()))
    axes.set_ylim(low, high)
    decades = np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    factors = (1, 3) if len(decades) < 4 else (1,)
    ticks = [factor * 10.0**d for d in decades[:: max(1, len(decades) // 5)] for factor in factors]
    axes.set_yticks([tick for tick in ticks if low <= tick <= high])
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.minorticks_off()


DRAWINGS: dict[str, Callable[[], list[Path]]] = {f"playbook/{page}": partial(draw, page) for page in PICTURES}
