"""A loss surface from above with the paths on it, as a vector figure for papers."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from steepest.records.surfaces import Grid, LossSurfaces, Projection
from steepest.view.figures.curves import INK, MUTED, TITLE, check_path, save
from steepest.view.format import number
from steepest.view.render.theme import LIGHT_THEME

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CONTOUR_SUFFIXES = (".svg", ".pdf")
RAMP, MEMBERS = LIGHT_THEME.ramp, LIGHT_THEME.members
GLYPHS = ("o", "D", "s", "^", "h", "X")
CONTOUR_LEVELS = 24


def contours(surfaces: LossSurfaces, title: str, path: str | Path) -> Path:
    """A figure of the first surface: contour lines, paths with their ends, marked points.

    Args:
        surfaces: one at least.
        title: of the figure.
        path: file; .svg or .pdf.

    Raises:
        InputError: another suffix.
    """
    from matplotlib.figure import Figure

    out = check_path(path, CONTOUR_SUFFIXES)
    kind, grid = next(iter(surfaces.grids.items()))
    figure = Figure(figsize=(6.4, 5.6), layout="constrained")
    axes = figure.subplots()
    contour_set = _draw_surface(axes, grid)
    bar = figure.colorbar(contour_set, ax=axes, shrink=0.8, pad=0.02, ticks=contour_set.levels[:: CONTOUR_LEVELS // 5])
    bar.ax.set_yticklabels([number(level) for level in contour_set.levels[:: CONTOUR_LEVELS // 5]])
    bar.ax.minorticks_off()
    bar.outline.set_visible(False)  # type: ignore[operator]
    bar.ax.tick_params(colors=MUTED, labelsize=8, length=0)
    bar.set_label("loss", color=MUTED, fontsize=9)
    _draw_paths(axes, surfaces.projections.get(kind, {}), surfaces.losses)
    for mark in grid.marks:
        glyph = "X" if mark.kind == "saddle" else "*"
        axes.plot(mark.x, mark.y, glyph, color="white", markeredgecolor=INK, markersize=9)
        axes.annotate(mark.text, (mark.x, mark.y), xytext=(7, 5), textcoords="offset points", fontsize=8, color=INK)
    axes.set_xlim(grid.x.lo, grid.x.hi)
    axes.set_ylim(grid.y.lo, grid.y.hi)
    axes.set_xlabel(_axis_label(grid.x), color=MUTED, fontsize=9)
    axes.set_ylabel(_axis_label(grid.y), color=MUTED, fontsize=9)
    axes.tick_params(colors=MUTED, labelsize=8, length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_title(title, **TITLE, wrap=True)
    figure.supxlabel(grid.caption, color=MUTED, fontsize=7, wrap=True)
    return save(figure, out)


def _draw_surface(axes: "Axes", grid: Grid) -> Any:
    """Filled contours, logarithmic if the surface's height is."""
    from matplotlib.colors import LinearSegmentedColormap, LogNorm

    finite = grid.loss[np.isfinite(grid.loss)]
    lo, hi = float(finite.min()), float(finite.max())
    colours = LinearSegmentedColormap.from_list("steepest", RAMP)
    loss = np.ma.masked_invalid(grid.loss)
    if grid.height == "log" and lo > 0:
        levels, norm = np.geomspace(lo, hi, CONTOUR_LEVELS), LogNorm(lo, hi)
    else:
        levels, norm = np.linspace(lo, hi, CONTOUR_LEVELS) if hi > lo else np.array([lo - 0.5, lo + 0.5]), None
    axes.set_facecolor(RAMP[-1])  # where it diverged
    contour_set = axes.contourf(grid.x.at, grid.y.at, loss, levels=levels, cmap=colours, norm=norm)
    axes.contour(grid.x.at, grid.y.at, loss, levels=levels, colors="white", linewidths=0.4, alpha=0.7)
    return contour_set


def _draw_paths(axes: "Axes", shadows: Mapping[str, Projection], losses: Mapping[str, np.ndarray]) -> None:
    for k, (name, shadow) in enumerate(shadows.items()):
        colour, glyph = MEMBERS[k % len(MEMBERS)], GLYPHS[k % len(GLYPHS)]
        if not len(shadow.x):
            continue
        axes.plot(shadow.x, shadow.y, color=LIGHT_THEME.paper, linewidth=3.6, zorder=3, solid_capstyle="round")
        axes.plot(shadow.x, shadow.y, color=colour, linewidth=1.8, zorder=4, solid_capstyle="round")
        axes.plot(shadow.x[0], shadow.y[0], "o", color="white", markeredgecolor=INK, markersize=5, zorder=5)
        label = f"{name}: {number(float(losses[name][-1]))}"
        end: dict[str, Any] = {"color": colour, "markeredgecolor": "white", "markersize": 8, "label": label}
        axes.plot(shadow.x[-1], shadow.y[-1], glyph, zorder=6, **end)
    if shadows:
        axes.legend(loc="upper right", fontsize=8, framealpha=0.9, edgecolor="none")


def _axis_label(axis: Any) -> str:
    return axis.name if abs(axis.scale - 1) < 1e-9 else f"{axis.name}, 1 spans {axis.scale:.3g}"
