"""Groups of tensors that are updated alike: those of one device and dtype, with the rule's slots for them.

A group has one flat buffer per slot. In it the part of each tensor begins at a multiple of 64 bytes and has the
tensor's strides. A `KernelGroup` runs the compiled kernel over addresses, an `EagerGroup` torch operations on each
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
from steepest.rules import hoist
from steepest.rules.backends import eager
from steepest.rules.backends.object_code import threads  # at the top: it must be imported before a fork to detect it
from steepest.rules.rule import Rule, W

ALIGNMENT_BYTES = 64  # a cache line
HUGE_PAGE_BYTES = 2 << 20


@dataclass(frozen=True)
class GroupSpec:
    """What all groups of an update share.

    Attributes:
        rule: the update rule.
        members: None for one point, K for tensors [K, ...].
        row_count: rows of hyperparameters of each member.
        names: the names of all tensors of the point.
        rows: the row of each tensor.
        keep_on_device: norms are tensors on the device, so that no step synchronises with it.
    """

    rule: Rule
    members: int | None
    row_count: int
    names: Sequence[str]
    rows: Sequence[int]
    keep_on_device: bool = False


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
    """The tensors of one device and dtype, and their slots."""

    def __init__(self, spec: GroupSpec, tensors: list[Tensor], places: list[int]) -> None:
        self.spec, self.places = spec, places
        self.rows = [spec.rows[i] for i in places]
        self.names = [spec.names[i] for i in places]
        slots = [s for s in spec.rule.slots if not s.is_scalar]
        first = tensors[places[0]]
        unit = ALIGNMENT_BYTES // first.element_size()
        starts = itertools.accumulate((math.ceil(tensors[i].numel() / unit) * unit for i in places), initial=0)
        *self.starts, length = starts
        self.flat = [_zeros(length, first) for _ in slots]
        self.views = [[_view(f, at, tensors[i]) for f in self.flat] for i, at in zip(places, self.starts, strict=True)]
        for views, i in zip(self.views, places, strict=True):
            for slot, view in zip(slots, views, strict=True):
                view.copy_(tensors[i].detach()) if slot.start is W else view.fill_(float(slot.start))


def _zeros(length: int, like: Tensor) -> Tensor:
    """A buffer of zeros; a large one in huge pages if the system has them, which saves address translations."""
    flat = torch.empty(length, dtype=like.dtype, device=like.device)
    if flat.device.type == "cpu" and flat.nbytes >= 2 * HUGE_PAGE_BYTES and hasattr(mmap, "MADV_HUGEPAGE"):
        start = -(-flat.data_ptr() // HUGE_PAGE_BYTES) * HUGE_PAGE_BYTES
        size = (flat.data_ptr() + flat.nbytes - start) // HUGE_PAGE_BYTES * HUGE_PAGE_BYTES
        advise = ctypes.CDLL(None).madvise
        advise(ctypes.c_void_p(start), ctypes.c_size_t(size), mmap.MADV_HUGEPAGE)  # before the first write; only a hint
    return flat.zero_()


def _view(flat: Tensor, at: int, like: Tensor) -> Tensor:
    """A slot of one tensor, with the tensor's strides; contiguous if the tensor is not dense."""
    if is_dense(like):
        return torch.as_strided(flat, like.shape, like.stride(), at)
    return flat[at : at + like.numel()].view(like.shape)


class EagerGroup(TensorGroup):
    """Tensors of any device and dtype: torch operations on each tensor."""

    def refresh_addresses(self, tensors: list[Tensor], addresses: list[int]) -> bool:
        """Reads the gradients; always True."""
        self.pairs = [(tensors[i], _gradient(tensors[i], self.spec.names[i])) for i in self.places]
        return True

    def squares(self) -> Any:
        """Σ‖g‖²."""
        none = 0.0 if self.spec.members is None else np.zeros(self.spec.members)
        return sum((self._sum(g.double().square()) for _, g in self.pairs if g is not None), none)

    @torch.no_grad()
    def advance(self, values: Sequence[Any]) -> Any:
        """Takes a step with a table of hyperparameters (`hoist.table`); returns Σ‖w_new − w‖²."""
        total, scale = 0.0, values[0]
        has_skips = not isinstance(scale, float)
        program, slots = self.spec.rule.program, self.spec.rule.slots
        self.last: dict[str, tuple[Any, Any]] = {}
        indices = [n for n, s in enumerate(slots) if not s.is_scalar]
        for (w, g), views, row, name in zip(self.pairs, self.views, self.rows, self.names, strict=True):
            if g is None:
                continue
            inputs = {slots[n].name: view for n, view in zip(indices, views, strict=True)}
            inputs |= {"w": w.detach(), "g": g * broadcast(scale, w)}
            hypers = [broadcast(h, w) for h in hoist.row_of(values, program, row)]
            new, *outputs = eager.evaluate(program, inputs, hypers)
            live = _live(scale, w)
            new = torch.where(live, new, w) if has_skips else new
            update = self._sum((new - w).double().square())
            length = self._sum(torch.where(live, new, 0.0).double().square())
            for n, view in zip(indices, views, strict=True):
                output = outputs[n] if isinstance(outputs[n], Tensor) else torch.full_like(view, float(outputs[n]))
                view.copy_(torch.where(live, output, view) if has_skips else output)
            w.copy_(new)
            total = total + update
            self.last[name] = update**0.5, length**0.5
        return total

    def _sum(self, x: Tensor) -> Any:
        if self.spec.members is not None:
            return x.flatten(1).sum(1).cpu().numpy()
        return x.sum() if self.spec.keep_on_device else x.sum().item()

    def norms(self) -> dict[str, tuple[Any, Any]]:
        """(‖w_new − w‖, ‖w_new‖) of the last step by name."""
        return self.last


