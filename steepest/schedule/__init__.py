"""Learning-rate schedules: functions (t, T) → factor of the base learning rate, t = 1 … T, and their algebra.

    warmup("5%") >> cosine(floor=0.1)       one after the other; a part without length takes the rest
    cosine * step("30 epochs")              the product at each step; binds before >>
    0.9 * cosine                            scaled, as for other hyperparameters

A schedule is a value. It prints as the text that makes it, and `parse` reads that text, which the command line, the
stored run and the page use. Lengths are steps, epochs or shares of the whole run; they become steps when the schedule
is bound to a run, so the same schedule fits a longer run.

>>> from steepest.schedule import cosine, parse, warmup
>>> schedule = warmup("5%") >> cosine(floor=0.1)
>>> str(schedule), parse(str(schedule)) == schedule
('warmup(5%) >> cosine(floor=0.1)', True)
>>> factor = schedule.bind(T=100, steps_per_epoch=10)
>>> factor(1), factor(5), factor(100)
(0.2, 1.0, 0.1)
"""

from steepest.schedule.algebra import Bound, Schedule
from steepest.schedule.arguments import Length
from steepest.schedule.cycles import cosine_cycles, cosine_restarts, cyclic, one_cycle
from steepest.schedule.parser import as_schedule, parse
from steepest.schedule.plateau import plateau
from steepest.schedule.shapes import (
    constant,
    cooldown,
    cosine,
    custom,
    exponential,
    inverse_sqrt,
    linear,
    multistep,
    polynomial,
    step,
    warmup,
)  # fmt: skip

__all__ = [
    "Bound", "Length", "Schedule", "as_schedule", "constant", "cooldown", "cosine", "cosine_cycles", "cosine_restarts",
    "custom", "cyclic", "exponential", "inverse_sqrt", "linear", "multistep", "one_cycle", "parse", "plateau",
    "polynomial", "step", "warmup",
]  # fmt: skip
