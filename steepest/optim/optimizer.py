"""The base of all our torch optimizers."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from steepest.errors import InputError, nearest
from steepest.optim.kernels import Formula, KernelSteps

BOOKKEEPING = frozenset(
    ("params", "param_names", "name", "initial_lr", "max_lr", "min_lr", "base_lr", "base_momentum", "max_momentum",
     "swa_lr", "lr_scale", "lr_mult", "decay_mult", "layer_id")
)  # fmt: skip
"""Keys of param groups that schedulers and other libraries write and read."""


class KernelOptimizer(torch.optim.Optimizer):
    """A torch optimizer whose steps a kernel takes where it may.

    `param_groups` and `state` are torch's, key by key, and may be changed between any two steps.
    """

    def formula(self, group: Mapping[str, Any]) -> Formula | None:
        """What the options of a param group mean; None if a kernel does not support them."""
        raise NotImplementedError

    def step_left(self, groups: list[dict[str, Any]]) -> None:
        """Steps the parameters of these groups without a kernel."""
        raise NotImplementedError

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """One step of all parameters with a gradient.

        Args:
            closure: recomputes the loss; optional.

        Returns:
            The closure's loss, or None without a closure.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self._step()
        return loss

    @torch._disable_dynamo
    def _step(self) -> None:
        kernels = self.__dict__.get("_kernels")
        if kernels is None:  # at first, and after a deepcopy or a pickle
            kernels = self._kernels = KernelSteps()
        kernels.step(self)

    def check(self, params: list[Tensor], gradients: list[Any]) -> None:
        """Checks what no optimizer can step, before anything is changed.

        Raises:
            InputError: a parameter on the meta device, or a gradient of another shape.
        """
        for p, g in zip(params, gradients, strict=True):
            if g is None:
                continue
            if p.device.type == "meta":
                raise InputError(
                    f"{self._name(p)} must have memory, got a tensor on the meta device. "
                    "Call model.to_empty(device='cpu') and initialise it before the optimizer is made."
                )
            if g.shape != p.shape:
                raise InputError(
                    f"the gradient of {self._name(p)} must have its shape {tuple(p.shape)}, got {tuple(g.shape)}. "
                    "Compute the gradient anew after the parameter was changed."
                )

    def _name(self, p: Tensor) -> str:
        for owner, group in enumerate(self.param_groups):
            for place, other in enumerate(group["params"]):
                if other is p:
                    return group.get("param_names", {place: f"parameter {place} of param group {owner}"})[place]
        return "a parameter"

    @torch._disable_dynamo
    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Adds a param group, as in torch.

        Raises:
            InputError: an option that the optimizer does not have.
        """
        if isinstance(param_group, dict):
            for key, value in param_group.items():
                if key not in self.defaults and key not in BOOKKEEPING and _is_number(value):
                    names = [name for name in self.defaults if _is_number(self.defaults[name])]
                    raise InputError(
                        f"Unknown option '{key}' of a param group of {type(self).__name__}. {nearest(key, names)} "
                        "A key for a scheduler of your own can be set in param_groups after this."
                    )
        super().add_param_group(param_group)


def _is_number(value: Any) -> bool:
    """Whether a value may be a hyperparameter: a number, or several."""
    if isinstance(value, tuple | list):
        return bool(value) and all(map(_is_number, value))
    return isinstance(value, int | float | Tensor)
