"""Which fault a run has, as measured by what mending it gains; and how often the diagnosis says so.

A gain is a share of the gap: from the loss at the start, on all the training data, to the least one at the end that is
known for the problem, at any rate, batch size or start. With L the loss at the end and L* that of the best rate of the
grid:

- too slow: a greater rate gains GAIN;
- exploding: the loss is not finite, or the guard had to bring it back, or it has not fallen by GAIN although a smaller
  rate gains that;
- noise: a batch eight times as large, as many steps, gains GAIN, or a rate that falls over the last 30 % does;
- oscillating: a smaller rate gains GAIN, and the larger batch less than half of that, so that it is not the noise;
- overfitting: the least validation loss on the way lies GAIN of its own gap below the last, and the training loss has
  fallen by GAIN, and further since;
- plateau: another start gains STUCK at the same rate, and no rate on the grid gains half of that;
- healthy: none of these gains even SOUND. What lies between is not counted: its fault is not known.

Near a half, from EITHER, both names are right. A fifth, for the rates that are meant are *far* too small or large; a
twentieth is what one may cost that `find_lr` finds. But of two runs that differ in their seed alone, at rates around
the best in batches of 2 and 16, a fifth ends more than a fifth of the gap apart. So a fault is known only where both
seeds show it, and health too. They must agree on its cause, which is what is mended; how it shows is each run's own:
at a rate that is too large, one seed may explode where the other oscillates.
"""

import base64
import math
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from benchmarks.report import met, table
from steepest.analysis.diagnosis.diagnose import Diagnosis, diagnose
from steepest.analysis.diagnosis.findings import (
    EXPLODING,
    HEALTHY,
    NOISE_FLOOR,
    OSCILLATING,
    OVERFITTING,
    PLATEAU,
    TOO_SLOW,
    UNDECIDED,
)
from steepest.records.config import Config
from steepest.records.run import Event, Measurement, Record, Steps

GAIN, SOUND, STUCK = 0.2, 0.05, 0.3
HALF = 0.5
EITHER = 0.35, 0.65
"""Between these both names are right."""
FAR, TINY = 2, 4
"""Half decades from the best rate, and samples of a batch: rates that are *far* off, and batches that are tiny."""
BROUGHT_BACK = "rewind", "stop"
AS_IT_IS, FALLING, STARTED, GUARDED = "as it is", "rate falls at the end", "another start", "guard"

CAUSES = {
    TOO_SLOW: "a small rate", OSCILLATING: "a large rate", EXPLODING: "a large rate", NOISE_FLOOR: "a small batch",
    OVERFITTING: "no regularisation", PLATEAU: "the start",
}  # fmt: skip
"""What two seeds must agree on."""

KINDS = (TOO_SLOW, OSCILLATING, PLATEAU, NOISE_FLOOR, OVERFITTING, EXPLODING, HEALTHY)
SAID = (*KINDS, UNDECIDED)


def recorded(outcome: dict[str, Any]) -> Record:
    """The record of a run, as `fit` would have it."""
    columns = np.frombuffer(zlib.decompress(base64.b64decode(outcome["steps"])), np.float32)
    t, epoch, lr, loss, grad_norm, update_norm = columns.reshape(6, -1).astype(np.float64)
    start = Measurement(0, 0.0, "validation", "loss", outcome["start"]["validation"])
    measured = (start, *(Measurement(*m) for m in outcome["measurements"]))
    return Record(
        id=outcome["series"], name=outcome["series"], status="done", started="", seconds=0.0,
        config=Config.from_json(outcome["config"]), versions={},
        steps=Steps(t, epoch, lr, loss, grad_norm, update_norm),
        measurements=measured, events=tuple(Event(*e) for e in outcome["events"]),
    )  # fmt: skip


Faults = dict[str, float]


