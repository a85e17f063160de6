"""Which of many kinds of faults a run survives with the guard: rates, gradients, data, weights, moments, buffers.

The kinds are in groups, each with problems of its own: what the guard does was chosen on the first, and the others are
run once each: "report", and "second report" after what that one showed had been mended. Faults that happen at a moment
happen once: a step that is repeated later is not affected again. Bad data belong to steps t.
"""

import argparse
import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.guard.faults import BadData, Batch, in_update, last_healthy, outcome_of
from benchmarks.guard.healthy.training import CHOICE, REPORT
from benchmarks.guard.survivors import KEY, Survival, lines
from benchmarks.guard.trials import Fault, Wrapper
from benchmarks.parts import Options, Outcomes, Study
from benchmarks.problems.problems import GROUPS, find
from steepest.descent.loop import Descent
from steepest.records.run import Step

TITLE = "Surviving many kinds of faults"
SEEDS = (0, 1)
SPREAD_SEEDS = range(4)
SECOND_REPORT = "second report"
PROBLEMS = {
    CHOICE: ("tuning", ("autoencoder-adam", "parity-momentum", "letters-rmsprop")),
    REPORT: ("reported", ("dense-adam", "conv-momentum", "text-adam")),
    SECOND_REPORT: ("reported", ("dense-momentum", "conv-adam", "rows-adam")),
}
METHODS = ("plain loop", "no guard", "guard")


class Moment(Fault):
    """Something changes between two steps, once."""

    def __init__(self, change: Callable[[Descent], None]) -> None:
        self._change = change

    def begin(self, descent: Descent) -> None:
        self._descent, self._waits = descent, True

    def after(self, step: Step) -> None:
        if self._waits and step.t >= last_healthy(self._descent):
            self._waits = False
            with torch.no_grad():
                self._change(self._descent)


class Span(Fault):
    """Something is wrong for a number of executed steps, whichever they are, and only once.

    Args:
        steps: how many.
        begin: changes the descent; what it adds asks `on()`, the number of the faulty step from 1, 0 before and after.
    """

    def __init__(self, steps: int, begin: Callable[[Descent, Callable[[], int]], None]) -> None:
        self._steps, self._begin = steps, begin

    def begin(self, descent: Descent) -> None:
        self._last, self._number = last_healthy(descent), 0
        self._begin(descent, lambda: self._number if self._number <= self._steps else 0)

    def after(self, step: Step) -> None:
        if self._number or step.t >= self._last:
            self._number += 1


# -- Rates and other hyperparameters -----------------------------------------------------------------------------------


def _rate(factor: Callable[[int], float]) -> Callable[[Descent, Callable[[], int]], None]:
    return lambda descent, on: in_update(descent, lambda t: factor(on()) if on() else 1.0)


class _OtherHypers(Wrapper):
    """An update with other hyperparameters while a fault lasts."""

    def __init__(self, own: Any, on: Callable[[], int], values: Mapping[str, float]) -> None:
        super().__init__(own)
        self._on, self._values = on, values

    def advance(self, hypers: Mapping[str, Any], scale: float = 1.0) -> float:
        other = {name: x for name, x in self._values.items() if name in hypers} if self._on() else {}
        return self.own.advance({**hypers, **other}, scale)


def _hypers(**values: float) -> Callable[[Descent, Callable[[], int]], None]:
    def begin(descent: Descent, on: Callable[[], int]) -> None:
        descent.update = _OtherHypers(descent.update, on, values)

    return begin


# -- Gradients ---------------------------------------------------------------------------------------------------------


class _OtherGradient(Wrapper):
    """An objective whose gradients are changed while a fault lasts."""

    def __init__(self, own: Any, tensors: list[Tensor], on: Callable[[], int], change: Callable[..., None]) -> None:
        super().__init__(own)
        self._tensors, self._on, self._change = tensors, on, change

    def gradient(self, *arguments: Any) -> float:
        loss = self.own.gradient(*arguments)
        if self._on():
            with torch.no_grad():
                self._change([p.grad for p in self._tensors if p.grad is not None])
        return loss


