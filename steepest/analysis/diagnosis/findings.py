"""What can be said of a run: each finding in words, with the numbers behind it and where its fault begins."""

from collections.abc import Sequence
from typing import NamedTuple

from steepest.analysis.diagnosis.symptoms import TINY, Symptoms
from steepest.records.run import Event, Record

TOO_SLOW, PLATEAU, OSCILLATING, NOISE_FLOOR = "too slow", "plateau", "oscillating", "noise floor"
EXPLODING, OVERFITTING, HEALTHY, UNDECIDED = "exploding", "overfitting", "healthy", "undecided"

# Thresholds were chosen on 9,528 runs of the 290 trainings of SPENT in `benchmarks/diagnosis/trainings`, on which
# they are right
# in 96.1 %; chosen without a fifth of the tasks, on that fifth in 96.0 %. Losses are relative to that at the start.
ENOUGH = 20
"""Finite steps below which nothing is told."""
BROKEN = 3
"""Steps that are not finite; fewer may be bad data."""
STILL, NEAR, FAR = 0.03, 0.3, 1.2
"""How far a weight has travelled: below 0.03, not beyond what it started with, a rate is too small, whatever the loss
says; below 0.3 where little was promised too; above 1.2 it is not too small."""
TIMID = 14.0
"""Who promised less than 14 times the loss may have been too slow."""
BEGUN, GOOD = 0.4, 0.75
"""What has been kept, of the loss: below 0.4 there is more to gain; above 0.75 there is no trouble with the rate, for a
loss that is not negative can gain a third of that at most."""
MORE = 0.3
"""Share of its fall that ten times the way would gain where a run is too slow."""
BESIDE = 0.1
"""Beside that gain, or the fall, what noise can keep the loss up by is little."""
GAINED, FALLEN = 0.1, 0.2
"""A fall below which nothing has been gained; and below which little has, where the point leapt before."""
LEARNT = 0.005
"""Whose validation loss has fallen by more does not lie on a plateau."""
YIELDED, HIDDEN = 0.02, 0.03
"""A share of what was promised below which there is no slope to go down; and what noise can keep the loss up by where
it might hide one."""
NARROW, SOME = 0.14, 4
"""A gradient whose norm is now and then a seventh of its usual size has one component or two, which chance can bring
near 0 (the 5 % quantile of |N(0, 1)| is 0.09 of its median, of two components 0.27, of ten 0.65): most weights have
none. In a batch of fewer than 4 samples, gradients of two may cancel."""
CALMED = 8.0
"""A gradient that was eight times as large before: the point was thrown to where the loss does not move."""
CLIMBED = 3.0
"""A rise above the start by more standard errors than that is no chance."""
RISE, LEAPT = 0.5, 10.0
"""A loss that was so far above its start has had too large a rate where there is no noise; and though it has fallen
since."""
DWARFED, SHRUNK = 0.055, 0.0125
"""Coherence of Adam's steps below which the second moment remembers an explosion; and one that no noise makes."""
VARIED, FEW = 0.15, 6
"""Share of their mean by which losses of batches differ where noise is at work, which of fewer than 6 samples it always
is. Where the point was thrown to a region in which units are dead or saturated, the outputs hardly depend on the batch
any more, and so does the loss."""
CALM = 30.0
"""Where nothing was gained, noise is enough to explain promises of less than 30 times the loss, and more where the loss
never climbed."""
HOVERS = 0.25
"""Share of the fall by which noise keeps the loss up."""
RISEN, ALL = 0.1, 1.0
"""Of its fall the validation loss regains so much where a run overfits; and where nothing is to be mended before."""


class Indicator(NamedTuple):
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
    evidence: tuple[Indicator, ...]
    advice: str

    def words(self) -> str:
        """The finding in words, its numbers after."""
        numbers = "; ".join(f"{e.words} {e.value:.3g} (fault from {e.limit:.3g})" for e in self.evidence)
        return f"{self.kind.capitalize()}. {self.sentence} {self.advice}\n    {numbers}."


def undecided(steps: int) -> Finding:
    """Of a run that has so few finite steps."""
    few = Indicator("finite steps", steps, ENOUGH)
    return Finding(UNDECIDED, "Too short to tell.", (few,), f"Look again after {ENOUGH} steps or more.")


def exploded(record: Record, broken: int, rewinds: Sequence[Event]) -> Finding:
    """Of a run with so many steps that are not finite, to which the guard went back so often."""
    evidence = [Indicator("steps whose loss, gradient or update is not finite", broken, BROKEN)]
    evidence += [Indicator("times that the guard went back", len(rewinds), 1)] if rewinds else []
    seen = f" The guard says: {rewinds[-1].seen}." if rewinds else ""
    return Finding(EXPLODING, f"The loss exploded.{seen}", tuple(evidence), _slower(record))


