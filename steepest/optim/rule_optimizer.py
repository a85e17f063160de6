"""Any update rule as a torch optimizer, and the optimizers that torch does not have."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from steepest.errors import InputError, TensorError
from steepest.optim import float32_steps
from steepest.optim.kernels import Formula
from steepest.optim.optimizer import KernelOptimizer
from steepest.rules import hoist, textbook, variants
from steepest.rules.memory import local, spec
from steepest.rules.rule import Rule, W
from steepest.rules.tensor_groups import EagerGroup


class RuleOptimizer(KernelOptimizer):
    """An update rule as a torch optimizer, with param groups, schedulers and `state_dict`.

    The options of a param group are the rule's hyperparameters. `state[p]` has the rule's slots, and `step` if the
    formula uses `t`.

    Args:
        params: parameters, or param groups, which may set any hyperparameter of the rule.
        rule: the rule; its hyperparameters are the defaults.
        maximize: whether to ascend instead of descend.
        master_weights: whether weights in bfloat16 or float16 are stepped in float32, as in `AdamW`.
        stochastic_rounding: whether weights in bfloat16 are rounded stochastically after such a step.

    Raises:
        InputError: the rule has no learning rate, or a hyperparameter that is a schedule.

    >>> import steepest as sd
    >>> weight = torch.nn.Parameter(torch.ones(2))
    >>> optimizer = sd.optim.RuleOptimizer([weight], sd.momentum(lr=0.1, beta=0.5))
    >>> weight.square().sum().backward()
    >>> optimizer.step()
    >>> weight.tolist()
    [0.800000011920929, 0.800000011920929]
    """

    def __init__(
        self, params: Any, rule: Rule, *, maximize: bool = False, master_weights: bool = False,
        stochastic_rounding: bool = False,
    ) -> None:  # fmt: skip
        if rule.hypers["lr"] is None:
            raise InputError(f"lr is missing: rule {rule.name} has no default. Pass {rule.name}(lr=...).")
        for name, value in rule.hypers.items():
            if hasattr(value, "bind"):
                raise InputError(
                    f"{name} of {rule.name} must be a number, got the schedule {value}. "
                    f"Pass a number, and sd.optim.Schedule(optimizer, ..., key={name!r})."
                )
        self._rule = rule
        own = float32_steps.options(master_weights, stochastic_rounding)
        super().__init__(params, {**rule.hypers, "maximize": maximize, **own})

    def _choose(self, group: Mapping[str, Any]) -> tuple[Rule, dict[str, str], dict[str, float]]:
        """The rule, the key of each slot and of the count of steps, and the rule's hyperparameters."""
        rule = self._rule
        return rule, _keys(rule, {}), {name: float(group[name]) for name in rule.hypers}

    def _formula(self, group: Mapping[str, Any]) -> Formula:
        """What the options of a param group mean."""
        rule, keys, hypers = self._choose(group)
        return Formula(rule, hypers, keys, -1.0 if group["maximize"] else 1.0, float32_steps.rounding(group))

    def _step_left(self, groups: list[dict[str, Any]]) -> None:
        """Steps the parameters of these groups by torch operations; makes their state at their first step."""
        for group in groups:
            formula = self._formula(group)
            for p in group["params"]:
                _step_eagerly(formula, p, self._state_of(p, formula))

    def _check_tensors(self, params: list[Tensor], gradients: list[Any]) -> None:
        """Checks what cannot be stepped, before anything is changed.

        Raises:
            TensorError: a parameter without memory, or a gradient that is sparse or has another shape.
        """
        super()._check_tensors(params, gradients)
        for p, g in zip(params, gradients, strict=True):
            if g is not None and g.layout is not torch.strided:
                raise TensorError(
                    f"the gradient of {self._name(p)} must be dense, got {g.layout}. "
                    "Build the embedding with sparse=False."
                )

    def _state_of(self, p: Tensor, formula: Formula) -> dict[str, Any]:
        """The state of a parameter, made if there is none."""
        state = self.state[p]
        if "t" in formula.keys and formula.keys["t"] not in state:
            state[formula.keys["t"]] = torch.tensor(0.0, device="cpu")
        for slot in formula.rule.slots:
            key = formula.keys[slot.name]
            if key not in state and slot.is_scalar:
                state[key] = torch.tensor(slot.start.start, dtype=torch.float64, device="cpu")
            elif key not in state:
                memory = torch.preserve_format
                state[key] = (
                    p.detach().clone(memory_format=memory) if slot.start is W
                    else torch.full_like(p, slot.start, memory_format=memory)
                )  # fmt: skip
        return state

    def _load(self, state_dict: Mapping[str, Any]) -> None:
        """Restores a state; numbers stay float64, where torch casts them to the dtype of the parameter."""
        super()._load(state_dict)
        for group, source in zip(self.param_groups, state_dict["param_groups"], strict=True):
            rule, keys, _ = self._choose(group)
            numbers = [keys[slot.name] for slot in rule.slots if slot.is_scalar]
            for p, place in zip(group["params"], source["params"], strict=True):
                state = state_dict["state"].get(place, {})
                for key in state.keys() & numbers:
                    self.state[p][key] = state[key].to("cpu", torch.float64, copy=True)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), **({"_rule": self._rule} if "_rule" in self.__dict__ else {})}


