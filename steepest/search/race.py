"""Races of update rules or batch sizes, with figure and film."""

import warnings
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from steepest.analysis.landscape.surfaces import PRINCIPAL_PLANE, measure_surfaces
from steepest.descent.settings import Settings, resolve
from steepest.distributed.cluster import cluster_of
from steepest.distributed.group import refuse_several
from steepest.errors import InputError
from steepest.records.arguments import A_WHOLE_NUMBER, check, check_arguments
from steepest.records.run import Path as DescentPath
from steepest.records.search import Curve, RaceResult
from steepest.records.surfaces import LossSurfaces
from steepest.rules.rule import Rule
from steepest.search import contest
from steepest.tasks.task import Task
from steepest.view.figures.searches import race_figure
from steepest.view.film import film
from steepest.view.film.schema import Film
from steepest.view.film.write import check_file, write
from steepest.view.notebook import race_card


class Race:
    """The result of a race.

    Attributes:
        record: all results; this object has its attributes, too.
        task: that was trained.
        verdict: the conclusions, in words.
        words: a sentence for each quantity and pair of contenders.
        target: the validation loss to reach.
        curves: of every run.
        paths: the recorded points of the runs; empty for a large model.
    """

    record: RaceResult
    task: Task
    verdict: str
    words: tuple[str, ...]
    target: float
    curves: tuple[Curve, ...]
    paths: tuple[DescentPath, ...]

    def __init__(self, record: RaceResult, task: Task) -> None:
        vars(self).update(vars(record), record=record, task=task)

    def figure(self, path: str | Path) -> Path:
        """Writes all curves and each contender's median: .png, .svg or .pdf."""
        return race_figure(self.record, path)

    def film(self, out: str | Path = "race.html") -> Path:
        """Writes the race's film: one run of each contender, all from one start and on one surface.

        It shows the seed whose final losses are closest to the medians. The surface is the principal plane of all
        paths, through the end of the best run. Without recorded points (a large model) the film has only the curves.

        Args:
            out: file; .html, .png, .gif, .mp4, .svg, .pdf or .npz, as `Run.film` has them.

        Raises:
            InputError: another suffix.
        """
        check_file(out)
        return write(*of_race(self.task, self.record), out)

    def _repr_html_(self) -> str:
        return race_card(self.record)

    def __repr__(self) -> str:
        return f"<Race of {', '.join(self.record.sides)}: {self.verdict}>"


def race(
    task: Task,
    rules: Any = None,
    seeds: int = 8,
    lr: str | float | Mapping[str, float] = "auto",
    schedule: Any = None,
    batch_size: int | str | None = None,
    epochs: int | None = None,
    steps: int | None = None,
    *,
    batch_sizes: Sequence[int | str] | None = None,
    target: float | None = None,
    alpha: float = 0.05,
    clip: float | None = None,
    average: float | None = None,
    precision: str | None = None,
    guard: bool = False,
    device: str = "auto",
    on: str | None = None,
    lrs: str | float | Mapping[str, float] | None = None,
    level: float | None = None,
) -> Race:
    """Compares update rules, or batch sizes, each at its own best learning rate, over several seeds.

    The learning rate is searched anew for each contender and seed, from another start and on data that is not used for
    scoring. The task's model is not changed.

    Args:
        task: that all train.
        rules: two or more names, rules, or functions `params -> torch.optim.Optimizer`; one with `batch_sizes`.
        seeds: runs of each contender.
        lr: "auto", one learning rate for all, or one by contender's name.
        schedule, batch_size, epochs, steps, clip, average, precision, guard, device: of every run, as `fit` has them.
        batch_sizes: compare these ("full", 64, 1) instead, over equally many samples, also after equal time.
        target: validation loss to reach; by default the highest of the contenders' median final losses.
        alpha: probability of claiming any difference where there is none.
        on: "ray" runs all searches and runs on the Ray cluster that this process is connected to; the numbers are the
            same.
        lrs, level: former names of `lr` and `alpha`.

    Returns:
        Race: `verdict`, `words`, `target`, `curves`, `figure(path)`.

    Raises:
        SteepestError: settings, model or data that cannot be used; too few contenders, seeds or validation samples.

    Sources: `steepest.search.statistics`.
    """
    lr = _former("lrs", lrs, "lr", lr)
    alpha = _former("level", level, "alpha", alpha)
    refuse_several("sd.race", "Call it before, in a program of its own.")
    limits = check_arguments({"lr": lr, "target": target, "alpha": alpha})
    seed_count, on, device = check_arguments({"seeds": seeds, "on": on, "device": device}).values()
    check("seeds", seed_count, A_WHOLE_NUMBER)
    if not (rules is None or _is_one_rule(rules) or isinstance(rules, Sequence)):
        raise InputError(f"rules must be update rules or their names, got {rules!r}")
    common = {
        "schedule": schedule, "epochs": epochs, "steps": steps, "clip": clip, "average": average,
        "precision": precision, "guard": guard, "device": device,
    }  # fmt: skip
    if batch_sizes is not None:
        contenders = _by_batch_size(task, rules, batch_size, batch_sizes, steps, common)
    else:
        contenders = {}
        for rule in [rules] if _is_one_rule(rules) else rules or []:
            settings = resolve(task, rule=rule, batch_size=batch_size, **common)
            contenders[_unique_name(rule, contenders)] = settings
    cluster = cluster_of(on, device or "auto")
    by_time = batch_sizes is not None
    return Race(contest.run_race(task, contenders, seed_count, by_time=by_time, cluster=cluster, **limits), task)


