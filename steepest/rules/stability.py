"""The largest curvature at which an update rule is stable: above it, steps grow instead of shrinking.

On a quadratic of curvature λ, with the preconditioner P (the rule's scale of each weight) constant, one step is a
linear map of the weight and the rule's state. The limit is the largest λ / P at which no eigenvalue of that map is
outside the unit circle. For all these rules the eigenvalue −1 is the first to leave it: the weight oscillates.
Full-batch training drives the sharpness up to the limit and stays there, at the edge of stability (Cohen et al. 2021,
arXiv:2103.00065; for adaptive rules, 2022, arXiv:2207.14484).

    sharpness        λmax(P^(-1/2) H P^(-1/2)), with P = 1 that of H
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from steepest.errors import InputError
from steepest.rules.rule import Rule
from steepest.rules.textbook import RULES
from steepest.rules.update import Update

FINAL_SHARE = 0.1
"""Share of a run's steps, at its end, whose largest learning rate is the one in use."""
LONG_RUN_STEPS = 1e9
"""Steps after which the start of a run has no effect on a rule."""

Hypers = Mapping[str, float]


@dataclass(frozen=True)
class Limit:
    """The largest sharpness at which a rule is stable.

    Attributes:
        value: the limit of λmax(P^(-1/2) H P^(-1/2)).
        formula: the formula of the limit.
        lr: the learning rate.
        preconditioned: whether P differs from 1, that is, the rule scales each weight by its gradients.
    """

    value: float
    formula: str
    lr: float
    preconditioned: bool


def limit(rule: Rule, lr: float, t: int | None = None) -> Limit | None:
    """The largest sharpness at which a rule is stable; None if the rule has no limit or it is unknown.

    Sign rules have no limit: the length of their steps does not depend on the gradient, so they oscillate with an
    amplitude of about lr in any valley and never diverge. The limits of user-defined rules are unknown. Weight decay
    that a rule adds to its gradient (all but AdamW and schedule-free AdamW) is curvature: measure H + weight_decay · 1.

    Args:
        rule: the rule with its hyperparameters.
        lr: the learning rate in use, schedule included.
        t: steps that the rule has taken, on which NAdam's momentum depends; None for a long run.

    Raises:
        InputError: lr is not positive, or a hyperparameter is a schedule.

    >>> from steepest.rules.textbook import adam, lion, momentum
    >>> round(limit(adam, lr=1e-3).value), round(limit(momentum(beta=0.5), lr=0.1).value), limit(lion, lr=1e-4)
    (38000, 30, None)
    """
    if not (math.isfinite(lr) and lr > 0):
        raise InputError(f"lr must be positive, got {lr}")
    if rule.name not in _LIMITS or not _is_builtin(rule):
        return None
    formula, value = _LIMITS[rule.name]
    hypers = {**rule.hypers, "lr": lr, "t": LONG_RUN_STEPS if t is None else t}
    for name, hyper in hypers.items():
        if not isinstance(hyper, int | float):
            raise InputError(f"{name} of {rule.name} must be a number, got {hyper!r}. Pass its value at this step.")
    return Limit(value(hypers), formula, lr, rule.name in _SCALES)


def preconditioner(update: Update, hypers: Hypers) -> Tensor:
    """P [N]: the divisor of each weight's step, relative to the learning rate.

    For Adam (1 − β₁ᵗ) (√v̂ + ε), for gradient descent 1; a group's `lr_scale` divides it.

    Args:
        update: the update of one point, after at least one step.
        hypers: hyperparameters in use.

    Returns:
        float64, in the order of the point's parameters, as in `Space.gather`.

    Raises:
        InputError: the update has members, has taken no step, or its rule is not one of Steepest's.
    """
    if update.members is not None or update.t < 1:
        raise InputError("a preconditioner needs an update of one point (no members) that has taken a step")
    if not _is_builtin(update.rule):
        raise InputError(f"rule must be one of Steepest's (the scaling of others is unknown), got {update.rule.name}")
    scale = _SCALES.get(update.rule.name)
    slots, parts = update.slots, []
    point = update.point
    for place, (name, p, row) in enumerate(zip(point.names, point.tensors(), point.rows, strict=True)):
        own = {**hypers, **point.overrides[row], "t": max(1, update.steps(place))}
        memory = {slot: by[name].detach().double().reshape(-1) for slot, by in slots.items()}
        one = torch.ones(p.numel(), dtype=torch.float64, device=p.device)
        parts.append((one if scale is None else scale(memory, own)) / own.get("lr_scale", 1.0))
    return torch.cat([part.to(parts[0].device) for part in parts])


