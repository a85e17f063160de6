"""Rules let loose on a terrain, to be watched, and on a page to be played with."""

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path as File

import numpy as np
import torch

from steepest.descent.descend import descend
from steepest.errors import InputError
from steepest.records.run import Path
from steepest.records.surfaces import Axis, Grid, Mark, Projection
from steepest.rules.backends.page import to_program
from steepest.rules.notation.mathml import to_mathml
from steepest.rules.rule import Rule
from steepest.rules.textbook import find_rule
from steepest.tasks.task import Task
from steepest.tasks.terrains import TERRAINS, Domain, Terrain, choose_start, parse_terrain, undefined_regions
from steepest.tasks.terrains import find_terrain as named_terrain
from steepest.view.figures.curves import check_path
from steepest.view.film import document, images
from steepest.view.format import number
from steepest.view.presets import rate, scene

SUFFIXES = (".html", ".png", ".gif", ".mp4")
SIZE = (960, 620)
"""Of an animation, in pixels."""
CELLS, FINE = 51, 201
"""Along each axis of the surface in a page, which computes a finer one itself; and of one in a picture."""
MARKS = {"minimum": "minima", "saddle": "saddles", "maximum": "maxima"}
SPELLED = {
    "adamw": "AdamW", "rmsprop": "RMSProp", "nadam": "NAdam", "amsgrad": "AMSGrad",
    "schedule_free_adamw": "Schedule-free AdamW",
}  # fmt: skip
SLIDERS = ("lr", "beta", "beta1")
"""Hyperparameters that the page has sliders for; of the momenta a rule has at most one."""


def play(
    terrain: str | Terrain,
    out: str | File = "play.html",
    rules: Sequence[str | Rule] | None = None,
    steps: int | None = None,
    domain: Domain | None = None,
    start: tuple[float, float] | None = None,
) -> File:
    """Lets rules descend on a surface: as a page to play with, or as an animation.

    The page descends by itself: click to start elsewhere, move the rates, type another function.

    Args:
        terrain: its name, or a function of x and y such as "x**2 - y**2".
        out: where to; .html for the page, .gif or .mp4 (extra `video`) for an animation, .png for its end alone.
        rules: names, "name:rate", or rules of your own; None for gradient descent, momentum and adam.
        steps: of each; None for as many as show something.
        domain: what to look at, ((x from, x to), (y from, y to)); None for the terrain's own, −2 to 2 for a function.
        start: where to begin; None for the terrain's own place, or one that is high.

    Returns:
        The file.

    Raises:
        InputError: a function that does not parse or has no value at the start; no such terrain, rule, domain or
            suffix; a rate that is no number.
    """
    out = check_path(out, SUFFIXES)
    land = _land(terrain, domain, start)
    if steps is not None and steps < 1:
        raise InputError(f"steps={steps} is given; expected is at least 1")
    steps = steps or scene(land).steps
    chosen = {_key(rule): _with_rate(rule, land) for rule in rules or list(scene(land).rates)}
    if out.suffix.lower() == ".html":
        return document.write(_film(land, chosen, steps), out)
    descended = _descended(land, chosen, steps)
    if out.suffix.lower() == ".png":
        return images.still(descended, out, size=SIZE)
    return images.moving(descended, out, size=SIZE)


def path(terrain: Terrain, rule: str | Rule, lr: float, steps: int) -> Path:
    """Where a rule goes on a terrain: points [steps + 1, D] and the losses there."""
    model = terrain.model()
    task = Task(model=model, objective=lambda module, batch: module())
    points, losses = [np.array(terrain.start)], []
    for step in descend(task, rule, lr, "constant", steps=steps, no_decay=None):
        losses.append(step.loss)
        points.append(model.w.detach().numpy().copy())
    name = rule if isinstance(rule, str) else rule.name
    return Path(name, np.array(points), np.array([*losses, model().item()]))


# -- What is meant -----------------------------------------------------------------------------------------------------


def _land(terrain: str | Terrain, domain: Domain | None, start: tuple[float, float] | None) -> Terrain:
    """The terrain that is meant, over its domain, with a start where it has a value."""
    if isinstance(terrain, Terrain):
        land = terrain
    elif _is_name(terrain):
        land = named_terrain(terrain)
    else:
        land = parse_terrain(terrain) if domain is None else parse_terrain(terrain, domain)
    if domain is not None:
        land = land.over(domain)
    if start is None:
        return land if _is_inside(land, land.start) else replace(land, start=choose_start(land))
    try:
        x, y = (float(v) for v in start)
    except (TypeError, ValueError):
        raise InputError(f"start={start!r} is given; expected are two numbers, x and y") from None
    if not _is_inside(land, (x, y)):
        raise InputError(
            f"start ({x:g}, {y:g}) lies outside {_spelled(land.domain)}; begin inside it, or give another domain"
        )
    if not math.isfinite(_height(land, (x, y))):
        raise InputError(f"{land.formula} has no value at the start ({x:g}, {y:g}); begin where it has")
    return replace(land, start=(x, y))


