"""How sharp a valley an update rule bears: above that curvature, steps grow instead of shrinking.

On a quadratic of curvature λ with P, a rule's own scale of each weight, held still, one step is a linear map of the
weight and the rule's memory. The largest λ / P whose map has no eigenvalue outside the unit circle is the rule's limit;
in all these rules it is an eigenvalue −1 that leaves first: the weight swings from side to side. Full-batch training
drives the sharpness up to the limit and stays there, at the edge of stability (Cohen et al. 2021, arXiv:2103.00065;
for adaptive rules, 2022, arXiv:2207.14484).

    sharpness        λmax(P^(-1/2) H P^(-1/2)), with P = 1 that of H
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from steepest.errors import InputError
from steepest.rules.rule import Rule
from steepest.rules.textbook import RULES
from steepest.rules.update import Update

END = 0.1
"""Share of a run's steps, at its end, whose largest rate is the one in use."""
LONG = 1e9
"""Steps after which nothing of a rule's start is left."""

Hypers = Mapping[str, float]


@dataclass(frozen=True)
class Limit:
    """The sharpness that a rule bears at a rate.

    Attributes:
        value: of λmax(P^(-1/2) H P^(-1/2)).
        formula: that it follows from.
        lr: the rate.
        preconditioned: whether P differs from 1: whether the rule scales each weight by its gradients.
    """

    value: float
    formula: str
    lr: float
    preconditioned: bool


def limit(rule: Rule, lr: float, t: int | None = None) -> Limit | None:
    """The sharpness up to which a rule is stable; None where a rule has no limit, or none is known.

    Sign rules have none: their steps are as long on the flattest slope, so they neither settle nor run away, and swing
    by about the rate in any valley. Rules of one's own are not known. Weight decay that a rule puts into its gradient
    (all but AdamW and the schedule-free one) is curvature like any other: measure H + weight_decay · 1 then.

    Args:
        rule: with its hyperparameters.
        lr: rate in use, schedule included; `effective_rate` finds that of a run.
        t: steps that the rule has taken, which NAdam's momentum depends on; None is a long run.

    Raises:
        InputError: a rate that is not above 0, or a hyperparameter that is a schedule.

    >>> from steepest.rules.textbook import adam, lion, momentum
    >>> round(limit(adam, lr=1e-3).value), round(limit(momentum(beta=0.5), lr=0.1).value), limit(lion, lr=1e-4)
    (38000, 30, None)
    """
    if not (math.isfinite(lr) and lr > 0):
        raise InputError(f"lr={lr} is given; expected is the rate in use, a number above 0")
    found = _LIMITS.get(rule.name)
    if found is None or not _is_ours(rule):
        return None
    formula, value = found
    hypers = {**rule.hypers, "lr": lr, "t": LONG if t is None else t}
    for name, given in hypers.items():
        if not isinstance(given, int | float):
            raise InputError(
                f"{name} of {rule.name} is {given!r}; expected is a number: its value where the limit is asked"
            )
    return Limit(value(hypers), formula, lr, rule.name in _SCALES)


def effective_rate(rates: Sequence[float]) -> float:
    """The largest rate of the last tenth of a run: after a cosine the last rate is 0, and bounds nothing.

    Args:
        rates: of each step, schedule included [T].

    Raises:
        InputError: no rates.

    >>> effective_rate([0.3, 0.2] + [0.1] * 17 + [0.0])
    0.1
    """
    if not len(rates):
        raise InputError("no rates are given; expected are those of a run's steps")
    return float(max(rates[-max(1, round(END * len(rates))) :]))


def preconditioner(update: Update, hypers: Hypers) -> Tensor:
    """P [N]: what a rule divides each weight's step by, relative to its rate.

    For Adam (1 − β₁ᵗ) (√v̂ + ε), for gradient descent 1; a group's `lr_scale` divides it.

    Args:
        update: of one point, after a step at least; its slots are read.
        hypers: hyperparameters in use.

    Returns:
        float64, in the order of the point's parameters, as `Space.gather` has them.

    Raises:
        InputError: members, no step yet, or a rule whose scale is not known.
    """
    if update.members is not None or update.t < 1:
        raise InputError("a preconditioner is that of one point after a step; take a step first, of one member")
    if not _is_ours(update.rule):
        raise InputError(f"rule {update.rule.name} is not one of Steepest's, so how it scales weights is not known")
    scale = _SCALES.get(update.rule.name)
    slots, parts = update.slots, []
    for name, p, row in zip(update.point.names, update.point.tensors(), update.point.rows, strict=True):
        own = {**hypers, **update.point.overrides[row], "t": update.t}
        memory = {slot: by[name].detach().double().reshape(-1) for slot, by in slots.items()}
        one = torch.ones(p.numel(), dtype=torch.float64, device=p.device)
        parts.append((one if scale is None else scale(memory, own)) / own.get("lr_scale", 1.0))
    return torch.cat([part.to(parts[0].device) for part in parts])


