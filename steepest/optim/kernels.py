"""The steps of a torch optimizer by the kernels of the rules, on the optimizer's own memory.

`param_groups` and `state` are the truth: the groups are read and the state is looked at before every step, so they may
be changed between any two steps. A plan holds what follows from the tensors alone; it is used again as long as the
tensors, their memory and their layouts are the same. What a kernel may not be handed is left to the optimizer.
"""

import struct
from collections.abc import Mapping, Sequence
from itertools import chain
from operator import is_
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from steepest.optim.float32_steps import MASTER, STEP, in_float32
from steepest.rules import hoist
from steepest.rules.backends.object_code import can_load
from steepest.rules.memory import (
    REAL_DTYPES,
    Layouts,
    check_memory,
    has_own_memory,
    is_plain,
    local,
    partition,
    plain_gradient,
    spec,
)  # fmt: skip
from steepest.rules.rounding import Rounding
from steepest.rules.rule import Rule
from steepest.rules.tensor_groups import KernelGroup

CONSTANT_TYPES = (int, float, str, tuple, type(None))
PLANS = 8
"""Plans that are kept, for trainings in which different parameters have gradients at different steps."""


class Formula(NamedTuple):
    """What the options of a param group mean.

    Attributes:
        rule: the update rule.
        hypers: its hyperparameters.
        keys: the key in `state[p]` of each slot, and of the count of steps "t" if the optimizer has one.
        sign: −1 to maximise, else 1.
        rounding: how weights in bfloat16 are stepped in float32; None if they are not.
    """

    rule: Rule
    hypers: dict[str, float]
    keys: Mapping[str, str]
    sign: float = 1.0
    rounding: Rounding | None = None


class Member(NamedTuple):
    """A parameter that a kernel steps.

    Attributes:
        place: its place in the list of all parameters.
        owner: its param group.
        slots: its state per weight: its master weight if it has one, then the rule's slots in their order.
        scalars: its count of steps, if the optimizer has one, and its other state that is one number.
        rounding: how a weight in bfloat16 is stepped in float32; None for others.
    """

    place: int
    owner: int
    slots: list[Tensor]
    scalars: list[Tensor]
    rounding: Rounding | None


class KernelSteps:
    """Steps the parameters of an optimizer that kernels may step."""

    def __init__(self) -> None:
        self._plans: list[Plan] = []
        self._options: list[Any] = []
        self._formulas: list[Formula | None] = []

    def step(self, optimizer: Any) -> None:
        """One step: by a kernel where that may be, else by the optimizer's `_step_left(groups)`."""
        groups, state = optimizer.param_groups, optimizer.state
        params = list(chain.from_iterable([group["params"] for group in groups]))
        gradients = [p.grad for p in params]
        formulas = self._read_options(optimizer)
        for place, plan in enumerate(self._plans):
            if plan.fits(params, gradients, formulas, state):
                if place:
                    self._plans.insert(0, self._plans.pop(place))
                break
        else:
            optimizer._check_tensors(params, gradients)
            plan = Plan(groups, params, gradients, formulas, state)
            alike = [other for other in self._plans if other.has_same_memory(plan)]  # others would keep memory alive
            self._plans = [plan, *alike[: PLANS - 1]]
        if not plan.read(gradients):  # weights have moved into the same memory
            plan = self._plans[0] = Plan(groups, params, gradients, formulas, state)
            plan.read(gradients)
        if plan.left:
            left = [{**groups[owner], "params": params} for owner, params in plan.left.items()]
            with in_float32(optimizer, left) as weights:
                optimizer._step_left(weights)
        plan.run(formulas)

    def _read_options(self, optimizer: Any) -> list[Formula | None]:
        """The formulas of all param groups; those of the step before if all options are the same objects."""
        options = _values(optimizer.param_groups)
        if not _are_same(options, self._options):
            self._formulas = [optimizer._formula(group) for group in optimizer.param_groups]
            is_constant = all(
                isinstance(x, CONSTANT_TYPES) for group in optimizer.param_groups for x in _options(group)
            )
            self._options = options if is_constant and "grad_scale" not in optimizer.__dict__ else []
        return self._formulas


