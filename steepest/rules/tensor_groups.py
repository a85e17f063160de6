"""The parts of a point that are updated alike: the tensors of one device and dtype, with the rule's slots for them.

A bank keeps one flat buffer per slot, in which each tensor's part begins at a multiple of 64 bytes and lies in memory
as the tensor does. A `KernelGroup` runs the compiled kernel over addresses, an `EagerGroup` torch operations on each
tensor.
"""

import ctypes
import itertools
import math
import mmap
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from steepest.errors import TaskError
from steepest.rules.backends import eager
from steepest.rules.backends.object_code import threads  # at the top: it notices a fork only if it is there before
from steepest.rules.rule import Rule, W

ALIGNMENT = 64  # bytes: a cache line
HUGE = 2 << 20  # bytes: a huge page


@dataclass(frozen=True)
class GroupSpec:
    """What all banks of an update share.

    Attributes:
        rule: that is applied.
        members: None for one point, K for tensors [K, ...].
        row_count: rows of hyperparameters, of each member.
        names: of all the point's tensors.
        rows: for each of them its row.
        stays: numbers stay on the device as tensors; nothing waits for it.
    """

    rule: Rule
    members: int | None
    row_count: int
    names: Sequence[str]
    rows: Sequence[int]
    stays: bool = False


def broadcast(value: Any, p: Tensor) -> Any:
    """A member value [K] as a tensor that broadcasts against [K, ...]."""
    if not isinstance(value, np.ndarray):
        return value
    dtype = torch.bool if value.dtype == bool else p.dtype
    return torch.from_numpy(value).to(p.device, dtype).view(-1, *[1] * (p.dim() - 1))


def _live(scale: Any, p: Tensor) -> Tensor:
    """Where a step is taken, as truths that broadcast against [K, ...], or one."""
    live = scale == scale
    if isinstance(live, Tensor):
        return live
    return torch.as_tensor(live, device=p.device).view(-1, *[1] * (p.dim() - 1))


class TensorGroup:
    """The tensors of one device and dtype, their slots, and how they are advanced."""

    def __init__(self, terms: GroupSpec, tensors: list[Tensor], places: list[int]) -> None:
        self.terms, self.places = terms, places
        self.rows = [terms.rows[i] for i in places]
        self.names = [terms.names[i] for i in places]
        kept = [s for s in terms.rule.slots if not s.is_scalar]
        first = tensors[places[0]]
        unit = ALIGNMENT // first.element_size()
        starts = itertools.accumulate((math.ceil(tensors[i].numel() / unit) * unit for i in places), initial=0)
        *self.starts, length = starts
        self.flat = [_zeros(length, first) for _ in kept]
        self.views = [[_view(f, at, tensors[i]) for f in self.flat] for i, at in zip(places, self.starts, strict=True)]
        for views, i in zip(self.views, places, strict=True):
            for slot, view in zip(kept, views, strict=True):
                view.copy_(tensors[i].detach()) if slot.start is W else view.fill_(float(slot.start))

    def look(self, tensors: list[Tensor], addresses: list[int]) -> bool:
        """Notes where weights and gradients are; False where the weights are not what they were."""
        raise NotImplementedError

    def squares(self) -> Any:
        raise NotImplementedError

    def advance(self, values: Sequence[Any]) -> Any:
        """Σ‖w_new − w‖² of a step with this table of hyperparameters: rows of the gradient's scale and the hoisted."""
        raise NotImplementedError

    def norms(self) -> dict[str, tuple[Any, Any]]:
        raise NotImplementedError