def _keys(rule: Rule, names: Mapping[str, str]) -> dict[str, str]:
    """The key of each slot, its own name unless `names` has another, and of the count of steps."""
    keys = {slot.name: names.get(slot.name, slot.name) for slot in rule.slots}
    return {"t": "step", **keys} if "t" in rule.program.inputs else keys


@torch.no_grad()
def _step_eagerly(formula: Formula, p: Tensor, state: dict[str, Any]) -> None:
    """One step of one parameter by torch operations."""
    rule, hypers, keys, sign, _ = formula
    g: Any = p.grad
    if spec(p) != spec(g):  # DTensors that are laid out differently
        g = g.redistribute(spec(p).mesh, spec(p).placements)
    g = g.to(torch.promote_types(g.dtype, p.dtype))
    slots = [state[keys[s.name]] for s in rule.slots if not s.is_scalar]
    scalars = [state[keys[s.name]] for s in rule.slots if s.is_scalar]
    table = hoist.rule_table(rule)
    t = float(state[keys["t"]]) + 1 if "t" in keys else 1.0
    values, new = table(hypers, t, sign, [[float(x) for x in scalars]])
    group = EagerGroup(rule, None, [p], [[local(x)] for x in slots])
    group.read([local(p)], [local(g)])
    group.advance(values)
    torch.autograd.graph.increment_version(p)
    for x, value in zip(scalars, new[0], strict=True):
        x.fill_(value)
    if "t" in keys:
        state[keys["t"]] += 1


class Lion(RuleOptimizer):
    """Lion: the sign of an interpolation between momentum and gradient; the formula is `steepest rules lion`.

    Args:
        params: parameters or param groups.
        lr: α.
        betas: β₁ of the interpolation and β₂ of the momentum.
        weight_decay: λ, decoupled: the step includes αλw.
        maximize: whether to ascend instead of descend.
        master_weights: whether weights in bfloat16 or float16 are stepped in float32, as in `AdamW`.
        stochastic_rounding: whether weights in bfloat16 are rounded stochastically after such a step.

    Source: Chen et al. 2023, arXiv:2302.06675.
    """

    def __init__(
        self, params: Any, lr: float = 1e-4, betas: tuple[float, float] = (0.9, 0.99), weight_decay: float = 0.0, *,
        maximize: bool = False, master_weights: bool = False, stochastic_rounding: bool = False,
    ) -> None:  # fmt: skip
        _check(textbook.lion, lr, betas, weight_decay)
        defaults = {"lr": lr, "betas": betas, "weight_decay": weight_decay, "maximize": maximize}
        defaults |= float32_steps.options(master_weights, stochastic_rounding)
        torch.optim.Optimizer.__init__(self, params, defaults)

    def _choose(self, group: Mapping[str, Any]) -> tuple:
        return textbook.lion, {"m": "exp_avg"}, _hypers(group, ("lr", "weight_decay"))


