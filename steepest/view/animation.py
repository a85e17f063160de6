"""Paths descending on a terrain, as a GIF."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path as File
from typing import Any

import numpy as np

from steepest.errors import InputError
from steepest.record import Path
from steepest.view.figures import COLOURS, INK, MUTED, checked
from steepest.view.words import number

FRAMES, FRAME_MS, HOLD = 80, 60, 20
MARKS = {"minima": "*", "saddles": "X", "maxima": "^"}


@dataclass(frozen=True)
class Surface:
    """What an animation shows below the paths.

    Attributes:
        name, formula: for the title.
        x, y: of the grid, [n] each.
        values: [n, n], y along the rows.
        marks: critical points by kind: "minima", "saddles", "maxima".
    """

    name: str
    formula: str
    x: np.ndarray
    y: np.ndarray
    values: np.ndarray
    marks: dict[str, tuple[tuple[float, ...], ...]]


def animate(surface: Surface, paths: Sequence[Path], out: str | File) -> File:
    """Draws the paths step by step; a `.png` shows the last frame alone.

    Args:
        surface: what they run on.
        paths: points [P, 2] each.
        out: where to; .gif or .png.

    Raises:
        InputError: another suffix, or paths that are not in the plane.
    """
    out = checked(out, (".gif", ".png"))
    for path in paths:
        if path.points.ndim != 2 or path.points.shape[1] != 2:
            raise InputError(f"path {path.name} has points of shape {path.points.shape}; expected is [steps, 2]")
    picture = _Picture(surface, paths)
    longest = max(len(path.points) for path in paths)
    ends = np.unique(np.round(np.linspace(0, np.sqrt(longest - 1), FRAMES) ** 2).astype(int))
    if out.suffix.lower() == ".png":
        picture.show(longest - 1)
        picture.figure.savefig(out)
        return out
    _write(out, [picture.pixels(int(end)) for end in ends])
    return out


class _Picture:
    """The figure that all frames share; what does not move is drawn once, and a frame draws trails, heads and words."""

    def __init__(self, surface: Surface, paths: Sequence[Path]) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self.figure: Figure = Figure(figsize=(6.4, 4.8), dpi=100, layout="constrained")
        self.canvas = FigureCanvasAgg(self.figure)
        self.paths = paths
        axes = self.figure.subplots()
        z = surface.values - np.nanmin(surface.values)
        height = np.log1p(z / (np.nanmedian(z) * 0.05 + 1e-12))
        axes.contourf(surface.x, surface.y, height, levels=24, cmap="Blues_r", alpha=0.75)
        axes.contour(surface.x, surface.y, height, levels=24, colors="white", linewidths=0.4, alpha=0.7)
        for kind, points in surface.marks.items():
            for point in points:
                axes.plot(*point, MARKS[kind], color="white", markeredgecolor=INK, markersize=9, zorder=3)
        axes.set_xlim(surface.x[0], surface.x[-1])
        axes.set_ylim(surface.y[0], surface.y[-1])
        axes.tick_params(colors=MUTED, labelsize=8, length=0)
        for spine in axes.spines.values():
            spine.set_visible(False)
        axes.set_title(f"{surface.name}:  {surface.formula}", loc="left", fontsize=10, color=INK)
        self.step = axes.set_title("", loc="right", fontsize=10, color=MUTED)
        self.trails = [self._trail(axes, path, colour) for path, colour in zip(paths, COLOURS * len(paths))]
        self.legend = axes.legend(loc="upper right", fontsize=8, framealpha=0.9, edgecolor="none")
        self.moving = [*(x for pair in self.trails for x in pair), self.legend, self.step]
        self.moving.sort(key=lambda artist: artist.get_zorder())
        for artist in self.moving:
            artist.set_animated(True)  # not part of what `draw` draws, but of what is saved as one picture
        self._still: Any = None

    def _trail(self, axes: Any, path: Path, colour: str) -> tuple[Any, Any]:
        (line,) = axes.plot([], [], color=colour, linewidth=2, zorder=4, label=path.name)
        (head,) = axes.plot([], [], "o", color=colour, markeredgecolor="white", markersize=8, zorder=5)
        return line, head

    def show(self, end: int) -> None:
        """Everything as after step `end`."""
        self.step.set_text(f"step {end}")
        for path, (line, head), text in zip(self.paths, self.trails, self.legend.get_texts(), strict=True):
            at = min(end, len(path.points) - 1)
            line.set_data(*path.points[: at + 1].T)
            head.set_data(*path.points[at : at + 1].T)
            gone = not np.isfinite(path.points[at]).all()
            text.set_text(f"{path.name}  {'diverged' if gone else number(path.losses[at])}")

    def pixels(self, end: int) -> np.ndarray:
        """[height, width, 3] uint8."""
        if self._still is None:
            self.canvas.draw()
            self._still = self.canvas.copy_from_bbox(self.figure.bbox)
        self.canvas.restore_region(self._still)
        self.show(end)
        for artist in self.moving:
            self.figure.draw_artist(artist)
        return np.asarray(self.canvas.buffer_rgba())[..., :3].copy()


def _write(out: File, frames: list[np.ndarray]) -> None:
    """One palette for all frames, so that colours do not flicker; the last one is held."""
    from PIL import Image

    palette = Image.fromarray(frames[-1]).quantize(128, dither=Image.Dither.NONE)
    images = [Image.fromarray(f).quantize(palette=palette, dither=Image.Dither.NONE) for f in frames]
    times = [FRAME_MS] * (len(images) - 1) + [FRAME_MS * HOLD]
    images[0].save(out, save_all=True, append_images=images[1:], duration=times, loop=0, optimize=False)