class PreconditionedHessian:
    """P^(-1/2) H P^(-1/2) as a linear operator, for eigenvalue solvers.

    Attributes:
        shape: (N, N).
        dtype, device: those of the Hessian.

    Args:
        hessian: H, with `hessian @ v`.
        p: P [N], positive.
        decay: weight decay that the rule adds to the gradient, a number or [N]: H + decay · 1 replaces H.

    Raises:
        InputError: P has another length or is not positive.
    """

    def __init__(self, hessian: Any, p: Tensor, decay: float | Tensor = 0.0) -> None:
        self.shape, self.dtype, self.device = hessian.shape, hessian.dtype, hessian.device
        if p.shape != (self.shape[0],):
            raise InputError(f"P must have shape ({self.shape[0]},), got {tuple(p.shape)}")
        if not bool((p > 0).all()):
            raise InputError(f"P must be positive, got {int((p <= 0).sum())} entries ≤ 0: weights without a gradient")
        self._hessian, self._decay = hessian, decay
        self._root = p.to(self.device, self.dtype).rsqrt()

    def __matmul__(self, v: Tensor) -> Tensor:
        u = self._root * v
        return self._root * (self._hessian @ u + self._decay * u)


# -- Limits: the curvature at which an eigenvalue of the map is −1 -----------------------------------------------------


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
    "radam": ("2 (1 + β₁) / ((1 − β₁) lr)", _adam),
    "adopt": ("2 (1 + β₁) / ((1 − β₁) lr)", _adam),
    # Late in a run, when its average hardly changes; H is the Hessian at w, where the gradient is computed.
    "schedule_free_adamw": (
        "2 / ((1 − β₁) lr) − weight_decay", lambda h: 2 / ((1 - h["beta1"]) * h["lr"]) - h["weight_decay"],
    ),
}  # fmt: skip


# -- Scales: the divisors in the rules' formulas -----------------------------------------------------------------------


def _root(slot: str) -> Callable[[Mapping[str, Tensor], Hypers], Tensor]:
    return lambda memory, h: memory[slot].sqrt() + h["eps"]


def _bias_corrected_root(slot: str, momentum: bool) -> Callable[[Mapping[str, Tensor], Hypers], Tensor]:
    """√(slot / (1 − β₂ᵗ)) + ε; the bias correction of the momentum increases the step, so it decreases P."""

    def scale(memory: Mapping[str, Tensor], h: Hypers) -> Tensor:
        root = (memory[slot] / (1 - h["beta2"] ** h["t"])).sqrt() + h["eps"]
        return root * (1 - h["beta1"] ** h["t"]) if momentum else root

    return scale


def _rectified_root(memory: Mapping[str, Tensor], h: Hypers) -> Tensor:
    """(1 − β₁ᵗ) (√v + ε) / (r √(1 − β₂ᵗ)), r the rectification; 1 − β₁ᵗ as long as RAdam does not divide."""
    beta2, t = h["beta2"], h["t"]
    end = 2 / (1 - beta2) - 1
    rho = end - 2 * t * beta2**t / (1 - beta2**t)
    if rho <= 5:
        return torch.full_like(memory["v"], 1 - h["beta1"] ** t)
    rectification = math.sqrt((rho - 4) * (rho - 2) * end / ((end - 4) * (end - 2) * rho))
    root = (memory["v"].sqrt() + h["eps"]) / math.sqrt(1 - beta2**t)
    return root * (1 - h["beta1"] ** t) / rectification


_SCALES: dict[str, Callable[[Mapping[str, Tensor], Hypers], Tensor]] = {
    "adagrad": _root("s"),
    "rmsprop": _root("v"),
    "adam": _bias_corrected_root("v", momentum=True),
    "adamw": _bias_corrected_root("v", momentum=True),
    "amsgrad": _bias_corrected_root("v_max", momentum=True),
    "nadam": _bias_corrected_root("v", momentum=False),  # its correction vanishes within a few tens of steps
    "adamax": lambda memory, h: memory["u"] * (1 - h["beta1"] ** h["t"]),
    "radam": _rectified_root,
    "adopt": lambda memory, h: memory["v"].sqrt().clamp(min=h["eps"]),
    "schedule_free_adamw": _bias_corrected_root("v", momentum=False),
}


def _is_builtin(rule: Rule) -> bool:
    """Whether a rule is the built-in one of its name, with or without an average of the weights."""
    builtin = RULES.get(rule.name)
    return builtin is not None and (rule.formula is builtin.formula or "average_beta" in rule.hypers)
