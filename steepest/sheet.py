"""The loss at many points of a plane, w(a, b) = w₀ + a u + b v, faster than one point after another.

A layer whose input does not depend on the weights is affine in them, so its output at any point is made of three that
are computed once:

    X W(a, b) = X W₀ + a X U + b X V

Points go one after another, in place, along rows in which only b changes; or on several threads, each with a share of
the points, a copy of the model and operations of one thread; or many together, mapped over stacked weights. What is
fastest is measured: for few samples it is the last, for a whole data set the second.
"""

import copy
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.modules.conv import _ConvNd

from steepest import seeds, sources
from steepest.objective import Loss
from steepest.planes import Plane
from steepest.surface import Surface

AFFINE = (nn.Linear, _ConvNd)
ROUNDING = 1e3
"""A loss that was computed otherwise may differ by so many roundings of the dtype, relative to it."""
STACKED = 1 << 22
"""Numbers in a stack of weights: as many points go together as fit, and no more than 64 of a row. On the demo's network
a quarter of it takes half as long again."""
NEAR = 0.1
"""Of the weights' norm: how far from the origin it is checked that affine layers were found."""
TIMED = 4
"""Points of which it is measured which way is faster."""

FEW = 64
"""Points that go in turn: to measure which way is faster would take as long as half of them."""

Pieces = dict[nn.Module, tuple[Tensor, Tensor, Tensor]]
Layer = nn.Linear | _ConvNd
Way = Callable[[np.ndarray, np.ndarray, int, bool], np.ndarray]
"""The losses of a batch at some points, [K] or, of each sample, [K, samples]."""


