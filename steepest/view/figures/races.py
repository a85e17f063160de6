"""The figure of a race: every run's curve, and each contender's median."""

import math
import statistics
from pathlib import Path

import numpy as np

from steepest.records.search import RaceResult
from steepest.view.figures.curves import FIGURE_COLOURS, INK, MUTED, panel, plain, save
from steepest.view.format import number


def race_figure(race: RaceResult, path: str | Path) -> Path:
    """Validation loss: each run as a light line, each contender's median as a strong one, and the target.

    The axis is steps if all contenders have the same batch size, else samples seen.

    Args:
        race: the result.
        path: file; .png, .svg or .pdf.

    Raises:
        InputError: another suffix.
    """
    path, figure, axes = panel(path)
    batches = {c.batch for c in race.curves}
    by_samples = len(batches) > 1 and all(map(math.isfinite, batches))
    for name, colour in zip(race.sides, FIGURE_COLOURS * len(race.sides)):
        curves = race.of(name)
        scale = curves[0].batch if by_samples else 1
        for curve in curves:
            axes.plot(scale * curve.t, curve.loss, color=colour, linewidth=0.7, alpha=0.35)
        t, median = _median([c.t for c in curves], [c.loss for c in curves])
        axes.plot(scale * t, median, color=colour, linewidth=2.0)
        label = f"{name}, median lr {number(statistics.median(c.lr for c in curves))}"
        axes.plot([], [], color=colour, linewidth=2.0, label=label)
    axes.axhline(race.target, color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.annotate(f"target {number(race.target)}", (1.0, race.target), xycoords=("axes fraction", "data"),
                  xytext=(-4, 4), textcoords="offset points", ha="right", fontsize=8, color=MUTED)  # fmt: skip
    values = np.concatenate([c.loss[np.isfinite(c.loss)] for c in race.curves] or [np.empty(0)])
    if len(values) and values.min() > 0 and values.max() > 10 * values.min():
        axes.set_yscale("log")
    seeds = max(len(race.of(name)) for name in race.sides)
    axes.set_title(f"{' vs '.join(race.sides)}, {seeds} seeds each", loc="left", color=INK, fontsize=11,
                   fontweight="bold")  # fmt: skip
    axes.set_xlabel("samples seen" if by_samples else "step", color=MUTED)
    axes.set_ylabel("validation loss", color=MUTED)
    axes.legend(loc="best", fontsize=9, framealpha=0.9, edgecolor="none", labelcolor=INK)
    plain(axes)
    return save(figure, path)


def _median(ts: list[np.ndarray], losses: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The median over runs at each evaluation; a run that ended early counts as infinite."""
    t = max(ts, key=len)
    wide = np.full((len(ts), len(t)), np.inf)
    for row, loss in zip(wide, losses, strict=True):
        row[: len(loss)] = np.where(np.isfinite(loss), loss, np.inf)
    median = np.median(wide, axis=0)
    return t, np.where(np.isfinite(median), median, np.nan)
