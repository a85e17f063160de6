"""What ails a run, told from its record alone: which fault, by what evidence, and what to change.

    too slow      the steps promised little and kept it, or weights hardly moved: the rate is too small
    plateau       they promised enough, or most weights have no gradient, and the loss has not moved
    oscillating   they promised far more than they kept, not for the batches' noise: the rate is too large
    noise floor   the same, for the batches' noise
    exploding     the loss is not finite, had to be brought back, or ends no lower than it began, and not for noise
    overfitting   the validation loss rises while the training loss falls
    healthy       none of these

The numbers that decide are `symptoms`. A run can have several faults: the first that is said is the one to mend first.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from steepest.analysis.diagnosis import findings as f
from steepest.analysis.diagnosis.findings import Finding, Indicator
from steepest.analysis.diagnosis.symptoms import TINY, Symptoms, finite, symptoms
from steepest.records.run import REWIND, Record


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
        return tuple(finding.kind for finding in self.findings)

    @property
    def sentence(self) -> str:
        """Of the finding in front."""
        return self.findings[0].sentence

    @property
    def evidence(self) -> tuple[Indicator, ...]:
        """Of the finding in front."""
        return self.findings[0].evidence

    @property
    def advice(self) -> str:
        """What to change first."""
        return self.findings[0].advice

    def words(self) -> str:
        """All findings in words; behind each its numbers, and where the fault begins."""
        seen = "" if self.steps >= self.planned else f"So far, after {self.steps:,} of {self.planned:,} steps. "
        return seen + "\n".join(finding.words() for finding in self.findings)

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
    to gain; P ≫ F: the noise of the batches, where it can keep the loss up by ¼ κ ‖Δw‖ ‖∇L‖; else the rate. Whatever
    the loss says, weights that have hardly travelled had too small a rate, and gradients of one or two components lie
    on a plateau. It reads the loss alone: a fault that costs less than a fifth of what can be gained is not looked for.

    Args:
        run: a run, or its record; finished or not.

    Returns:
        the Diagnosis; of fewer than 20 finite steps it is "undecided".

    >>> import numpy as np
    >>> from steepest.records.config import Config
    >>> from steepest.records.run import Record, Steps
    >>> t = np.arange(1.0, 101.0)
    >>> loss = 2 - 1e-4 * t                       # w ← w − 10⁻⁴ ∇L, ‖∇L‖ = 1: a hundred steps promise 0.01 in all
    >>> steps = Steps(t, t, 1e-4 + 0 * t, loss, 1 + 0 * t, 1e-4 + 0 * t)
    >>> print(diagnose(Record("id", "name", "done", "", 0.0, Config(), {}, steps)).kind)
    too slow
    """
    record = run if isinstance(run, Record) else run.record
    sound = int(finite(record.steps).sum())
    found = tuple(_exploded(record)) or tuple(_judged(record, sound))
    return Diagnosis(found, len(record.steps), record.config.steps or len(record.steps))


def _exploded(record: Record) -> Iterator[Finding]:
    """What needs no statistics: losses that are not finite, a guard that had to go back."""
    broken, rewinds = int((~finite(record.steps)).sum()), [e for e in record.events if e.kind == REWIND]
    if broken >= f.BROKEN or rewinds:
        yield f.exploded(record, broken, rewinds)


def _judged(record: Record, sound: int) -> Iterator[Finding]:
    if sound < f.ENOUGH:
        yield f.undecided(sound)
        return
    s = symptoms(record)
    trained, overfitted = _rate(record, s), s.lost > f.RISEN and s.fell_on
    first = not _thrown(s) and (s.kept > f.GOOD or (s.lost > f.ALL and s.kept > f.FALLEN))
    if overfitted and first:
        yield f.overfitting(s)
    if trained is not None:
        yield trained
    if overfitted and not first:
        yield f.overfitting(s)
    if trained is None and not overfitted:
        yield f.healthy(s)