class Sheet:
    """A plane's losses on a surface's sample.

    Attributes:
        samples: in the sample, n.

    Args:
        surface: the loss.
        plane: the plane.
    """

    def __init__(self, surface: Surface, plane: Plane) -> None:
        self._surface = surface
        self._flat = [d.to(surface.start) for d in (plane.origin, *plane.directions)]
        self._copy_model()
        self._take(list(surface.batches))
        self._random = self._is_random()
        self._find_affine()

    def _copy_model(self) -> None:
        """The copied model's weights are one vector, so that a point is one addition."""
        objective = self._surface.objective
        self._objective = objective.of(copy.deepcopy(objective.model))
        own = dict(self._objective.model.named_parameters())
        self._names = [n for n, p in own.items() if p.requires_grad]
        self._weights: list[Tensor] = [own[n] for n in self._names]
        self._origin, self._u, self._v = (self._shaped(d) for d in self._flat)
        self._here = self._surface.start.clone()
        for p, place in zip(self._weights, self._shaped(self._here), strict=True):
            p.data = place

    def _take(self, batches: list[Any], affine: bool = False) -> None:
        """Looks at these batches from now on; affine layers are known to be what they seem, or not."""
        self._batches = batches
        counts = [self._objective.counted(b) for b in batches]
        self._shares = [n / sum(counts) for n in counts]
        self.samples = sum(sources.count(b) for b in batches)
        self._pieces: list[Pieces] = [self._inputs(batch) if affine else {} for batch in batches]
        self._way: Way | None = None
        self._others: list[Sheet] = []

    def losses(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """L at points (a, b) [K], float64; those with the same a are best given one after another."""
        return np.concatenate([x[:, None] for x in self._run(a, b, apart=False)], 1) @ np.array(self._shares)

    def each(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """The loss of each sample by itself at points (a, b), [K, n] float64."""
        return np.concatenate(self._run(a, b, apart=True), 1)

    def of(self, chosen: Tensor) -> "Sheet":
        """The same plane on some of the samples, by their places in the sample."""
        whole = tuple(torch.cat(parts) for parts in zip(*self._batches, strict=True))
        some = copy.copy(self)
        some._take([tuple(x[chosen] for x in whole)], any(self._pieces))
        return some

    def _another(self) -> "Sheet":
        """The same on another copy of the model."""
        other = copy.copy(self)
        other._copy_model()
        other._take(self._batches, any(self._pieces))
        return other

    def _shaped(self, x: Tensor) -> list[Tensor]:
        """A vector as views of the weights' shapes."""
        parts = x.split(list(self._surface.space.sizes))
        return [part.view(p.shape) for part, p in zip(parts, self._weights, strict=True)]

    # -- three ways ----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def _run(self, a: np.ndarray, b: np.ndarray, apart: bool) -> list[np.ndarray]:
        """By batch the losses at all points, [K] or, apart, [K, samples]."""
        if self._way is None and len(a) > FEW:
            self._way = self._fastest(a, b, apart)
        way = self._way or self._in_turn
        return [way(a, b, k, apart) for k in range(len(self._batches))]

    @torch.no_grad()
    def _in_turn(self, a: np.ndarray, b: np.ndarray, k: int, apart: bool) -> np.ndarray:
        of = self._objective.each if apart else self._objective.loss
        origin, u, v = self._flat
        found, row, base, begun, pieces, known = [], None, origin, {}, {}, self._known(k, apart)
        with self._replaced(known, pieces):
            for x, y in zip(a.tolist(), b.tolist(), strict=True):
                if x != row:
                    row, base = x, torch.add(origin, u, alpha=x)
                    begun = {m: torch.add(p0, pu, alpha=x) for m, (p0, pu, _) in known.items()}
                torch.add(base, v, alpha=y, out=self._here)
                for m, p in begun.items():
                    pieces[m] = torch.add(p, known[m][2], alpha=y, out=pieces.get(m))
                with self._still():
                    found.append(of(self._batches[k]))
        return torch.stack(found).double().cpu().numpy()

    def _stacked(self, a: np.ndarray, b: np.ndarray, k: int, apart: bool) -> np.ndarray:
        of = self._objective.each if apart else self._objective.loss
        whole, pieces, known = Loss(self._objective, of), {}, self._known(k, apart)
        origin, u, _ = self._flat
        found = []
        with self._replaced(known, pieces), self._still():
            for x, row in _rows(a, b, self._stack):
                base = self._shaped(torch.add(origin, u, alpha=x))
                begun = {m: torch.add(p0, pu, alpha=x) for m, (p0, pu, _) in known.items()}

                def one(y: Tensor, base: list[Tensor] = base, begun: Mapping[nn.Module, Tensor] = begun) -> Tensor:
                    moved = [torch.addcmul(p, v, y) for p, v in zip(base, self._v, strict=True)]
                    pieces.update({m: torch.addcmul(p, known[m][2], y) for m, p in begun.items()})
                    named = {f"model.{n}": p for n, p in zip(self._names, moved, strict=True)}
                    return functional_call(whole, named, (self._batches[k],))

                found.append(vmap(one, randomness="same")(torch.from_numpy(row).to(origin)))
        return torch.cat(found).double().cpu().numpy()

    def _known(self, k: int, apart: bool) -> Pieces:
        """What is known of a batch's affine layers; of no use where the model is called for each sample."""
        return {} if apart and not self._objective.is_of_outputs else self._pieces[k]

    @property
    def _stack(self) -> int:
        """Points that go together."""
        return max(1, min(64, STACKED // self._surface.size))

    @torch.no_grad()
    def _shared(self, a: np.ndarray, b: np.ndarray, k: int, apart: bool) -> np.ndarray:
        """On as many threads as torch has, which then are of one operation each."""
        threads = torch.get_num_threads()
        while len(self._others) < threads - 1:
            self._others.append(self._another())
        parts = [part for part in np.array_split(np.arange(len(a)), threads) if len(part)]
        torch.set_num_threads(1)
        try:
            with ThreadPoolExecutor(len(parts)) as pool:  # its threads are new, and take over the number
                found = [
                    pool.submit(one._in_turn, a[part], b[part], k, apart)
                    for one, part in zip([self, *self._others], parts, strict=False)
                ]
                return np.concatenate([f.result() for f in found])
        finally:
            torch.set_num_threads(threads)

    def _fastest(self, a: np.ndarray, b: np.ndarray, apart: bool) -> "Way":
        """Measured on the first points; several threads only where mapped points lose: that is for large samples."""
        few = a[:TIMED], b[:TIMED], 0, apart
        alone = _seconds(self._in_turn, *few)
        if self._maps(a, b, apart) and _seconds(self._stacked, *few) < alone:
            return self._stacked
        if torch.get_num_threads() > 1 and self._surface.device.type == "cpu" and not self._random:
            self._shared(a[:1], b[:1], 0, apart)  # makes the copies
            if _seconds(self._shared, *few) < alone:
                return self._shared
        return self._in_turn

    def _maps(self, a: np.ndarray, b: np.ndarray, apart: bool) -> bool:
        """Whether points can be mapped, and come out as they do by themselves."""
        try:
            one, other = (way(a[:2], b[:2], 0, apart) for way in (self._in_turn, self._stacked))
        except Exception:  # whatever torch, or the model, makes of being mapped
            return False
        return self._agree(one, other)

    def _agree(self, one: np.ndarray, other: np.ndarray) -> bool:
        limit = ROUNDING * torch.finfo(self._surface.dtype).eps
        return bool(
            np.allclose(
                one, other, rtol=limit, atol=limit * np.abs(other[np.isfinite(other)]).max(initial=0.0), equal_nan=True
            )
        )

    # -- what does not depend on the point -----------------------------------------------------------------------------

    def _find_affine(self) -> None:
        """Keeps the affine layers' three outputs for each batch, if the loss with them is the loss without."""
        a, b = (np.array([z * _near(self._flat[0], d)]) for z, d in zip((1, -1), self._flat[1:], strict=True))
        with torch.no_grad():
            plain = [self._in_turn(a, b, k, apart=False) for k in range(len(self._batches))]
        self._pieces = [self._inputs(batch) for batch in self._batches]
        with torch.no_grad():
            found = [self._in_turn(a, b, k, apart=False) for k in range(len(self._batches))]
        if not all(self._agree(x, y) for x, y in zip(found, plain, strict=True)):
            self._pieces = [{} for _ in self._batches]

    def _inputs(self, batch: Any) -> Pieces:
        """The affine layers that are called once, on an input without a weight in it, with their three outputs."""
        seen: dict[nn.Module, list[Tensor]] = {}
        handles = [
            m.register_forward_pre_hook(lambda m, given: seen.setdefault(m, []).append(given[0]))
            for m in self._objective.model.modules()
            if isinstance(m, AFFINE)
        ]
        try:
            with torch.enable_grad(), self._still():
                self._objective.loss(batch)
        finally:
            for handle in handles:
                handle.remove()
        free = {m: x[0] for m, x in seen.items() if len(x) == 1 and not x[0].requires_grad}
        return {m: self._three(m, x) for m, x in free.items() if any(m.weight is w for w in self._weights)}

    @torch.no_grad()
    def _three(self, module: nn.Module, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        own = dict(module.named_parameters())
        outputs = []
        for direction in (self._origin, self._u, self._v):
            given = {id(w): d for w, d in zip(self._weights, direction, strict=True)}
            still = (lambda p: p) if direction is self._origin else torch.zeros_like
            outputs.append(functional_call(module, {n: given.get(id(p), still(p)) for n, p in own.items()}, (x,)))
        return outputs[0], outputs[1], outputs[2]

    @contextmanager
    def _replaced(self, layers: Iterable[nn.Module], outputs: dict[nn.Module, Tensor]) -> Iterator[None]:
        """These layers give what stands in `outputs` when they are called."""
        for m in layers:
            m.forward = lambda *_, m=m: outputs[m]
        try:
            yield
        finally:
            for m in layers:
                del m.forward

    @contextmanager
    def _still(self) -> Iterator[None]:
        """The same random numbers in every pass, where there are any."""
        if not self._random:
            yield
            return
        with seeds.ours(0, "surface"):
            yield

    @torch.no_grad()
    def _is_random(self) -> bool:
        with seeds.ours(0, "surface"):
            before = torch.get_rng_state()
            self._objective.loss(self._batches[0])
            return not torch.equal(before, torch.get_rng_state())


def _rows(a: np.ndarray, b: np.ndarray, most: int) -> Iterator[tuple[float, np.ndarray]]:
    """Points with the same a that follow one another, at most so many at a time: that a, and their b."""
    ends = np.flatnonzero(np.diff(a)) + 1
    for lo, hi in zip([0, *ends], [*ends, len(a)], strict=True):
        for at in range(lo, hi, most):
            yield float(a[lo]), b[at : min(hi, at + most)]


def _near(origin: Tensor, direction: Tensor) -> float:
    """A step along a direction that is small beside the weights, so that the loss there is a number."""
    return NEAR * (origin.norm().item() or 1.0) / (direction.norm().item() or 1.0)


def _seconds(way: Callable, *args: Any) -> float:
    began = time.perf_counter()
    way(*args)
    return time.perf_counter() - began