def _is_name(terrain: str) -> bool:
    """Whether a text is a name: one word, and not made of x and y alone."""
    return terrain in TERRAINS or (terrain.isidentifier() and not set(terrain) <= {"x", "y"})


def _is_inside(land: Terrain, point: tuple[float, ...]) -> bool:
    return all(lo <= v <= hi for v, (lo, hi) in zip(point, land.domain))


def _spelled(domain: Domain) -> str:
    return " and ".join(f"{name} from {lo:g} to {hi:g}" for name, (lo, hi) in zip("xy", domain))


def _key(rule: str | Rule) -> str:
    return rule if isinstance(rule, str) else repr(rule)


def _with_rate(rule: str | Rule, terrain: Terrain) -> Rule:
    """The rule of "name:rate"; without a rate, at one that suits the terrain. A rule keeps its own."""
    if isinstance(rule, Rule):
        return rule
    name, _, given = rule.partition(":")
    known = find_rule(name)
    try:
        lr = float(given) if given else rate(terrain, name)
    except ValueError:
        lr = math.nan
    if not 0 < lr < math.inf:
        raise InputError(
            f"rule '{rule}' is given; expected is a name, or name:rate with a rate above 0, as in adam:0.1"
        )
    return known(lr=lr)


def _names(rules: dict[str, Rule]) -> list[str]:
    """Names that people read; where a rule occurs twice, with the rate."""
    every = [rule.name for rule in rules.values()]
    said = [SPELLED.get(name, name.replace("_", " ").capitalize()) for name in every]
    return [
        f"{name} {number(rule.hypers['lr'])}" if every.count(rule.name) > 1 else name
        for name, rule in zip(said, rules.values())
    ]


# -- The page ----------------------------------------------------------------------------------------------------------


def _descended(land: Terrain, rules: dict[str, Rule], steps: int) -> dict:
    """The film of descents that were done here: of a race, for pictures that cannot descend by themselves."""
    members, ends = {}, {}
    for name, (key, rule) in zip(_names(rules), rules.items()):
        walked = path(land, rule, rule.hypers["lr"], steps)
        t = np.arange(len(walked.points))
        losses = np.where(np.isnan(walked.losses), np.inf, walked.losses)
        x, y = walked.points.T
        on = {land.name: Projection(x, y, np.zeros(len(t)))}
        curves = {"loss": document.curve(t, losses, losses, losses, log=bool((losses > 0).all()))}
        hyper = {"lr": rule.hypers["lr"]}
        members[key] = document.member(
            name, rule.name, hyper, path=document.path(t, losses, on), curves=curves, mathml=_formula(rule)
        )
        ends[name] = losses[-1]
    best = min(ends, key=lambda name: ends[name])
    return document.film(
        "race", title=_title(land), subtitle=land.formula, steps=steps, members=members,
        headline=f"{best} is lowest after {steps:,} steps: {number(float(ends[best]))}.",
        surfaces={land.name: document.surface(_grid(land, FINE))},
    )  # fmt: skip


def _formula(rule: Rule) -> str:
    """In MathML, with what a slider moves marked."""
    return to_mathml(rule, SLIDERS, [k for k, v in rule.hypers.items() if v == 0 and k not in SLIDERS])


def _title(land: Terrain) -> str:
    return land.name.replace("_", " ").capitalize()


def _film(land: Terrain, rules: dict[str, Rule], steps: int) -> dict:
    """The film of which the page makes the descents."""
    x, y = land.start
    shadow = Projection(np.array([x]), np.array([y]), np.zeros(1))
    begin = document.path([0], [_height(land, land.start)], {land.name: shadow})
    members = {
        key: document.member(
            name,
            rule.name,
            {k: v if isinstance(v, int | float) else str(v) for k, v in rule.hypers.items()},
            "constant",
            mathml=_formula(rule),
            js=json.dumps(to_program(rule)),
            path=begin,
        )
        for name, (key, rule) in zip(_names(rules), rules.items())
    }
    surfaces = {land.name: document.surface(_grid(land))}
    return document.film(
        "play", title=_title(land), subtitle=land.source, steps=steps, surfaces=surfaces, members=members
    )


def _grid(land: Terrain, cells: int = CELLS) -> Grid:
    x, y, values = land.grid(cells)
    marks = [
        Mark(kind, point[0], point[1], _height(land, point), kind)
        for kind, many in MARKS.items()
        for point in getattr(land, many)
    ]
    axes = Axis("x", x[0], x[-1], cells), Axis("y", y[0], y[-1], cells)
    return Grid(
        "terrain", *axes, values, None, undefined_regions(values), scene(land).height, land.formula, tuple(marks)
    )


def _height(land: Terrain, point: tuple[float, ...]) -> float:
    return float(land.f(torch.tensor(point, dtype=torch.float64)))
