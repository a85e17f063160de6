"""The optimizers that torch has too: its arguments, options, state and errors, with our kernels."""

import functools
import inspect
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from steepest.optim import float32_steps
from steepest.optim.kernels import Formula
from steepest.optim.optimizer import KernelOptimizer
from steepest.rules import textbook, variants

MOMENTS = {"t": "step", "m": "exp_avg", "v": "exp_avg_sq"}
"""Where Adam's relatives keep the slots m and v."""


class TorchRule(KernelOptimizer):
    """An optimizer of torch, whose steps a kernel takes once torch has made the state.

    What a kernel may not be handed (sparse gradients, other devices and dtypes, `capturable` and `differentiable`, a
    GradScaler's `fused` form) is stepped by torch's own code.

    Args:
        args: torch's arguments.
        master_weights: whether weights in bfloat16 or float16 are stepped in float32: `state[p]["master_weight"]` and
            all other state are float32, and the weight is the master's rounding.
        stochastic_rounding: whether weights in bfloat16 are rounded stochastically, after a step in float32.
        options: torch's keyword arguments.

    Raises:
        InputError: weights in float16 cannot be rounded stochastically.
    """

    def __init__(
        self, *args: Any, master_weights: bool = False, stochastic_rounding: bool = False, **options: Any
    ) -> None:
        own = float32_steps.options(master_weights, stochastic_rounding)
        super().__init__(*args, **options)
        self.defaults |= own
        for group in self.param_groups:
            group.update({name: value for name, value in own.items() if name not in group})
            float32_steps.check(group, self._name)

    def __init_subclass__(cls) -> None:
        """Gives a class torch's signature, with the two options at its end."""
        super().__init_subclass__()
        if "__init__" not in vars(cls) and cls.__module__ == __name__:
            theirs = next(c.__init__ for c in cls.__mro__ if c.__module__.startswith("torch.optim"))
            cls.__init__ = _with_signature(theirs, TorchRule.__init__)  # type: ignore[method-assign]

    def _formula(self, group: Mapping[str, Any]) -> Formula | None:
        """What the options of a param group mean; None if torch has to take the step."""
        if group.get("differentiable") or group.get("capturable") or getattr(self, "grad_scale", None) is not None:
            return None
        rule, keys, hypers = self._choose(group)
        hypers = {"lr": float(group["lr"]), "weight_decay": float(group.get("weight_decay", 0.0)), **hypers}
        return Formula(rule, hypers, keys, -1.0 if group.get("maximize") else 1.0, float32_steps.rounding(group))

    def _step_left(self, groups: list[dict[str, Any]]) -> None:
        """Steps the parameters of these groups by torch's own code."""
        base = next(c for c in type(self).__mro__ if c.__module__.startswith("torch.optim") and "step" in c.__dict__)
        step = base.__dict__["step"]
        if getattr(step, "hooked", False):  # without the hooks, which run around our own step
            step = step.__wrapped__
        own, self.param_groups = self.param_groups, groups
        try:
            with gradients_of_the_weights_dtype(p for group in groups for p in group["params"]):
                step(self)
        finally:
            self.param_groups = own


def _with_signature(theirs: Any, ours: Any) -> Any:
    """A copy of our constructor with the signature of torch's, and the two options at its end."""

    @functools.wraps(theirs)
    def __init__(self: Any, *args: Any, **options: Any) -> None:
        ours(self, *args, **options)

    del __init__.__wrapped__  # its source has other defaults than the signature
    own = [p for p in inspect.signature(ours).parameters.values() if p.kind is p.KEYWORD_ONLY]
    signature = inspect.signature(theirs)
    __init__.__signature__ = signature.replace(parameters=[*signature.parameters.values(), *own])  # type: ignore[attr-defined]
    return __init__


@contextmanager
def gradients_of_the_weights_dtype(params: Iterable[Tensor]) -> Iterator[None]:
    """Casts gradients of another dtype (`grad_dtype`), which kernels support and most of torch's steps do not."""
    others = [(p, p.grad, p.grad_dtype) for p in params if p.grad is not None and p.grad.dtype is not p.dtype]
    for p, g, _ in others:
        p.grad, p.grad_dtype = None, p.dtype
        p.grad = g.to(p.dtype)
    try:
        yield
    finally:
        for p, g, dtype in others:
            p.grad, p.grad_dtype = None, dtype
            p.grad = g


class SGD(TorchRule, torch.optim.SGD):
    """Gradient descent, optionally with momentum, with the arguments of `torch.optim.SGD`.

        v ← μv + (1 − dampening) g,  w ← w − αv        (Nesterov: w ← w − α(g + μv))

    Source: Polyak 1964; Sutskever et al. 2013.
    """

    def _choose(self, group: Mapping[str, Any]) -> tuple:
        if not group["momentum"]:
            return textbook.gradient_descent, {}, {}
        hypers = {"beta": float(group["momentum"])}
        if group["nesterov"]:
            return textbook.nesterov, {"v": "momentum_buffer"}, hypers
        hypers["dampening"] = float(group["dampening"])
        return variants.damped_momentum, {"v": "momentum_buffer"}, hypers


class Adam(TorchRule, torch.optim.Adam):
    """Adam, with the arguments of `torch.optim.Adam`; the formula is `steepest rules adam`.

    Source: Kingma and Ba 2015, arXiv:1412.6980.
    """

    def _choose(self, group: Mapping[str, Any]) -> tuple:
        is_decoupled = group.get("decoupled_weight_decay", isinstance(self, torch.optim.AdamW))
        hypers = {**_betas(group), "eps": float(group["eps"])}
        if group["amsgrad"]:
            rule = variants.DECOUPLED_DECAY["amsgrad"] if is_decoupled else textbook.amsgrad
            return rule, MOMENTS | {"v_max": "max_exp_avg_sq"}, hypers
        return textbook.adamw if is_decoupled else textbook.adam, MOMENTS, hypers


