"""Pictures that need no training."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from docs.figures.paper import bare, in_both_themes
from steepest.schedule import as_schedule
from steepest.view.render.theme import Theme

DATA = np.array([(1, 2.1), (2, 3.9), (3, 6.2)]).T
RUN_STEPS = 100


def slope() -> list[Path]:
    """The loss of a line over its weight, a tangent, and the steps from there."""
    x, y = DATA

    def loss(w: np.ndarray) -> np.ndarray:
        return ((np.multiply.outer(w, x) - y) ** 2).mean(-1)

    def gradient(w: float) -> float:
        return float((2 * (w * x - y) * x).mean())

    def draw(figure: Figure, theme: Theme) -> None:
        axes = figure.add_subplot()
        bare(axes, "weight w", "Loss")
        w = np.linspace(-0.1, 4.1, 300)
        axes.plot(w, loss(w), color=theme.ink2)
        at, rise = 0.6, gradient(0.6)
        near = np.array([0.1, 1.15])
        axes.plot(near, loss(np.array([at])) + rise * (near - at), color=theme.colour(1), linewidth=1.6)
        axes.annotate(
            f"slope {rise:.1f}".replace("-", "−"), (near[1], loss(np.array([at]))[0] + rise * (near[1] - at)), (-6, -4),
            textcoords="offset points", color=theme.name_colour(1), fontweight="bold", ha="right",
        )  # fmt: skip
        steps = [at]
        for _ in range(8):
            steps.append(steps[-1] - 0.05 * gradient(steps[-1]))
        points = np.array(steps)
        axes.plot(points, loss(points), "o-", color=theme.colour(0), markersize=6, markeredgecolor=theme.paper)
        axes.annotate("start", (at, loss(points)[0]), (10, 6), textcoords="offset points", color=theme.name_colour(0))
        axes.annotate(
            "minimum", (points[-1], 0), (0, 16), textcoords="offset points", color=theme.ink2, ha="center",
        )  # fmt: skip
        axes.set_ylim(-1, 20)

    return in_both_themes("slope", 2.9, draw)


def schedules() -> list[Path]:
    """Shapes of schedules over a run."""
    shapes = {
        "constant": "constant",
        "step": "step(34%)",
        "cosine": "cosine",
        "warmup, cosine": "warmup(10%) >> cosine",
    }

    def draw(figure: Figure, theme: Theme) -> None:
        every = figure.subplots(1, 4, sharey=True)
        for axes, (name, text) in zip(every, shapes.items()):
            factors = as_schedule(text).bind(T=RUN_STEPS, steps_per_epoch=10).values(range(1, RUN_STEPS + 1))
            axes.fill_between(np.linspace(0, 1, RUN_STEPS), factors, color=theme.colour(0), alpha=0.13, linewidth=0)
            axes.plot(np.linspace(0, 1, RUN_STEPS), factors, color=theme.colour(0))
            bare(axes, "", name)
            axes.set_xticks([0, 1], ["start", "end"])
            axes.get_xticklabels()[0].set_ha("left")
            axes.get_xticklabels()[1].set_ha("right")
            axes.set_yticks([0, 0.5, 1], ["0", "", "α"])
            axes.set_ylim(-0.03, 1.08)

    return in_both_themes("schedules", 1.6, draw)


DRAWINGS = {"slope": slope, "schedules": schedules}
