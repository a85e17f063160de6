"""What ails a run, told from its record alone: which fault, by what evidence, and what to change.

    too slow      the steps promised little and kept it: the rate is too small
    plateau       they promised enough, and the loss has not moved
    oscillating   they promised far more than they kept, not for the batches' noise: the rate is too large
    noise floor   the same, for the batches' noise
    exploding     the loss is not finite, ends no lower than it began, or had to be brought back
    overfitting   the validation loss rises while the training loss falls
    healthy       none of these

The numbers that decide are `symptoms`. A run can have several faults: the first that is said is the one to mend first.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from steepest.record import REWIND, Record
from steepest.symptoms import TINY, Symptoms, finite, symptoms

TOO_SLOW, PLATEAU, OSCILLATING, NOISE_FLOOR = "too slow", "plateau", "oscillating", "noise floor"
EXPLODING, OVERFITTING, HEALTHY, UNDECIDED = "exploding", "overfitting", "healthy", "undecided"

# Thresholds were chosen on TUNING of `benchmarks/diagnosis_problems.py`. Losses are relative to that at the start.
ENOUGH = 20
"""Finite steps below which nothing is told."""
BROKEN = 3
"""Steps that are not finite; fewer may be bad data."""
TIMID, SURE = 14.0, 5.0
"""Who promised less than 14 times the loss may have been too slow; from 5 times on only where little was kept."""
BEGUN, DONE = 0.4, 0.65
"""What has been kept, of the loss: below 0.4 there is more to gain, above 0.65 perhaps not."""
MORE, LEFT = 0.2, 0.3
"""Share of its fall that ten times the way would gain where a run is too slow: of what is between these, and of what has
kept more, or has promised more, for chance makes up most of that."""
BESIDE = 0.1
"""What noise keeps the loss up by is little beside that gain."""
GAINED = 0.1
"""A fall below which nothing has been gained."""
YIELDED = 0.025
"""A share of what was promised below which there is no slope to go down."""
CALMED = 8.0
"""A gradient that was eight times as large before: the point was thrown to where the loss does not move."""
CLIMBED = 3.0
"""A rise above the start by more standard errors than that is no chance."""
RISE, SOARED = 0.5, 3.0
"""A loss that was so far above its start has had too large a rate where there is no noise; and even where there is."""
DWARFED = 0.055
"""Coherence of Adam's steps below which the second moment remembers an explosion."""
VARIED = 0.25
"""Share of their mean by which losses of batches differ where noise is at work. Where the point was thrown to a region
in which units are dead or saturated, the outputs hardly depend on the batch any more, and so does the loss."""
HOVERS = 0.1
"""Share of the fall by which noise keeps the loss up."""
GOOD = 0.8
"""Who kept so much has no trouble with its rate: a loss that is not negative cannot gain a fifth more."""
RISEN = 0.1
"""Of its fall the validation loss regains so much where a run overfits."""


class Evidence(NamedTuple):
    """A number that a finding rests on.

    Attributes:
        words: what it is.
        value: of this run.
        limit: where the fault begins.
    """

    words: str
    value: float
    limit: float


class Finding(NamedTuple):
    """A fault of a run, or that there is none.

    Attributes:
        kind: too slow, plateau, oscillating, noise floor, exploding, overfitting, healthy or undecided.
        sentence: what is so.
        evidence: the numbers behind it.
        advice: what to change.
    """

    kind: str
    sentence: str
    evidence: tuple[Evidence, ...]
    advice: str


@dataclass(frozen=True)
class Diagnosis:
    """What ails a run. It prints as words, numbers after.

    Attributes:
        findings: all of them, the one to mend first in front.
        steps: that were looked at.
        planned: of the whole run.
    """

    findings: tuple[Finding, ...]
    steps: int
    planned: int

    @property
    def kind(self) -> str:
        """Of the finding in front."""
        return self.findings[0].kind

    @property
    def kinds(self) -> tuple[str, ...]:
        """Of all findings."""
        return tuple(f.kind for f in self.findings)

    @property
    def sentence(self) -> str:
        """Of the finding in front."""
        return self.findings[0].sentence

    @property
    def evidence(self) -> tuple[Evidence, ...]:
        """Of the finding in front."""
        return self.findings[0].evidence

    @property
    def advice(self) -> str:
        """What to change first."""
        return self.findings[0].advice

    def words(self) -> str:
        """All findings in words; behind each its numbers, and where the fault begins."""
        seen = "" if self.steps >= self.planned else f"So far, after {self.steps:,} of {self.planned:,} steps. "
        return seen + "\n".join(_told(f) for f in self.findings)

    def __str__(self) -> str:
        return self.words()


class Recorded(Protocol):
    """What has a record, such as a Run."""

    @property
    def record(self) -> Record:
        """Its record."""
        ...


