"""The way of a member over a surface: kept points, undone ones, and jumps back: a twin of `page/src/film/way.ts`."""

from typing import NamedTuple

import numpy as np

from steepest.records.surfaces import Projection
from steepest.view.film.schema import Member

FORWARD, UNDONE, JUMP = 0, 1, 2


class Way(NamedTuple):
    """Points of a path: steps `t` [P], where they lie, and how each was reached from the one before it [P]."""

    t: np.ndarray
    on: Projection
    state: np.ndarray


def jumps_of(member: Member) -> list[tuple[int, int]]:
    """For each rewind, the number of steps taken then and at the step that it went back to."""
    jumps, begin, before = [], 0, True
    targets = {event.t: event.to for event in member.events if event.to is not None}
    for attempt in member.attempts:
        if not attempt.is_kept:
            begin = attempt.first if before else begin
            jumps.append((attempt.last, targets.get(attempt.last, begin)))
        before = attempt.is_kept
    return jumps


def way_of(member: Member, surface: str) -> Way | None:
    """The way of a member; None where it has none on this surface."""
    on = member.on.get(surface)
    if on is None or not len(on.x):
        return None
    t, jumps = np.asarray(member.t), jumps_of(member)
    if not jumps:
        return Way(t, on, np.zeros(len(t), int))
    rows: list[tuple[int, float, int]] = []  # index of the point, step, state
    for k, step in enumerate(t.tolist()):
        is_drawn = False
        while jumps and step >= jumps[0][0]:
            at, to = jumps[0]
            is_restored = step == at and not (k + 1 < len(t) and t[k + 1] == at)  # the run went on from the last one
            if step == at and not is_restored:
                break
            target = k if is_restored else max(0, int(np.searchsorted(t[:k], to, side="right")) - 1)
            rows += [(rows[-1][0], at, UNDONE)] if rows else []  # it stays where it was until it goes back
            rows.append((target, at, JUMP))
            is_drawn = is_restored
            del jumps[0]
            if is_restored:
                break
        if not is_drawn:
            is_kept = all(a.is_kept for a in member.attempts if a.first < step <= a.last)
            rows.append((k, step, FORWARD if is_kept else UNDONE))
    index = np.array([row[0] for row in rows])
    projection = Projection(*(np.asarray(values)[index] for values in on))
    return Way(np.array([row[1] for row in rows]), projection, np.array([row[2] for row in rows]))
