"""Another's optimizer in our loop: any `torch.optim.Optimizer` moves the point as an Update does."""

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
    """A torch optimizer with the methods of an Update.

    Args:
        space: where the weights are.
        make: `params -> torch.optim.Optimizer`.

    Attributes:
        lr: its own base rate.

    Raises:
        InputError: `make` gives something else, or an optimizer that needs a closure.
    """

    def __init__(self, space: Point, make: Callable[[list[Tensor]], torch.optim.Optimizer]) -> None:
        self.space, self.t = space, 0
        self.optimizer = make(space.tensors())
        kind = type(self.optimizer).__name__
        if not isinstance(self.optimizer, torch.optim.Optimizer):
            raise InputError(f"rule: the function gave {kind}; expected is params -> torch.optim.Optimizer")
        closure = inspect.signature(type(self.optimizer).step).parameters.get("closure")
        if closure is not None and closure.default is closure.empty:
            raise InputError(
                f"rule: {kind} evaluates the loss several times in a step (its step needs a closure), which this loop "
                "does not do yet; use an optimizer whose step() needs no argument"
            )
        self._scales = [float(g["lr"]) for g in self.optimizer.param_groups]
        self.lr = self._scales[0]

    @property
    def name(self) -> str:
        return type(self.optimizer).__name__

    def norm(self) -> float:
        """‖g‖ over all parameters with a gradient."""
        found = [p.grad for p in self.space.tensors() if p.grad is not None]
        return float(torch.nn.utils.get_total_norm(found)) if found else 0.0

    @torch.no_grad()
    def advance(self, hypers: Mapping[str, Any], scale: float = 1.0) -> float:
        """One step at `hypers["lr"]`; groups keep the ratios of their rates. NaN as scale leaves all as it is."""
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
        """What the optimizer remembers, not copied."""
        return {"t": self.t, "optimizer": self.optimizer.state_dict()}

    def load(self, state: Mapping[str, Any]) -> None:
        """Restores what `state` gave."""
        self.t = state["t"]
        self.optimizer.load_state_dict(copy.deepcopy(state["optimizer"]))

    def reported(self, hypers: Mapping[str, Any]) -> None:
        """It reports the weights themselves."""
        return
