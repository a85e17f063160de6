"""One step of an update rule on a point, on any device and in any dtype.

    w, slots ← rule(w, scale · g, slots; hyperparameters)

An update owns the rule's slots and its counts of steps, but not the weights. It works on groups of tensors, one group
per device and dtype: the compiled kernel updates plain tensors (`rules.memory`) on the CPU, a function compiled by
torch those on CUDA, the eager reference all others. A parameter without a gradient stays where it is, and its count of
steps too.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from steepest.errors import InputError, unknown
from steepest.rules import hoist
from steepest.rules.backends import eager, torch_compile
from steepest.rules.backends.object_code import can_load
from steepest.rules.clocks import Clock, Clocks, read
from steepest.rules.compiled_group import CompiledGroup, is_compilable
from steepest.rules.memory import Layouts, check_memory, check_parameter, is_plain, plain_gradient
from steepest.rules.rule import Rule
from steepest.rules.slots import make_slots
from steepest.rules.tensor_groups import EagerGroup, KernelGroup, broadcast

KERNEL, COMPILER, EAGER = "kernel", "compiler", "eager"


class Point(Protocol):
    """The weights that an update works on: a Space, or the members of a population."""

    names: tuple[str, ...]
    rows: tuple[int, ...]
    overrides: tuple[dict[str, Any], ...]

    def tensors(self) -> list[Tensor]:
        """The tensors of the point; `.grad` of each is its gradient or None."""
        ...


class _Group(NamedTuple):
    """Tensors of one device and dtype, and their places in the point."""

    group: EagerGroup | KernelGroup | CompiledGroup
    places: list[int]


class _Kind(NamedTuple):
    """What decides in which group a parameter is, and the memory layout of its slots."""

    device: str
    dtype: torch.dtype
    stride: tuple[int, ...]
    backend: str


class Update:
    """A rule with its state, bound to a point.

    Attributes:
        t: steps taken, without skipped ones: an int, or an int64 array [K] for K members.
        slots: for each slot per weight its values by parameter name, shaped like the parameter; views of its buffers.

    Args:
        point: the weights.
        rule: the update rule.
        members: None for one point; K for tensors of shape [K, ...].
        steps: of the descent; on CUDA those of a short one do not repay torch.compile, which takes seconds.

    Raises:
        InputError: a group sets a hyperparameter that the rule does not have.
    """

    def __init__(self, point: Point, rule: Rule, members: int | None = None, steps: float = math.inf) -> None:
        self.point, self.rule, self.members, self._steps = point, rule, members, steps
        self.program = rule.program
        self.t: Any = 0 if members is None else np.zeros(members, np.int64)
        start = [s.start.start for s in rule.slots if s.is_scalar]
        self._rows = [_row(rule, overrides) for overrides in point.overrides]
        self._scalar_names = [s.name for s in rule.slots if s.is_scalar]
        self._clocks = Clocks(point.rows, [self._scalars(start) for _ in self._rows])
        self._on_device = False
        self._counts_in_python = members is None  # one number, at least 1
        self._functions = hoist.NUMBERS if members is None else hoist.ARRAYS
        self._make_groups(point.tensors())
        self._is_fresh = False

    @property
    def name(self) -> str:
        return self.rule.name

    @property
    def scalars(self) -> list[list[Any]]:
        """The slots per member of each clock that runs."""
        return [clock.scalars for clock in self._clocks.active]

    def _scalars(self, start: list[float]) -> list[Any]:
        return [s if self.members is None else np.full(self.members, s) for s in start]

    def _make_tables(self) -> None:
        """The functions that compute all rows of hyperparameters, or one of them."""
        functions = hoist.TENSORS if self._on_device else self._functions
        self._table = hoist.rule_table(self.rule, self._rows, functions)
        self._row_tables = [hoist.rule_table(self.rule, [row], functions) for row in self._rows]
        devices = {kind.device for kind in self._kinds if kind.backend == COMPILER}
        if self._on_device and len(devices) == 1:
            self._table = torch_compile.table_function(self.rule, self._rows, torch.device(*devices))

    # -- the two passes over memory ------------------------------------------------------------------------------------

    def norm(self) -> Any:
        """‖g‖ over all parameters with a gradient, a float or float64 [K]; `advance` then uses these gradients."""
        self._refresh()
        squares = [group.squares() for group, _ in self._groups]
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
            self._refresh()
        self._is_fresh = False
        live = scale == scale
        if isinstance(scale, float) and not live:
            return 0.0
        values = self._next_values(hypers, scale, live)
        if len(values) == 0:  # no parameter has a gradient
            return 0.0 if self.members is None else np.zeros(self.members)
        squares = [group.advance(values) for group, _ in self._groups]
        total = squares[0] if len(squares) == 1 else sum(squares)
        torch.autograd.graph.increment_version(self._present)
        self._gradients = self._present = []  # not kept alive
        return self._root(total)

    def _next_values(self, hypers: Mapping[str, Any], scale: Any, live: Any) -> Sequence[Any]:
        """The table of hyperparameters of the next step; advances `t` and the scalar slots of all clocks that step."""
        t, clocks = self.t + live, self._clocks
        if self._absent:
            clocks.miss(self._absent, live)
            self._set_rows()
        if clocks.are_rows:
            first = t if self._counts_in_python else self._first(t)
            values, scalars = self._table(hypers, first, scale, self.scalars if self._scalar_names else ())
        else:
            values, scalars = (), ()
            for clock in clocks.active:
                table = self._row_tables[clock.row]
                row, new = table(hypers, self._first(t - clock.lag), scale, [clock.scalars])
                values, scalars = values + row, scalars + new
        if self._scalar_names:
            for clock, new in zip(clocks.active, scalars, strict=True):
                clock.scalars = self._where_live(t, new, clock.scalars)
        self.t = t
        return values

    def _set_rows(self) -> None:
        """Gives every clock that runs in this step a row in the table of hyperparameters."""
        rows = self._clocks.run(set(self._absent))
        for group, places in self._groups:
            group.set_rows([rows[i] for i in places], len(self._clocks.active))

    def steps(self, place: int) -> Any:
        """The steps that a parameter has taken: an int, or int64 [K]."""
        return self.t - self._clocks.of[place].lag

    def _root(self, squares: Any) -> Any:
        """The norm of a sum of squares: float, float64 [K] or tensor; the float 0 if there are no tensors."""
        if self.members is not None:
            return np.sqrt(squares)
        return squares.sqrt() if isinstance(squares, Tensor) else math.sqrt(squares)

    def _first(self, t: Any) -> Any:
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
        self._on_device, self._counts_in_python = True, False
        self._rebuild_groups(self.point.tensors())

    def parameter_norms(self) -> dict[str, tuple[Any, Any]]:
        """(‖w_new − w‖, ‖w_new‖) of the last step for each parameter with a gradient, measured in the same pass.

        Both are 0 for a member that skipped the step.
        """
        names = self.point.names
        return {names[places[i]]: both for group, places in self._groups for i, both in group.norms.items()}

    def _where_live(self, t: Any, new: tuple, old: list[Any]) -> list[Any]:
        """The new scalar slots of the members that take this step, the old ones of the others."""
        if self._on_device:
            return [torch.where(t != self.t, n, o) for n, o in zip(new, old, strict=True)]
        return [n if self.members is None else np.where(t != self.t, n, o) for n, o in zip(new, old, strict=True)]

    # -- groups and addresses ------------------------------------------------------------------------------------------

    def _refresh(self) -> None:
        """Reads weights and gradients, and checks that their memory is what the groups take it for."""
        tensors = self._present = self.point.tensors()
        gradients: list[Any] = [p.grad for p in tensors]
        if self._absent or self._copies or not self._layouts.hold([*tensors, *gradients]):
            self._adapt(tensors, gradients)
        self._gradients = gradients  # alive until the step
        if len(self._groups) == 1:
            has_memory = self._groups[0].group.read(tensors, gradients)
        else:
            has_memory = all(
                group.read([tensors[i] for i in own], [gradients[i] for i in own]) for group, own in self._groups
            )
        if not has_memory:
            check_memory(self.point.names, tensors, gradients)
        self._is_fresh = True

    def _adapt(self, tensors: list[Tensor], gradients: list[Any]) -> None:
        """Inspects tensors that have changed; puts plain gradients in place of those that are not."""
        present = [g for g in gradients if g is not None]
        if _places_of_none(gradients) != self._absent or not self._layouts.hold([*tensors, *present]):
            self._inspect(tensors, gradients)
        for i in self._copies:
            gradients[i] = plain_gradient(gradients[i], tensors[i])
        self._present = [p for p, g in zip(tensors, gradients, strict=True) if g is not None]

    def _inspect(self, tensors: list[Tensor], gradients: list[Tensor | None]) -> None:
        """Checks each tensor; new groups if a parameter has changed its kind, such as its dtype or device."""
        for place, (p, g) in enumerate(zip(tensors, gradients, strict=True)):
            check_parameter(self.point.names[place], p, self._shapes[place], g)
        kinds = [self._kind(p) for p in tensors]
        if kinds != self._kinds:
            self._rebuild_groups(tensors)
        present = [g for g in gradients if g is not None]
        self._absent = _places_of_none(gradients)
        self._set_rows()
        self._copies = [
            i for i, (kind, p, g) in enumerate(zip(kinds, tensors, gradients, strict=True))
            if g is not None and kind.backend != EAGER and plain_gradient(g, p) is not g
        ]  # fmt: skip
        self._layouts = Layouts([*tensors, *present])

    def _rebuild_groups(self, tensors: list[Tensor]) -> None:
        """Makes new groups and copies the slots to them."""
        state = self.state()
        self._make_groups(tensors)
        self.load(state)

    def _make_groups(self, tensors: list[Tensor]) -> None:
        self._shapes = [p.shape for p in tensors]
        self._kinds = [self._kind(p) for p in tensors]
        self._layouts, self._copies = Layouts([]), []
        places: dict[tuple, list[int]] = {}
        for i, kind in enumerate(self._kinds):
            places.setdefault((kind.device, kind.dtype, kind.backend), []).append(i)
        slots = [s for s in self.rule.slots if not s.is_scalar]
        self._groups = []
        for (_, _, backend), own in places.items():
            mine = [tensors[i] for i in own]
            make = {KERNEL: KernelGroup, COMPILER: CompiledGroup, EAGER: EagerGroup}[backend]
            group = make(self.rule, self.members, mine, make_slots(slots, mine))
            if not isinstance(group, KernelGroup):
                group.keep_on_device = self._on_device
            self._groups.append(_Group(group, own))
        self._absent: list[int] = []
        self._set_rows()
        self._make_tables()

    def _kind(self, p: Tensor) -> _Kind:
        return _Kind(str(p.device), p.dtype, p.stride(), self._backend(p))

    def _backend(self, p: Tensor) -> str:
        if self._steps >= torch_compile.MIN_STEPS and is_compilable(p, self.members):
            return COMPILER
        return KERNEL if is_plain(p) and not self._on_device and can_load() else EAGER

    # -- state ---------------------------------------------------------------------------------------------------------

    @property
    def slots(self) -> dict[str, dict[str, Tensor]]:
        names = [s.name for s in self.rule.slots if not s.is_scalar]
        slots: dict[str, dict[str, Tensor]] = {name: {} for name in names}
        for group, places in self._groups:
            for name, views in zip(names, group.slots, strict=True):
                slots[name] |= {self.point.names[i]: view for i, view in zip(places, views, strict=True)}
        return slots

    def state(self) -> dict[str, Any]:
        """The state of the rule: `t`, `scalars`, and `slots` by slot and parameter name; not copied.

        If parameters have missed steps, `clocks` has the clocks and `clock_of` that of each parameter by name.
        """
        return {"t": read(self.t), "slots": self.slots, **self._clocks.state(self.point.names)}

    @torch.no_grad()
    def load(self, state: Mapping[str, Any]) -> None:
        """Restores what `state` returned, by name."""
        self.t = state["t"]
        self._clocks.load(state, self.point.names, self.point.rows)
        if self._on_device:
            device = self.point.tensors()[0].device
            self.t = torch.tensor(self.t, device=device)
            for clock in set(self._clocks.of):
                clock.scalars = [torch.tensor(s, dtype=torch.float64, device=device) for s in clock.scalars]
        self._layouts = Layouts([])  # the next step inspects all tensors
        for slot, by in self.slots.items():
            for name, view in by.items():
                view.copy_(state["slots"][slot][name])

    @torch.no_grad()
    def adopt(self, before: "Update", old_names: Mapping[str, str]) -> None:
        """Takes over from the same rule's update of other parameters.

        Args:
            before: the update until now.
            old_names: of the parameters that go on with their state, by their names now; all others begin as in a
                first step.
        """
        self.t = before.t
        lag, places = read(before.t), {name: place for place, name in enumerate(before.point.names)}
        clocks: dict[tuple[int, int], Clock] = {}
        of = []
        for name, row, own in zip(self.point.names, self.point.rows, self._clocks.of, strict=True):
            old = before._clocks.of[places[old_names[name]]] if name in old_names else None
            fresh = Clock(row, lag, list(own.scalars)) if old is None else Clock(row, old.lag, list(old.scalars))
            of.append(clocks.setdefault((id(old), row), fresh))
        self._clocks.of = of
        self._layouts = Layouts([])  # the next step inspects all tensors
        theirs = before.slots
        for slot, by in self.slots.items():
            for name, view in by.items():
                if name in old_names:
                    view.copy_(theirs[slot][old_names[name]])

    @torch.no_grad()
    def reported_weights(self, hypers: Mapping[str, Any]) -> list[Tensor] | None:
        """The weights that the rule reports, tensor by tensor, or None if these are the weights themselves."""
        program = self.rule.evaluation
        if program is None or (self.members is None and self.t == 0):
            return None
        slots, weights = self.slots, []
        rows = [{k: v for k, v in row.items() if k != "lr_scale"} for row in self._rows]
        tables = [hoist.table(program, (), self._scalar_names, [row], self._functions) for row in rows]
        for place, (p, name) in enumerate(zip(self.point.tensors(), self.point.names, strict=True)):
            clock, steps = self._clocks.of[place], read(self.steps(place))
            if self.members is None and steps == 0:
                weights.append(p.detach().clone())
                continue
            values, _ = tables[clock.row](hypers, steps, 1.0, [[read(s) for s in clock.scalars]])
            inputs = {"w": p.detach(), **{slot: views[name] for slot, views in slots.items()}}
            weights.append(eager.evaluate(program, inputs, [broadcast(h, p) for h in values[1:]])[0])
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


def _places_of_none(values: Sequence[Any]) -> list[int]:
    return [i for i, x in enumerate(values) if x is None]