class Plan:
    """Which parameters a kernel steps, and which are left.

    Attributes:
        left: for each param group the parameters that the optimizer has to step itself.
    """

    def __init__(
        self, groups: Sequence[dict[str, Any]], params: list[Tensor], gradients: list[Any],
        formulas: Sequence[Formula | None], state: Mapping[Tensor, dict[str, Any]],
    ) -> None:  # fmt: skip
        self._params, self._rules, self._roundings = params, [f and f.rule for f in formulas], _roundings(formulas)
        self._absent = [i for i, g in enumerate(gradients) if g is None]
        self._keys, self._dictionaries = list(state), list(state.values())
        self._values = _values(self._dictionaries)
        owners = [owner for owner, group in enumerate(groups) for _ in group["params"]]
        batches: dict[tuple, tuple[Rule, list[Member]]] = {}
        self.left: dict[int, list[Tensor]] = {}
        for place, (p, g, owner) in enumerate(zip(params, gradients, owners, strict=True)):
            if g is None:
                continue
            formula = formulas[owner]
            member = None if formula is None else _member(place, owner, p, g, formula, state.get(p, {}))
            if formula is None or member is None:
                self.left.setdefault(owner, []).append(p)
            else:
                key = formula.rule.program, local(p).dtype, member.rounding
                batches.setdefault(key, (formula.rule, []))[1].append(member)
        together = [m for _, members in batches.values() for m in members]
        memory = [x for m in together for x in (params[m.place], *m.slots, *m.scalars)]
        if not has_own_memory(list(map(local, memory))):  # a kernel steps the last tensor first: order matters here
            for member in together:
                self.left.setdefault(member.owner, []).append(params[member.place])
            batches.clear()
        self._batches = [Batch(rule, members, params, gradients) for rule, members in batches.values()]
        self._places = [member.place for batch in self._batches for member in batch.members]
        self._memory = [x for batch in self._batches for m in batch.members for x in (*m.slots, *m.scalars)]
        self._pointers = list(map(Tensor.data_ptr, map(local, self._memory)))
        self._shards = [spec(x) for x in (*self._all(gradients), *self._memory) if spec(x)]
        self._layouts = Layouts([local(x) for x in self._all(gradients)])

    def _all(self, gradients: list[Any]) -> list[Any]:
        """All parameters and gradients."""
        present = [g for g in gradients if g is not None] if self._absent else gradients
        return [*self._params, *present]

    def fits(
        self, params: list[Tensor], gradients: list[Any], formulas: Sequence[Formula | None],
        state: Mapping[Tensor, dict[str, Any]],
    ) -> bool:  # fmt: skip
        """Whether all that the plan depends on is still so."""
        dictionaries = list(state.values())
        if not (
            _are_same(params, self._params)
            and _are_same([f and f.rule for f in formulas], self._rules)
            and _roundings(formulas) == self._roundings
            and _are_same(dictionaries, self._dictionaries)
            and _are_same(list(state), self._keys)
            and _are_same(_values(dictionaries), self._values)
        ):
            return False
        if self._absent and [i for i, g in enumerate(gradients) if g is None] != self._absent:
            return False
        tensors, memory = self._all(gradients), self._memory
        if self._shards:
            if [spec(x) for x in (*tensors, *memory) if spec(x)] != self._shards:
                return False
            tensors, memory = list(map(local, tensors)), list(map(local, memory))
        return self._layouts.hold(tensors) and list(map(Tensor.data_ptr, memory)) == self._pointers

    def has_same_memory(self, other: "Plan") -> bool:
        """Whether another plan is for the same parameters and state."""
        return _are_same(self._params, other._params) and _are_same(self._values, other._values)

    def read(self, gradients: list[Any]) -> bool:
        """Reads the addresses of a step, all before anything is changed; False if two weights share memory.

        Raises:
            TensorError: the storage of a parameter or gradient was freed.
        """
        for batch in self._batches:
            batch.read(self._params, gradients)
        return not any(batch.group.is_shared for batch in self._batches)

    def run(self, formulas: Sequence[Any]) -> None:
        """One step of the parameters that kernels step."""
        for batch in self._batches:
            batch.run(formulas)
        torch.autograd.graph.increment_version([self._params[i] for i in self._places])


class Batch:
    """Parameters of one rule and dtype that one call of the kernel steps."""

    def __init__(self, rule: Rule, members: list[Member], params: list[Tensor], gradients: list[Any]) -> None:
        self.members = members
        self._places = [m.place for m in members]
        self._is_all = self._places == list(range(len(params))) and not any(map(spec, params))
        weights = [local(params[i]) for i in self._places]
        pairs = zip(weights, (local(gradients[i]) for i in self._places), strict=True)
        self._copies = [i for i, (p, g) in enumerate(pairs) if plain_gradient(g, p) is not g]
        slots = [[local(x) for x in by] for by in zip(*(m.slots for m in members), strict=True)]
        how = members[0].rounding
        self.group = KernelGroup(rule, None, weights, slots, how, self._places)
        self._needs_step = how is not None and how.is_stochastic
        self._counts_steps = len(members[0].scalars) > sum(s.is_scalar for s in rule.slots)
        self._table = hoist.rule_table(rule)
        self._owners = list(dict.fromkeys(m.owner for m in members))
        rows = [self._owners.index(m.owner) for m in members]
        self.group.set_rows(rows, len(self._owners) if not members[0].scalars else len(members))
        self._rows = ScalarRows(members, self.group) if members[0].scalars else None

    def read(self, params: list[Tensor], gradients: list[Any]) -> None:
        """Reads the addresses of a step."""
        if not self._is_all:
            params = [local(params[i]) for i in self._places]
            gradients = [local(gradients[i]) for i in self._places]
        if self._copies:
            gradients = list(gradients)
            for i in self._copies:
                gradients[i] = plain_gradient(gradients[i], params[i])
        if not self.group.read(params, gradients):
            check_memory([f"parameter {place}" for place in self._places], params, gradients)
        self._gradients = gradients  # alive until the step

    def run(self, formulas: Sequence[Any]) -> None:
        """One step."""
        rows: list[Any] = [(owner, ()) for owner in self._owners] if self._rows is None else self._rows.read()
        values: tuple = ()
        new: list[float] = []
        for owner, scalars in rows:
            _, hypers, _, sign, _ = formulas[owner]
            t = scalars[0] + 1 if self._counts_steps else 1
            own, slots = self._table(hypers, t, sign, (scalars[1:] if self._counts_steps else scalars,))
            values += (*own, t) if self._needs_step else own
            new += (t, *slots[0]) if self._counts_steps else slots[0]
        self.group.advance(values)
        self._gradients = []
        if self._rows is not None:
            self._rows.write(new)


