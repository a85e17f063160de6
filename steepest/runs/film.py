"""A run's film: the loss surfaces below its path are computed once, and stored with the run."""

import dataclasses
import math
from collections.abc import Sequence

import torch
from torch import nn

from steepest.analysis.conclusion import run_verdict
from steepest.analysis.landscape import surfaces as planes
from steepest.analysis.landscape.watch import Notify
from steepest.errors import StoreError
from steepest.records.run import History
from steepest.records.surfaces import LossSurfaces
from steepest.records.verdict import Verdict
from steepest.runs.store import Store, end_point
from steepest.tasks.task import Task
from steepest.view.film import film, npz
from steepest.view.film.schema import Film

SURVEY = "survey.npz"
CRITICAL_POINTS = ("SADDLE", "MINIMUM", "MAXIMUM", "GRADIENT_FLAT")
"""Verdicts whose film opens with the curvature plane (λ_max, λ_min); others open with the path's principal plane."""


def run_film(
    store: Store,
    run: str,
    task: Task | None,
    model: nn.Module | None,
    kinds: Sequence[str] | None,
    why: str,
    seconds: float | None = None,
    notify: Notify = lambda stage, count, total: None,
) -> tuple[Film, LossSurfaces]:
    """A run's film, and its surfaces. What cannot be measured is said, and the film has the rest: its curves at least.

    Args:
        store: that holds the run.
        run: its id.
        task: the run's, for the surfaces; None for a film with only the curves.
        model: with the run's buffers at its end.
        kinds: of planes: curvature, principal, random; None for all, in the order that suits the verdict.
        why: there is no task or model, in words.
        seconds, notify: as in `measure_surfaces`.

    Raises:
        InputError: an unknown kind of plane.
    """
    planes.check_kinds(kinds or ())
    history = store.history(run)
    verdict = run_verdict(history.record)
    if task is None or model is None:
        surfaces = LossSurfaces(messages=(f"No surfaces: {why}",))
    else:
        try:
            surfaces = _surfaces(store, history, verdict, task, model, kinds, seconds, notify)
        except Exception as error:  # the user's model and data may raise anything
            surfaces = LossSurfaces(messages=(f"No surfaces: {planes.describe(error)}",))
    return film.of_run(history, surfaces, verdict), surfaces


def stored_surfaces(store: Store, run: str) -> LossSurfaces | None:
    """The surfaces of a run's film, if one was made since the run ended."""
    path, points = store.folder_of(run) / SURVEY, store.points(run)
    try:
        if not points or path.stat().st_mtime_ns < points[-1][1].stat().st_mtime_ns:  # the run was extended since
            return None
        return npz.load(path)
    except (OSError, StoreError):
        return None


def _surfaces(
    store: Store, history: History, verdict: Verdict | None, task: Task, model: nn.Module, kinds: Sequence[str] | None,
    seconds: float | None, notify: Notify,
) -> LossSurfaces:  # fmt: skip
    record, points = history.record, history.path.points
    end = end_point.vector(store.load_point(record.id), record.config.parameters)
    if not bool(torch.isfinite(end).all()):
        return LossSurfaces(messages=("No surfaces: the run ended at non-finite weights.",))
    kinds = kinds or _default_planes(verdict, len(points), record.config.is_watched)
    messages = () if len(points) else ("No path: the run stored no points.",)
    kind = "" if verdict is None else verdict.kind
    paths = {record.id: points} if len(points) else {}
    surfaces = planes.measure_surfaces(
        task, model, end, paths, kinds, verdict=kind, gain=_gain(verdict), seconds=seconds, notify=notify
    )
    surfaces = dataclasses.replace(surfaces, messages=(*messages, *surfaces.messages))
    if surfaces.grids:
        try:
            npz.save(store.folder_of(record.id) / SURVEY, surfaces)
        except StoreError as error:  # such as another user's folder
            words = f"The surfaces are not stored with the run, so the next film measures them again. {error}"
            return dataclasses.replace(surfaces, messages=(*surfaces.messages, words))
    return surfaces


def _default_planes(verdict: Verdict | None, points: int, is_watched: bool) -> tuple[str, ...]:
    if points < 3:
        return planes.CURVATURE_PLANE, planes.RANDOM_PLANE
    if (verdict is None and not is_watched) or (verdict is not None and verdict.kind in CRITICAL_POINTS):
        return planes.PLANE_KINDS
    return planes.PRINCIPAL_PLANE, planes.CURVATURE_PLANE, planes.RANDOM_PLANE


def _gain(verdict: Verdict | None) -> float:
    """The decrease of the loss along a saddle's negative curvature."""
    number = None if verdict is None or verdict.kind != "SADDLE" else verdict.number("decrease along λ_min")
    return 0.0 if number is None or not math.isfinite(number.value) else max(0.0, number.value)