class KernelGroup(TensorGroup):
    """Dense float32 or float64 tensors on the CPU: one pass of the compiled kernel over addresses."""

    def __init__(self, spec: GroupSpec, tensors: list[Tensor], places: list[int]) -> None:
        super().__init__(spec, tensors, places)
        from steepest.rules.backends import cpu

        dtype = tensors[places[0]].dtype
        names = tuple("" if s.is_scalar else s.name for s in spec.rule.slots)
        self.kernel = cpu.advance_kernel(spec.rule.program, names, dtype)
        self.norm_kernel = cpu.norm_kernel(dtype)
        mine = [tensors[i] for i in places]
        self.is_part = len(mine) < len(tensors)
        self.strides = [(dtype, p.stride()) for p in mine]
        self.dtypes = [dtype] * len(mine)
        self.layout = Tensor.is_contiguous if all(p.is_contiguous() for p in mine) else Tensor.stride
        self.layouts = list(map(self.layout, mine))
        self.teams: dict[int, tuple[int, list[np.ndarray]]] = {}
        self.real = np.dtype(np.float32 if dtype is torch.float32 else np.float64)
        self._build_table(tensors, cpu.BLOCK_SIZE)

    def _build_table(self, tensors: list[Tensor], block: int) -> None:
        """Builds the block table and all else that the kernel's ten arguments point to."""
        K, P = self.spec.members or 1, len(self.places)
        sizes = [tensors[i].numel() // K for i in self.places]
        table, tensor_of = [], []
        for k in range(K):
            for p, (size, at) in enumerate(zip(sizes, self.starts, strict=True)):
                for lo in range(0, size, block):
                    row = k * self.spec.row_count + self.rows[p]
                    table.append((p, k * size + lo, min(block, size - lo), at + k * size + lo, row))
                    tensor_of.append(k * P + p)
        self.table = np.array(table, np.int64).reshape(-1, 5)
        self.weights = sum(sizes) * K
        self.W, self.G = np.zeros(P, np.int64), np.zeros(P, np.int64)
        self.H = np.zeros((K * self.spec.row_count, 1 + len(self.spec.rule.program.hoisted)), self.real)
        # assignment from a list takes a microsecond in numpy and a fifth of it in struct
        self._to_W, self._to_G, self._H = (x.data.cast("B") for x in (self.W, self.G, self.H))
        self._addresses, self._to_H = struct.Struct(f"{P}q"), struct.Struct(f"{self.H.size}{self.real.char}")
        self._at: list[int] = []
        sums = np.zeros((len(table) + 1, 2))  # one more: the serial kernel's total
        self.sums, self.total = sums[:-1], sums.reshape(-1).data[2 * len(table) : 2 * len(table) + 1]
        self.flats = np.array([f.data_ptr() for f in self.flat] or [0], np.int64)
        self.member_starts = np.flatnonzero(np.diff(np.array(tensor_of) // P, prepend=-1))
        self.tensor_starts = np.flatnonzero(np.diff(np.array(tensor_of), prepend=-1))
        self.tensor_places = np.array(tensor_of, np.int64)[self.tensor_starts]

    def _arguments(self, team: int) -> int:
        """The address of the kernel's arguments for a team of threads, made once for each team size.

        Each thread gets blocks with about the same number of weights.
        """
        if team not in self.teams:
            weights = np.cumsum(self.table[:, 2])
            shares = [round(weights[-1] * k / team) for k in range(1, team)]
            parts = np.array([0, *np.searchsorted(weights, shares), len(weights)], np.int64)
            arrays = [parts, self.table, self.W, self.G, self.H]
            numbers = [*(a.ctypes.data for a in arrays), self.H.shape[1], self.sums.ctypes.data, team > 1]
            arguments = np.array([*numbers, self.flats.ctypes.data, team], np.int64)
            self.teams[team] = arguments.ctypes.data, [arguments, parts]
        return self.teams[team][0]

    def _run(self, kernel: Any) -> float:
        """Runs a kernel; returns the total of the first sums, always added in block order."""
        if self._team == 1:
            kernel.serial(self._address)
            return self.total[0]
        kernel.parallel(self._address, self._team)
        return sum(self.sums[:, 0].tolist())

    def refresh_addresses(self, tensors: list[Tensor], addresses: list[int]) -> bool:
        """Reads the addresses of weights and gradients; False if the strides or the dtype of a weight have changed."""
        if self.is_part:
            tensors, addresses = [tensors[i] for i in self.places], [addresses[i] for i in self.places]
        gradients = [p.grad for p in tensors]
        try:
            is_same = [g.dtype for g in gradients] == self.dtypes and list(map(self.layout, gradients)) == self.layouts  # type: ignore[union-attr]
        except (AttributeError, TypeError, RuntimeError):  # a gradient that is None or sparse
            is_same = False
        if is_same:
            self.copies: list[Tensor | None] = []
            pointers = map(Tensor.data_ptr, gradients)  # type: ignore[arg-type]
        else:
            if [(p.dtype, p.stride()) for p in tensors] != self.strides:
                return False
            self.copies = [_with_strides(_gradient(p, n), p) for p, n in zip(tensors, self.names, strict=True)]
            pointers = [0 if g is None else g.data_ptr() for g in self.copies]
        self._addresses.pack_into(self._to_G, 0, *pointers)
        if addresses != self._at:
            self._addresses.pack_into(self._to_W, 0, *addresses)
            self._at = addresses
        self._team = threads(self.weights)
        self._address = self._arguments(self._team)
        return True

    def squares(self) -> Any:
        """Σ‖g‖²."""
        total = self._run(self.norm_kernel)
        if self.spec.members is None:
            return total
        return np.add.reduceat(self.sums[:, 0], self.member_starts)

    def advance(self, values: Sequence[Any]) -> Any:
        """Takes a step with a table of hyperparameters (`hoist.table`); returns Σ‖w_new − w‖²."""
        if self.spec.members is None:
            self._to_H.pack_into(self._H, 0, *values)
            return self._run(self.kernel)
        width = self.H.shape[1]
        for place, value in enumerate(values):
            self.H[place // width :: self.spec.row_count, place % width] = value
        self._run(self.kernel)
        return np.add.reduceat(self.sums[:, 0], self.member_starts)

    def norms(self) -> dict[str, tuple[Any, Any]]:
        """(‖w_new − w‖, ‖w_new‖) of the last step by name."""
        K, P = self.spec.members, len(self.places)
        squares = np.zeros(((K or 1) * P, 2))
        squares[self.tensor_places] = np.add.reduceat(self.sums, self.tensor_starts, axis=0)
        present = [(p, n) for p, n in enumerate(self.names) if self.G[p]]
        if K is None:
            return {n: (math.sqrt(squares[p, 0]), math.sqrt(squares[p, 1])) for p, n in present}
        roots = np.sqrt(squares.reshape(K, P, 2))
        return {n: (roots[:, p, 0], roots[:, p, 1]) for p, n in present}


def _gradient(p: Tensor, name: str) -> Tensor | None:
    """The gradient of a parameter, which must be dense."""
    g = p.grad
    if g is not None and g.layout is not torch.strided:
        raise TaskError(f"the gradient of {name} must be dense, got {g.layout}. Build the embedding with sparse=False.")
    return g


def _with_strides(g: Tensor | None, p: Tensor) -> Tensor | None:
    """The gradient with the strides of its parameter."""
    if g is None or g.stride() == p.stride():
        return g
    return torch.empty_strided(p.shape, p.stride(), dtype=g.dtype, device=g.device).copy_(g)


def is_dense(p: Tensor) -> bool:
    """Whether a tensor is contiguous in some order of its dimensions, as channels_last is."""
    size = 1
    for stride, length in sorted(zip(p.stride(), p.shape, strict=True)):
        if length == 1:
            continue
        if stride != size:
            return False
        size *= length
    return True
