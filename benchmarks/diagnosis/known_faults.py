"""Which fault a run has, measured by what its remedy gains; and how often the diagnosis names it.

A gain is a share of the gap: from the loss at the start, on all training data, to the lowest loss at the end that is
known for the problem, at any learning rate, batch size or start. Faults, by remedy:

- too slow: a larger learning rate gains MIN_GAIN;
- exploding: the loss is not finite, or the guard rewound or stopped the run, or the loss has not fallen by MIN_GAIN
  although a smaller learning rate gains that;
- noise: a batch eight times as large, for as many steps, gains MIN_GAIN, or a learning rate that falls over the last 30
  %;
- oscillating: a smaller learning rate gains MIN_GAIN, and the larger batch less than half of that, so it is not the
  noise;
- overfitting: the lowest validation loss of the run lies MIN_GAIN of its own gap below the last one, and the training
  loss has fallen by MIN_GAIN, and further since then;
- plateau: another start gains MIN_RESTART_GAIN at the same learning rate, and no learning rate of the grid gains half
  of that;
- healthy: none of these gains even MAX_HEALTHY_GAIN. Runs in between are not counted: their fault is not known.

Between the bounds BOTH_RIGHT both names are right. MIN_GAIN is a fifth, since the diagnosis is about learning rates
that are *far* too small or large; MAX_HEALTHY_GAIN is a twentieth, which is what the learning rate of `find_lr` may
cost. But of two runs that differ only in their seed, at learning rates near the best in batches of 2 and 16, a fifth
end more than a fifth of the gap apart. So a fault is known only if both seeds show it; the same for health. They must
agree on its cause, which is what the remedy changes. Symptoms may differ: at too large a learning rate, one seed may
explode where another oscillates.
"""

import base64
import math
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from benchmarks.report import check, table
from steepest.analysis.diagnosis.diagnose import Diagnosis, diagnose_record
from steepest.analysis.diagnosis.findings import (
    EXPLODING,
    HEALTHY,
    NOISE_LIMITED,
    OSCILLATING,
    OVERFITTING,
    PLATEAU,
    TOO_SHORT,
    TOO_SLOW,
)
from steepest.records.config import Config
from steepest.records.run import Event, Measurement, Record, Steps

MIN_GAIN, MAX_HEALTHY_GAIN, MIN_RESTART_GAIN = 0.2, 0.05, 0.3
MIN_HEALTHY_DECREASE = 0.5
"""A healthy run has reached this share of the gap."""
BOTH_RIGHT = 0.35, 0.65
"""Shares of another gain between which both faults are right."""
FAR_HALF_DECADES, TINY_BATCH = 2, 4
"""From here on a learning rate is *far* from the best one; up to here a batch is tiny."""
RESCUES = "rewind", "stop"
"""Events of the guard on a run that explodes."""
PLAIN, DECAY, HEALTHY_START, GUARD = "plain", "lr decays at the end", "healthy start", "guard"
"""Variants of a run."""

CAUSES = {
    TOO_SLOW: "a small lr", OSCILLATING: "a large lr", EXPLODING: "a large lr", NOISE_LIMITED: "a small batch",
    OVERFITTING: "no regularisation", PLATEAU: "the start",
}  # fmt: skip
"""Causes of faults, on which the seeds must agree."""

KINDS = (TOO_SLOW, OSCILLATING, PLATEAU, NOISE_LIMITED, OVERFITTING, EXPLODING, HEALTHY)
VERDICTS = (*KINDS, TOO_SHORT)


Faults = dict[str, float]
"""Gain of the remedy by fault."""
Outcome = dict[str, Any]


def make_record(outcome: Outcome) -> Record:
    """The record of a run, as `fit` would have it."""
    columns = np.frombuffer(zlib.decompress(base64.b64decode(outcome["steps"])), np.float32)
    t, epoch, lr, loss, grad_norm, update_norm = columns.reshape(6, -1).astype(np.float64)
    start = Measurement(0, 0.0, "validation", "loss", outcome["start"]["validation"])
    measurements = (start, *(Measurement(*m) for m in outcome["measurements"]))
    return Record(
        id=outcome["series"], name=outcome["series"], status="done", started="", seconds=0.0,
        config=Config.from_json(outcome["config"]), versions={},
        steps=Steps(t, epoch, lr, loss, grad_norm, update_norm),
        measurements=measurements, events=tuple(Event(*e) for e in outcome["events"]),
    )  # fmt: skip