class Grid:
    """The runs of a series with one batch size.

    Args:
        ways: outcomes by way and place on the grid.
        larger: those of the batch eight times as large; None of a full batch.
        least: the least loss at the end that is known for the problem.
    """

    def __init__(self, ways: dict[str, dict[float, Any]], larger: dict[float, Any] | None, least: float) -> None:
        self.ways, self.runs, self.larger, self.least = ways, ways[AS_IT_IS], larger, least

    @cached_property
    def best(self) -> float:
        """Place of the best rate."""
        return min(self.runs, key=lambda at: _end(self.runs[at]))

    def faults(self, at: float, way: str = AS_IT_IS) -> Faults | None:
        """Gain of mending each fault that a run has; empty for a healthy one, None where it is not known."""
        run = self.ways[way][at]
        start, end = run["start"]["train"], _end(run)
        gap = start - self.least
        if not math.isfinite(end) or any(kind in BROUGHT_BACK for _, kind, *_ in run["events"]):
            return {EXPLODING: math.inf}
        regret = (end - _end(self.runs[self.best])) / gap
        slow, fast = regret if at < self.best else 0.0, regret if at > self.best else 0.0
        batch, falling = self._gain(run, self.larger, at, gap), self._gain(run, self.ways.get(FALLING), at, gap)
        start_gains = self._gain(run, self.ways.get(STARTED), at, gap)
        over = _overfitted(run)
        unmoved = end > start - GAIN * gap
        found = {TOO_SLOW: slow}
        high = max(batch, falling, fast)
        found[NOISE_FLOOR] = high if batch >= EITHER[0] * high else 0.0
        found[OSCILLATING] = high if batch <= EITHER[1] * high else 0.0
        found[EXPLODING] = fast if unmoved else 0.0
        if start_gains >= STUCK:
            stays = regret <= EITHER[1] * start_gains
            found = found if regret >= EITHER[0] * start_gains else {}
            found[PLATEAU] = start_gains if stays else 0.0
        found[OVERFITTING] = 0.0 if unmoved else over
        found = {kind: gain for kind, gain in found.items() if gain >= GAIN}
        if found:
            return found
        sound = max(regret, batch, falling, start_gains, over) <= SOUND and end < start - HALF * gap
        return {} if sound else None

    def _gain(self, run: dict[str, Any], others: dict[float, Any] | None, at: float, gap: float) -> float:
        """What the same rate gains in other runs."""
        return (_end(run) - _end(others[at])) / gap if others and at in others else 0.0


def _end(run: dict[str, Any]) -> float:
    """Loss on all the training data at the end; infinite where it is not finite, or the guard stopped before any."""
    value = run["train"][-1] if run["train"] else math.inf
    return value if math.isfinite(value) else math.inf


def _overfitted(run: dict[str, Any]) -> float:
    """Share of the validation loss's fall that is lost again while the training loss falls further."""
    values = [m[-1] for m in run["measurements"]]
    if not all(map(math.isfinite, values)):
        return 0.0
    least = int(np.argmin(values))
    fall = run["start"]["validation"] - values[least]
    if fall <= 0 or run["train"][least] < run["train"][-1]:
        return 0.0
    return (values[-1] - values[least]) / fall


def known(outcomes: Iterable[dict[str, Any]]) -> list[tuple[dict[str, Any], Faults]]:
    """Runs, and those of their faults that every seed shows; without those whose seeds agree on none."""
    settings: dict[Any, list[tuple[dict[str, Any], Faults | None]]] = defaultdict(list)
    for run, faults in _measured(list(outcomes)):
        settings[run["series"], run["batch"], run["way"], run["at"]].append((run, faults))
    found = []
    for seeds in settings.values():
        each = [faults for _, faults in seeds if faults is not None]
        if len(each) < len(seeds):
            continue
        shared = set.intersection(*map(_causes, each))
        if shared or not any(each):
            found += [
                (run, {kind: gain for kind, gain in (faults or {}).items() if CAUSES[kind] in shared})
                for run, faults in seeds
            ]
    # a guard that did nothing left the same run once more
    return [(run, faults) for run, faults in found if run["way"] == AS_IT_IS or run["events"]]


def _causes(faults: Faults) -> set[str]:
    return {CAUSES[kind] for kind in faults}


def _measured(outcomes: Sequence[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], Faults | None]]:
    """Runs and what each seed says of their faults."""
    grids: dict[Any, dict[str, dict[float, Any]]] = defaultdict(lambda: defaultdict(dict))
    least: dict[Any, float] = defaultdict(lambda: math.inf)
    for o in outcomes:
        grids[o["series"], o["seed"], o["batch"]][o["way"]][o["at"]] = o
        least[o["series"], o["seed"]] = min(least[o["series"], o["seed"]], _end(o))
    for (series, seed, batch), ways in grids.items():
        sizes = [b for s, k, b in grids if (s, k) == (series, seed)]
        after = sizes[sizes.index(batch) + 1 :]
        if not after and batch != "full":
            continue
        grid = Grid(ways, grids[series, seed, after[0]][AS_IT_IS] if after else None, least[series, seed])
        for way in (AS_IT_IS, GUARDED):
            for at, run in ways.get(way, {}).items():
                yield {**run, "off": abs(at - grid.best)}, grid.faults(at, way)


