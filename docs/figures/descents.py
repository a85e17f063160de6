"""Pictures of trainings: the digits, with the settings that the text compares."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import steepest as sd
from docs.figures.paper import bare, in_both_themes
from steepest.tasks import load
from steepest.view.render.theme import Theme

LINE_POINTS = 13.0
"""Height of a line of text."""


def losses(rule: str, lr: float, **choices: Any) -> np.ndarray:
    """Training losses of the digits."""
    descent = sd.descend(load("digits"), rule, lr, "constant", **choices)
    return np.array([step.loss for step in descent])


def smooth(values: np.ndarray, width: int) -> np.ndarray:
    """Means of so many values up to each; of fewer at the beginning."""
    sums = np.concatenate(([0.0], np.cumsum(values)))
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(0, ends - width)
    return (sums[ends] - sums[starts]) / (ends - starts)


def lines(name: str, curves: Mapping[str, tuple[np.ndarray, np.ndarray]], x: str, y: str) -> list[Path]:
    """Draws curves on a logarithmic axis, each named at its end.

    Args:
        name: of the picture.
        curves: x and y values by name.
        x, y: names of the axes.
    """

    def draw(figure: Figure, theme: Theme) -> None:
        axes = figure.add_subplot()
        bare(axes, x, y)
        axes.set_yscale("log")
        most = max(at[-1] for at, _ in curves.values())
        for k, (at, values) in enumerate(curves.values()):
            axes.plot(at, values, color=theme.colour(k), linewidth=1.8)
        axes.set_xlim(0, most * 1.26)
        axes.set_xticks([tick for tick in axes.get_xticks() if tick <= most])
        axes.yaxis.set_major_formatter("{x:g}")
        axes.set_yticks(
            [tick for tick in (0.03, 0.1, 0.3, 1, 3, 10) if axes.get_ylim()[0] <= tick <= axes.get_ylim()[1]]
        )
        axes.minorticks_off()
        ends = {name: (at[-1], values[-1]) for name, (at, values) in curves.items()}
        names_at_ends(figure, axes, ends, [theme.name_colour(k) for k in range(len(curves))])

    return in_both_themes(name, 2.9, draw)


def names_at_ends(figure: Figure, axes: Axes, ends: Mapping[str, tuple[float, float]], colours: Sequence[str]) -> None:
    """Writes each curve's name at its end; names that would lie over each other are moved apart.

    Args:
        figure, axes: drawn on.
        ends: the last point of each curve, by name.
        colours: of the names.
    """
    figure.draw_without_rendering()
    points = 72 / figure.dpi
    places = [axes.transData.transform(end)[1] * points for end in ends.values()]
    heights, highest = dict.fromkeys(range(len(places)), 0.0), -np.inf
    for k in np.argsort(places):
        highest = heights[int(k)] = max(places[k], highest + LINE_POINTS)
    for k, (label, end) in enumerate(ends.items()):
        axes.annotate(
            label, end, (8, heights[k] - places[k]), textcoords="offset points",
            color=colours[k], va="center", fontweight="bold",
        )  # fmt: skip


def rates() -> list[Path]:
    """Five learning rates."""
    t = np.arange(100)
    curves = {
        f"{lr:g}": losses("gradient_descent", lr, batch_size="full", steps=100) for lr in (0.005, 0.05, 0.2, 1, 3)
    }
    return lines("rates-digits", {name: (t, np.minimum(y, 12)) for name, y in curves.items()}, "step", "Training loss")


def batches() -> list[Path]:
    """Three batch sizes, by the number of images seen."""
    settings = {"all 1,293": ("full", 0.5, 10), "64": (64, 0.5, 200), "8": (8, 0.1, 1600)}
    curves = {}
    for name, (batch_size, lr, steps) in settings.items():
        values = losses("gradient_descent", lr, batch_size=batch_size, steps=steps)
        every = max(1, steps // 200)
        curves[name] = (np.linspace(0, 10, steps)[::every], smooth(values, max(1, steps // 40))[::every])
    return lines("batches-digits", curves, "epochs: passes through the 1,293 images", "Training loss, by batch size")


def rules() -> list[Path]:
    """Three update rules."""
    settings = {"gradient descent": ("gradient_descent", 0.05), "momentum": ("momentum", 0.05), "adam": ("adam", 0.003)}
    curves = {
        name: (np.arange(150), smooth(losses(rule, lr, batch_size=64, steps=150), 10))
        for name, (rule, lr) in settings.items()
    }
    return lines("rules-digits", curves, "step", "Training loss, means of 10 steps")


DRAWINGS = {"rates-digits": rates, "batches-digits": batches, "rules-digits": rules}