class Grid:
    """The runs of a series with one batch size.

    Args:
        variants: outcomes by variant and place on the grid.
        larger: those of the batch eight times as large; None of a full batch.
        lowest: the lowest loss at the end that is known for the problem.
    """

    def __init__(
        self, variants: dict[str, dict[float, Outcome]], larger: dict[float, Outcome] | None, lowest: float
    ) -> None:
        self.variants, self.runs, self.larger, self.lowest = variants, variants[PLAIN], larger, lowest

    @cached_property
    def best(self) -> float:
        """Place of the best learning rate."""
        return min(self.runs, key=lambda at: _end(self.runs[at]))

    def faults(self, at: float, variant: str = PLAIN) -> Faults | None:
        """The faults of a run; empty if it is healthy, None if it is not known."""
        run = self.variants[variant][at]
        start, end = run["start"]["train"], _end(run)
        gap = start - self.lowest
        if not math.isfinite(end) or any(kind in RESCUES for _, kind, *_ in run["events"]):
            return {EXPLODING: math.inf}
        regret = (end - _end(self.runs[self.best])) / gap
        slow, fast = regret if at < self.best else 0.0, regret if at > self.best else 0.0
        batch, decay = self._gain(run, self.larger, at, gap), self._gain(run, self.variants.get(DECAY), at, gap)
        restart = self._gain(run, self.variants.get(HEALTHY_START), at, gap)
        overfit = _overfit(run)
        stands = end > start - MIN_GAIN * gap
        high = max(batch, decay, fast)
        gains = {TOO_SLOW: slow}
        gains[NOISE_LIMITED] = high if batch >= BOTH_RIGHT[0] * high else 0.0
        gains[OSCILLATING] = high if batch <= BOTH_RIGHT[1] * high else 0.0
        gains[EXPLODING] = fast if stands else 0.0
        if restart >= MIN_RESTART_GAIN:
            gains = gains if regret >= BOTH_RIGHT[0] * restart else {}
            gains[PLATEAU] = restart if regret <= BOTH_RIGHT[1] * restart else 0.0
        gains[OVERFITTING] = 0.0 if stands else overfit
        faults = {kind: gain for kind, gain in gains.items() if gain >= MIN_GAIN}
        if faults:
            return faults
        healthy = (
            max(regret, batch, decay, restart, overfit) <= MAX_HEALTHY_GAIN and end < start - MIN_HEALTHY_DECREASE * gap
        )
        return {} if healthy else None

    def _gain(self, run: Outcome, others: dict[float, Outcome] | None, at: float, gap: float) -> float:
        """What the same learning rate gains in other runs."""
        return (_end(run) - _end(others[at])) / gap if others and at in others else 0.0


def _end(run: Outcome) -> float:
    """Loss on all training data at the end; infinite if it is not finite or the guard stopped the run before it."""
    value = run["train"][-1] if run["train"] else math.inf
    return value if math.isfinite(value) else math.inf


def _overfit(run: Outcome) -> float:
    """Share of the validation loss's decrease that is lost again while the training loss decreases further."""
    values = [m[-1] for m in run["measurements"]]
    if not all(map(math.isfinite, values)):
        return 0.0
    lowest = int(np.argmin(values))
    decrease = run["start"]["validation"] - values[lowest]
    if decrease <= 0 or run["train"][lowest] < run["train"][-1]:
        return 0.0
    return (values[-1] - values[lowest]) / decrease


def known_faults(outcomes: Iterable[Outcome]) -> list[tuple[Outcome, Faults]]:
    """Runs with the faults that every seed shows; without the runs whose seeds agree on none."""
    settings: dict[Any, list[tuple[Outcome, Faults | None]]] = defaultdict(list)
    for run, faults in _measure(list(outcomes)):
        settings[run["series"], run["batch"], run["way"], run["at"]].append((run, faults))
    result = []
    for seeds in settings.values():
        each = [faults for _, faults in seeds if faults is not None]
        if len(each) < len(seeds):
            continue
        common = set.intersection(*map(_causes, each))
        if common or not any(each):
            result += [
                (run, {kind: gain for kind, gain in (faults or {}).items() if CAUSES[kind] in common})
                for run, faults in seeds
            ]
    # where the guard did nothing, its run equals the plain one
    return [(run, faults) for run, faults in result if run["way"] == PLAIN or run["events"]]


def _causes(faults: Faults) -> set[str]:
    return {CAUSES[kind] for kind in faults}


def _measure(outcomes: Sequence[Outcome]) -> Iterator[tuple[Outcome, Faults | None]]:
    """Runs and their faults, seed by seed."""
    grids: dict[Any, dict[str, dict[float, Outcome]]] = defaultdict(lambda: defaultdict(dict))
    lowest: dict[Any, float] = defaultdict(lambda: math.inf)
    for o in outcomes:
        grids[o["series"], o["seed"], o["batch"]][o["way"]][o["at"]] = o
        lowest[o["series"], o["seed"]] = min(lowest[o["series"], o["seed"]], _end(o))
    for (series, seed, batch), variants in grids.items():
        sizes = [b for s, k, b in grids if (s, k) == (series, seed)]
        after = sizes[sizes.index(batch) + 1 :]
        if not after and batch != "full":
            continue
        grid = Grid(variants, grids[series, seed, after[0]][PLAIN] if after else None, lowest[series, seed])
        for variant in (PLAIN, GUARD):
            for at, run in variants.get(variant, {}).items():
                yield {**run, "off": abs(at - grid.best)}, grid.faults(at, variant)