class ScalarRows:
    """The state that is one number per parameter, such as its count of steps, read and written by address.

    Parameters of one group with equal numbers share a row of hyperparameters.
    """

    def __init__(self, members: list[Member], group: KernelGroup) -> None:
        from steepest.rules.backends import cpu

        self._read, self._write = cpu.rows_kernels()
        P, self._width = len(members), len(members[0].scalars)
        self._owners = [m.owner for m in members]
        owners = np.array(self._owners, np.int64)
        addresses = np.array([[x.data_ptr() for x in m.scalars] for m in members], np.int64)
        sizes = np.array([[x.element_size() for x in m.scalars] for m in members], np.int64)
        values, firsts, count = np.zeros((P, self._width)), np.zeros(P, np.int64), np.zeros(1, np.int64)
        arrays = [group.G, owners, addresses, sizes, group.R, values, firsts, count]
        arguments = np.array([P, self._width, *(a.ctypes.data for a in arrays)], np.int64)
        self._address = arguments.ctypes.data
        self._arrays = [arguments, *arrays]
        self._values: Any = values.reshape(-1).data
        self._firsts, self._count = firsts.data, count.data

    def read(self) -> list[tuple[int, list[float]]]:
        """The param group and the numbers of each row; the group of tensors has the row of each parameter."""
        self._read.serial(self._address)
        width, values = self._width, self._values
        return [
            (self._owners[self._firsts[row]], values[row * width : (row + 1) * width].tolist())
            for row in range(self._count[0])
        ]

    def write(self, values: list[float]) -> None:
        """Gives each parameter the numbers of its row."""
        struct.pack_into(f"{len(values)}d", self._values, 0, *values)
        self._write.serial(self._address)


def _member(place: int, owner: int, p: Tensor, g: Any, formula: Formula, state: Mapping[str, Any]) -> Member | None:
    """A parameter for a kernel, or None if a kernel may not be handed it, its gradient or its state."""
    weight = local(p)
    how = formula.rounding if weight.dtype is torch.bfloat16 else None
    if how is not None and local(g).dtype is not torch.bfloat16:
        return None
    keys = {**formula.keys, "t": STEP} if how is not None and how.is_stochastic else formula.keys
    masters = [MASTER] if how is not None and how.has_master else []
    if not {*keys.values(), *masters} <= state.keys() or spec(g) != spec(p):
        return None
    slots = [state[key] for key in (*masters, *(keys[s.name] for s in formula.rule.slots if not s.is_scalar))]
    scalars = [state[keys[s.name]] for s in formula.rule.slots if s.is_scalar]
    if "t" in keys:
        scalars.insert(0, state[keys["t"]])
    dtypes = REAL_DTYPES if how is None else (torch.bfloat16,)
    if not can_load() or not is_plain(weight, dtypes) or plain_gradient(local(g), weight) is None:
        return None
    if any(partition(x) != partition(p) for x in slots):
        return None
    dtype = weight.dtype if how is None else torch.float32
    for x in map(local, slots):
        if not is_plain(x) or (x.dtype, x.shape, x.stride()) != (dtype, weight.shape, weight.stride()):
            return None
    if not all(is_plain(x) and x.numel() == 1 and not x.is_complex() for x in scalars):
        return None
    return Member(place, owner, slots, scalars, how)


def _roundings(formulas: Sequence[Formula | None]) -> list[Rounding | None]:
    return [f and f.rounding for f in formulas]


def _options(group: Mapping[str, Any]) -> list[Any]:
    return [value for key, value in group.items() if key not in ("params", "param_names")]


def _values(dictionaries: Sequence[dict]) -> list[Any]:
    return list(chain.from_iterable(map(dict.values, dictionaries)))


def _are_same(objects: Sequence[Any], others: Sequence[Any]) -> bool:
    return len(objects) == len(others) and all(map(is_, objects, others))
