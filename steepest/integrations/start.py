"""At which place of which record a watched loop begins, when its script is started again under the same name.

The script restores its own weights; the record follows it. One rule: *the record goes on at the step at which the
script goes on*, and what was recorded after that step is replaced, since the script does these steps again.

- The step is the place that the restored optimizer brought, else `step=`, else what the optimizer's state counts.
- The run is the one of that place, else the newest of that name with the same settings. One that is done, or still
  running, is left alone: another run begins.
- A script that begins at step 1 again repeats all. Where the process was killed, its record begins again; the steps
  before stay in the run's history, as rewound ones do. A run that ended by Ctrl-C or an exception stays as it is.
"""

from dataclasses import replace
from typing import NamedTuple

from steepest.integrations.place import Place
from steepest.records.config import Config
from steepest.records.run import FAILURE, INTERRUPTION, Record
from steepest.runs.store import Store

SAME_SETTINGS = ("rule", "schedule", "guard", "model", "parameters")
"""Fields of a configuration that must be those of the run that is gone on with; from step 1 the learning rate too."""


class Start(NamedTuple):
    """Where a record begins.

    Attributes:
        place: in a run that is gone on with; None for a new run.
        words: what to say about it; empty for nothing.
        last: the last recorded step that stays in the run's history, where the record begins again or has a gap.
        record: of the run that is gone on with.
    """

    place: Place | None = None
    words: str = ""
    last: int | None = None
    record: Record | None = None

    @property
    def t(self) -> int:
        """Steps before the loop's first one."""
        return 0 if self.place is None else self.place.t


def find_start(
    store: Store, name: str, config: Config, place: Place | None, steps: int, is_count: bool = False
) -> Start:
    """Where the record of a loop begins.

    Args:
        store: of the runs.
        name: of the run.
        config: of the loop as it is now.
        place: that the restored optimizer brought.
        steps: that the loop has taken before, where there is no place.
        is_count: whether the steps are only what the optimizer's state counts, perhaps of another loop.
    """
    records = [r for r in reversed(store.runs()) if r.name == name and not r.damage]
    own = [r for r in records if place is not None and r.id == place.run]
    if place is not None and not own:
        place, steps = None, place.t
    t, differences = steps if place is None else place.t, ""
    for record in own or records:
        difference = _differences(record, config, t)
        if not difference:
            start = _start_in(store, store.read(record.id), place, t)
            return Start() if is_count and place is None and start.t and start.last is not None else start
        differences = differences or difference
    return Start(words=f"A new run begins: {differences}." if differences else "")


def _differences(record: Record, config: Config, t: int) -> str:
    """Settings that are not those of a run, in words; a restored optimizer brings the run's learning rate itself."""
    names = [name for name in SAME_SETTINGS if getattr(record.config, name) != getattr(config, name)]
    names += ["lr"] if t == 0 and record.config.lr != config.lr else []
    return f"run {record.id} has other settings ({', '.join(names)})" if names else ""


def _start_in(store: Store, record: Record, place: Place | None, t: int) -> Start:
    if record.status not in ("interrupted", "failed"):
        is_alive = record.status == "running"
        return Start(words=f"A new run begins: run {record.id} is still running." if is_alive else "")
    attempt, last, events = store.place(record.id, t, None if place is None else place.attempt)
    if t == 0:
        has_end = bool(record.events) and record.events[-1].kind in (INTERRUPTION, FAILURE)
        if has_end and last:
            words = f"run {record.id} ended after step {last}, and this loop begins at step 1. To go on with that one"
            return Start(words=f"A new run begins: {words} restore its weights and its optimizer before sd.watch.")
        words = f"; the {last:,} steps before stay in its history" if last else ""
        place = Place(record.id, 0, attempt, events if last else 0)
        return Start(place, f"Run {record.id} begins again at step 1{words}.", last or None, record)
    words = f"Run {record.id} goes on after step {t}"
    if place is None:
        place = Place(record.id, t, attempt, events)
        words += "; the guard begins anew"
    if last < t:
        words += f"; steps {last + 1} to {t} were not recorded"
        return Start(replace(place, attempt=attempt, events=events), f"{words}.", last, record)
    return Start(place, f"{words}.", None, record)
