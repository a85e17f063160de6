"""The figure of a learning-rate search: final loss against learning rate, and the regions."""

import math
from pathlib import Path

from steepest.records.search import FAILED, Search
from steepest.view.figures.curves import FIGURE_COLOURS, INK, MUTED, panel, plain, save
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
    path, figure, axes = panel(path)
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
    axes.set_title(f"{search.rule}: learning rate for a run of {search.run_steps:,} steps", loc="left", color=INK,
                   fontsize=11, fontweight="bold", pad=20)  # fmt: skip
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