class Signum(RuleOptimizer):
    """Signum: the sign of the momentum; the formula is `steepest rules signum`.

    Args:
        params: parameters or param groups.
        lr: α.
        momentum: β.
        weight_decay: λ, decoupled: the step includes αλw.
        maximize: whether to ascend instead of descend.
        master_weights: whether weights in bfloat16 or float16 are stepped in float32, as in `AdamW`.
        stochastic_rounding: whether weights in bfloat16 are rounded stochastically after such a step.

    Source: Bernstein et al. 2018, arXiv:1802.04434.
    """

    def __init__(
        self, params: Any, lr: float = 1e-4, momentum: float = 0.9, weight_decay: float = 0.0, *,
        maximize: bool = False, master_weights: bool = False, stochastic_rounding: bool = False,
    ) -> None:  # fmt: skip
        textbook.signum(lr=lr or 1.0, beta=momentum, weight_decay=weight_decay)
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "maximize": maximize}
        defaults |= float32_steps.options(master_weights, stochastic_rounding)
        torch.optim.Optimizer.__init__(self, params, defaults)

    def _choose(self, group: Mapping[str, Any]) -> tuple:
        hypers = _hypers(group, ("lr", "weight_decay")) | {"beta": float(group["momentum"])}
        return textbook.signum, {"m": "momentum_buffer"}, hypers


class ADOPT(RuleOptimizer):
    """ADOPT: Adam that converges with any β₂; the formula is `steepest rules adopt`.

    Args:
        params: parameters or param groups.
        lr: α.
        betas: β₁ and β₂.
        eps: ε.
        weight_decay: λ, added to the gradient as λw, or decoupled.
        decoupled_weight_decay: whether weight decay is decoupled, as in AdamW.
        maximize: whether to ascend instead of descend.
        master_weights: whether weights in bfloat16 or float16 are stepped in float32, as in `AdamW`.
        stochastic_rounding: whether weights in bfloat16 are rounded stochastically after such a step.

    Source: Taniguchi et al. 2024, arXiv:2411.02853.
    """

    def __init__(
        self, params: Any, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.9999), eps: float = 1e-6,
        weight_decay: float = 0.0, *, decoupled_weight_decay: bool = False, maximize: bool = False,
        master_weights: bool = False, stochastic_rounding: bool = False,
    ) -> None:  # fmt: skip
        _check(textbook.adopt, lr, betas, weight_decay, eps=eps)
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "maximize": maximize}
        defaults["decoupled_weight_decay"] = decoupled_weight_decay
        defaults |= float32_steps.options(master_weights, stochastic_rounding)
        torch.optim.Optimizer.__init__(self, params, defaults)

    def _choose(self, group: Mapping[str, Any]) -> tuple:
        rule = variants.DECOUPLED_DECAY["adopt"] if group["decoupled_weight_decay"] else textbook.adopt
        return rule, _keys(rule, {"m": "exp_avg", "v": "exp_avg_sq"}), _hypers(group, ("lr", "weight_decay", "eps"))


class AdEMAMix(RuleOptimizer):
    """AdEMAMix: AdamW with a second, much slower momentum; the formula is `steepest rules ademamix`.

    Args:
        params: parameters or param groups.
        lr: learning rate.
        betas: β₁, β₂ and the slow momentum's β₃.
        alpha: weight of the slow momentum.
        warmup: steps in which alpha and β₃ reach their values; 0 for none.
        eps: ε.
        weight_decay: λ, decoupled.
        maximize: whether to ascend instead of descend.
        master_weights: whether weights in bfloat16 or float16 are stepped in float32, as in `AdamW`.
        stochastic_rounding: whether weights in bfloat16 are rounded stochastically after such a step.

    Source: Pagliardini, Ablin and Grangier 2024, arXiv:2409.03137.
    """

    def __init__(
        self, params: Any, lr: float = 1e-3, betas: tuple[float, float, float] = (0.9, 0.999, 0.9999),
        alpha: float = 5.0, warmup: int = 0, eps: float = 1e-8, weight_decay: float = 0.0, *, maximize: bool = False,
        master_weights: bool = False, stochastic_rounding: bool = False,
    ) -> None:  # fmt: skip
        _check(textbook.ademamix, lr, betas, weight_decay, eps=eps, alpha=alpha, warmup=float(warmup))
        defaults = {"lr": lr, "betas": betas, "alpha": alpha, "warmup": warmup, "eps": eps}
        defaults |= {"weight_decay": weight_decay, "maximize": maximize}
        defaults |= float32_steps.options(master_weights, stochastic_rounding)
        torch.optim.Optimizer.__init__(self, params, defaults)

    def _choose(self, group: Mapping[str, Any]) -> tuple:
        keys = _keys(textbook.ademamix, {"m": "exp_avg", "m_slow": "exp_avg_slow", "v": "exp_avg_sq"})
        return textbook.ademamix, keys, _hypers(group, ("lr", "alpha", "warmup", "eps", "weight_decay"))