def diagnose(run: Record | Recorded) -> Diagnosis:
    """Tells from a run's record which fault it has, by what evidence, and what to change.

    Let P = Σ ‖Δw‖ ‖∇L‖ be what the steps promised and F the fall of the loss. P near F: too slow, while there is more
    to gain; P ≫ F: the noise of the batches, where it can keep the loss up by ¼ κ ‖Δw‖ ‖∇L‖; else the rate.

    Args:
        run: a run, or its record; finished or not.

    Returns:
        the Diagnosis; of fewer than 20 finite steps it is "undecided".

    >>> import numpy as np
    >>> from steepest.record import Record, Steps
    >>> t = np.arange(1.0, 101.0)
    >>> loss = 2 - 1e-4 * t                       # w ← w − 10⁻⁴ ∇L, ‖∇L‖ = 1: a hundred steps promise 0.01 in all
    >>> steps = Steps(t, t, 1e-4 + 0 * t, loss, 1 + 0 * t, 1e-4 + 0 * t)
    >>> print(diagnose(Record("id", "name", "done", "", 0.0, {}, {}, steps)).kind)
    too slow
    """
    record = run if isinstance(run, Record) else run.record
    sound = int(finite(record.steps).sum())
    findings = tuple(_exploded(record)) or tuple(_judged(record, sound))
    planned = record.config.get("steps")
    return Diagnosis(findings, len(record.steps), planned if isinstance(planned, int) else len(record.steps))


def _exploded(record: Record) -> Iterator[Finding]:
    """What needs no statistics: losses that are not finite, a guard that had to go back."""
    sound = finite(record.steps)
    broken, rewinds = int((~sound).sum()), [e for e in record.events if e.kind == REWIND]
    if broken < BROKEN and not rewinds:
        return
    evidence = [Evidence("steps whose loss, gradient or update is not finite", broken, BROKEN)]
    evidence += [Evidence("times that the guard went back", len(rewinds), 1)] if rewinds else []
    seen = f" The guard says: {rewinds[-1].seen}." if rewinds else ""
    yield Finding(EXPLODING, f"The loss exploded.{seen}", tuple(evidence), _slower(record))


def _judged(record: Record, sound: int) -> Iterator[Finding]:
    if sound < ENOUGH:
        few = Evidence("finite steps", sound, ENOUGH)
        yield Finding(UNDECIDED, "Too short to tell.", (few,), f"Look again after {ENOUGH} steps or more.")
        return
    s = symptoms(record)
    overfitted = s.lost > RISEN and s.fell_on
    if overfitted and s.kept > GOOD:
        yield _overfitting(s)
    trained = _rate(record, s)
    if trained is not None:
        yield trained
    if overfitted and s.kept <= GOOD:
        yield _overfitting(s)
    if trained is None and not overfitted:
        yield _healthy(s)


def _rate(record: Record, s: Symptoms) -> Finding | None:
    """What ails the training loss: one fault at most, for each excludes the others."""
    if s.kept < GAINED and s.burst < CALMED and _flat(s):
        return _plateau(s)
    if _more_to_gain(s):
        return _too_slow(record, s)
    if s.promised < TIMID:
        return None
    noisy = not s.full and s.varied > VARIED
    if s.kept < GAINED and not (s.full and s.fall > 2 * GAINED and s.rise < RISE):
        return _noise_floor(record, s) if noisy and s.soared < SOARED else _thrown(record, s)
    if s.kept > GOOD:
        return None
    if s.full:
        return _oscillating(record, s) if _swings(s) or (s.kept < DONE and s.left < MORE) else None
    thrown = s.coherence < DWARFED or (s.rise > RISE and s.burst > CALMED)
    if thrown and not noisy:
        return _oscillating(record, s)
    if thrown or s.hovering > HOVERS * s.fall:
        return _noise_floor(record, s)
    return None


def _flat(s: Symptoms) -> bool:
    """Whether there is no slope, nor has the point been thrown off one."""
    climbed = s.promised >= TIMID and (s.rise > CLIMBED * s.error or s.hovering > HOVERS)
    return not climbed and (s.yielded < YIELDED or s.coherence < DWARFED)


def _more_to_gain(s: Symptoms) -> bool:
    """Whether a greater rate would have brought the loss lower."""
    if s.kept > GOOD:
        return False
    if s.promised < TIMID and s.kept < DONE:
        return s.left > MORE or (s.kept < BEGUN and not s.full)  # where noise hides how much is left
    if s.promised < SURE:
        return s.left > LEFT
    gain = min(s.left / max(1 - s.left, TINY) * s.kept, 1 - s.kept)
    return not s.full and GAINED < s.kept < DONE and s.left > LEFT and s.hovering < BESIDE * gain


def _swings(s: Symptoms) -> bool:
    return s.rise > RISE or max(s.fall - s.kept, s.swing) > RISEN * s.fall


# -- Findings ----------------------------------------------------------------------------------------------------------


