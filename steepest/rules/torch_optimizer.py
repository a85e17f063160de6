"""Adapter: drives a `torch.optim.Optimizer` with our loop."""

import copy
import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from steepest.errors import InputError
from steepest.rules.update import Point


class TorchOptimizer:
    """A `torch.optim.Optimizer` with the methods of an Update.

    Args:
        space: the weights.
        make: `params -> torch.optim.Optimizer`.

    Attributes:
        lr: the learning rate of its first param group.

    Raises:
        InputError: `make` returns another type, or an optimizer whose step() needs a closure.
    """

    def __init__(self, space: Point, make: Callable[[list[Tensor]], torch.optim.Optimizer]) -> None:
        self.space, self.t = space, 0
        self.optimizer = make(space.tensors())
        kind = type(self.optimizer).__name__
        if not isinstance(self.optimizer, torch.optim.Optimizer):
            raise InputError(f"the function passed as rule must return a torch.optim.Optimizer, got {kind}")
        closure = inspect.signature(type(self.optimizer).step).parameters.get("closure")
        if closure is not None and closure.default is closure.empty:
            raise InputError(
                f"rule cannot be {kind}: its step() needs a closure (it evaluates the loss several times per step). "
                "Use an optimizer whose step() needs no argument."
            )
        self._scales = [float(g["lr"]) for g in self.optimizer.param_groups]
        self.lr = self._scales[0]

    @property
    def name(self) -> str:
        return type(self.optimizer).__name__

    def norm(self) -> float:
        """‖g‖ over all parameters with a gradient."""
        gradients = [p.grad for p in self.space.tensors() if p.grad is not None]
        return float(torch.nn.utils.get_total_norm(gradients)) if gradients else 0.0

    @torch.no_grad()
    def advance(self, hypers: Mapping[str, Any], scale: float = 1.0) -> float:
        """One step at `hypers["lr"]`; param groups keep the ratios of their learning rates. A NaN scale skips it."""
        if math.isnan(scale):
            return 0.0
        tensors = self.space.tensors()
        before = [p.detach().clone() for p in tensors]
        if scale != 1.0:
            for p in tensors:
                if p.grad is not None:
                    p.grad.mul_(scale)
        for group, own in zip(self.optimizer.param_groups, self._scales, strict=True):
            group["lr"] = hypers["lr"] * own / self.lr
        self.optimizer.step()
        self.t += 1
        return float(torch.nn.utils.get_total_norm([p.detach() - old for p, old in zip(tensors, before, strict=True)]))

    def state(self) -> dict[str, Any]:
        """The state of the optimizer, not copied."""
        return {"t": self.t, "optimizer": self.optimizer.state_dict()}

    def load(self, state: Mapping[str, Any]) -> None:
        """Restores what `state` returned."""
        self.t = state["t"]
        self.optimizer.load_state_dict(copy.deepcopy(state["optimizer"]))

    def reported_weights(self, hypers: Mapping[str, Any]) -> None:
        """None: the optimizer reports the weights themselves."""
        return
