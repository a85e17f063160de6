"""Groups of tensors that are updated alike: those of one dtype, with the rule's slots for them.

A `KernelGroup` runs the compiled kernel over addresses, an `EagerGroup` torch operations on each tensor. A group does
not own its memory and does not check it: it works on the tensors and slots that it is given.
"""

import functools
import math
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from steepest.rules import hoist
from steepest.rules.backends import eager
from steepest.rules.backends.object_code import SERIAL_BELOW, threads  # at the top, so that a fork is detected
from steepest.rules.memory import REAL_DTYPES, has_own_memory
from steepest.rules.rounding import Rounding
from steepest.rules.rule import Rule

PASS_WORDS = 3
"""Of a kernel's arguments, which a pass fills in: see `backends.block_loop.Pass`."""


def broadcast(value: Any, p: Tensor) -> Any:
    """A member value [K] as a tensor that broadcasts against [K, ...]; any other value as it is."""
    if not isinstance(value, np.ndarray):
        return value
    dtype = torch.bool if value.dtype == bool else p.dtype
    return torch.from_numpy(value).to(p.device, dtype).view(-1, *[1] * (p.dim() - 1))


def _live(scale: Any, p: Tensor) -> Tensor:
    """Which members take the step: booleans that broadcast against [K, ...], or one boolean."""
    live = scale == scale
    if isinstance(live, Tensor):
        return live
    return torch.as_tensor(live, device=p.device).view(-1, *[1] * (p.dim() - 1))


class TensorGroup:
    """Tensors of one dtype and their slots.

    Args:
        rule: the update rule.
        members: None for one point, K for tensors [K, ...].
        tensors: the weights.
        slots: for each slot per weight of the rule one tensor for each of the weights.
    """

    def __init__(self, rule: Rule, members: int | None, tensors: Sequence[Tensor], slots: list[list[Tensor]]) -> None:
        self.rule, self.members, self.slots = rule, members, slots
        self.rows = [0] * len(tensors)

    def set_rows(self, rows: list[int], count: int) -> None:
        """Says for each tensor which of `count` rows of hyperparameters it has."""
        self.rows = rows


class EagerGroup(TensorGroup):
    """Tensors of any device and dtype: torch operations on each tensor.

    A pass synchronises with the device once, for its sum. If `keep_on_device`, norms are tensors, and none does.
    """

    keep_on_device = False
    _sums: dict[int, tuple[Tensor, Tensor]]

    def read(self, tensors: Sequence[Tensor], gradients: Sequence[Tensor | None]) -> bool:
        """Takes the weights and gradients of this step; always True."""
        self.pairs, self._sums = list(zip(tensors, gradients, strict=True)), {}
        return True

    def squares(self) -> Any:
        """Σ‖g‖²."""
        return self._total([self._sum(_squares(g)) for _, g in self.pairs if g is not None])

    @torch.no_grad()
    def advance(self, values: Sequence[Any]) -> Any:
        """Takes a step with a table of hyperparameters (`hoist.table`); returns Σ‖w_new − w‖²."""
        for place, ((w, g), row) in enumerate(zip(self.pairs, self.rows, strict=True)):
            if g is not None:
                self._sums[place] = self._advance_one(w, g, [by[place] for by in self.slots], values, row)
        self.pairs = []  # gradients are not kept alive
        return self._total([update for update, _ in self._sums.values()])

    @property
    def norms(self) -> dict[int, tuple[Any, Any]]:
        """(‖w_new − w‖, ‖w_new‖) of the last step by the place of the tensor."""
        return {place: (self._number(a) ** 0.5, self._number(b) ** 0.5) for place, (a, b) in self._sums.items()}

    def _advance_one(self, w: Tensor, g: Tensor, views: list[Tensor], values: Sequence[Any], row: int) -> tuple:
        """Steps one tensor; returns ‖w_new − w‖² and ‖w_new‖²."""
        program, slots = self.rule.program, self.rule.slots
        scale = values[row * (1 + len(program.hoisted))]
        if w.is_complex():
            w, g, *views = (torch.view_as_real(x) for x in (w.detach(), g, *views))
        indices = [n for n, s in enumerate(slots) if not s.is_scalar]
        inputs = {slots[n].name: view for n, view in zip(indices, views, strict=True)}
        inputs |= {"w": w.detach(), "g": g * broadcast(scale, w)}
        hypers = [broadcast(h, w) for h in hoist.row_of(values, program, row)]
        new, *outputs = eager.evaluate(program, inputs, hypers)
        live, has_skips = _live(scale, w), not isinstance(scale, float)
        new = torch.where(live, new, w) if has_skips else new
        update = self._sum(_squares(new - w))
        length = self._sum(_squares(torch.where(live, new, 0.0)))
        for n, view in zip(indices, views, strict=True):
            output = outputs[n] if isinstance(outputs[n], Tensor) else torch.full_like(view, float(outputs[n]))
            view.copy_(torch.where(live, output, view) if has_skips else output)
        w.copy_(new)
        return update, length

    def _sum(self, x: Tensor) -> Tensor:
        return x.sum() if self.members is None else x.flatten(1).sum(1)

    def _total(self, sums: Sequence[Tensor]) -> Any:
        if sums:
            return self._number(sum(sums[1:], sums[0]))
        return 0.0 if self.members is None else np.zeros(self.members)

    def _number(self, x: Tensor) -> Any:
        """A sum as a number, or an array [K]; as it is if numbers stay on the device."""
        if self.keep_on_device:
            return x
        return x.item() if self.members is None else x.cpu().numpy()