class Preconditioned:
    """P^(-1/2) H P^(-1/2), known by its products, for whoever finds eigenvalues.

    Attributes:
        shape: (N, N).
        dtype, device: as the Hessian has them.

    Args:
        hessian: H, by `hessian @ v`.
        p: P [N], above 0.
        decay: weight decay that the rule adds to the gradient: H + decay · 1 in place of H; a number or [N].

    Raises:
        InputError: P of another length, or not above 0.
    """

    def __init__(self, hessian: Any, p: Tensor, decay: float | Tensor = 0.0) -> None:
        self.shape, self.dtype, self.device = hessian.shape, hessian.dtype, hessian.device
        if p.shape != (self.shape[0],):
            raise InputError(f"P of shape {tuple(p.shape)} is given; the Hessian takes vectors of {self.shape[0]}")
        if not bool((p > 0).all()):
            raise InputError(
                f"P has {int((p <= 0).sum())} entries that are not above 0; those weights have no gradient"
            )
        self._hessian, self._decay = hessian, decay
        self._root = p.to(self.device, self.dtype).rsqrt()

    def __matmul__(self, v: Tensor) -> Tensor:
        u = self._root * v
        return self._root * (self._hessian @ u + self._decay * u)


# -- Limits: where the map's eigenvalue is −1 --------------------------------------------------------------------------


def _adam(h: Hypers) -> float:
    return 2 * (1 + h["beta1"]) / ((1 - h["beta1"]) * h["lr"])


def _adamw(h: Hypers) -> float:
    return (2 - h["lr"] * h["weight_decay"]) * (1 + h["beta1"]) / ((1 - h["beta1"]) * h["lr"])


def _nadam(h: Hypers) -> float:
    mu, after = (h["beta1"] * (1 - 0.5 * 0.96 ** (t * h["decay"])) for t in (h["t"], h["t"] + 1))
    return 2 * (1 + h["beta1"]) / ((after * (1 - h["beta1"]) + (1 - mu) * (1 + h["beta1"])) * h["lr"])


_LIMITS: dict[str, tuple[str, Callable[[Hypers], float]]] = {
    "gradient_descent": ("2 / lr", lambda h: 2 / h["lr"]),
    "momentum": ("(2 + 2β) / lr", lambda h: (2 + 2 * h["beta"]) / h["lr"]),
    "nesterov": ("(2 + 2β) / ((1 + 2β) lr)", lambda h: (2 + 2 * h["beta"]) / ((1 + 2 * h["beta"]) * h["lr"])),
    "adagrad": ("2 / lr", lambda h: 2 / h["lr"]),
    "rmsprop": ("2 / lr", lambda h: 2 / h["lr"]),
    "adam": ("2 (1 + β₁) / ((1 − β₁) lr)", _adam),
    "adamw": ("(2 − lr · weight_decay) (1 + β₁) / ((1 − β₁) lr)", _adamw),
    "amsgrad": ("2 (1 + β₁) / ((1 − β₁) lr)", _adam),
    "nadam": ("2 (1 + β₁) / ((μ (1 − β₁) + (1 − μ) (1 + β₁)) lr)", _nadam),
    "adamax": ("2 (1 + β₁) / ((1 − β₁) lr)", _adam),
    # Late in a run, when its average hardly moves; H is that at w, where the gradient is taken.
    "schedule_free_adamw": (
        "2 / ((1 − β₁) lr) − weight_decay", lambda h: 2 / ((1 - h["beta1"]) * h["lr"]) - h["weight_decay"],
    ),
}  # fmt: skip


# -- Scales: what the rules divide by, as their formulas have it -------------------------------------------------------


def _root(slot: str) -> Callable[[Mapping[str, Tensor], Hypers], Tensor]:
    return lambda memory, h: memory[slot].sqrt() + h["eps"]


def _freed(slot: str, momentum: bool) -> Callable[[Mapping[str, Tensor], Hypers], Tensor]:
    """√(slot / (1 − β₂ᵗ)) + ε; the momentum's own correction makes the rate larger, so it makes P smaller."""

    def scale(memory: Mapping[str, Tensor], h: Hypers) -> Tensor:
        root = (memory[slot] / (1 - h["beta2"] ** h["t"])).sqrt() + h["eps"]
        return root * (1 - h["beta1"] ** h["t"]) if momentum else root

    return scale


_SCALES: dict[str, Callable[[Mapping[str, Tensor], Hypers], Tensor]] = {
    "adagrad": _root("s"),
    "rmsprop": _root("v"),
    "adam": _freed("v", momentum=True),
    "adamw": _freed("v", momentum=True),
    "amsgrad": _freed("v_max", momentum=True),
    "nadam": _freed("v", momentum=False),  # its correction is over within a few tens of steps
    "adamax": lambda memory, h: memory["u"] * (1 - h["beta1"] ** h["t"]),
    "schedule_free_adamw": _freed("v", momentum=False),
}


def _is_ours(rule: Rule) -> bool:
    """Whether a rule is that of this name in `rules.py`, be it with a running average of the weights."""
    ours = RULES.get(rule.name)
    return ours is not None and (rule.formula is ours.formula or "average_beta" in rule.hypers)
