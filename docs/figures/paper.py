"""Pictures in the colours of films, for both themes: one SVG each, the same bytes each time."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import steepest.view.render.canvas  # noqa: F401, it registers the fonts
from steepest.view.render.theme import THEMES, Theme

FOLDER = Path(__file__).parents[1] / "pictures"
WIDTH = 6.0
"""Inches: text that suits a wide window is still read in a narrow one."""


def in_both_themes(name: str, height: float, draw: Callable[[Figure, Theme], None]) -> list[Path]:
    """Draws a picture in the light and in the dark theme.

    Args:
        name: of the file; the dark one has "-dark" after it.
        height: in inches.
        draw: draws in a theme.
    """
    FOLDER.mkdir(exist_ok=True)
    paths = []
    for theme, suffix in ((THEMES["light"], ""), (THEMES["dark"], "-dark")):
        with style(theme):
            figure = Figure(figsize=(WIDTH, height), layout="constrained")
            draw(figure, theme)
            path = FOLDER / f"{name}{suffix}.svg"
            figure.savefig(path, metadata={"Date": None})
        lines = path.read_text(encoding="utf-8").splitlines()
        path.write_text("\n".join(line.rstrip() for line in lines) + "\n", encoding="utf-8")
        paths.append(path)
    return paths


@contextmanager
def style(theme: Theme) -> Iterator[None]:
    """matplotlib's style in a theme."""
    settings = {
        "font.family": ["Steepest Sans", "DejaVu Sans"],
        "font.size": 10.5,
        "svg.hashsalt": "steepest",
        "svg.fonttype": "path",
        "path.simplify_threshold": 0.5,
        "figure.facecolor": theme.paper,
        "axes.facecolor": theme.paper,
        "text.color": theme.ink,
        "axes.labelcolor": theme.ink2,
        "axes.edgecolor": theme.hair,
        "xtick.color": theme.ink2,
        "ytick.color": theme.ink2,
        "grid.color": theme.hair,
        "lines.linewidth": 2.0,
        "lines.solid_capstyle": "round",
    }
    with matplotlib.rc_context(settings):
        yield


def bare(axes: Axes, x: str, y: str) -> None:
    """Axes without a frame, with faint horizontal lines; the y axis is named above them."""
    axes.spines[:].set_visible(False)
    axes.grid(axis="y", linewidth=0.8)
    axes.tick_params(length=0, which="both")
    axes.set_axisbelow(True)
    axes.set_xlabel(x)
    axes.set_title(y, loc="left", fontsize=10.5, fontweight="bold")