Case = tuple[Outcome, Faults, Diagnosis]


def lines(outcomes: Iterable[Outcome], details: bool = False) -> list[str]:
    """Lines of the report."""
    outcomes = list(outcomes)
    cases = [(run, faults, diagnose_record(make_record(run))) for run, faults in known_faults(outcomes)]
    main = [case for case in cases if _main_fault(case[1]) != PLATEAU]
    right = [is_right(d, faults) for _, faults, d in main]
    first = [d.kind == _main_fault(faults) for _, faults, d in cases]
    clear = [is_right(d, faults) for run, faults, d in main if _is_clear(run, faults)]
    plain = sum(o["way"] == PLAIN for o in outcomes)
    problems = len({o["series"] for o in outcomes})
    how = (
        f"{len(cases)} runs whose fault is known, of {plain} and those in which the guard acted, of {problems} "
        f"problems. A fault is known if its remedy gains {MIN_GAIN:.0%} or more of the gap between the start and the "
        f"best loss, with both seeds; in a healthy run no remedy gains more than {MAX_HEALTHY_GAIN:.0%}. Runs in "
        "between, and those whose seeds differ, are not counted. No threshold was chosen on these runs. *Right*: the "
        "first finding is one of the run's faults."
    )
    clear_words = "of these, lr ten times too small or large, batches of at most four, no regularisation, or healthy"
    rows = [
        ["right: lr, batch, no regularisation, or healthy", _share(right), "≥ 95 %", check(-_mean(right), -0.95)],
        [clear_words, _share(clear), "≥ 95 %", check(-_mean(clear), -0.95)],
        ["right, with starts on a plateau", _share([is_right(d, f) for _, f, d in cases]), "", ""],
        ["first finding is the fault whose remedy gains most", _share(first), "", ""],
    ]
    header = ["diagnoses", "runs", "target", "met"]
    text = [how, "", *table(header, rows), "", *_confusion(cases), "", *_findings(cases)]
    return text + (["", *_errors(cases)] if details else [])


def _mean(of: Sequence[bool]) -> float:
    return sum(of) / len(of)


def _share(of: Sequence[bool]) -> str:
    return f"{sum(of)} / {len(of)} ({_mean(of):.1%})"


def is_right(diagnosis: Diagnosis, faults: Faults) -> bool:
    """Whether the first finding is one of the faults, or none where there is none."""
    return diagnosis.kind in faults or (not faults and diagnosis.kind == HEALTHY)


def _is_clear(run: Outcome, faults: Faults) -> bool:
    """Whether a run's fault, if any, is a learning rate far from the best, a tiny batch, or no regularisation."""
    kind = _main_fault(faults)
    tiny = isinstance(run["batch"], int) and run["batch"] <= TINY_BATCH
    return {NOISE_LIMITED: tiny, OVERFITTING: True, HEALTHY: True}.get(kind, run["off"] >= FAR_HALF_DECADES)


def _main_fault(faults: Faults) -> str:
    """The fault whose remedy gains most."""
    return max(faults, key=lambda kind: (faults[kind], kind == EXPLODING)) if faults else HEALTHY


def _confusion(cases: Sequence[Case]) -> list[str]:
    counts = Counter((_main_fault(faults), d.kind) for _, faults, d in cases)
    rows = []
    for kind in KINDS:
        own = [is_right(d, faults) for _, faults, d in cases if _main_fault(faults) == kind]
        if own:
            rows.append([kind, *(str(counts[kind, v] or "") for v in VERDICTS), f"{sum(own)} / {len(own)}"])
    how = "Rows: the fault whose remedy gains most; columns: the first finding. Of two faults either is right."
    return [how, "", *table(["", *VERDICTS, "right"], rows)]


def _findings(cases: Sequence[Case]) -> list[str]:
    rows = []
    for kind in KINDS[:-1]:
        present = [kind in d.kinds for _, faults, d in cases if kind in faults]
        absent = [kind in d.kinds for _, faults, d in cases if kind not in faults]
        rows.append([kind, f"{sum(present)} / {len(present)}", f"{sum(absent)} / {len(absent)}"])
    how = "All findings, not only the first: in runs that have the fault, and in runs that do not."
    return [how, "", *table(["fault", "reported", "falsely reported"], rows)]


def _errors(cases: Sequence[Case]) -> list[str]:
    rows = []
    for run, faults, d in cases:
        if not is_right(d, faults):
            gains = ", ".join(f"{kind} {gain:.2f}" for kind, gain in faults.items())
            rows.append([run["series"], str(run["batch"]), str(run["at"]), gains, ", ".join(d.kinds)])
    return table(["problem", "batch", "half decades", "faults: gain", "findings"], rows)
