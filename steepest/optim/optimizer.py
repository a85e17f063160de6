"""The base of all our torch optimizers."""

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch._C._autograd import _profiler_enabled
from torch._compile import _disable_dynamo
from torch.optim.optimizer import _global_optimizer_post_hooks, _global_optimizer_pre_hooks

from steepest.errors import InputError, TensorError, nearest
from steepest.optim import float32_steps
from steepest.optim.kernels import Formula, KernelSteps
from steepest.rules.rule import Rule

OTHER_KEYS = frozenset(
    ("params", "param_names", "name", "initial_lr", "max_lr", "min_lr", "base_lr", "base_momentum", "max_momentum",
     "swa_lr", "lr_scale", "lr_mult", "wd_mult", "decay_mult", "layer_id")
)  # fmt: skip
"""Keys of param groups that schedulers and other libraries write and read."""
SPEED_OPTIONS = frozenset(("foreach", "fused", "capturable", "differentiable"))


class KernelOptimizer(torch.optim.Optimizer):
    """A torch optimizer whose steps a kernel takes where it may.

    `param_groups` and `state` are torch's, key by key, and may be changed between any two steps.
    """

    def _formula(self, group: Mapping[str, Any]) -> Formula | None:
        """What the options of a param group mean; None if a kernel does not support them."""
        raise NotImplementedError

    def _choose(self, group: Mapping[str, Any]) -> tuple[Rule, dict[str, str], dict[str, float]]:
        """The rule of a param group, the key of each slot and of the count of steps, and the rule's hyperparameters."""
        raise NotImplementedError

    def _step_left(self, groups: list[dict[str, Any]]) -> None:
        """Steps the parameters of these groups without a kernel."""
        raise NotImplementedError

    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """One step of all parameters with a gradient.

        Args:
            closure: recomputes the loss; optional.

        Returns:
            The closure's loss, or None without a closure.
        """
        has_hooks = _global_optimizer_pre_hooks or _global_optimizer_post_hooks
        if has_hooks or self._optimizer_step_pre_hooks or self._optimizer_step_post_hooks or _profiler_enabled():
            return _step_with_hooks(self) if closure is None else _step_with_hooks(self, closure)
        return self._step_with_closure(closure)

    step.hooked = True  # type: ignore[attr-defined]  # torch would wrap it for hooks and the profiler, which takes 9 µs

    def _step_with_closure(self, closure: Callable[[], Any] | None) -> Any:
        was_enabled = torch.is_grad_enabled()
        loss = None
        try:
            if closure is not None:
                torch.set_grad_enabled(True)
                loss = closure()
            torch.set_grad_enabled(False)
            self._step()
        finally:
            torch.set_grad_enabled(was_enabled)
        return loss

    @_disable_dynamo
    def _step(self) -> None:
        kernels = self.__dict__.get("_kernels")
        if kernels is None:  # at first, and after a deepcopy or a pickle
            kernels = self._kernels = KernelSteps()
        kernels.step(self)

    def _check_tensors(self, params: list[Tensor], gradients: list[Any]) -> None:
        """Checks what no optimizer can step, before anything is changed.

        Raises:
            TensorError: a parameter on the meta device, or a gradient of another shape.
        """
        for p, g in zip(params, gradients, strict=True):
            if g is None:
                continue
            if p.device.type == "meta":
                raise TensorError(
                    f"{self._name(p)} must have memory, got a tensor on the meta device. "
                    "Call model.to_empty(device='cpu') and initialise it before the optimizer is made."
                )
            if g.shape != p.shape:
                raise TensorError(
                    f"the gradient of {self._name(p)} must have its shape {tuple(p.shape)}, got {tuple(g.shape)}. "
                    "Compute the gradient anew after the parameter was changed."
                )

    def _name(self, p: Tensor) -> str:
        for owner, group in enumerate(self.param_groups):
            for place, other in enumerate(group["params"]):
                if other is p:
                    return group.get("param_names", {place: f"parameter {place} of param group {owner}"})[place]
        return "a parameter"

    @_disable_dynamo
    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:  # type: ignore[override]
        """Restores what `state_dict` returned, also that of torch's class of the same name.

        Raises:
            InputError: the state belongs to another optimizer, or to parameters of other shapes; nothing is changed.
        """
        hooks, state_dict = self._optimizer_load_state_dict_pre_hooks, apply_hooks(self, state_dict)
        if "steepest" in state_dict:
            warnings.warn(
                "This state_dict was made by Steepest 0.1; the next version will not read it. Save it again.",
                DeprecationWarning,
                stacklevel=2,
            )
            state_dict = self._convert(state_dict)
        self._check_state(state_dict)
        self._optimizer_load_state_dict_pre_hooks = type(hooks)()
        try:
            self._load(state_dict)
        finally:
            self._optimizer_load_state_dict_pre_hooks = hooks

    def _load(self, state_dict: Mapping[str, Any]) -> None:
        own = [{name: group[name] for name in float32_steps.OPTIONS if name in group} for group in self.param_groups]
        super().load_state_dict(state_dict)  # type: ignore[arg-type]
        for group, options in zip(self.param_groups, own, strict=True):
            group.update({name: value for name, value in options.items() if name not in group})  # torch's has none
        float32_steps.restore(self, state_dict)

    def _check_state(self, state_dict: Mapping[str, Any]) -> None:
        kind = type(self).__name__
        needs = {name for name, value in self.defaults.items() if _is_number(value)}
        for group in state_dict["param_groups"]:
            absent = sorted(needs - group.keys())
            if absent:
                raise InputError(
                    f"state_dict must come from {kind}, but its param groups have no {', '.join(absent)}. "
                    f"They have: {', '.join(sorted(group.keys() - {'params'}))}"
                )
        places = [place for group in state_dict["param_groups"] for place in group["params"]]
        params = [p for group in self.param_groups for p in group["params"]]
        if len(places) != len(params):
            return  # torch's own error
        for place, p in zip(places, params, strict=True):
            for key, x in state_dict["state"].get(place, {}).items():
                if isinstance(x, Tensor) and x.numel() > 1 and x.shape != p.shape:
                    raise InputError(
                        f"state_dict must belong to the same parameters: '{key}' of {self._name(p)} must have its "
                        f"shape {tuple(p.shape)}, got {tuple(x.shape)}"
                    )

    def _convert(self, state_dict: Mapping[str, Any]) -> dict[str, Any]:
        """A state_dict of Steepest 0.1, whose groups and state had the rule's names, in today's format."""
        groups, state = [], {}
        for group, own in zip(state_dict["param_groups"], state_dict["steepest"], strict=True):
            new = {**self.defaults, **{k: v for k, v in group.items() if k in self.defaults or k in OTHER_KEYS}}
            if "beta" in group and "momentum" in self.defaults:
                new["momentum"] = group["beta"]
            if "beta1" in group and "betas" in self.defaults:
                new["betas"] = (group["beta1"], group["beta2"])
            groups.append(new)
            rule, keys, _ = self._choose(new)
            scalars = [slot.name for slot in rule.slots if slot.is_scalar]
            numbers = dict(zip(scalars, own["scalars"][0], strict=True)) | {"t": own["t"]}
            for place in group["params"] if own["t"] else ():
                slots = {keys[name]: x for name, x in state_dict["state"][place].items()}
                state[place] = {keys[n]: _number(n, x) for n, x in numbers.items() if n in keys} | slots
        return {"state": state, "param_groups": groups}

    @_disable_dynamo
    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Adds a param group, as in torch.

        Raises:
            InputError: an option that the optimizer does not have.
        """
        if isinstance(param_group, dict):
            for key, value in param_group.items():
                is_option = isinstance(value, bool) or _is_number(value)  # a text or a list is a label
                is_known = key in self.defaults or key in OTHER_KEYS or key in float32_steps.OPTIONS
                if not is_known and is_option:
                    names = [name for name in self.defaults if name not in SPEED_OPTIONS]
                    raise InputError(
                        f"Unknown option '{key}' of a param group of {type(self).__name__}. {nearest(key, names)}. "
                        "Set a key for code of your own later, in optimizer.param_groups."
                    )
        super().add_param_group(param_group)
        try:
            float32_steps.check(self.param_groups[-1], self._name)
        except ValueError:
            self.param_groups.pop()
            raise


@torch.optim.Optimizer.profile_hook_step
def _step_with_hooks(optimizer: KernelOptimizer, closure: Any = None) -> Any:
    return optimizer._step_with_closure(closure)


def apply_hooks(optimizer: torch.optim.Optimizer, state_dict: Mapping[str, Any]) -> dict[str, Any]:
    """What an optimizer's hooks make of a state_dict before it is loaded."""
    state_dict = dict(state_dict)
    for hook in optimizer._optimizer_load_state_dict_pre_hooks.values():
        result = hook(optimizer, state_dict)
        state_dict = state_dict if result is None else result
    return state_dict


def _number(name: str, value: float) -> Tensor:
    """A number of a state: a count of steps as in torch, all else as exact as it was."""
    return torch.tensor(float(value), dtype=torch.float32 if name == "t" else torch.float64, device="cpu")


def _is_number(value: Any) -> bool:
    """Whether a value may be a hyperparameter: a number, or several."""
    if isinstance(value, tuple | list):
        return bool(value) and all(map(_is_number, value))
    return isinstance(value, int | float | Tensor) and not isinstance(value, bool)