def _squares(x: Tensor) -> Tensor:
    return (torch.view_as_real(x) if x.is_complex() else x).double().square()


class KernelGroup(TensorGroup):
    """Plain tensors (`rules.memory`) of one dtype: one pass of the compiled kernel over addresses.

    The slots are plain and have the shapes and strides of their weights.

    Args:
        rule: the update rule.
        members: None for one point, K for tensors [K, ...].
        tensors: the weights.
        slots: for each slot per weight of the rule one tensor for each of the weights. Those of weights in bfloat16 are
            float32, and begin with the master weights if `rounding` has them.
        rounding: how weights in bfloat16 are updated in float32; None for others.
        places: of the tensors, which random numbers depend on, if rounding is stochastic. Each row of hyperparameters
            then ends with the step.
    """

    def __init__(
        self, rule: Rule, members: int | None, tensors: Sequence[Tensor], slots: list[list[Tensor]],
        rounding: Rounding | None = None, places: Sequence[int] = (),
    ) -> None:  # fmt: skip
        super().__init__(rule, members, tensors, slots)
        from steepest.rules.backends import cpu

        dtype = REAL_DTYPES[tensors[0].dtype] if rounding is None else tensors[0].dtype
        names = tuple("" if s.is_scalar else s.name for s in rule.slots)
        self._update = rule.program, names, dtype, rounding
        self.width = 1 + len(rule.program.hoisted) + (rounding is not None and rounding.is_stochastic)
        self.places = np.array(places, np.int64)
        self._dtype = dtype
        self.teams: dict[int, tuple[int, Any, list[np.ndarray]]] = {}
        self._at: list[int] = []
        self.real = np.dtype(np.float64 if dtype is torch.float64 else np.float32)
        sizes = [p.numel() * (2 if p.is_complex() else 1) // (members or 1) for p in tensors]
        self._build_table(sizes, cpu.BLOCK_SIZE)
        self.set_rows(self.rows, 1)

    def _build_table(self, sizes: list[int], block: int) -> None:
        """Builds the block table, and the arrays of addresses and sums to which the kernel's arguments point."""
        K, P = self.members or 1, len(sizes)
        table, tensor_of = [], []
        for k in range(K):
            for p, size in enumerate(sizes):
                for lo in range(0, size, block):
                    table.append((p, k * size + lo, min(block, size - lo), k))
                    tensor_of.append(k * P + p)
        self.table = np.array(table, np.int64)
        self.weights = sum(sizes) * K
        self.W, self.G = np.zeros(P, np.int64), np.zeros(P, np.int64)
        self.S = np.array([[x.data_ptr() for x in by] for by in self.slots] or [[0]], np.int64)
        # assignment from a list takes a microsecond in numpy and a fifth of it in struct
        self._to_W, self._to_G = (x.data.cast("B") for x in (self.W, self.G))
        self._addresses = struct.Struct(f"{P}q")
        sums = np.zeros((len(table) + 1, 2))  # one more: the serial kernel's total
        self.sums, self.total = sums[:-1], sums.reshape(-1).data[2 * len(table) : 2 * len(table) + 1]
        self.member_starts = np.flatnonzero(np.diff(np.array(tensor_of) // P, prepend=-1))
        self.tensor_starts = np.flatnonzero(np.diff(np.array(tensor_of), prepend=-1))
        self.tensor_places = np.array(tensor_of, np.int64)[self.tensor_starts]

    def set_rows(self, rows: list[int], count: int) -> None:
        """Says for each tensor which of `count` rows of hyperparameters it has; each row has K places in the table."""
        self.rows, K = rows, self.members or 1
        self.R = np.array(rows, np.int64) * K
        self.H = np.zeros((max(1, count) * K, self.width), self.real)
        self._H = self.H.data.cast("B")
        self._count = self.H.size
        self._packer = struct.Struct(f"{self._count}{self.real.char}")
        self.teams.clear()
        if self._at:  # between `read` and the step
            self._address = self._arguments(self._team)

    def _arguments(self, team: int) -> int:
        """The address of the kernel's arguments for a team of threads, made once for each team size.

        Each thread gets blocks with about the same number of weights.
        """
        if team not in self.teams:
            weights = np.cumsum(self.table[:, 2])
            shares = [round(weights[-1] * k / team) for k in range(1, team)]
            parts = np.array([0, *np.searchsorted(weights, shares), len(weights)], np.int64)
            arrays = [parts, self.table, self.W, self.G, self.S, self.R, self.H, self.places]
            numbers = [len(self.W), self.width, self.sums.ctypes.data, team > 1, team, *[0] * PASS_WORDS]
            arguments = np.array([*(a.ctypes.data for a in arrays), *numbers], np.int64)
            words = arguments.data[-PASS_WORDS:]
            self.teams[team] = arguments.ctypes.data, words, [arguments, *arrays]
        address, self._words, _ = self.teams[team]
        return address

    def _run(self, one: Any) -> float:
        """Runs a pass; returns the total of the first sums, always added in block order."""
        self._words[:] = one.words
        if self._team == 1:
            one.loop.serial(self._address)
            return self.total[0]
        one.loop.parallel(self._address, self._team)
        return sum(self.sums[:, 0].tolist())

    def read(self, tensors: Sequence[Tensor], gradients: Sequence[Tensor | None]) -> bool:
        """Reads the addresses of the weights and gradients of this step; False if one of them has no memory.

        The caller keeps the gradients until the step.
        """
        try:
            pointers = list(map(Tensor.data_ptr, gradients))  # type: ignore[arg-type]
        except TypeError:  # a tensor without gradient has the address 0
            pointers = [0 if g is None else g.data_ptr() or -1 for g in gradients]
            has_memory = -1 not in pointers
        else:
            has_memory = 0 not in pointers
        addresses = list(map(Tensor.data_ptr, tensors))
        self._addresses.pack_into(self._to_G, 0, *pointers)
        if addresses != self._at:
            self._addresses.pack_into(self._to_W, 0, *addresses)
            self._at = addresses
            self.is_shared = not has_own_memory(tensors)
            self._is_serial = self.weights < SERIAL_BELOW or self.is_shared  # never two threads on one weight
        self._team = 1 if self._is_serial else threads(self.weights)
        self._address = self._arguments(self._team)
        return has_memory and 0 not in addresses

    @functools.cached_property
    def update_pass(self) -> Any:
        """The pass of a step."""
        from steepest.rules.backends import cpu

        return cpu.advance_pass(*self._update)

    @functools.cached_property
    def norm_pass(self) -> Any:
        """The pass that adds the squares of the gradients."""
        from steepest.rules.backends import cpu

        return cpu.norm_pass(self._dtype)

    def squares(self) -> Any:
        """Σ‖g‖²."""
        total = self._run(self.norm_pass)
        if self.members is None:
            return total
        return np.add.reduceat(self.sums[:, 0], self.member_starts)

    def advance(self, values: Sequence[Any]) -> Any:
        """Takes a step with a table of hyperparameters (`hoist.table`); returns Σ‖w_new − w‖²."""
        if self.members is None:
            if len(values) != self._count:
                self._packer, self._count = struct.Struct(f"{len(values)}{self.real.char}"), len(values)
            self._packer.pack_into(self._H, 0, *values)
            return self._run(self.update_pass)
        width, K = self.H.shape[1], self.members
        for place, value in enumerate(values):
            row = place // width * K
            self.H[row : row + K, place % width] = value
        self._run(self.update_pass)
        return np.add.reduceat(self.sums[:, 0], self.member_starts)

    @property
    def norms(self) -> dict[int, tuple[Any, Any]]:
        """(‖w_new − w‖, ‖w_new‖) of the last step by the place of the tensor."""
        K, P = self.members, len(self.W)
        squares = np.zeros(((K or 1) * P, 2))
        squares[self.tensor_places] = np.add.reduceat(self.sums, self.tensor_starts, axis=0)
        present = np.flatnonzero(self.G).tolist()
        if K is None:
            return {p: (math.sqrt(squares[p, 0]), math.sqrt(squares[p, 1])) for p in present}
        roots = np.sqrt(squares.reshape(K, P, 2))
        return {p: (roots[:, p, 0], roots[:, p, 1]) for p in present}