# -- Report ------------------------------------------------------------------------------------------------------------


def lines(outcomes: Iterable[dict[str, Any]], details: bool = False) -> list[str]:
    """Lines of the report."""
    outcomes = list(outcomes)
    told = [(run, faults, diagnose(recorded(run))) for run, faults in known(outcomes)]
    asked = [one for one in told if _greatest(one[1]) != PLATEAU]
    right = [_is_right(d, faults) for _, faults, d in asked]
    first = [d.kind == _greatest(faults) for _, faults, d in told]
    plain = [_is_right(d, faults) for run, faults, d in asked if _is_far(run, faults)]
    tried = sum(o["way"] == AS_IT_IS for o in outcomes)
    problems = len({o["series"] for o in outcomes})
    how = (
        f"{len(told)} runs whose fault is known, of {tried} and those that the guard acted on, of {problems} problems. "
        f"It is known by what mending gains: {GAIN:.0%} or more of the gap between start and best, with either seed; "
        f"where healthy {SOUND:.0%} at most. What lies between, or differs between the seeds, is not counted. No run "
        "was used to choose thresholds. *Right*: what is said first is one of the run's faults."
    )
    rows = [
        ["right: rate, batch, no regularisation, or healthy", _share(right), "≥ 95 %", met(-_mean(right), -0.95)],
        [
            "of these, rates ten times too small or large, batches of four at most, no regularisation, or healthy",
            _share(plain),
            "≥ 95 %",
            met(-_mean(plain), -0.95),
        ],
        ["right, starts on a plateau counted too", _share([_is_right(d, f) for _, f, d in told]), "", ""],
        ["says the fault first whose mending gains most", _share(first), "", ""],
    ]
    found = [how, "", *table(["diagnoses", "runs", "target", "met"], rows), "", *_confusion(told), "", *_findings(told)]
    return found + (["", *_errors(told)] if details else [])


def _mean(of: Sequence[bool]) -> float:
    return sum(of) / len(of)


def _share(of: Sequence[bool]) -> str:
    return f"{sum(of)} / {len(of)} ({_mean(of):.1%})"


Told = Sequence[tuple[dict[str, Any], dict[str, float], Diagnosis]]


def _is_right(diagnosis: Diagnosis, faults: dict[str, float]) -> bool:
    return diagnosis.kind in faults or (not faults and diagnosis.kind == HEALTHY)


def _is_far(run: dict[str, Any], faults: dict[str, float]) -> bool:
    """Whether a run's fault, if it has one, is of a rate far off the best, or of a tiny batch, or no regularisation."""
    kind = _greatest(faults)
    tiny = isinstance(run["batch"], int) and run["batch"] <= TINY
    return {NOISE_FLOOR: tiny, OVERFITTING: True, HEALTHY: True}.get(kind, run["off"] >= FAR)


def _greatest(faults: dict[str, float]) -> str:
    return max(faults, key=lambda kind: (faults[kind], kind == EXPLODING)) if faults else HEALTHY


def _confusion(told: Told) -> list[str]:
    counts = Counter((_greatest(faults), d.kind) for _, faults, d in told)
    rows = []
    for kind in KINDS:
        own = [_is_right(d, faults) for _, faults, d in told if _greatest(faults) == kind]
        if own:
            rows.append([kind, *(str(counts[kind, said] or "") for said in SAID), f"{sum(own)} / {len(own)}"])
    how = "Rows: the fault whose mending gains most; columns: what is said first. Of two faults either is right."
    return [how, "", *table(["", *SAID, "right"], rows)]


def _findings(told: Told) -> list[str]:
    rows = []
    for kind in KINDS[:-1]:
        having = [d for _, faults, d in told if kind in faults]
        others = [d for _, faults, d in told if kind not in faults]
        said, falsely = (sum(kind in d.kinds for d in side) for side in (having, others))
        rows.append([kind, f"{said} / {len(having)}", f"{falsely} / {len(others)}"])
    how = "What is said first or beside: of the runs that have the fault, and of those that have not."
    return [how, "", *table(["fault", "said", "said falsely"], rows)]


def _errors(told: Told) -> list[str]:
    wrong = [(r, f, d) for r, f, d in told if not _is_right(d, f)]
    rows = [
        [
            r["series"],
            str(r["batch"]),
            str(r["at"]),
            ", ".join(f"{k} {g:.2f}" for k, g in f.items()),
            ", ".join(d.kinds),
        ]
        for r, f, d in wrong
    ]
    return table(["problem", "batch", "half decades", "faults: gain", "said"], rows)
