"""How often the diagnosis is right where the loss has an unknown floor, and what its advice gains.

Language models, recurrent nets, label noise and fine-tuning of starts that are trained here. Each is trained at five
learning rates, a decade apart, and at each also with a learning rate that falls to 0 over the last 30 %. A gap is the
fall from the start to the lowest loss of the grid, on all training data, means over the seeds; the lowest loss is that
of the constant rates, so no floor has to be known. Faults are known by what their remedy gains, as in `known_faults`: a
learning rate is too small or too large if another one of that side gains MIN_GAIN of the gap; noise limits the run if
the decay gains that. A run is healthy if no remedy gains MAX_HEALTHY_GAIN; in between, it is not counted.

"Cannot tell" is right nowhere: it counts as wrong. Advice is followed by looking up the same training at the advised
learning rate, or with the decay where that is what the advice says first. The rules are chosen on `choice`; `report`
is for one run, once they stand.
"""

import functools
import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

import steepest as sd
from benchmarks.diagnosis.diagnoses import DECAY_SCHEDULE, train
from benchmarks.diagnosis.known_faults import DECAY, MAX_HEALTHY_GAIN, MIN_GAIN, PLAIN, make_record
from benchmarks.parts import Options, Outcomes, Study
from benchmarks.problems import tasks
from benchmarks.problems.problems import Problem
from benchmarks.report import check, table
from steepest.analysis.contradictions import NEW_RATES
from steepest.analysis.diagnosis.diagnose import Diagnosis, diagnose_record
from steepest.analysis.diagnosis.findings import EXPLODING, HEALTHY, NOISE_LIMITED, OSCILLATING, OVERFITTING, TOO_SLOW

TITLE = "Diagnoses where the loss has an unknown floor"

HALVES = tasks.load(Path(__file__).with_suffix(".toml"))
RATES, BETWEEN = (-4, -2, 0, 2, 4), (-5, -3, -1, 1, 3, 5)
"""Learning rates in half decades from the middle one; those between them are where advice of three times leads."""
SEEDS = 0, 1
START_STEPS, START_LR, START_BATCH = 400, 3e-3, 32
"""How the start of a fine-tuning is trained, by Adam."""
BETTER, WORSE = 0.02, 0.02
"""Shares of the gap: from here on a loss is better or worse beyond noise, if it is so with each seed."""
MAX_STEP = 2
"""Advice is followed as far as it goes, but by a decade at most, in half decades."""
TOO_LARGE = OSCILLATING, NOISE_LIMITED, EXPLODING

Outcome = dict[str, Any]


@functools.cache
def _trained(half: str, name: str, seed: int) -> dict[str, torch.Tensor]:
    """Weights of a network that was trained on a task."""
    row = tasks.rows(HALVES[half]["tasks"])[name]
    task, net, loss = tasks.task(row), tasks.network(row.network)(seed), tasks.loss(row.loss)
    x, y = task.data.tensors if hasattr(task.data, "tensors") else task.data
    optimizer, random = torch.optim.Adam(net.parameters(), START_LR), torch.Generator().manual_seed(seed)
    for _ in range(START_STEPS):
        batch = torch.randint(len(x), (START_BATCH,), generator=random)
        optimizer.zero_grad()
        loss(net(x[batch]), y[batch]).backward()
        optimizer.step()
    return net.state_dict()


def _fine_tuned(half: str, row: tasks.Row, start: str) -> sd.Task:
    """A task whose networks begin as they were trained on another one."""

    def build(seed: int) -> nn.Module:
        net = tasks.network(row.network)(seed)
        net.load_state_dict(_trained(half, start, seed))
        return net

    return sd.Task(build, loss=tasks.loss(row.loss), **tasks.split(row))


def _problems(half: str) -> Iterator[Problem]:
    """The series of a half at the middle of their grids."""
    rows = tasks.rows(HALVES[half]["tasks"])
    for name, rule, lr, steps, batch, start in HALVES[half]["series"]:
        row = rows[name]
        make = functools.partial(_fine_tuned, half, row, start) if start else functools.partial(tasks.task, row)
        words = f"{name}-{rule}{start and '-from-' + start}".replace("_", "-")
        yield Problem(words, make, rule, lr, "constant", batch, steps)


def _work(outcomes: Outcomes, options: Options) -> None:
    """Trains the missing runs of the half that the options name; "report" by default."""
    for half in options.problems or ["report"]:
        for one in _problems(half):
            for seed in options.seeds or SEEDS:
                for at in RATES + BETWEEN:
                    plain = replace(one, lr=float(f"{one.lr * 10 ** (at / 2):.3g}"))
                    ways = {PLAIN: plain} | ({DECAY: replace(plain, schedule=DECAY_SCHEDULE)} if at in RATES else {})
                    for way, problem in ways.items():
                        outcomes.add((one.name, way, at, seed), functools.partial(train, problem, seed, guard=False))


def _end(run: Outcome) -> float:
    value = run["train"][-1] if run["train"] else math.inf
    return value if math.isfinite(value) else math.inf