def too_slow(record: Record, s: Symptoms) -> Finding:
    """A greater rate would have brought the loss lower."""
    evidence = (
        _promised(s, TIMID),
        _kept(s, GOOD),
        Indicator("share of its fall that the loss would gain on ten times the way", s.left, MORE),
        _noise(s),
        Indicator("way of a weight", s.travelled, NEAR),
    )
    sentence = "The rate is too small: the loss was still to fall, and the steps did not take it far enough."
    return Finding(TOO_SLOW, sentence, evidence, f"Try {_rates(record, 3, 10)}; find_lr measures it.")


def plateau(s: Symptoms) -> Finding:
    """The loss has not moved, though nothing threw the point."""
    kept = Indicator("share of what was promised that the loss fell by, at most", s.yielded, YIELDED)
    narrow = Indicator("gradient norm when it is small, relative to what it usually is", s.narrow, NARROW)
    evidence = (_kept(s, GAINED), kept, narrow, _promised(s, TIMID), _burst(s))
    sentence = "The loss has not moved, though the steps were long enough: the start lies on a plateau."
    advice = (
        "Look at the start before the rate: the scale of the initial weights, units that are never on or always "
        "saturated, data that is not normalised, targets that do not belong to their inputs."
    )
    return Finding(PLATEAU, sentence, evidence, advice)


def thrown(record: Record, s: Symptoms) -> Finding:
    """Large steps have gained nothing."""
    rise = Indicator("greatest rise of the loss above its start, in losses of the start", s.rise, RISE)
    sentence = "The loss ends no lower than it began: large steps threw the point to where it does not recover."
    return Finding(EXPLODING, sentence, (_kept(s, GAINED), _promised(s, TIMID), rise), _slower(record))


def oscillating(record: Record, s: Symptoms) -> Finding:
    """A smaller rate would have brought the loss lower, and it is not the noise."""
    memory = Indicator("steps relative to those that equal gradients would make", s.coherence, DWARFED)
    swings = max(s.fall - s.kept, s.swing) / max(s.fall, TINY)
    regained = Indicator("share of its greatest fall that the loss swings by or has regained", swings, RISEN)
    evidence = (_kept(s, GOOD), _promised(s, TIMID), memory if s.coherence < DWARFED else regained)
    why = "the batch is the whole data" if s.full else "the gradients have shrunk since large steps threw the point"
    sentence = f"The rate is too large: the steps promised far more than they kept, and it is not noise, for {why}."
    return Finding(OSCILLATING, sentence, evidence, f"Try {_rates(record, 1 / 3, 1 / 10)}, or a warmup before it.")


def noise_floor(record: Record, s: Symptoms) -> Finding:
    """A larger batch or a rate that falls would have brought the loss lower."""
    varied = Indicator("deviation of the batches' losses, relative to their mean", s.varied, VARIED)
    few = Indicator("samples of a batch", s.batch, FEW)
    evidence = (_noise(s), varied, few, _kept(s, GOOD), _promised(s, TIMID))
    sentence = "The noise of the batches keeps the loss up: the steps follow chance more than the slope."
    batch = record.config.batch_size
    larger = f"batches of {8 * batch} instead of {batch}" if isinstance(batch, int) else "batches eight times as large"
    advice = (
        f"Try {larger}, or {_rates(record, 1 / 3, 1 / 10)}; a schedule that falls to 0, such as cosine, ends the noise."
    )
    return Finding(NOISE_FLOOR, sentence, evidence, advice)


def overfitting(s: Symptoms) -> Finding:
    """The validation loss rises while the training loss falls."""
    lost = Indicator("share of the validation loss's fall that was lost again", s.lost, RISEN)
    sentence = "The validation loss has risen from its least while the training loss fell on."
    advice = (
        'Keep the best point (keep="best") or stop there (stop_after=); weight decay, augmentation or more data help.'
    )
    return Finding(OVERFITTING, sentence, (lost, _kept(s, GOOD)), advice)


def healthy(s: Symptoms) -> Finding:
    """None of these."""
    evidence = (_kept(s, GOOD), _promised(s, TIMID), _noise(s))
    return Finding(HEALTHY, "No fault is seen.", evidence, "Nothing needs to change.")


def _promised(s: Symptoms, limit: float) -> Indicator:
    return Indicator("fall that the steps promised, in losses of the start", s.promised, limit)


def _kept(s: Symptoms, limit: float) -> Indicator:
    return Indicator("fall of the loss, in losses of the start", s.kept, limit)


def _noise(s: Symptoms) -> Indicator:
    return Indicator("share of the fall by which noise keeps the loss up", s.noise / max(s.fall, TINY), HOVERS)


def _burst(s: Symptoms) -> Indicator:
    return Indicator("greatest gradient norm, relative to the later ones", s.burst, CALMED)


def _rates(record: Record, *factors: float) -> str:
    """The base rate times these, where it is known."""
    lr = record.config.lr
    if not isinstance(lr, int | float):
        return f"the rate × {factors[0]:.2g} to × {factors[-1]:.2g}"
    return f"lr={factors[0] * lr:.2g} to {factors[-1] * lr:.2g} instead of {lr:.3g}"


def _slower(record: Record) -> str:
    return f"Try {_rates(record, 1 / 10, 1 / 30)}, or find_lr, which measures it; a warmup or clip= help at the start."
