"""Figures of a learning-rate search, and of a race."""

import math
import statistics
from pathlib import Path

import numpy as np

from steepest.records.search import FAILED, RaceResult, Search
from steepest.view.figures.curves import FIGURE_COLOURS, INK, MUTED, TITLE, log_if_wide, panels, plain, save
from steepest.view.format import number

REGION_SHADES = ("#eef2f7", "#dff3e4", "#fdf3dc", "#fbe3e0")


def rates_figure(search: Search, path: str | Path) -> Path:
    """Validation loss against learning rate, a line for each length of run; too low, works, too high, failed.

    Args:
        search: the result.
        path: file; .png, .svg or .pdf.

    Raises:
        InputError: another suffix.
    """
    path, figure, axes = panels(path, 4.4, (1,))
    rates = [row.lr for row in search.table]
    left, right = min(rates) / 2.5, max(rates) * 3
    axes.set_xscale("log")
    axes.set_xlim(left, right)
    _shade(axes, search, left, right)
    lengths = sorted({row.steps for row in search.table})
    top = search.start
    for steps, colour in zip(lengths, (FIGURE_COLOURS[0], FIGURE_COLOURS[1])):
        rows = sorted(row for row in search.table if row.steps == steps)
        losses = [min(row.loss, 1.05 * top) if math.isfinite(row.loss) else math.nan for row in rows]
        axes.plot([r.lr for r in rows], losses, "o-", color=colour, markersize=5, linewidth=1.6)
        axes.annotate(f"{steps} steps", (rows[0].lr, losses[0]), xytext=(-7, 0), textcoords="offset points",
                      ha="right", va="center", color=colour, fontsize=9)  # fmt: skip
        crosses = [r.lr for r in rows if not math.isfinite(r.loss)]
        axes.plot(crosses, [0.97] * len(crosses), "x", color=colour, transform=axes.get_xaxis_transform(), markersize=7)
    axes.axhline(top, color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.annotate("initial loss", (right, top), xytext=(-4, -10), textcoords="offset points", ha="right",
                  fontsize=8, color=MUTED)  # fmt: skip
    axes.axvline(search.best, color=INK, linewidth=1.4)
    axes.annotate(f"use lr = {number(search.best)}", (search.best, 0), xycoords=("data", "axes fraction"),
                  xytext=(-5, 6), textcoords="offset points", ha="right", fontsize=9, color=INK, fontweight="bold",
                  bbox={"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 1.5})  # fmt: skip
    values = [row.loss for row in search.table if row.region != FAILED and math.isfinite(row.loss)]
    if min(values, default=0) > 0 and top > 20 * min(values):
        axes.set_yscale("log")
    axes.set_title(f"{search.rule}: learning rate for a run of {search.run_steps:,} steps", **TITLE, pad=20)
    axes.set_xlabel("learning rate", color=MUTED)
    axes.set_ylabel("val loss of the short run", color=MUTED)
    plain(axes)
    return save(figure, path)


def _shade(axes: object, search: Search, left: float, right: float) -> None:
    """The regions, from left to right, with their names above."""
    fails = search.fails or math.inf
    bounds = [(left, search.low, "too low"), (search.low, search.high, "works"), (search.high, fails, "too high"),
              (fails, right, "failed")]  # fmt: skip
    for (a, b, name), shade in zip(bounds, REGION_SHADES, strict=True):
        b = min(b, right)
        if b > a * 1.001:
            axes.axvspan(a, b, color=shade, linewidth=0, zorder=0)  # type: ignore[attr-defined]
            if b > a * 1.7:
                middle = math.sqrt(a * b)
                axes.annotate(name, (middle, 1.0), xycoords=("data", "axes fraction"), xytext=(0, 5),  # type: ignore[attr-defined]
                              textcoords="offset points", ha="center", fontsize=9, color=MUTED)  # fmt: skip


# -- Races -------------------------------------------------------------------------------------------------------------


def race_figure(race: RaceResult, path: str | Path) -> Path:
    """Validation loss: each run as a light line, each contender's median as a strong one, and the target.

    The axis is steps if all contenders have the same batch size, else samples seen.

    Args:
        race: the result.
        path: file; .png, .svg or .pdf.

    Raises:
        InputError: another suffix.
    """
    path, figure, axes = panels(path, 4.4, (1,))
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
    log_if_wide(axes, [c.loss for c in race.curves], 10)
    seeds = max(len(race.of(name)) for name in race.sides)
    axes.set_title(f"{' vs '.join(race.sides)}, {seeds} seeds each", **TITLE)
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