def _gradient(change: Callable[[list[Tensor]], None]) -> Callable[[Descent, Callable[[], int]], None]:
    def begin(descent: Descent, on: Callable[[], int]) -> None:
        descent.objective = _OtherGradient(descent.objective, list(descent.space.tensors()), on, change)

    return begin


def _each(change: Callable[[Tensor], Any]) -> Callable[[list[Tensor]], None]:
    def apply(gradients: list[Tensor]) -> None:
        for g in gradients:
            change(g)

    return apply


def _overflow(g: Tensor) -> None:
    """As float16 holds it: what is beyond a third of the largest entry becomes infinite."""
    g[g.abs() > g.abs().max() / 3] = math.inf


def _enlarge_last(gradients: list[Tensor]) -> None:
    gradients[-2].mul_(1000.0)


def _noise_on(g: Tensor) -> None:
    g.add_(torch.randn(g.shape, generator=torch.Generator().manual_seed(g.numel())), alpha=100 * float(g.std()) + 1e-8)


def _negate_first(gradients: list[Tensor]) -> None:
    gradients[0].neg_()


def _half(g: Tensor) -> None:
    """Through float16 with a loss scale that is too large."""
    scale = 2.0**20
    g.copy_((g * scale).half().float() / scale)


# -- Data --------------------------------------------------------------------------------------------------------------


def _inputs(change: Callable[[Tensor], Tensor]) -> Callable[[Batch, torch.Generator], Batch]:
    return lambda batch, random: (change(batch[0]), batch[1])


def _targets(change: Callable[[Tensor], Tensor]) -> Callable[[Batch, torch.Generator], Batch]:
    return lambda batch, random: (batch[0], change(batch[1]))


def _first(x: Tensor) -> Tensor:
    """The first sample in place of all."""
    return x[:1].expand_as(x).clone()


def _with(value: float) -> Callable[[Tensor], Tensor]:
    def change(x: Tensor) -> Tensor:
        x = x.clone()
        x.view(-1)[0] = value
        return x

    return change


# -- Weights, moments and buffers --------------------------------------------------------------------------------------


def _matrices(descent: Descent) -> list[Tensor]:
    return [p for p in descent.space.tensors() if p.dim() > 1]


def _spoil_one(factor: float) -> Callable[[Descent], None]:
    def change(descent: Descent) -> None:
        weights = _matrices(descent)[-1].view(-1)
        weights[weights.abs().argmax()] *= factor

    return change


def _zero_layer(descent: Descent) -> None:
    _matrices(descent)[-1].zero_()


def _add_noise(descent: Descent) -> None:
    random = torch.Generator().manual_seed(1)
    for p in _matrices(descent):
        p.add_(torch.randn(p.shape, generator=random) * p.std())


def _negate_layer(descent: Descent) -> None:
    _matrices(descent)[0].neg_()


def _enlarge_layer(descent: Descent) -> None:
    _matrices(descent)[0].mul_(30.0)


def _keep_signs(descent: Descent) -> None:
    for p in _matrices(descent):
        p.copy_(p.sign() * p.abs().mean())


def _drop_half(descent: Descent) -> None:
    random = torch.Generator().manual_seed(1)
    for p in _matrices(descent):
        p.mul_((torch.rand(p.shape, generator=random) < 0.5).to(p.dtype))


def _moments(change: Callable[[Tensor], Any], last: bool = False) -> Callable[[Descent], None]:
    """Changes the rule's memory: all of it, or its last part, which for Adam is the second moment."""

    def apply(descent: Descent) -> None:
        slots = list(descent.update.slots.values())
        for slot in slots[-1:] if last else slots:
            for x in slot.values():
                change(x)

    return apply