class AdamW(Adam, torch.optim.AdamW):
    """AdamW, with the arguments of `torch.optim.AdamW`; the formula is `steepest rules adamw`.

    Source: Loshchilov and Hutter 2019, arXiv:1711.05101.
    """


class Adagrad(TorchRule, torch.optim.Adagrad):
    """Adagrad, with the arguments of `torch.optim.Adagrad`; the formula is `steepest rules adagrad`.

    Source: Duchi, Hazan and Singer 2011.
    """

    def _choose(self, group: Mapping[str, Any]) -> tuple:
        hypers = {"lr_decay": float(group["lr_decay"]), "eps": float(group["eps"])}
        return variants.adagrad, {"t": "step", "s": "sum"}, hypers


class RMSprop(TorchRule, torch.optim.RMSprop):
    """RMSProp, with the arguments of `torch.optim.RMSprop`; the formula is `steepest rules rmsprop`.

    Source: Tieleman and Hinton 2012; centered: Graves 2013, arXiv:1308.0850.
    """

    def _choose(self, group: Mapping[str, Any]) -> tuple:
        keys, hypers = {"t": "step", "v": "square_avg"}, {"beta": float(group["alpha"]), "eps": float(group["eps"])}
        if group["momentum"] > 0:
            keys, hypers = keys | {"u": "momentum_buffer"}, hypers | {"momentum": float(group["momentum"])}
        if group["centered"]:
            keys["a"] = "grad_avg"
        rules = {
            (False, False): textbook.rmsprop, (False, True): variants.rmsprop_momentum,
            (True, False): variants.centered_rmsprop, (True, True): variants.centered_rmsprop_momentum,
        }  # fmt: skip
        return rules[bool(group["centered"]), group["momentum"] > 0], keys, hypers


class NAdam(TorchRule, torch.optim.NAdam):
    """NAdam, with the arguments of `torch.optim.NAdam`; the formula is `steepest rules nadam`.

    Source: Dozat 2016.
    """

    def _choose(self, group: Mapping[str, Any]) -> tuple:
        is_decoupled = group["decoupled_weight_decay"]
        rule = variants.DECOUPLED_DECAY["nadam"] if is_decoupled else textbook.nadam
        hypers = {**_betas(group), "eps": float(group["eps"]), "decay": float(group["momentum_decay"])}
        return rule, MOMENTS | {"mu_product": "mu_product"}, hypers


class Adamax(TorchRule, torch.optim.Adamax):
    """Adamax, with the arguments of `torch.optim.Adamax`; the formula is `steepest rules adamax`.

    Source: Kingma and Ba 2015, arXiv:1412.6980, algorithm 2.
    """

    def _choose(self, group: Mapping[str, Any]) -> tuple:
        keys = {"t": "step", "m": "exp_avg", "u": "exp_inf"}
        return textbook.adamax, keys, {**_betas(group), "eps": float(group["eps"])}


class RAdam(TorchRule, torch.optim.RAdam):
    """RAdam, with the arguments of `torch.optim.RAdam`; the formula is `steepest rules radam`.

    Source: Liu et al. 2020, arXiv:1908.03265.
    """

    def _choose(self, group: Mapping[str, Any]) -> tuple:
        is_decoupled = group["decoupled_weight_decay"]
        rule = variants.DECOUPLED_DECAY["radam"] if is_decoupled else textbook.radam
        return rule, MOMENTS, {**_betas(group), "eps": float(group["eps"])}


class Adadelta(TorchRule, torch.optim.Adadelta):
    """Adadelta, with the arguments of `torch.optim.Adadelta`; the formula is `steepest rules adadelta`.

    Source: Zeiler 2012, arXiv:1212.5701.
    """

    def _choose(self, group: Mapping[str, Any]) -> tuple:
        keys = {"t": "step", "v": "square_avg", "u": "acc_delta"}
        return textbook.adadelta, keys, {"rho": float(group["rho"]), "eps": float(group["eps"])}


class Rprop(TorchRule, torch.optim.Rprop):
    """Rprop, with the arguments of `torch.optim.Rprop`; the formula is `steepest rules rprop`.

    Source: Riedmiller and Braun 1993.
    """

    def _choose(self, group: Mapping[str, Any]) -> tuple:
        (eta_minus, eta_plus), (least, most) = group["etas"], group["step_sizes"]
        hypers = {"eta_minus": eta_minus, "eta_plus": eta_plus, "smallest": least, "largest": most}
        return textbook.rprop, {"t": "step", "previous": "prev", "size": "step_size"}, hypers


class ASGD(TorchRule, torch.optim.ASGD):
    """Averaged gradient descent, with the arguments of `torch.optim.ASGD`; the formula is `steepest rules asgd`.

    Source: Polyak and Juditsky 1992.
    """

    def _choose(self, group: Mapping[str, Any]) -> tuple:
        keys = {"t": "step", "average": "ax", "eta": "eta", "mu": "mu"}
        return textbook.asgd, keys, {name: float(group[name]) for name in ("lambd", "alpha", "t0")}


def _betas(group: Mapping[str, Any]) -> dict[str, float]:
    beta1, beta2 = group["betas"]
    return {"beta1": float(beta1), "beta2": float(beta2)}
