"""Update rules on a terrain: as an interactive page, a video or a picture."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path as File

import numpy as np
import torch

from steepest.descent.descend import descend
from steepest.errors import InputError
from steepest.records.arguments import A_PATH, A_WHOLE_NUMBER, Kind, check
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
from steepest.view.film.schema import Film, Member, Series
from steepest.view.format import number
from steepest.view.notebook import FilmFile
from steepest.view.presets import rate, scene

PLAY_SUFFIXES = (".html", ".png", ".gif", ".mp4")
SIZE = (960, 620)
"""Size of a video in pixels."""
PAGE_CELLS, PICTURE_CELLS = 51, 201
"""Cells along each axis of the surface in a page, which computes a finer one itself, and in a picture."""
MARKS = {"minimum": "minima", "saddle": "saddles", "maximum": "maxima"}
DISPLAY_NAMES = {
    "adamw": "AdamW", "rmsprop": "RMSProp", "nadam": "NAdam", "amsgrad": "AMSGrad",
    "schedule_free_adamw": "Schedule-free AdamW", "radam": "RAdam", "adopt": "ADOPT",
    "ademamix": "AdEMAMix", "asgd": "ASGD",
}  # fmt: skip
ROUNDING = 1e-12
"""Share of a loss by which rounding may change it over a descent in float64; losses nearer than that are the same."""
DIVERGENCE = 1e3
"""A loss beyond this many times the largest on the surface is divergence; the page has the same."""
SLIDERS = ("lr", "beta", "beta1")
"""Hyperparameters that the page has sliders for. A rule has at most one of the momenta."""


TERRAIN = Kind(lambda value: isinstance(value, str | Terrain), "the name of a terrain, or a function as text")
RULES = Kind(
    lambda value: (
        isinstance(value, list | tuple | Mapping)
        and all(isinstance(rule, str | Rule) for rule in (value.values() if isinstance(value, Mapping) else value))
        and all(isinstance(name, str) for name in value if isinstance(value, Mapping))
    ),
    "a list of update rules or their names, or a dict of them by the names to show",
)


def play(
    terrain: str | Terrain,
    out: str | File = "play.html",
    rules: Sequence[str | Rule] | Mapping[str, str | Rule] | None = None,
    steps: int | None = None,
    domain: Domain | None = None,
    start: tuple[float, float] | None = None,
) -> File:
    """Shows update rules descending on a surface, as an interactive page or as a video.

    The page computes the descent itself: click to change the start, move the learning rates, type another function.

    Args:
        terrain: its name, or a function of x and y such as "x**2 - y**2".
        out: the file; .html for the page, .gif or .mp4 (extra `video`) for a video, .png for a picture of the end.
        rules: names, "name:lr", or rules of your own; None for gradient descent, momentum and adam. A dict has the
            names that are shown: {"too large": "gradient_descent:0.1"}.
        steps: of each rule; None for a number that suits the terrain.
        domain: ((x from, x to), (y from, y to)); None for the terrain's own, −2 to 2 for a function.
        start: (x, y); None for the terrain's own, or a high point.

    Returns:
        The file.

    Raises:
        InputError: a function that does not parse or has no value at the start; an unknown terrain, rule, domain or
            suffix; an lr that is not a positive number.
    """
    check("out", out, A_PATH)
    check("terrain", terrain, TERRAIN)
    if steps is not None:
        check("steps", steps, A_WHOLE_NUMBER)
    if rules is not None:
        check("rules", rules, RULES)
    out = check_path(out, PLAY_SUFFIXES)
    land = _terrain(terrain, domain, start)
    if steps is not None and steps < 1:
        raise InputError(f"steps must be at least 1, got {steps}")
    steps = steps or scene(land).steps
    choice = rules or list(scene(land).rates)
    by_key = dict(choice) if isinstance(choice, Mapping) else {_key(rule): rule for rule in choice}
    with_lr = {key: _with_lr(rule, land) for key, rule in by_key.items()}
    names = list(by_key) if isinstance(choice, Mapping) else _names(with_lr)
    if out.suffix.lower() == ".html":
        return FilmFile(document.write(_interactive_film(land, with_lr, names, steps), out))
    film = _recorded_film(land, with_lr, names, steps)
    if out.suffix.lower() == ".png":
        return FilmFile(images.still(film, out, size=SIZE))
    return FilmFile(images.video(film, out, size=SIZE))


def path(terrain: Terrain, rule: str | Rule, lr: float, steps: int) -> Path:
    """The path of a rule on a terrain: points [steps + 1, D] and the losses there."""
    model = terrain.model()
    task = Task(model=model, objective=lambda module, batch: module())
    points, losses = [np.array(terrain.start)], []
    for step in descend(task, rule=rule, lr=lr, schedule="constant", steps=steps, no_decay=None):
        losses.append(step.loss)
        points.append(model.w.detach().numpy().copy())
    name = rule if isinstance(rule, str) else rule.name
    return Path(name, np.array(points), np.array([*losses, model().item()]))


# -- Arguments --------------------------------------------------------------------------------------------------------


def _terrain(terrain: str | Terrain, domain: Domain | None, start: tuple[float, float] | None) -> Terrain:
    """The terrain over its domain, with a start where it has a finite value."""
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
        raise InputError(f"start must be two numbers (x, y), got {start!r}") from None
    if not _is_inside(land, (x, y)):
        raise InputError(
            f"start must lie inside the domain ({_domain_text(land.domain)}), got ({x:g}, {y:g}). Pass another domain."
        )
    if not math.isfinite(_height(land, (x, y))):
        raise InputError(f"{land.formula} has no value at the start ({x:g}, {y:g}). Pass another start.")
    return replace(land, start=(x, y))


def _is_name(terrain: str) -> bool:
    """Whether a text is a name: one word, and not made of x and y alone."""
    return terrain in TERRAINS or (terrain.isidentifier() and not set(terrain) <= {"x", "y"})


def _is_inside(land: Terrain, point: tuple[float, ...]) -> bool:
    return all(lo <= v <= hi for v, (lo, hi) in zip(point, land.domain))


def _domain_text(domain: Domain) -> str:
    return " and ".join(f"{name} from {lo:g} to {hi:g}" for name, (lo, hi) in zip("xy", domain))


def _key(rule: str | Rule) -> str:
    return rule if isinstance(rule, str) else repr(rule)


def _with_lr(rule: str | Rule, terrain: Terrain) -> Rule:
    """The rule of "name:lr"; of a name alone, at an lr that suits the terrain. A rule keeps its own."""
    if isinstance(rule, Rule):
        return rule
    name, _, text = rule.partition(":")
    template = find_rule(name)
    try:
        lr = float(text) if text else rate(terrain, name)
    except ValueError:
        lr = math.nan
    if not 0 < lr < math.inf:
        raise InputError(f"A rule must be a name, or name:lr with an lr above 0 as in adam:0.1, got '{rule}'")
    return template(lr=lr)


def _names(rules: dict[str, Rule]) -> list[str]:
    """Display names; with the learning rate where a rule occurs twice."""
    every = [rule.name for rule in rules.values()]
    display = [DISPLAY_NAMES.get(name, name.replace("_", " ").capitalize()) for name in every]
    return [
        f"{name} {number(rule.hypers['lr'])}" if every.count(rule.name) > 1 else name
        for name, rule in zip(display, rules.values())
    ]


# -- Films -------------------------------------------------------------------------------------------------------------


def _recorded_film(land: Terrain, rules: dict[str, Rule], names: Sequence[str], steps: int) -> Film:
    """The film of a race with computed paths, for pictures and videos."""
    members, ends = {}, {}
    for name, (key, rule) in zip(names, rules.items()):
        descent = path(land, rule, rule.hypers["lr"], steps)
        t = np.arange(len(descent.points))
        losses = np.where(np.isnan(descent.losses), np.inf, descent.losses)
        x, y = descent.points.T
        on = {land.name: Projection(x, y, np.zeros(len(t)))}
        curves, hyper = {"loss": Series.of(t, losses)}, {"lr": rule.hypers["lr"]}
        members[key] = Member(name, rule.name, hyper, t=t, loss=losses, on=on, curves=curves, mathml=_formula(rule))
        ends[name] = float(descent.losses[-1])
    surfaces = {land.name: _grid(land, PICTURE_CELLS)}
    headline = headline_of(ends, _height(land, land.start), _largest(surfaces[land.name].loss), steps)
    return Film("race", _title(land), land.formula, steps, surfaces, members, headline)


def headline_of(ends: Mapping[str, float], start: float, largest: float, steps: int) -> str:
    """Who is lowest, where that is one by more than rounding, and who diverged.

    Args:
        ends: each rule's last loss by its name; NaN where the function has no value.
        start: the loss at the start.
        largest: the largest size of a loss on the surface value.
        steps: of each rule.

    >>> headline_of({"Momentum": 0.5, "Adam": 0.02}, 3.0, 8.0, 100)
    'Adam is lowest after 100 steps: 0.02.'
    >>> headline_of({"Momentum": 7.0, "Adam": 7.0, "Lion": math.inf}, 7.0, 7.0, 100)
    'Momentum and Adam end at the same loss after 100 steps: 7; Lion diverges.'
    """
    bound = DIVERGENCE * max(largest, 1.0)
    outside = [name for name, loss in ends.items() if math.isnan(loss)]
    infinite = [name for name, loss in ends.items() if not math.isnan(loss) and not abs(loss) <= bound]
    finite = {name: loss for name, loss in ends.items() if name not in (*outside, *infinite)}
    parts = (
        [_lowest(finite, ROUNDING * max(abs(start), *map(abs, finite.values())), steps, len(ends))] if finite else []
    )
    every = len(ends) > 1 and not finite
    if infinite:
        parts.append(_sentence(infinite, "diverge", "diverges", every and not outside))
    if outside:
        parts.append(_sentence(outside, "leave the domain", "leaves the domain", every and not infinite))
    return "; ".join(parts) + "."


def _lowest(ends: dict[str, float], rounding: float, steps: int, total: int) -> str:
    lowest = min(ends.values())
    best = [name for name, v in ends.items() if v - lowest <= rounding or number(v) == number(lowest)]
    if len(best) == 1:
        return f"{best[0]} is lowest after {steps:,} steps: {number(lowest)}"
    value = 0.0 if abs(lowest) <= rounding else lowest
    return (
        f"{_sentence(best, 'end', 'ends', len(best) == total)} at the same loss after {steps:,} steps: {number(value)}"
    )


def _sentence(names: list[str], several: str, one: str, every: bool) -> str:
    """Names as a subject, with the verb that suits their number."""
    if len(names) == 1:
        return f"{names[0]} {one}"
    joint = f"{', '.join(names[:-1])} and {names[-1]}"
    return f"{joint} {'all ' if every and len(names) > 2 else 'both ' if every else ''}{several}"


def _largest(losses: np.ndarray) -> float:
    return float(np.abs(losses[np.isfinite(losses)]).max(initial=0.0))


def _interactive_film(land: Terrain, rules: dict[str, Rule], names: Sequence[str], steps: int) -> Film:
    """The film whose descents the page computes."""
    x, y = np.array(land.start)[:, None]
    begin = {"t": np.zeros(1), "loss": np.array([_height(land, land.start)])}
    members = {
        key: Member(
            name,
            rule.name,
            {k: v if isinstance(v, int | float) else str(v) for k, v in rule.hypers.items()},
            "constant",
            mathml=_formula(rule),
            js=json.dumps(to_program(rule)),
            on={land.name: Projection(x, y, np.zeros(1))},
            **begin,
        )
        for name, (key, rule) in zip(names, rules.items())
    }
    return Film("play", _title(land), land.source, steps, {land.name: _grid(land, PAGE_CELLS)}, members)


def _formula(rule: Rule) -> str:
    """The formula in MathML, with the hyperparameters of sliders marked."""
    return to_mathml(rule, SLIDERS, [k for k, v in rule.hypers.items() if v == 0 and k not in SLIDERS])


def _title(land: Terrain) -> str:
    return land.name.replace("_", " ").capitalize()


def _grid(land: Terrain, cells: int) -> Grid:
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