class ScheduleFreeAdamW(RuleOptimizer):
    """Schedule-free AdamW; the formula is `steepest rules schedule_free_adamw`.

    While it trains, the parameters are where gradients are taken: y = (1 − β₁) z + β₁ x. Call `eval()` before the model
    is evaluated or saved, which puts the average x into the parameters, and `train()` before training goes on.

    Args:
        params: parameters or param groups.
        lr: α, constant after a warmup.
        betas: β₁ and β₂.
        eps: ε.
        weight_decay: λ, decoupled, at y.
        maximize: whether to ascend instead of descend.
        master_weights: whether weights in bfloat16 or float16 are stepped in float32, as in `AdamW`.
        stochastic_rounding: whether weights in bfloat16 are rounded stochastically after such a step.

    Source: Defazio et al. 2024, arXiv:2405.15682.
    """

    def __init__(
        self, params: Any, lr: float = 2.5e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 0.0, *, maximize: bool = False,
        master_weights: bool = False, stochastic_rounding: bool = False,
    ) -> None:  # fmt: skip
        _check(textbook.schedule_free_adamw, lr, betas, weight_decay, eps=eps)
        if betas[0] == 0:
            raise InputError("beta1 must be above 0, got 0: the average x follows from y only where beta1 is not 0")
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "maximize": maximize}
        defaults |= {"train_mode": True, **float32_steps.options(master_weights, stochastic_rounding)}
        torch.optim.Optimizer.__init__(self, params, defaults)

    def _formula(self, group: Mapping[str, Any]) -> Formula:
        """What the options of a param group mean.

        Raises:
            InputError: the weights are those of `eval()`.
        """
        if not group["train_mode"]:
            raise InputError("step() needs the weights of train(), but eval() was called last. Call optimizer.train().")
        return super()._formula(group)

    def _choose(self, group: Mapping[str, Any]) -> tuple:
        keys = _keys(textbook.schedule_free_adamw, {"v": "exp_avg_sq"})
        return textbook.schedule_free_adamw, keys, _hypers(group, ("lr", "eps", "weight_decay"))

    def train(self) -> None:
        """Puts y = (1 − β₁) z + β₁ x, at which gradients are taken, into the parameters."""
        self._set_mode(True)

    def eval(self) -> None:
        """Puts x, the average, into the parameters."""
        self._set_mode(False)

    @torch.no_grad()
    def _set_mode(self, train: bool) -> None:
        for group in self.param_groups:
            if group["train_mode"] is not train:
                beta1 = float(group["betas"][0])
                for p in group["params"]:
                    if "z" in self.state.get(p, {}):
                        w = float32_steps.weight(p, group, self.state[p])
                        w.lerp_(self.state[p]["z"].to(w.dtype), 1 - beta1 if train else 1 - 1 / beta1)
                        if w is not p:
                            p.copy_(w)
                group["train_mode"] = train


def _hypers(group: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, float]:
    betas = {f"beta{n}": float(beta) for n, beta in enumerate(group.get("betas", ()), 1)}
    return betas | {name: float(group[name]) for name in names}


def _check(rule: Rule, lr: float, betas: tuple[float, ...], weight_decay: float, **others: float) -> None:
    """Checks hyperparameters; lr may be 0.

    Raises:
        InputError: one of them is out of range.
    """
    rule(lr=float(lr) or 1.0, weight_decay=weight_decay, **{f"beta{n}": b for n, b in enumerate(betas, 1)}, **others)