def _former(old: str, value: Any, new: str, current: Any) -> Any:
    """The value of an argument that may be passed by its former name, with a warning."""
    if value is None:
        return current
    warnings.warn(f"race({old}=) is deprecated. Use {new}=.", DeprecationWarning, stacklevel=3)
    return value


def _is_one_rule(rule: Any) -> bool:
    return isinstance(rule, str | Rule) or callable(rule)


def _by_batch_size(
    task: Task, rule: Any, batch_size: Any, sizes: Sequence[int | str], steps: int | None, common: dict[str, Any]
) -> dict[str, Settings]:
    if rule is not None and not _is_one_rule(rule):
        raise InputError(f"rules must be one update rule when batch_sizes is passed, got {rule!r}")
    if batch_size is not None:
        raise InputError(f"Pass either batch_size or batch_sizes, not both; got {batch_size!r} and {list(sizes)!r}")
    if steps is not None:
        raise InputError("steps cannot be used with batch_sizes, which see equally many samples. Pass epochs.")
    return {f"batch {size}": resolve(task, rule=rule, batch_size=size, **common) for size in sizes}


def _unique_name(rule: Any, names: Container[str]) -> str:
    """The rule's name, numbered if it is in use: a rule may race against itself with other hyperparameters."""
    name = rule if isinstance(rule, str) else getattr(rule, "name", None) or getattr(rule, "__name__", "torch")
    return name if name not in names else next(f"{name} {k}" for k in range(2, 99) if f"{name} {k}" not in names)


def of_race(task: Task, result: RaceResult) -> tuple[Film, LossSurfaces]:
    """A race's film and its loss surface: the principal plane of the paths shown, through the end of the best run.

    Args:
        task: that was trained.
        result: of the race.
    """
    surfaces = _common_surface(task, result)
    return film.of_race(result, surfaces, task.name), surfaces


def _common_surface(task: Task, result: RaceResult) -> LossSurfaces:
    losses = {film.path_name(curve): curve.final for curve in film.display_runs(result).values()}
    points = {p.name: p.points for p in result.paths if p.name in losses and len(p.points)}
    if not points:
        return LossSurfaces(messages=("No surface: no points of the paths were recorded.",))
    model = task.copy(0)
    if any(b.is_floating_point() for b in model.buffers()):
        why = "the model has running statistics (batch norm), which differ between runs"
        return LossSurfaces(messages=(f"No surface: {why}.",))
    names = sorted(points, key=lambda name: -losses[name])  # the plane goes through the end of the last path
    paths: dict[str, np.ndarray] = {name: points[name] for name in names}
    end = torch.from_numpy(np.array(paths[names[-1]][-1]))
    return measure_surfaces(task, model, end, paths, (PRINCIPAL_PLANE,))