def _permute(x: Tensor) -> None:
    order = torch.randperm(x.numel(), generator=torch.Generator().manual_seed(x.numel()))
    x.copy_(x.reshape(-1)[order].view_as(x))


def _frozen_norm(name: str, value: float) -> Callable[[Descent, Callable[[], int]], None]:
    """Batch norm in evaluation mode with wrong statistics."""

    def begin(descent: Descent, on: Callable[[], int]) -> None:
        norms = [m for m in descent.model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]

        def enter(module: nn.Module, inputs: Any) -> None:
            if on() == 1:
                getattr(module, name).fill_(value)
            module.training = module.training and not on()

        for norm in norms:
            norm.register_forward_pre_hook(enter)
            norm.register_forward_hook(
                lambda module, inputs, output: setattr(module, "training", descent.model.training)
            )

    return begin


Make = Callable[[], Fault]
KINDS: dict[str, dict[str, Make]] = {
    CHOICE: {
        "lr doubles every 10 steps, 100 steps": lambda: Span(100, _rate(lambda n: 2.0 ** (n // 10))),
        "one step at lr × 1000": lambda: Span(1, _rate(lambda n: 1000.0)),
        "momentum of 0.999, 100 steps": lambda: Span(100, _hypers(beta=0.999, beta1=0.999)),
        "gradient negated, 20 steps": lambda: Span(20, _gradient(_each(Tensor.neg_))),
        "gradient × 65,536, 5 steps": lambda: Span(5, _gradient(_each(lambda g: g.mul_(65536.0)))),
        "large gradients infinite, 10 steps": lambda: Span(10, _gradient(_each(_overflow))),
        "inputs × 100, 30 steps": lambda: BadData(_inputs(lambda x: 100 * x), 30),
        "inputs of 0, 50 steps": lambda: BadData(_inputs(torch.zeros_like), 50),
        "one label for all, 50 steps": lambda: BadData(_targets(_first), 50),
        "NaN in every fifth batch, 100 steps": lambda: BadData(_inputs(_with(math.nan)), 100, stride=5),
        "a weight × 10,000": lambda: Moment(_spoil_one(1e4)),
        "the last layer is 0": lambda: Moment(_zero_layer),
        "noise as large as the weights": lambda: Moment(_add_noise),
        "moments × 1000": lambda: Moment(_moments(lambda x: x.mul_(1000.0))),
        "the last moment is 0": lambda: Moment(_moments(Tensor.zero_, last=True)),
        "frozen batch norm with variance 0, 50 steps": lambda: Span(50, _frozen_norm("running_var", 1e-10)),
    },
    REPORT: {
        "lr × 30, 100 steps": lambda: Span(100, _rate(lambda n: 30.0)),
        "lr doubles every 3 steps, 30 steps": lambda: Span(30, _rate(lambda n: 2.0 ** (n // 3))),
        "weight decay of 5, 50 steps": lambda: Span(50, _hypers(weight_decay=5.0)),
        "gradient of the last layer × 1000, 30 steps": lambda: Span(30, _gradient(_enlarge_last)),
        "noise of 100 × the gradient, 30 steps": lambda: Span(30, _gradient(_each(_noise_on))),
        "gradient through float16, scale too large, 20 steps": lambda: Span(20, _gradient(_each(_half))),
        "inputs in another unit, 50 steps": lambda: BadData(_inputs(lambda x: 20 * x + 5), 50),
        "one sample in place of all, 50 steps": lambda: BadData(
            lambda batch, random: (_first(batch[0]), _first(batch[1])), 50
        ),
        "labels of the next sample, 100 steps": lambda: BadData(_targets(lambda y: y.roll(1, 0)), 100),
        "inf in every third batch, 60 steps": lambda: BadData(_inputs(_with(math.inf)), 60, stride=3),
        "an exponent's bit flipped in a weight": lambda: Moment(_spoil_one(2.0**64)),
        "the first layer negated": lambda: Moment(_negate_layer),
        "half of the weights are 0": lambda: Moment(_drop_half),
        "the last moment × 1e-6": lambda: Moment(_moments(lambda x: x.mul_(1e-6), last=True)),
        "moments in another order": lambda: Moment(_moments(_permute)),
        "moments are NaN": lambda: Moment(_moments(lambda x: x.fill_(math.nan))),
        "frozen batch norm with mean 10,000, 50 steps": lambda: Span(50, _frozen_norm("running_mean", 1e4)),
    },
    SECOND_REPORT: {
        "lr × 300, 5 steps": lambda: Span(5, _rate(lambda n: 300.0)),
        "lr grows 5 % a step, 120 steps": lambda: Span(120, _rate(lambda n: 1.05**n)),
        "momentum of 0.9999, 60 steps": lambda: Span(60, _hypers(beta=0.9999, beta1=0.9999)),
        "weight decay of −2, 40 steps": lambda: Span(40, _hypers(weight_decay=-2.0)),
        "gradient × 1,000, 15 steps": lambda: Span(15, _gradient(_each(lambda g: g.mul_(1000.0)))),
        "gradient of the first layer negated, 40 steps": lambda: Span(40, _gradient(_negate_first)),
        "gradient is NaN, 3 steps": lambda: Span(3, _gradient(_each(lambda g: g.fill_(math.nan)))),
        "inputs negated, 60 steps": lambda: BadData(_inputs(Tensor.neg), 60),
        "features in another order, 60 steps": lambda: BadData(_inputs(lambda x: x.flip(-1)), 60),
        "inputs × 1,000 in every tenth batch, 100 steps": lambda: BadData(_inputs(lambda x: 1000 * x), 100, stride=10),
        "−inf in every fourth batch, 80 steps": lambda: BadData(_inputs(_with(-math.inf)), 80, stride=4),
        "labels backwards within the batch, 80 steps": lambda: BadData(_targets(lambda y: y.flip(0)), 80),
        "a weight is NaN": lambda: Moment(_spoil_one(math.nan)),
        "only signs of the weights are left": lambda: Moment(_keep_signs),
        "the first layer × 30": lambda: Moment(_enlarge_layer),
        "moments negated": lambda: Moment(_moments(Tensor.neg_)),
        "moments × 0.001": lambda: Moment(_moments(lambda x: x.mul_(1e-3))),
        "frozen batch norm with variance 1,000,000, 50 steps": lambda: Span(50, _frozen_norm("running_var", 1e6)),
    },
}


def _problems(options: Options) -> list[Any]:
    group, names = PROBLEMS[options.group]
    return find(options.problems or names, GROUPS[group])


def _work(outcomes: Outcomes, options: Options) -> None:
    """Runs the missing trials, and the runs without a fault that they are compared with."""
    kinds = KINDS[options.group]
    chosen_seeds = options.seeds or SEEDS
    for problem in _problems(options):
        runs: list[tuple[str, Make, str, int]] = [
            ("nothing", Fault, "no guard", s) for s in sorted({*SPREAD_SEEDS, *chosen_seeds})
        ]
        for seed in chosen_seeds:
            runs += [(name, make, m, seed) for name, make in kinds.items() for m in METHODS]
        for name, make, method, seed in runs:
            run = functools.partial(outcome_of, problem, make, method, seed)
            outcomes.add((problem.name, name, method, seed), run)


def _lines(outcomes: Outcomes, options: Options) -> list[str]:
    survival = Survival(outcomes, [p.name for p in _problems(options)], ["nothing", *KINDS[options.group]])
    return lines(survival, options.details)


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--group", choices=tuple(KINDS), default=REPORT)


STUDY = Study("fault_kinds", KEY, _work, _lines, _add_options)
measure, main = STUDY.measure, STUDY.main
