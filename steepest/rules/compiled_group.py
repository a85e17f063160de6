"""Tensors that a compiled function updates (`backends.torch_compile`): those on CUDA, dense and of one dtype."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from steepest.rules import hoist
from steepest.rules.backends import torch_compile
from steepest.rules.memory import is_dense_strided
from steepest.rules.rule import Rule
from steepest.rules.tensor_groups import EagerGroup, TensorGroup

MAX_PATTERNS = 4
"""Sets of tensors with a gradient for which functions are compiled; in further ones the eager reference runs."""


def is_compilable(p: Tensor, members: int | None) -> bool:
    """Whether a compiled function can update a weight."""
    return (
        p.device.type in torch_compile.DEVICE_TYPES
        and p.dtype in torch_compile.COMPUTE_DTYPES
        and is_dense_strided(p)
        and (members is None or p.stride(0) == p.numel() // max(1, p.shape[0]))
        and torch_compile.is_available()
    )


class _Part(NamedTuple):
    """Tensors of one function, by their places in the group."""

    form: torch_compile.Form
    places: list[int]


class CompiledGroup(TensorGroup):
    """Dense tensors of one dtype and device, in parts that have a function each.

    Where a part cannot be compiled the eager reference updates its tensors. Norms are tensors on the device if
    `keep_on_device`.
    """

    def __init__(self, rule: Rule, members: int | None, tensors: Sequence[Tensor], slots: list[list[Tensor]]) -> None:
        super().__init__(rule, members, tensors, slots)
        self._eager = EagerGroup(rule, members, tensors, slots)
        self._slot_names = tuple("" if s.is_scalar else s.name for s in rule.slots)
        self._at: list[int] = []
        self._parts: list[_Part] = []
        self._works: dict[Callable, bool] = {}
        self._patterns: set[tuple] = set()
        self._key: Any = None
        self._sums: list[tuple[_Part, Tensor, Tensor]] = []

    @property
    def keep_on_device(self) -> bool:
        return self._eager.keep_on_device

    @keep_on_device.setter
    def keep_on_device(self, value: bool) -> None:
        self._eager.keep_on_device = value

    # -- the parts -----------------------------------------------------------------------------------------------------

    def read(self, tensors: Sequence[Tensor], gradients: Sequence[Tensor | None]) -> bool:
        """Takes the weights and gradients of this step; always True."""
        at = list(map(Tensor.data_ptr, tensors))
        if at != self._at:
            self._at, self._weights = at, [p.detach() for p in tensors]
        self._gradients = gradients
        present = tuple(i for i, g in enumerate(gradients) if g is not None)
        if self._key != (present, self.rows):
            self._key = present, self.rows
            self._parts = self._make_parts(present)
        return True

    def _make_parts(self, present: tuple[int, ...]) -> list[_Part]:
        """The functions' parts; none where the pattern of gradients changes too often."""
        self._patterns.add((present, tuple(self.rows)))
        if len(self._patterns) > MAX_PATTERNS:
            return []
        parts = []
        for lo in range(0, len(present), torch_compile.PART_SIZE):
            places = list(present[lo : lo + torch_compile.PART_SIZE])
            layouts = [self._layout(i) for i in places]
            first = self._weights[places[0]]
            dtypes = tuple(by[places[0]].dtype for by in self.slots)
            form = torch_compile.Form(tuple(layouts), first.dtype, dtypes, self.members is not None, first.device)
            parts.append(_Part(form, places))
        return parts

    def _layout(self, place: int) -> torch_compile.Layout:
        w, first = self._weights[place], 0 if self.members is None else 1
        return torch_compile.Layout(tuple(w.shape[first:]), w.stride()[first:], self.rows[place])

    def _call(self, function: Callable, *arguments: Any) -> Any:
        """What a function returns; None if it cannot be compiled, before it has changed anything."""
        if not self._works.get(function, torch_compile.is_available()):
            return None
        with torch.no_grad():  # the mode is part of what is compiled
            if function in self._works:
                return function(*arguments)
            if self.members is not None:
                torch_compile.mark_members(arguments)
            result = torch_compile.attempt(function, *arguments)
        self._works[function] = result is not None
        return result

    def _read_rest(self, places: Sequence[int]) -> EagerGroup:
        """The eager reference, with the gradients that no function was compiled for."""
        rest = set(places)
        gradients = [g if i in rest else None for i, g in enumerate(self._gradients)]
        self._eager.read(self._weights, gradients)
        self._eager.set_rows(self.rows, 0)
        return self._eager

    # -- the two passes ------------------------------------------------------------------------------------------------

    def squares(self) -> Any:
        """Σ‖g‖²."""
        totals, rest = [], self._places_without_part()
        for part in self._parts:
            function = torch_compile.norm_function(part.form._replace(layouts=_without_rows(part.form.layouts)))
            total = self._call(function, [self._gradients[i] for i in part.places])
            if total is None:
                rest += part.places
            else:
                totals.append(total)
        return self._total(totals, self._read_rest(rest).squares() if rest else None)

    def advance(self, values: Sequence[Any]) -> Any:
        """Takes a step with a table of hyperparameters (`hoist.table`); returns Σ‖w_new − w‖²."""
        table = self._table(values)
        totals, rest, self._sums = [], self._places_without_part(), []
        for part in self._parts:
            function = torch_compile.advance_function(self.rule.program, self._slot_names, part.form)
            weights, gradients, *slots = (
                [x[i] for i in part.places] for x in (self._weights, self._gradients, *self.slots)
            )
            result = self._call(function, weights, gradients, slots, table)
            if result is None:
                rest += part.places
                continue
            total, steps, lengths = result
            totals.append(total)
            self._sums.append((part, steps, lengths))
        eager = self._read_rest(rest)
        if isinstance(values, Tensor):
            values = values.unbind()
        update = eager.advance(values) if rest else None
        self._gradients = []  # not kept alive
        return self._total(totals, update)

    def _places_without_part(self) -> list[int]:
        return [] if self._parts else [i for i, g in enumerate(self._gradients) if g is not None]

    def _table(self, values: Any) -> Tensor:
        """The table of hyperparameters, float64 [rows × width] or [rows × width, K], on the device."""
        device = self._weights[0].device
        if isinstance(values, Tensor):
            return values
        if any(isinstance(x, Tensor) for x in values):
            return torch.stack([hoist.on_device(x, device).double() for x in values])
        shape = (len(values),) if self.members is None else (len(values), self.members)
        table = np.empty(shape)
        for place, value in enumerate(values):
            table[place] = value
        return torch.from_numpy(table).to(device, non_blocking=True)

    def _total(self, totals: Sequence[Tensor], rest: Any) -> Any:
        """A sum over parts, as a number, an array [K] or a tensor."""
        if not totals:
            none = 0.0 if self.members is None else np.zeros(self.members)
            return none if rest is None else rest
        total = sum(totals[1:], totals[0])
        own = total if self.keep_on_device else total.item() if self.members is None else total.cpu().numpy()
        return own if rest is None else own + rest

    @property
    def norms(self) -> dict[int, tuple[Any, Any]]:
        """(‖w_new − w‖, ‖w_new‖) of the last step by the place of the tensor."""
        norms = dict(self._eager.norms)
        for part, *both in self._sums:
            pairs = torch.stack([torch.stack(torch_compile.row_sums(rows, part.form)) for rows in both]).sqrt()
            if not self.keep_on_device:
                pairs = pairs.tolist() if self.members is None else pairs.cpu().numpy()
            norms |= {place: (pairs[0][n], pairs[1][n]) for n, place in enumerate(part.places)}
        return dict(sorted(norms.items()))


def _without_rows(layouts: Sequence[torch_compile.Layout]) -> tuple[torch_compile.Layout, ...]:
    """The layouts, for a function that reads no hyperparameters."""
    return tuple(layout._replace(row=0) for layout in layouts)