def _too_slow(record: Record, s: Symptoms) -> Finding:
    evidence = (
        _promised(s, TIMID),
        _kept(s, DONE),
        Evidence("share of its fall that the loss would gain on ten times the way", s.left, LEFT),
    )
    sentence = "The rate is too small: the steps could not have brought the loss much lower than they did."
    return Finding(TOO_SLOW, sentence, evidence, f"Try {_rates(record, 3, 10)}; find_lr measures it.")


def _plateau(s: Symptoms) -> Finding:
    evidence = (_kept(s, GAINED), _promised(s, TIMID), _burst(s))
    sentence = "The loss has not moved, though the steps were long enough: the start lies on a plateau."
    advice = (
        "Look at the start before the rate: the scale of the initial weights, units that are never on or always "
        "saturated, data that is not normalised, targets that do not belong to their inputs."
    )
    return Finding(PLATEAU, sentence, evidence, advice)


def _thrown(record: Record, s: Symptoms) -> Finding:
    rise = Evidence("greatest rise of the loss above its start, in losses of the start", s.rise, RISE)
    sentence = "The loss ends no lower than it began: large steps threw the point to where it does not recover."
    return Finding(EXPLODING, sentence, (_kept(s, GAINED), rise, _burst(s)), _slower(record))


def _oscillating(record: Record, s: Symptoms) -> Finding:
    memory = Evidence("steps relative to those that equal gradients would make", s.coherence, DWARFED)
    swings = max(s.fall - s.kept, s.swing) / max(s.fall, TINY)
    regained = Evidence("share of its greatest fall that the loss swings by or has regained", swings, RISEN)
    evidence = (_kept(s, GOOD), _promised(s, TIMID), memory if s.coherence < DWARFED else regained)
    why = "the batch is the whole data" if s.full else "the gradients have shrunk since large steps threw the point"
    sentence = f"The rate is too large: the steps promised far more than they kept, and it is not noise, for {why}."
    return Finding(OSCILLATING, sentence, evidence, f"Try {_rates(record, 1 / 3, 1 / 10)}, or a warmup before it.")


def _noise_floor(record: Record, s: Symptoms) -> Finding:
    evidence = (_hovering(s), _kept(s, GOOD), _promised(s, TIMID))
    sentence = "The noise of the batches keeps the loss up: the steps follow chance more than the slope."
    batch = record.config.get("batch_size")
    larger = f"batches of {8 * batch} instead of {batch}" if isinstance(batch, int) else "batches eight times as large"
    advice = (
        f"Try {larger}, or {_rates(record, 1 / 3, 1 / 10)}; a schedule that falls to 0, such as cosine, ends the noise."
    )
    return Finding(NOISE_FLOOR, sentence, evidence, advice)


def _overfitting(s: Symptoms) -> Finding:
    lost = Evidence("share of the validation loss's fall that was lost again", s.lost, RISEN)
    sentence = "The validation loss has risen from its least while the training loss fell on."
    advice = (
        'Keep the best point (keep="best") or stop there (stop_after=); weight decay, augmentation or more data help.'
    )
    return Finding(OVERFITTING, sentence, (lost, _kept(s, GOOD)), advice)


def _healthy(s: Symptoms) -> Finding:
    evidence = (_kept(s, GOOD), _promised(s, TIMID), _hovering(s))
    return Finding(HEALTHY, "No fault is seen.", evidence, "Nothing needs to change.")


def _promised(s: Symptoms, limit: float) -> Evidence:
    return Evidence("fall that the steps promised, in losses of the start", s.promised, limit)


def _kept(s: Symptoms, limit: float) -> Evidence:
    return Evidence("fall of the loss, in losses of the start", s.kept, limit)


def _hovering(s: Symptoms) -> Evidence:
    return Evidence("share of the fall by which noise would keep the loss up", s.hovering / max(s.fall, TINY), HOVERS)


def _burst(s: Symptoms) -> Evidence:
    return Evidence("greatest gradient norm, relative to the later ones", s.burst, CALMED)


def _rates(record: Record, *factors: float) -> str:
    """The base rate times these, where it is known."""
    lr = record.config.get("lr")
    if not isinstance(lr, int | float):
        return f"the rate × {factors[0]:.2g} to × {factors[-1]:.2g}"
    return f"lr={factors[0] * lr:.2g} to {factors[-1] * lr:.2g} instead of {lr:.3g}"


def _slower(record: Record) -> str:
    return f"Try {_rates(record, 1 / 10, 1 / 30)}, or find_lr, which measures it; a warmup or clip= help at the start."


def _told(finding: Finding) -> str:
    numbers = "; ".join(f"{e.words} {e.value:.3g} (fault from {e.limit:.3g})" for e in finding.evidence)
    return f"{finding.kind.capitalize()}. {finding.sentence} {finding.advice}\n    {numbers}."
