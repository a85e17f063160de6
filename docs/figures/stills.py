"""Stills of the pages to play with, for where Markdown is read without them."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image

import steepest as sd
from docs.extension.plays import DOCS, PLAYS, STILLS, PlayPage
from docs.figures.paper import bare, style
from steepest.schedule import as_schedule
from steepest.tasks.terrains import Terrain, find_terrain
from steepest.view.render.theme import LIGHT_THEME

COLOURS = 96
"""A still has few colours, so that it is small."""
__all__ = ["DOCS", "PLAYS", "maker", "save"]


def maker(name: str) -> Callable[[], list[Path]]:
    """What draws the still of a page to play with."""
    return lambda: [_noisy(name, PLAYS[name]) if PLAYS[name].noise else _quiet(name, PLAYS[name])]


def _quiet(name: str, play: PlayPage) -> Path:
    """The picture that `sd.play` makes."""
    with TemporaryDirectory() as folder:
        whole = sd.play(play.terrain, Path(folder) / "still.png", rules=play.rules, steps=play.steps, **play.options)
        return save(Image.open(whole), name)


def _noisy(name: str, play: PlayPage) -> Path:
    """Paths with noise on contours: in the picture of `sd.play` there is none."""
    land, random = find_terrain(play.terrain), np.random.default_rng(3)
    x, y, values = land.grid()
    with TemporaryDirectory() as folder, style(LIGHT_THEME):
        figure = Figure(figsize=(7.4, 3.6), layout="constrained")
        axes = figure.add_subplot()
        bare(axes, "x", f"Batch noise σ = {play.noise:g}")
        axes.grid(visible=False)
        axes.contour(x, y, values, levels=14, colors=LIGHT_THEME.ramp[2], linewidths=0.8)
        for k, (label, rule) in enumerate(play.rules.items()):
            factors = as_schedule(play.schedule.get(label, "constant")).bind(T=play.steps, steps_per_epoch=1)
            w, path = np.array(land.start), [np.array(land.start)]
            for factor in factors.values(range(1, play.steps + 1)):
                w = w - rule.hypers["lr"] * factor * (_gradient(land, w) + play.noise * random.standard_normal(2))
                path.append(w)
            axes.plot(*np.array(path).T, color=LIGHT_THEME.colour(k), linewidth=1.1, label=label)
        axes.legend(loc="upper right", frameon=False, labelcolor="linecolor")
        axes.set(xlim=land.domain[0], ylim=land.domain[1])
        figure.savefig(Path(folder) / "still.png", dpi=130)
        return save(Image.open(Path(folder) / "still.png"), name)


def _gradient(land: Terrain, w: np.ndarray) -> np.ndarray:
    at = torch.tensor(w, requires_grad=True)
    return torch.autograd.grad(land.f(at), at)[0].numpy()


def save(picture: Image.Image, name: str) -> Path:
    """Writes a still with few colours."""
    STILLS.mkdir(exist_ok=True)
    path = STILLS / f"{name}.png"
    picture.convert("RGB").quantize(COLOURS).save(path, optimize=True)
    return path
