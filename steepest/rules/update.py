"""One update: a rule applied to the point, wherever its parts lie.

    w, slots ← rule(w, scale · g, slots; hyperparameters)

An update owns the rule's slots and its count of steps t, never the weights. It works on *banks*, one per device and
dtype: dense float32 and float64 tensors on the CPU go through the compiled kernel, all others through the eager
reference.
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
from steepest.rules.tensor_groups import EagerGroup, GroupSpec, KernelGroup, TensorGroup, broadcast, is_dense

NOT_HYPER = {"lr_scale"}


class Point(Protocol):
    """What an update works on: a Space, or members of our own."""

    names: tuple[str, ...]
    rows: tuple[int, ...]
    overrides: tuple[dict[str, Any], ...]

    def tensors(self) -> list[Tensor]:
        """The tensors that hold the point; each has its gradient in `.grad`, or None there."""
        ...


class Update:
    """A rule with its state, bound to a point.

    Attributes:
        t: steps taken, skipped ones not counted: an int, or an int64 array [K] for K members.
        slots: for each slot per weight its values by parameter name, shaped like the parameter; views of our buffers.
        scalars: the slots per member, row by row of the point's overrides: floats, or float64 [K].

    Args:
        point: where the weights are.
        rule: how they move.
        members: None for one point; K for tensors of shape [K, ...] each.

    Raises:
        InputError: a group names a hyperparameter that the rule does not have.
    """

    def __init__(self, point: Point, rule: Rule, members: int | None = None) -> None:
        self.point, self.rule, self.members = point, rule, members
        self.program = rule.program
        self.t: Any = 0 if members is None else np.zeros(members, np.int64)
        start = [s.start.start for s in rule.slots if s.is_scalar]
        self._rows = [_row(rule, given) for given in point.overrides]
        self.scalars: list[list[Any]] = [
            [s if members is None else np.full(members, s) for s in start] for _ in self._rows
        ]
        which = tuple(n for n, s in enumerate(rule.slots, 1) if s.is_scalar)
        self._scalar_names = [s.name for s in rule.slots if s.is_scalar]
        self._which, self._stays = which, False
        functions = hoist.NUMBERS if members is None else hoist.ARRAYS
        self._table = hoist.table(self.program, which, self._scalar_names, self._rows, functions)
        self._tensors = point.tensors()
        self._layout = [_layout(p) for p in self._tensors]
        self._addresses: list[int] = []
        self._banks = self._banked(self._tensors)
        self._read = False

    @property
    def name(self) -> str:
        return self.rule.name

    # -- the two passes over memory ------------------------------------------------------------------------------------

    def norm(self) -> Any:
        """‖g‖ over all parameters with a gradient, a float or float64 [K]; `advance` then takes these gradients."""
        self._look()
        squares = [bank.squares() for bank in self._banks]
        total = squares[0] if len(squares) == 1 else sum(squares)
        return self._root(total)

    def advance(self, hypers: Mapping[str, Any], scale: Any = 1.0) -> Any:
        """One step.

        Args:
            hypers: hyperparameters of this step without `t`; floats, or float64 [K] where they differ by member.
            scale: factor of the gradient (clipping, accumulation); NaN leaves a member as it is, `t` included.

        Returns:
            ‖w_new − w‖, a float or float64 [K]; 0 for a member that was left as it is.
        """
        if not self._read:
            self._look()
        self._read = False
        live = scale == scale
        if isinstance(scale, float) and not live:
            return 0.0
        t = self.t + live
        values, scalars = self._table(hypers, self._clock(t), scale, self.scalars)
        if self._scalar_names:
            self.scalars = [self._where_live(t, new, old) for new, old in zip(scalars, self.scalars, strict=True)]
        self.t = t
        squares = [bank.advance(values) for bank in self._banks]
        moved = squares[0] if len(squares) == 1 else sum(squares)
        torch.autograd.graph.increment_version(self._tensors)
        return self._root(moved)

    def _root(self, squares: Any) -> Any:
        """‖·‖ of a sum of squares, of whatever kind; of no tensors at all it is the float 0."""
        if self.members is not None:
            return np.sqrt(squares)
        return squares.sqrt() if isinstance(squares, Tensor) else math.sqrt(squares)

    def _clock(self, t: Any) -> Any:
        """What a formula gets as `t`; one that has not taken a step, and takes none now, is shown 1."""
        if self._stays:
            return t.clamp(min=1).double()
        return t if self.members is None else np.maximum(t, 1)

    def stay(self) -> None:
        """From now on numbers stay where the weights are, and nothing waits for these.

        `norm` and `advance` then return float64 tensors, `scale` may be one, and a step where it is NaN is not taken.
        Every tensor is advanced by the eager reference.
        """
        if self._stays:
            return
        self._stays = True
        self._table = hoist.table(self.program, self._which, self._scalar_names, self._rows, hoist.TENSORS)
        self._move(self.point.tensors())

    def _lift(self) -> None:
        """The counts and scalar slots to where the weights are."""
        device = self.point.tensors()[0].device
        self.t = torch.tensor(self.t, device=device)
        self.scalars = [[torch.tensor(s, dtype=torch.float64, device=device) for s in row] for row in self.scalars]

    def parameter_norms(self) -> dict[str, tuple[Any, Any]]:
        """Of the last step, by parameter with a gradient: (‖w_new − w‖, ‖w_new‖); measured in the same pass.

        Both are 0 for a member that was left as it was.
        """
        found: dict[str, tuple[Any, Any]] = {}
        for bank in self._banks:
            found |= bank.norms()
        return found

    def _where_live(self, t: Any, new: tuple, old: list[Any]) -> list[Any]:
        """The new scalar slots of the members that take this step, the old ones of the others."""
        if self._stays:
            return [torch.where(t != self.t, n, o) for n, o in zip(new, old, strict=True)]
        return [n if self.members is None else np.where(t != self.t, n, o) for n, o in zip(new, old, strict=True)]

    # -- where things are ----------------------------------------------------------------------------------------------

    def _look(self) -> None:
        """Reads all addresses; lays the slots out anew where a tensor has another dtype, device or order."""
        tensors = self.point.tensors()
        self._tensors = tensors
        addresses = [p.data_ptr() for p in tensors]
        if addresses != self._addresses:  # a tensor that stays in its place and changes shows in its gradient
            self._addresses = addresses
            if [_layout(p) for p in tensors] != self._layout:
                self._move(tensors)
        for bank in self._banks:
            if not bank.look(tensors, addresses):
                self._move(tensors)
                self._look()
                return
        self._read = True

    def _move(self, tensors: list[Tensor]) -> None:
        """Takes the slots along to where the weights have gone."""
        state = self.state()
        self._layout = [_layout(p) for p in tensors]
        self._banks = self._banked(tensors)
        self.load(state)

    def _banked(self, tensors: list[Tensor]) -> list[TensorGroup]:
        banks: dict[tuple, list[int]] = {}
        for i, p in enumerate(tensors):
            compiled = p.device.type == "cpu" and p.dtype in (torch.float32, torch.float64) and is_dense(p)
            kernel = compiled and not self._stays
            banks.setdefault((str(p.device), p.dtype, kernel), []).append(i)
        terms = GroupSpec(self.rule, self.members, len(self._rows), self.point.names, self.point.rows, self._stays)
        return [
            (KernelGroup if kernel else EagerGroup)(terms, tensors, places) for (_, _, kernel), places in banks.items()
        ]

    # -- state ---------------------------------------------------------------------------------------------------------

    @property
    def slots(self) -> dict[str, dict[str, Tensor]]:
        names = [s.name for s in self.rule.slots if not s.is_scalar]
        found: dict[str, dict[str, Tensor]] = {name: {} for name in names}
        for bank in self._banks:
            for place, views in zip(bank.places, bank.views, strict=True):
                for name, view in zip(names, views, strict=True):
                    found[name][self.point.names[place]] = view
        return found

    def state(self) -> dict[str, Any]:
        """Everything the rule remembers: `t`, `scalars`, and `slots` by slot and parameter name; not copied."""
        scalars = [[_read(x) for x in row] for row in self.scalars]
        return {"t": _read(self.t), "scalars": scalars, "slots": self.slots}

    @torch.no_grad()
    def load(self, state: Mapping[str, Any]) -> None:
        """Restores what `state` gave, by name."""
        self.t, self.scalars = state["t"], [list(row) for row in state["scalars"]]
        if self._stays:
            self._lift()
        for slot, by in self.slots.items():
            for name, view in by.items():
                view.copy_(state["slots"][slot][name])

    @torch.no_grad()
    def reported(self, hypers: Mapping[str, Any]) -> list[Tensor] | None:
        """The weights that the rule reports, tensor by tensor, or None where these are the weights themselves."""
        program = self.rule.evaluation
        if program is None or (self.members is None and self.t == 0):
            return None
        compiled = hoist.compiled(program, (), hoist.NUMBERS if self.members is None else hoist.ARRAYS)
        slots, found = self.slots, []
        for p, name, row in zip(self.point.tensors(), self.point.names, self.point.rows, strict=True):
            values = dict(hypers) | {k: v for k, v in self._rows[row].items() if k != "lr_scale"} | {"t": _read(self.t)}
            values |= dict(zip(self._scalar_names, map(_read, self.scalars[row]), strict=True))
            hoisted, _ = compiled(*[values[n] for n in hoist.names(program)])
            members = {slot: by[name] for slot, by in slots.items()}
            wide = [broadcast(h, p) for h in hoisted]
            found.append(eager.evaluate(program, {"w": p.detach(), **members}, wide)[0])
        return found


def _row(rule: Rule, given: Mapping[str, Any]) -> dict[str, Any]:
    """A group's hyperparameters as far as the rule has them; weight decay is left out where the rule has none."""
    row = {}
    for name, value in given.items():
        if (name in rule.hypers and name != "lr") or name in NOT_HYPER:
            row[name] = value
        elif name == "lr":
            raise InputError("groups: a group's rate follows the schedule; give lr_scale, a factor, instead of lr")
        elif name != "weight_decay":
            raise unknown(f"hyperparameter of {rule.name}", name, [*rule.hypers, *NOT_HYPER])
    return row


def _read(x: Any) -> Any:
    """A number that stayed on a device."""
    return x.item() if isinstance(x, Tensor) else x


def _layout(p: Tensor) -> tuple:
    return p.dtype, p.device, p.stride()