def _rate(record: Record, s: Symptoms) -> Finding | None:
    """What ails the training loss: one fault at most, for each excludes the others."""
    if _flat(s):
        return f.plateau(s)
    if _more_to_gain(s):
        return f.too_slow(record, s)
    if s.promised < f.TIMID:
        return _hardly_begun(record, s)
    if s.kept < f.GAINED and not (s.full and s.rise < f.RISE):
        return f.noise_floor(record, s) if _held_up(s) else f.thrown(record, s)
    if s.soared > f.LEAPT and s.kept < f.FALLEN:
        return f.thrown(record, s)
    if s.kept > f.GOOD:
        return None
    if s.full:
        return f.oscillating(record, s) if _swings(s) or s.left < f.MORE else None
    if _thrown(s) and (s.coherence < f.SHRUNK or ((s.soared > f.LEAPT or not _varies(s)) and s.batch >= f.FEW)):
        return f.oscillating(record, s)
    noisy = _thrown(s) or s.batch < f.FEW or s.noise > f.HOVERS * s.fall
    return f.noise_floor(record, s) if noisy else None


def _flat(s: Symptoms) -> bool:
    """Whether there is no slope to go down, nor has the point been thrown off one."""
    few = not s.full and s.batch >= f.SOME and s.narrow < f.NARROW and s.coherence == 1  # else that tells it
    still = few or s.coherence < f.DWARFED
    climbed = s.promised >= f.TIMID and (s.rise > f.CLIMBED * s.error or s.hovering > f.BESIDE)
    if climbed or s.burst > f.CALMED or s.kept > (max(f.GAINED, 2 * s.error) if still else f.GAINED):
        return False
    return still or (s.yielded < f.YIELDED and s.hovering < f.HIDDEN and not s.net > f.LEARNT)


def _more_to_gain(s: Symptoms) -> bool:
    """Whether a greater rate would have brought the loss lower."""
    if s.kept > f.GOOD or s.travelled > f.FAR or s.soared > f.LEAPT:
        return False
    if s.travelled < f.STILL:
        return True
    if s.promised < f.TIMID:
        begun = s.kept > f.BEGUN or s.full  # else noise hides how much is left
        return not _hovers(s) and (s.left > f.MORE or s.travelled < f.NEAR or not begun)
    gain = min(s.left / max(1 - s.left, TINY) * s.kept, 1 - s.kept)
    return not s.full and s.kept > f.GAINED and s.left > f.MORE and s.hovering < f.BESIDE * gain


def _hardly_begun(record: Record, s: Symptoms) -> Finding | None:
    """What ails a run that promised little, though a greater rate would not help."""
    if s.full or s.kept > f.GOOD or not _hovers(s):
        return None
    return f.noise_floor(record, s) if s.kept > f.LEARNT else f.plateau(s)


def _hovers(s: Symptoms) -> bool:
    """Whether noise can keep the loss up by much of what it has fallen."""
    return s.hovering > f.HOVERS * s.fall


def _varies(s: Symptoms) -> bool:
    """Whether the batches' losses differ as they do where noise is at work."""
    return not s.full and s.varied > f.VARIED


def _held_up(s: Symptoms) -> bool:
    """Whether it is noise that keeps a loss up that has gained nothing, and not the rate."""
    alike = not _varies(s) and s.promised > f.CALM and s.rise > f.CLIMBED * s.error
    worse = s.net < -max(s.fall, 0.0)
    return not (s.full or alike or worse or _thrown(s))


def _thrown(s: Symptoms) -> bool:
    """Whether large steps have thrown the point to where gradients are smaller."""
    return s.soared > f.LEAPT or s.coherence < f.DWARFED or (s.rise > f.RISE and s.burst > f.CALMED)


def _swings(s: Symptoms) -> bool:
    return s.rise > f.RISE or max(s.fall - s.kept, s.swing) > f.RISEN * s.fall