def _zeros(length: int, like: Tensor) -> Tensor:
    """A buffer of zeros; a large one in huge pages where the system gives them, which spares look-ups of addresses."""
    flat = torch.empty(length, dtype=like.dtype, device=like.device)
    if flat.device.type == "cpu" and flat.nbytes >= 2 * HUGE and hasattr(mmap, "MADV_HUGEPAGE"):
        start = -(-flat.data_ptr() // HUGE) * HUGE
        size = (flat.data_ptr() + flat.nbytes - start) // HUGE * HUGE
        advise = ctypes.CDLL(None).madvise
        advise(ctypes.c_void_p(start), ctypes.c_size_t(size), mmap.MADV_HUGEPAGE)  # before the first touch; advice only
    return flat.zero_()


def _view(flat: Tensor, at: int, like: Tensor) -> Tensor:
    """A slot's part that lies in memory as the parameter does; one that is not dense gets plain order."""
    if is_dense(like):
        return torch.as_strided(flat, like.shape, like.stride(), at)
    return flat[at : at + like.numel()].view(like.shape)


class EagerGroup(TensorGroup):
    """Any device, any dtype: torch operations on each tensor."""

    def look(self, tensors: list[Tensor], addresses: list[int]) -> bool:
        self.pairs = [(tensors[i], _gradient(tensors[i], self.terms.names[i])) for i in self.places]
        return True

    def squares(self) -> Any:
        none = 0.0 if self.terms.members is None else np.zeros(self.terms.members)
        return sum((self._sum(g.double().square()) for _, g in self.pairs if g is not None), none)

    @torch.no_grad()
    def advance(self, values: Sequence[Any]) -> Any:
        moved, scale = 0.0, values[0]
        masked = not isinstance(scale, float)
        width = 1 + len(self.terms.rule.program.hoisted)
        self.last: list[tuple[str, Any, Any]] = []
        names = [s.name for s in self.terms.rule.slots]
        kept = [n for n, s in enumerate(self.terms.rule.slots) if not s.is_scalar]
        for (w, g), views, row, name in zip(self.pairs, self.views, self.rows, self.names, strict=True):
            if g is None:
                continue
            member = {names[n]: view for n, view in zip(kept, views, strict=True)}
            hypers = [broadcast(h, w) for h in values[row * width + 1 : (row + 1) * width]]
            scaled = g * broadcast(scale, w)
            new, *slots = eager.evaluate(self.terms.rule.program, {"w": w.detach(), "g": scaled, **member}, hypers)
            live = _live(scale, w)
            new = torch.where(live, new, w) if masked else new
            sums = [self._sum((new - w).double().square()), self._sum(torch.where(live, new, 0.0).double().square())]
            for n, view in zip(kept, views, strict=True):
                fresh = slots[n] if isinstance(slots[n], Tensor) else torch.full_like(view, float(slots[n]))
                view.copy_(torch.where(live, fresh, view) if masked else fresh)
            w.copy_(new)
            moved = moved + sums[0]
            self.last.append((name, sums[0] ** 0.5, sums[1] ** 0.5))
        return moved

    def _sum(self, x: Tensor) -> Any:
        if self.terms.members is not None:
            return x.flatten(1).sum(1).cpu().numpy()
        return x.sum() if self.terms.stays else x.sum().item()

    def norms(self) -> dict[str, tuple[Any, Any]]:
        return {name: (moved, length) for name, moved, length in self.last}


class KernelGroup(TensorGroup):
    """Dense tensors on the CPU: one pass over addresses."""

    def __init__(self, terms: GroupSpec, tensors: list[Tensor], places: list[int]) -> None:
        super().__init__(terms, tensors, places)
        from steepest.rules.backends import cpu as kernels

        dtype = tensors[places[0]].dtype
        names = tuple("" if s.is_scalar else s.name for s in terms.rule.slots)
        self.kernel = kernels.advance_kernel(terms.rule.program, names, dtype)
        self.norm_kernel = kernels.norm_kernel(dtype)
        mine = [tensors[i] for i in places]
        self.some = len(mine) < len(tensors)
        self.strides = [(dtype, p.stride()) for p in mine]
        self.dtypes = [dtype] * len(mine)
        self.layout = Tensor.is_contiguous if all(p.is_contiguous() for p in mine) else Tensor.stride
        self.layouts = list(map(self.layout, mine))
        self.teams: dict[int, tuple[int, list[np.ndarray]]] = {}
        self.real = np.dtype(np.float32 if dtype is torch.float32 else np.float64)
        self._lay_out(tensors, kernels.BLOCK)

    def _lay_out(self, tensors: list[Tensor], block: int) -> None:
        """The block table and everything else that the kernel's ten arguments point to."""
        K, P = self.terms.members or 1, len(self.places)
        sizes = [tensors[i].numel() // K for i in self.places]
        table, tensor_of = [], []
        for k in range(K):
            for p, (size, at) in enumerate(zip(sizes, self.starts, strict=True)):
                for lo in range(0, size, block):
                    row = k * self.terms.row_count + self.rows[p]
                    table.append((p, k * size + lo, min(block, size - lo), at + k * size + lo, row))
                    tensor_of.append(k * P + p)
        self.table = np.array(table, np.int64).reshape(-1, 5)
        self.weights = sum(sizes) * K
        self.W, self.G = np.zeros(P, np.int64), np.zeros(P, np.int64)
        self.H = np.zeros((K * self.terms.row_count, 1 + len(self.terms.rule.program.hoisted)), self.real)
        # numpy's assignment from a list costs a microsecond, struct's a fifth
        self._to_W, self._to_G, self._H = (x.data.cast("B") for x in (self.W, self.G, self.H))
        self._addresses, self._to_H = struct.Struct(f"{P}q"), struct.Struct(f"{self.H.size}{self.real.char}")
        self._at: list[int] = []
        room = np.zeros((len(table) + 1, 2))  # one more: the serial kernel's total
        self.sums, self.total = room[:-1], room.reshape(-1).data[2 * len(table) : 2 * len(table) + 1]
        self.flats = np.array([f.data_ptr() for f in self.flat] or [0], np.int64)
        self.member_starts = np.flatnonzero(np.diff(np.array(tensor_of) // P, prepend=-1))
        self.tensor_starts = np.flatnonzero(np.diff(np.array(tensor_of), prepend=-1))
        self.tensor_places = np.array(tensor_of, np.int64)[self.tensor_starts]

    def _arguments(self, team: int) -> int:
        """Where the kernel's arguments are for a team of so many threads, made once for each size of team."""
        if team not in self.teams:
            held = self._made_arguments(team)
            self.teams[team] = held[0].ctypes.data, held
        return self.teams[team][0]

    def _made_arguments(self, team: int) -> list[np.ndarray]:
        """The arguments, and what they point to; each thread gets blocks of about equally many weights."""
        weights = np.cumsum(self.table[:, 2])
        shares = [round(weights[-1] * k / team) for k in range(1, team)]
        parts = np.array([0, *np.searchsorted(weights, shares), len(weights)], np.int64)
        held = [parts, self.table, self.W, self.G, self.H]
        numbers = [*(a.ctypes.data for a in held), self.H.shape[1], self.sums.ctypes.data, team > 1]
        arguments = np.array([*numbers, self.flats.ctypes.data, team], np.int64)
        return [arguments, *held]

    def _run(self, kernel: Any) -> float:
        """Runs a kernel; returns the total of the first sums, always added in the order of the blocks."""
        if self._team == 1:
            kernel.serial(self._address)
            return self.total[0]
        kernel.parallel(self._address, self._team)
        return sum(self.sums[:, 0].tolist())

    def look(self, tensors: list[Tensor], addresses: list[int]) -> bool:
        if self.some:
            tensors, addresses = [tensors[i] for i in self.places], [addresses[i] for i in self.places]
        gradients = [p.grad for p in tensors]
        try:
            fitting = [g.dtype for g in gradients] == self.dtypes and list(map(self.layout, gradients)) == self.layouts  # type: ignore[union-attr]
        except (AttributeError, TypeError, RuntimeError):  # one that is None, or sparse
            fitting = False
        if fitting:
            self.copies: list[Tensor | None] = []
            found = map(Tensor.data_ptr, gradients)  # type: ignore[arg-type]
        else:
            if [(p.dtype, p.stride()) for p in tensors] != self.strides:
                return False
            self.copies = [_arranged(_gradient(p, n), p) for p, n in zip(tensors, self.names, strict=True)]
            found = [0 if g is None else g.data_ptr() for g in self.copies]
        self._addresses.pack_into(self._to_G, 0, *found)
        if addresses != self._at:
            self._addresses.pack_into(self._to_W, 0, *addresses)
            self._at = addresses
        self._team = threads(self.weights)
        self._address = self._arguments(self._team)
        return True

    def squares(self) -> Any:
        total = self._run(self.norm_kernel)
        if self.terms.members is None:
            return total
        return np.add.reduceat(self.sums[:, 0], self.member_starts)

    def advance(self, values: Sequence[Any]) -> Any:
        if self.terms.members is None:
            self._to_H.pack_into(self._H, 0, *values)
            return self._run(self.kernel)
        width = self.H.shape[1]
        for place, value in enumerate(values):
            self.H[place // width :: self.terms.row_count, place % width] = value
        self._run(self.kernel)
        return np.add.reduceat(self.sums[:, 0], self.member_starts)

    def norms(self) -> dict[str, tuple[Any, Any]]:
        K, P = self.terms.members, len(self.places)
        squares = np.zeros(((K or 1) * P, 2))
        squares[self.tensor_places] = np.add.reduceat(self.sums, self.tensor_starts, axis=0)
        present = [(p, n) for p, n in enumerate(self.names) if self.G[p]]
        if K is None:
            return {n: (math.sqrt(squares[p, 0]), math.sqrt(squares[p, 1])) for p, n in present}
        roots = np.sqrt(squares.reshape(K, P, 2))
        return {n: (roots[:, p, 0], roots[:, p, 1]) for p, n in present}


def _gradient(p: Tensor, name: str) -> Tensor | None:
    """A parameter's gradient; sparse ones are refused."""
    g = p.grad
    if g is not None and g.layout is not torch.strided:
        raise TaskError(
            f"the gradient of {name} is {g.layout}; expected are dense gradients: build the embedding with sparse=False"
        )
    return g


def _arranged(g: Tensor | None, p: Tensor) -> Tensor | None:
    """The gradient laid out in memory as its parameter is."""
    if g is None or g.stride() == p.stride():
        return g
    return torch.empty_strided(p.shape, p.stride(), dtype=g.dtype, device=g.device).copy_(g)


def is_dense(p: Tensor) -> bool:
    """Whether a tensor fills its stretch of memory: contiguous in some order of its dimensions, as channels_last is."""
    expected = 1
    for stride, length in sorted(zip(p.stride(), p.shape, strict=True)):
        if length == 1:
            continue
        if stride != expected:
            return False
        expected *= length
    return True