class Grid:
    """The runs of a series, by place on the grid: one for each seed; and those with a decay."""

    def __init__(self, runs: dict[int, list[Outcome]], decays: dict[int, list[Outcome]]) -> None:
        self.runs, self.decays = runs, decays
        self.ends = {at: statistics.fmean(map(_end, some)) for at, some in runs.items() if at in RATES}
        self.best = min(self.ends, key=lambda at: self.ends[at])
        self.gap = statistics.fmean(run["start"]["train"] for run in runs[self.best]) - self.ends[self.best]

    def truth(self, at: int) -> tuple[str, ...] | None:
        """Kinds that are right; None if it is not known."""
        regret = (self.ends[at] - self.ends[self.best]) / self.gap
        if regret >= MIN_GAIN:
            return (TOO_SLOW,) if at < self.best else TOO_LARGE
        by_decay = (self.ends[at] - statistics.fmean(map(_end, self.decays[at]))) / self.gap
        if by_decay >= MIN_GAIN:
            return (NOISE_LIMITED,)
        return (HEALTHY, OVERFITTING) if max(regret, by_decay) <= MAX_HEALTHY_GAIN else None

    def gain(self, at: int, found: Diagnosis) -> float | None:
        """What the advice gains, as a share of the gap: of the seeds, the one nearest to 0; None beyond the grid."""
        others = self.decays[at] if found.kind == NOISE_LIMITED else self.runs.get(at + _advised_step(found.advice))
        if others is None:
            return None
        gains = [(_end(a) - _end(b)) / self.gap if _end(b) < math.inf else -math.inf
                 for a, b in zip(self.runs[at], others, strict=True)]  # fmt: skip
        gains = [0.0 if math.isnan(gain) else gain for gain in gains]
        return min(gains) if min(gains) > 0 else max(gains) if max(gains) < 0 else 0.0


def _advised_step(advice: str) -> int:
    """Half decades from the learning rate of a run to the advised one; 0 where the advice is another."""
    rates = NEW_RATES.search(advice)
    step = round(2 * math.log10(float(rates[2] or rates[1]) / float(rates[3]))) if rates else 0
    return max(-MAX_STEP, min(MAX_STEP, step))


def _grids(outcomes: Iterable[Outcome]) -> dict[str, Grid]:
    runs: dict[tuple[str, str], dict[int, list[Outcome]]] = defaultdict(lambda: defaultdict(list))
    for run in outcomes:
        runs[run["series"], run["way"]][run["at"]].append(run)
    return {name: Grid(runs[name, PLAIN], runs[name, DECAY]) for name, way in runs if way == PLAIN}


def _lines(outcomes: Outcomes, options: Options) -> list[str]:
    cases: list[tuple[str, int, tuple[str, ...], Diagnosis, float | None]] = []
    for name, grid in _grids(outcomes).items():
        for at in RATES:
            runs, truth = grid.runs[at], grid.truth(at)
            for run in runs if truth else ():
                found = diagnose_record(make_record(run))
                cases.append((name, at - grid.best, truth or (), found, grid.gain(at, found)))
    right = [found.kind in truth for _, _, truth, found, _ in cases]
    healthy = [(found, gain) for _, _, truth, found, gain in cases if HEALTHY in truth]
    better = [gain > BETTER for _, _, truth, _, gain in cases if HEALTHY not in truth and gain is not None]
    kept = [gain > -WORSE for _, gain in healthy if gain is not None]
    rows = [
        _row("right", right, 0.9, "≥ 90 %"),
        _row("advice followed, where there is a fault: better beyond noise", better, 0.7, "≥ 70 %"),
        _row("advice followed, elsewhere: not worse", kept, 0.95, "≥ 95 %"),
    ]
    counts = Counter((truth[0] if len(truth) < 3 else "too large", found.kind) for _, _, truth, found, _ in cases)
    kinds = sorted({kind for _, kind in counts})
    truths = sorted({truth for truth, _ in counts})
    confusion = [[truth, *(str(counts[truth, kind] or "") for kind in kinds)] for truth in truths]
    series = [[name, _share([ok for case, ok in zip(cases, right, strict=True) if case[0] == name])]
              for name in dict.fromkeys(case[0] for case in cases)]  # fmt: skip
    choice = {problem.name for problem in _problems("choice")}
    is_choice = any(case[0] in choice for case in cases)
    origin = "The rules were chosen on them." if is_choice else "No rule was chosen on them."
    how = (
        f"{len(cases)} runs of {len(series)} trainings: language models, recurrent nets, label noise, and fine-tuning "
        f"of starts trained here. {origin} A fault is known if its remedy (another learning rate, or one that falls to "
        f"0 over the last 30 %) gains {MIN_GAIN:.0%} of the gap; a run is healthy if none gains {MAX_HEALTHY_GAIN:.0%}."
    )
    text = [how, "", *table(["diagnoses", "runs", "target", "met"], rows), "", "Rows: the truth; columns: the finding."]
    text += ["", *table(["", *kinds], confusion), "", *table(["training", "right"], series)]
    return text + (_errors(cases) if options.details else [])


def _errors(cases: Iterable[Any]) -> list[str]:
    return ["", *(f"{name} {off:+d} {truth[0]} said {found.kinds} gain {gain}"
                  for name, off, truth, found, gain in cases if found.kind not in truth)]  # fmt: skip


def _row(what: str, of: list[bool], target: float, words: str) -> list[str]:
    return [what, _share(of), words, check(-statistics.fmean(of), -target)]


def _share(of: list[bool]) -> str:
    return f"{sum(of)} / {len(of)} ({sum(of) / len(of):.1%})" if of else "—"


STUDY = Study("floors", ("series", "way", "at", "seed"), _work, _lines)
measure, main = STUDY.measure, STUDY.main
