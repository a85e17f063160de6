"""One step of an update rule on a point, on any device and in any dtype.

    w, slots ← rule(w, scale · g, slots; hyperparameters)

An update owns the rule's slots and its step count t, but not the weights. It works on groups of tensors, one group per
device and dtype: the compiled kernel updates dense float32 and float64 tensors on the CPU, the eager reference all
others.
"""

import math
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from steepest.errors import InputError, unknown
from steepest.rules import hoist
from steepest.rules.backends import eager
from steepest.rules.rule import Rule
from steepest.rules.tensor_groups import EagerGroup, GroupSpec, KernelGroup, broadcast, is_dense


class Point(Protocol):
    """The weights that an update works on: a Space, or the members of a population."""

    names: tuple[str, ...]
    rows: tuple[int, ...]
    overrides: tuple[dict[str, Any], ...]

    def tensors(self) -> list[Tensor]:
        """The tensors of the point; `.grad` of each is its gradient or None."""
        ...


class Update:
    """A rule with its state, bound to a point.

    Attributes:
        t: steps taken, without skipped ones: an int, or an int64 array [K] for K members.
        slots: for each slot per weight its values by parameter name, shaped like the parameter; views of its buffers.
        scalars: the slots per member, for each row of the point's overrides: floats, or float64 [K].

    Args:
        point: the weights.
        rule: the update rule.
        members: None for one point; K for tensors of shape [K, ...].

    Raises:
        InputError: a group sets a hyperparameter that the rule does not have.
    """

    def __init__(self, point: Point, rule: Rule, members: int | None = None) -> None:
        self.point, self.rule, self.members = point, rule, members
        self.program = rule.program
        self.t: Any = 0 if members is None else np.zeros(members, np.int64)
        start = [s.start.start for s in rule.slots if s.is_scalar]
        self._rows = [_row(rule, overrides) for overrides in point.overrides]
        self.scalars: list[list[Any]] = [
            [s if members is None else np.full(members, s) for s in start] for _ in self._rows
        ]
        self._scalar_names = [s.name for s in rule.slots if s.is_scalar]
        self._on_device = False
        self._functions = hoist.NUMBERS if members is None else hoist.ARRAYS
        self._table = self._make_table(self._functions)
        self._tensors = point.tensors()
        self._layout = [_layout(p) for p in self._tensors]
        self._addresses: list[int] = []
        self._groups = self._make_groups(self._tensors)
        self._is_fresh = False

    @property
    def name(self) -> str:
        return self.rule.name

    def _make_table(self, functions: Mapping[str, Any]) -> Any:
        scalars = tuple(n for n, s in enumerate(self.rule.slots, 1) if s.is_scalar)
        return hoist.table(self.program, scalars, self._scalar_names, self._rows, functions)

    # -- the two passes over memory ------------------------------------------------------------------------------------

    def norm(self) -> Any:
        """‖g‖ over all parameters with a gradient, a float or float64 [K]; `advance` then uses these gradients."""
        self._refresh_addresses()
        squares = [group.squares() for group in self._groups]
        total = squares[0] if len(squares) == 1 else sum(squares)
        return self._root(total)

    def advance(self, hypers: Mapping[str, Any], scale: Any = 1.0) -> Any:
        """One step.

        Args:
            hypers: hyperparameters of this step without `t`; floats, or float64 [K] where they differ by member.
            scale: factor of the gradient (clipping, accumulation); NaN skips the step of a member, `t` included.

        Returns:
            ‖w_new − w‖, a float or float64 [K]; 0 for a member that skips the step.
        """
        if not self._is_fresh:
            self._refresh_addresses()
        self._is_fresh = False
        live = scale == scale
        if isinstance(scale, float) and not live:
            return 0.0
        t = self.t + live
        values, scalars = self._table(hypers, self._clock(t), scale, self.scalars)
        if self._scalar_names:
            self.scalars = [self._where_live(t, new, old) for new, old in zip(scalars, self.scalars, strict=True)]
        self.t = t
        squares = [group.advance(values) for group in self._groups]
        total = squares[0] if len(squares) == 1 else sum(squares)
        torch.autograd.graph.increment_version(self._tensors)
        return self._root(total)

    def _root(self, squares: Any) -> Any:
        """The norm of a sum of squares: float, float64 [K] or tensor; the float 0 if there are no tensors."""
        if self.members is not None:
            return np.sqrt(squares)
        return squares.sqrt() if isinstance(squares, Tensor) else math.sqrt(squares)

    def _clock(self, t: Any) -> Any:
        """The `t` of the formula: at least 1, also for a member that has not taken a step yet and skips this one."""
        if self._on_device:
            return t.clamp(min=1).double()
        return t if self.members is None else np.maximum(t, 1)

    def keep_on_device(self) -> None:
        """Keeps all numbers on the device of the weights from now on, so that no step synchronises with it.

        `norm` and `advance` then return float64 tensors, `scale` may be a tensor, and a step is skipped where it is
        NaN. The eager reference updates every tensor.
        """
        if self._on_device:
            return
        self._on_device = True
        self._table = self._make_table(hoist.TENSORS)
        self._rebuild_groups(self.point.tensors())

    def parameter_norms(self) -> dict[str, tuple[Any, Any]]:
        """(‖w_new − w‖, ‖w_new‖) of the last step for each parameter with a gradient, measured in the same pass.

        Both are 0 for a member that skipped the step.
        """
        norms: dict[str, tuple[Any, Any]] = {}
        for group in self._groups:
            norms |= group.norms()
        return norms

    def _where_live(self, t: Any, new: tuple, old: list[Any]) -> list[Any]:
        """The new scalar slots of the members that take this step, the old ones of the others."""
        if self._on_device:
            return [torch.where(t != self.t, n, o) for n, o in zip(new, old, strict=True)]
        return [n if self.members is None else np.where(t != self.t, n, o) for n, o in zip(new, old, strict=True)]

    # -- groups and addresses ------------------------------------------------------------------------------------------

    def _refresh_addresses(self) -> None:
        """Reads all addresses; rebuilds the groups if the dtype, device or strides of a tensor have changed."""
        tensors = self.point.tensors()
        self._tensors = tensors
        addresses = [p.data_ptr() for p in tensors]
        if addresses != self._addresses:  # a tensor that changes at the same address shows in its gradient
            self._addresses = addresses
            if [_layout(p) for p in tensors] != self._layout:
                self._rebuild_groups(tensors)
        for group in self._groups:
            if not group.refresh_addresses(tensors, addresses):
                self._rebuild_groups(tensors)
                self._refresh_addresses()
                return
        self._is_fresh = True

    def _rebuild_groups(self, tensors: list[Tensor]) -> None:
        """Makes new groups and copies the slots to them."""
        state = self.state()
        self._layout = [_layout(p) for p in tensors]
        self._groups = self._make_groups(tensors)
        self.load(state)

    def _make_groups(self, tensors: list[Tensor]) -> list[EagerGroup | KernelGroup]:
        places: dict[tuple, list[int]] = {}
        for i, p in enumerate(tensors):
            has_kernel = p.device.type == "cpu" and p.dtype in (torch.float32, torch.float64) and is_dense(p)
            kind = KernelGroup if has_kernel and not self._on_device else EagerGroup
            places.setdefault((str(p.device), p.dtype, kind), []).append(i)
        spec = GroupSpec(self.rule, self.members, len(self._rows), self.point.names, self.point.rows, self._on_device)
        return [kind(spec, tensors, own) for (_, _, kind), own in places.items()]

    # -- state ---------------------------------------------------------------------------------------------------------

    @property
    def slots(self) -> dict[str, dict[str, Tensor]]:
        names = [s.name for s in self.rule.slots if not s.is_scalar]
        slots: dict[str, dict[str, Tensor]] = {name: {} for name in names}
        for group in self._groups:
            for parameter, views in zip(group.names, group.views, strict=True):
                for name, view in zip(names, views, strict=True):
                    slots[name][parameter] = view
        return slots

    def state(self) -> dict[str, Any]:
        """The state of the rule: `t`, `scalars`, and `slots` by slot and parameter name; not copied."""
        scalars = [[_read(x) for x in row] for row in self.scalars]
        return {"t": _read(self.t), "scalars": scalars, "slots": self.slots}

    @torch.no_grad()
    def load(self, state: Mapping[str, Any]) -> None:
        """Restores what `state` returned, by name."""
        self.t, self.scalars = state["t"], [list(row) for row in state["scalars"]]
        if self._on_device:
            device = self.point.tensors()[0].device
            self.t = torch.tensor(self.t, device=device)
            self.scalars = [[torch.tensor(s, dtype=torch.float64, device=device) for s in row] for row in self.scalars]
        for slot, by in self.slots.items():
            for name, view in by.items():
                view.copy_(state["slots"][slot][name])

    @torch.no_grad()
    def reported_weights(self, hypers: Mapping[str, Any]) -> list[Tensor] | None:
        """The weights that the rule reports, tensor by tensor, or None if these are the weights themselves."""
        program = self.rule.evaluation
        if program is None or (self.members is None and self.t == 0):
            return None
        slots, state = self.slots, self.state()
        rows = [{k: v for k, v in row.items() if k != "lr_scale"} for row in self._rows]
        table = hoist.table(program, (), self._scalar_names, rows, self._functions)
        values, _ = table(hypers, state["t"], 1.0, state["scalars"])
        weights = []
        for p, name, row in zip(self.point.tensors(), self.point.names, self.point.rows, strict=True):
            inputs = {"w": p.detach(), **{slot: views[name] for slot, views in slots.items()}}
            weights.append(
                eager.evaluate(program, inputs, [broadcast(h, p) for h in hoist.row_of(values, program, row)])[0]
            )
        return weights


def _row(rule: Rule, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The hyperparameters of a group that the rule has; weight decay is dropped if the rule has none."""
    row = {}
    for name, value in overrides.items():
        if name == "lr":
            raise InputError("groups cannot set lr, which follows the schedule. Use lr_scale, a factor of lr.")
        if name in rule.hypers or name == "lr_scale":
            row[name] = value
        elif name != "weight_decay":
            raise unknown("hyperparameter", name, [*rule.hypers, "lr_scale"], f" of {rule.name}")
    return row


def _read(x: Any) -> Any:
    """The number in a tensor; any other value as it is."""
    return x.item() if isinstance(x, Tensor) else x


def _layout(p: Tensor) -> tuple:
    return p.dtype, p.device, p.stride()
