"""The figure of a race: every curve, and each side's median."""

import math
from pathlib import Path

import numpy as np

from steepest.records.search import RaceResult
from steepest.view.figures.curves import COLOURS, INK, MUTED, panel, plain, save
from steepest.view.format import number


def race_figure(contest: RaceResult, path: str | Path) -> Path:
    """Validation loss: each run in a light line, each side's median in a strong one; and the target.

    Steps are drawn where sides have equal batches, else the samples that were seen, which are what is then equal.

    Args:
        contest: the race.
        path: where to; .png, .svg or .pdf.

    Raises:
        InputError: another suffix.
    """
    path, figure, axes = panel(path)
    batches = {c.batch for c in contest.curves}
    by_samples = len(batches) > 1 and all(map(math.isfinite, batches))
    for side, colour in zip(contest.sides, COLOURS * len(contest.sides)):
        mine = contest.of(side)
        scale = mine[0].batch if by_samples else 1
        for curve in mine:
            axes.plot(scale * curve.t, curve.loss, color=colour, linewidth=0.7, alpha=0.35)
        t, median = _median([c.t for c in mine], [c.loss for c in mine])
        axes.plot(scale * t, median, color=colour, linewidth=2.0)
        rates = sorted(c.lr for c in mine)
        words = f"{side}, lr {number(rates[len(rates) // 2])}"
        axes.plot([], [], color=colour, linewidth=2.0, label=words)
    axes.axhline(contest.target, color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.annotate(f"target {number(contest.target)}", (1.0, contest.target), xycoords=("axes fraction", "data"),
                  xytext=(-4, 4), textcoords="offset points", ha="right", fontsize=8, color=MUTED)  # fmt: skip
    values = np.concatenate([c.loss[np.isfinite(c.loss)] for c in contest.curves] or [np.empty(0)])
    if len(values) and values.min() > 0 and values.max() > 10 * values.min():
        axes.set_yscale("log")
    seeds = max(len(contest.of(side)) for side in contest.sides)
    axes.set_title(f"{' against '.join(contest.sides)}, {seeds} seeds each", loc="left", color=INK, fontsize=11,
                   fontweight="bold")  # fmt: skip
    axes.set_xlabel("samples seen" if by_samples else "step", color=MUTED)
    axes.set_ylabel("validation loss", color=MUTED)
    axes.legend(loc="best", fontsize=9, framealpha=0.9, edgecolor="none", labelcolor=INK)
    plain(axes)
    return save(figure, path)


def _median(ts: list[np.ndarray], losses: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The median over runs at each step that was measured; a run that left early counts as infinite."""
    t = max(ts, key=len)
    wide = np.full((len(ts), len(t)), np.inf)
    for row, loss in zip(wide, losses, strict=True):
        row[: len(loss)] = np.where(np.isfinite(loss), loss, np.inf)
    median = np.median(wide, axis=0)
    return t, np.where(np.isfinite(median), median, np.nan)
