"""Films of runs and races: the ground below their paths is looked at once, and kept with the run."""

import math
from collections.abc import Sequence

import torch
from torch import nn

from steepest.analysis.conclusion import run_verdict
from steepest.analysis.landscape.surfaces import (
    CURVATURE_PLANE,
    PLANE_KINDS,
    PRINCIPAL_PLANE,
    RANDOM_PLANE,
    measure_surfaces,
)
from steepest.errors import StoreError
from steepest.records.run import History
from steepest.records.surfaces import LossSurfaces
from steepest.records.verdict import Verdict
from steepest.runs.store import Store
from steepest.tasks.task import Task
from steepest.view.film import film, npz
from steepest.view.film.film import Film

SURVEY = "survey.npz"
CRITICAL = ("SADDLE", "MINIMUM", "MAXIMUM", "GRADIENT_FLAT")
"""Verdicts whose film opens with the plane of greatest and least curvature; others open with the path's own."""


def run_film(
    store: Store,
    run: str,
    task: Task | None,
    model: nn.Module | None,
    kinds: Sequence[str] | None = None,
    why: str = "",
) -> tuple[Film, LossSurfaces]:
    """A run's film, and its ground.

    Args:
        store: where it is kept.
        run: its id.
        task: whose loss the surfaces are of; None: only the curves are shown.
        model: with the run's buffers at its end.
        kinds: of planes: curvature, principal, random; None for all, in the order that suits the verdict.
        why: there is no task or model, in words.
    """
    history = store.history(run)
    verdict = run_verdict(history.record)
    if task is None or model is None:
        ground = LossSurfaces(said=(f"there are no surfaces: {why}",))
    else:
        ground = _ground(store, history, verdict, task, model, kinds)
    return film.of_run(history, ground, verdict), ground


def stored_surfaces(store: Store, run: str) -> LossSurfaces | None:
    """The ground of a run's film, where one was made since the run ended."""
    path, points = store.folder / store.resolve(run) / SURVEY, store.points(run)
    try:
        if not points or path.stat().st_mtime_ns < points[-1][1].stat().st_mtime_ns:  # it went on afterwards
            return None
        return npz.load(path)
    except (OSError, StoreError):
        return None


def _ground(
    store: Store,
    history: History,
    verdict: Verdict | None,
    task: Task,
    model: nn.Module,
    kinds: Sequence[str] | None,
) -> LossSurfaces:
    record, points = history.record, history.path.points
    end = _flat(store, record.id, record.config["parameters"])
    if not bool(torch.isfinite(end).all()):
        return LossSurfaces(said=("it ended at weights that are not finite, so there are no surfaces",))
    chosen = kinds or _ordered(verdict, len(points))
    said = () if len(points) else ("no points were kept on the way, so there is no path",)
    kind = "" if verdict is None else verdict.kind
    paths = {record.id: points} if len(points) else {}
    ground = measure_surfaces(task, model, end, paths, chosen, verdict=kind, gain=_gain(verdict))
    ground = LossSurfaces(**{**vars(ground), "said": (*said, *ground.said)})
    npz.save(store.folder / record.id / SURVEY, ground)
    return ground


def _ordered(verdict: Verdict | None, points: int) -> tuple[str, ...]:
    if points < 3:
        return CURVATURE_PLANE, RANDOM_PLANE
    if verdict is None or verdict.kind in CRITICAL:
        return PLANE_KINDS
    return PRINCIPAL_PLANE, CURVATURE_PLANE, RANDOM_PLANE


def _flat(store: Store, run: str, names: Sequence[str]) -> torch.Tensor:
    stored = store.load_point(run)
    return torch.cat([stored[name].reshape(-1) for name in names])


def _gain(verdict: Verdict | None) -> float:
    """What an escape from a saddle gains."""
    found = None if verdict is None or verdict.kind != "SADDLE" else verdict.number("decrease along λ_min")
    return 0.0 if found is None or not math.isfinite(found.value) else max(0.0, found.value)


# -- Races -------------------------------------------------------------------------------------------------------------


# -- Writing -----------------------------------------------------------------------------------------------------------
