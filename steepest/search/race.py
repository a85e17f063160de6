"""Races, with their picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from steepest.analysis.landscape.surfaces import PRINCIPAL_PLANE, measure_surfaces
from steepest.descent.settings import Settings, resolve
from steepest.errors import InputError
from steepest.records.run import Path as Descended
from steepest.records.search import Curve, RaceResult
from steepest.records.surfaces import LossSurfaces
from steepest.rules.rule import Rule
from steepest.search import contest
from steepest.tasks.task import Task
from steepest.view.figures.races import race_figure
from steepest.view.film import film
from steepest.view.film.schema import Film
from steepest.view.film.write import write


class Race:
    """Sides that were raced against one another.

    Attributes:
        record: everything that was found.
        task: that was raced on.
    """

    def __init__(self, record: RaceResult, task: Task) -> None:
        self.record, self.task = record, task

    @property
    def verdict(self) -> str:
        """What may be concluded, in words."""
        return self.record.verdict

    @property
    def words(self) -> tuple[str, ...]:
        """A sentence for each pair of sides and quantity."""
        return self.record.words

    @property
    def target(self) -> float:
        """The loss that was raced to."""
        return self.record.target

    @property
    def curves(self) -> tuple[Curve, ...]:
        """Every run, as it was measured on the way."""
        return self.record.curves

    @property
    def paths(self) -> tuple[Descended, ...]:
        """Where the runs went; empty for a large model."""
        return self.record.paths

    def figure(self, path: str | Path) -> Path:
        """Writes all curves and each side's median: .png, .svg or .pdf."""
        return race_figure(self.record, path)

    def film(self, out: str | Path = "race.html") -> Path:
        """Writes the race's film: of each side one run, all from one start and on one surface.

        Shown is the seed whose ends are most in the middle. The surface is the principal plane of all their paths,
        through the end of the best; each point says how far off it is. Where no points were kept (a large model), the
        film has the curves alone, and says why.

        Args:
            out: where to; .html, .png, .gif, .mp4, .svg, .pdf or .npz, as `Run.film` has them.

        Raises:
            InputError: another suffix.
        """
        made, ground = of_race(self.task, self.record)
        return write(made, ground, out)

    def __repr__(self) -> str:
        return f"<Race of {', '.join(self.record.sides)}: {self.verdict}>"


def race(
    task: Task,
    rules: Any = None,
    seeds: int = 8,
    lrs: str | float | Mapping[str, float] = "auto",
    schedule: Any = None,
    batch_size: int | str | None = None,
    epochs: int | None = None,
    steps: int | None = None,
    *,
    batch_sizes: Sequence[int | str] | None = None,
    target: float | None = None,
    level: float = 0.05,
    clip: float | None = None,
    average: float | None = None,
    precision: str | None = None,
    guard: bool = False,
    device: str = "auto",
) -> Race:
    """Races rules, or batch sizes, each at its own best rate, and says whether they differ by more than the seeds do.

    Every side's rate is searched anew for each seed, on another start and on data that nobody is scored by. The task's
    model stays as it is.

    Args:
        task: that all descend on.
        rules: two or more: names, rules, or functions `params -> torch.optim.Optimizer`; one with `batch_sizes`.
        seeds: runs of each side.
        lrs: "auto", one rate for all, or rates by name.
        schedule, batch_size, epochs, steps, clip, average, precision, guard, device: of every run, as `fit` has them.
        batch_sizes: race these ("full", 64, 1) instead, over equally many samples; compared on equal time too.
        target: loss that is raced to; by default one that half of each side's runs reach.
        level: chance to claim any difference where there is none.

    Returns:
        Race: `verdict`, `words`, `target`, `curves`, `figure(path)`.

    Raises:
        SteepestError: settings, model or data that cannot be used; too little to tell anything by.

    Sources: `steepest.search.statistics`.
    """
    common = {
        "schedule": schedule, "epochs": epochs, "steps": steps, "clip": clip, "average": average,
        "precision": precision, "guard": guard, "device": device,
    }  # fmt: skip
    if batch_sizes is not None:
        sides = _regimes(task, rules, batch_size, batch_sizes, steps, common)
    else:
        given = [rules] if isinstance(rules, str | Rule) or callable(rules) else list(rules or [])
        sides = {}
        for rule in given:
            settings = resolve(task, rule=rule, batch_size=batch_size, **common)
            sides[_free(_name(rule), sides)] = settings
    return Race(contest.run_race(task, sides, seeds, lrs, target, level, by_time=batch_sizes is not None), task)


def _regimes(
    task: Task, rule: Any, batch_size: Any, sizes: Sequence[int | str], steps: int | None, common: dict[str, Any]
) -> dict[str, Settings]:
    if not (rule is None or isinstance(rule, str | Rule) or callable(rule)):
        raise InputError(f"rules={rule!r} is given with batch_sizes; expected is one rule")
    if batch_size is not None:
        raise InputError(f"batch_size={batch_size!r} is given beside batch_sizes={list(sizes)!r}; give one of them")
    if steps is not None:
        raise InputError("steps is given with batch_sizes, which race over equally many samples; give epochs")
    return {f"batch {size}": resolve(task, rule=rule, batch_size=size, **common) for size in sizes}


def _name(rule: Any) -> str:
    if isinstance(rule, str):
        return rule
    return rule.name if isinstance(rule, Rule) else getattr(rule, "__name__", "torch")


def _free(name: str, taken: Mapping[str, Any]) -> str:
    """A name of its own: a rule may race against itself with other hyperparameters."""
    return name if name not in taken else next(f"{name} {k}" for k in range(2, 99) if f"{name} {k}" not in taken)


def of_race(task: Task, contest: RaceResult) -> tuple[Film, LossSurfaces]:
    """A race's film, and its ground: the principal plane of all paths that are shown, through the end of the best.

    Args:
        task: that was raced on.
        contest: the race.
    """
    ground = _common(task, contest)
    return film.of_race(contest, ground, task.name), ground


def _common(task: Task, contest: RaceResult) -> LossSurfaces:
    names = {film.path_name(curve): curve.final for curve in film.display_runs(contest).values()}
    walked = {p.name: p.points for p in contest.paths if p.name in names and len(p.points)}
    if not walked:
        return LossSurfaces(said=("no points were kept on the way, so there are no surfaces",))
    model = task.copy(0)
    if any(b.is_floating_point() for b in model.buffers()):
        return LossSurfaces(said=("the model has statistics of its own (batch norm), which differ from run to run",))
    ordered = sorted(walked, key=lambda name: -names[name])  # the plane goes through the last point of all
    paths: dict[str, np.ndarray] = {name: walked[name] for name in ordered}
    end = torch.from_numpy(np.array(paths[ordered[-1]][-1]))
    return measure_surfaces(task, model, end, paths, (PRINCIPAL_PLANE,))
