"""Weights of 16 bits that an optimizer steps in float32, with torch's own code: what kernels do in one pass.

`state[p]["master_weight"]` is the weight in float32, and all other state is made from it, so it is float32 too. While
torch steps, the master stands for the parameter; then the parameter becomes its rounding.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from steepest.errors import InputError, TensorError
from steepest.rules.memory import local
from steepest.rules.rounding import Rounding, current, round_stochastically

MASTER = "master_weight"
"""The key of the master weight in `state[p]`."""
STEP = "step"
OPTIONS = ("master_weights", "stochastic_rounding")
"""Options of param groups."""
NARROW = (torch.bfloat16, torch.float16)


def options(master_weights: bool, stochastic_rounding: bool) -> dict[str, bool]:
    """The options of param groups. Those that are off are left out, so that groups are torch's key by key.

    Raises:
        InputError: one of them is not a bool.
    """
    values = dict(zip(OPTIONS, (master_weights, stochastic_rounding), strict=True))
    for name, value in values.items():
        if not isinstance(value, bool):
            raise InputError(f"{name} must be True or False, got {value!r}")
    return {name: value for name, value in values.items() if value}


def rounding(group: Mapping[str, Any]) -> Rounding | None:
    """How the 16-bit weights of a param group are stepped in float32; None if they are stepped in their own dtype."""
    has_master, is_stochastic = (bool(group.get(name)) for name in OPTIONS)
    return Rounding(has_master, is_stochastic) if has_master or is_stochastic else None


def check(group: Mapping[str, Any], name_of: Any) -> None:
    """Checks what cannot be stepped in float32, before anything is changed.

    Raises:
        InputError: weights in float16 that are to be rounded stochastically, or a step that is to be differentiated.
    """
    how, narrow = rounding(group), [p for p in group["params"] if p.dtype in NARROW]
    if how is None:
        return
    for p in narrow:
        if how.is_stochastic and p.dtype is torch.float16:
            raise InputError(
                f"stochastic_rounding needs weights in bfloat16, got float16 of {name_of(p)}. "
                "Convert the model with model.bfloat16(), or use master_weights=True alone."
            )
        if group.get("differentiable"):
            raise InputError(
                "differentiable must be False with master_weights or stochastic_rounding, got True: "
                "a rounding has no derivative. Use weights in float32."
            )


@contextmanager
def in_float32(optimizer: Any, groups: Sequence[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Param groups in which weights in float32 stand for those that are stepped in float32, with their gradients.

    At the end the parameters become the roundings of these weights; after an error they stay as they are.
    """
    if not any(any(map(group.get, OPTIONS)) for group in groups):
        yield list(groups)
        return
    every = [p for group in optimizer.param_groups for p in group["params"]]
    places = {p: place for place, p in enumerate(every)}
    steps: dict[Tensor, _Step] = {}
    wide = []
    for group in groups:
        check(group, optimizer._name)
        how, counts = rounding(group), "t" in optimizer._choose(group)[1]
        params = []
        for p in group["params"]:
            if how is not None and p.dtype in NARROW:
                step = _Step(p, places[p], how, optimizer.state.get(p, {}), optimizer._name, counts)
                steps[p := step.weight] = step
            params.append(p)
        wide.append({**group, "params": params})
    own = optimizer.state
    optimizer.state = defaultdict(dict, {**own, **{weight: step.state for weight, step in steps.items()}})
    try:
        yield wide
    finally:
        own.update({p: state for p, state in optimizer.state.items() if p not in steps})
        optimizer.state = own
        for weight in steps:
            weight.grad = None
    for step in steps.values():
        step.finish(own[step.p])


class _Step:
    """A parameter during its step in float32.

    Attributes:
        p: the parameter.
        weight: stands for it.
        state: its state without the master weight.

    Args:
        p: the parameter.
        place: its place in the optimizer.
        how: its rounding.
        state: its state.
        name_of: names a parameter.
        counts: whether the optimizer counts its steps.
    """

    def __init__(
        self, p: Tensor, place: int, how: Rounding, state: Mapping[str, Any], name_of: Any, counts: bool
    ) -> None:
        self.p, self._place, self._how, self._counts = p, place, how, counts
        self.state = {key: _widen(x) if key != STEP else x for key, x in state.items() if key != MASTER}
        self.weight = _master(p, state.get(MASTER), how, name_of) if how.has_master else p.detach().float()
        self.weight.grad = None if p.grad is None else p.grad.float()
        self._steps = int(self.state.get(STEP, 0)) if how.is_stochastic else 0

    @torch.no_grad()
    def finish(self, state: dict[str, Any]) -> None:
        """Rounds the weight into the parameter, and puts its state back."""
        if self._how.has_master:
            state[MASTER] = self.weight
        state.update(self.state)
        if not self._how.is_stochastic:
            self.p.copy_(self.weight)
            return
        if not self._counts:
            state.setdefault(STEP, torch.tensor(0.0, device="cpu")).fill_(self._steps + 1)
        local(self.p).copy_(round_stochastically(local(self.weight), self._place, self._steps + 1))
        torch.autograd.graph.increment_version(self.p)


def weight(p: Tensor, group: Mapping[str, Any], state: Mapping[str, Any]) -> Tensor:
    """The master weight of a parameter, or the parameter itself if it has none."""
    how, master = rounding(group), state.get(MASTER)
    if how is None or not how.has_master or master is None or p.dtype not in NARROW:
        return p
    return _master(p, master, how, lambda p: "a parameter")


@torch.no_grad()
def _master(p: Tensor, master: Any, how: Rounding, name_of: Any) -> Tensor:
    """The master weight of a parameter; a new one where there is none, or where the parameter was set since."""
    if master is None:
        return p.detach().float()
    if master.shape != p.shape or master.dtype is not torch.float32 or master.device != p.device:
        raise TensorError(
            f"state '{MASTER}' of {name_of(p)} must be float32 of shape {tuple(p.shape)} on {p.device}, got "
            f"{master.dtype} of shape {tuple(master.shape)} on {master.device}. Delete it: it is made anew."
        )
    local(master).copy_(current(local(master), local(p.detach()), how.is_stochastic))
    return master


def _widen(x: Any) -> Any:
    """State of 16 bits, as of steps without these options, in float32."""
    return x.float() if isinstance(x, Tensor) and x.dtype in NARROW else x


@torch.no_grad()
def restore(optimizer: Any, state_dict: Mapping[str, Any]) -> None:
    """Puts the state of 16-bit weights that torch has loaded, and cast to 16 bits, back in its own precision."""
    for group, source in zip(optimizer.param_groups, state_dict["param_groups"], strict=True):
        for p, place in zip(group["params"], source["params"], strict=True):
            if rounding(group) is None or p.dtype not in NARROW:
                continue
            for key, x in state_dict["state"].get(place, {}).items():
                if isinstance(x, Tensor) and x.is_floating_point() and key != STEP:
                    is_slot = x.shape == p.shape
                    dtype = torch.float32 if is_slot else torch.promote_types(x.dtype, torch.float32)
                    optimizer.state[p][key] = x.to(p.device, dtype)
