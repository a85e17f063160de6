"""The loss at many points of a plane, w(a, b) = w₀ + a u + b v, faster than one point after another.

Points go in turn, or mapped (`passes`), or on several threads, each with a share of the points, a copy of the model and
operations of one thread. What is fastest is measured: for few samples it is to map them, for a whole data set to share.
"""

import copy
import itertools
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call, vmap

from steepest import seeds
from steepest.analysis.landscape import known_layers
from steepest.analysis.landscape.known_layers import Line, Shortcuts, rows
from steepest.analysis.landscape.planes import Plane
from steepest.curvature.loss_function import LossFunction
from steepest.tasks import data
from steepest.tasks.objective import Loss

ROUNDING = 1e3
"""A loss that was computed otherwise may differ by so many roundings of the dtype, relative to it."""
STACKED = 1 << 22
"""Numbers in a stack of weights: as many points go together as fit, and no more than MOST of a row. On the demo's
network a quarter of it takes half as long again."""
MOST = 64
"""Points of a row that are taken together before it is begun anew."""
NEAR = 0.1
"""Of the weights' norm: how far from the origin it is checked that affine layers were found."""

Two = tuple[Tensor, Tensor]


class Passes:
    """A copy of a surface's model, on its sample.

    Attributes:
        samples: in the sample, n.

    Args:
        surface: the loss.
        plane: the plane.
    """

    def __init__(self, surface: LossFunction, plane: Plane) -> None:
        self._surface = surface
        self._flat = [d.to(surface.start) for d in (plane.origin, *plane.directions)]
        self._copy_model()
        self._take(list(surface.batches))
        self._random = self._is_random()
        self._find_affine()

    def _copy_model(self) -> None:
        """The copied model's weights are one vector, so that a point is one addition."""
        objective = self._surface.objective
        self._objective = objective.with_model(copy.deepcopy(objective.model))
        known_layers.widen(self._objective.model)
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
        counts = [self._objective.loss_weight(b) for b in batches]
        self._shares = [n / sum(counts) for n in counts]
        self.samples = sum(data.count(b) for b in batches)
        self._known = [self._affine(batch) if affine else Shortcuts() for batch in batches]
        self._asked: dict[tuple[int, bool, bool], list[int]] = {}

    def _shaped(self, x: Tensor) -> list[Tensor]:
        """A vector as views of the weights' shapes."""
        parts = x.split(list(self._surface.space.sizes))
        return [part.view(p.shape) for part, p in zip(parts, self._weights, strict=True)]

    # -- ways ----------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def _in_turn(self, a: np.ndarray, b: np.ndarray, k: int, apart: bool) -> np.ndarray:
        of, known = self._objective.per_sample_losses if apart else self._objective.loss, self._shortcuts(k, apart)
        origin, u, v = self._flat
        found = []
        for x, row in rows(a, b, MOST):
            base = torch.add(origin, u, alpha=x)
            with known.along(x, row) as points:
                for y, _ in zip(row.tolist(), points, strict=True):
                    torch.add(base, v, alpha=y, out=self._here)
                    with self._still():
                        found.append(of(self._batches[k]))
        return torch.stack(found).double().cpu().numpy()

    @torch.no_grad()
    def _stacked(self, a: np.ndarray, b: np.ndarray, k: int, apart: bool) -> np.ndarray:
        of, known = self._objective.per_sample_losses if apart else self._objective.loss, self._shortcuts(k, apart)
        whole = Loss(self._objective, of)
        origin, u, _ = self._flat
        found, lines = [], list(rows(a, b, self._stack))
        if not self._needed(k, apart, *lines[0]) and known.tells(lines):
            return self._told(whole, known, lines, self._batches[k])
        for x, row in lines:
            base = self._shaped(torch.add(origin, u, alpha=x))
            moved = {f"model.{self._names[n]}": (base[n], self._v[n]) for n in self._needed(k, apart, x, row)}
            with known.at_once(x, row) as (parts, put), self._still():

                def one(y: Tensor, *own: Tensor, put: Callable = put, moved: dict[str, Two] = moved) -> Tensor:
                    put(y, *own)
                    named = {name: torch.addcmul(p, v, y) for name, (p, v) in moved.items()}
                    return functional_call(whole, named, (self._batches[k],))

                found.append(vmap(one, randomness="same")(torch.from_numpy(row).to(origin), *parts))
        return torch.cat(found).double().cpu().numpy()

    def _told(self, whole: Loss, known: Shortcuts, lines: list[Line], batch: Any) -> np.ndarray:
        """Where all that depends on the weights is known along lines, mapped over what is known."""
        found, step = [], max(1, STACKED // (MOST * known.told))
        for lo in range(0, len(lines), step):
            with known.all_told(lines[lo : lo + step]) as (parts, put), self._still():

                def one(*own: Tensor, put: Callable = put) -> Tensor:
                    put(*own)
                    return whole(batch)

                found.append(vmap(one, randomness="same")(*parts))
        return torch.cat(found).double().cpu().numpy()

    @torch.enable_grad()
    def _needed(self, k: int, apart: bool, a: float, row: np.ndarray) -> list[int]:
        """Which weights a pass asks for where known layers are left out."""
        known = self._shortcuts(k, apart)
        which = k, apart, bool(known.used(row))
        if which not in self._asked:
            with known.along(a, row) as points, self._still():
                next(points)
                loss = self._objective.loss(self._batches[k])
                of = torch.autograd.grad(loss, self._weights, allow_unused=True) if loss.requires_grad else ()
            self._asked[which] = [n for n, g in enumerate(of) if g is not None]
        return self._asked[which]

    def _shortcuts(self, k: int, apart: bool) -> Shortcuts:
        """What is known of a batch; of no use where the model is called for each sample."""
        return Shortcuts() if apart and not self._objective.has_output_loss else self._known[k]

    @property
    def _stack(self) -> int:
        """Points that go together."""
        return max(1, min(MOST, STACKED // self._surface.size))

    # -- what does not depend on the point -----------------------------------------------------------------------------

    def _find_affine(self) -> None:
        """Keeps what is known of affine layers, if the loss with it is the loss without."""
        a, b = (np.array([z * _near(self._flat[0], d)]) for z, d in zip((1, -1), self._flat[1:], strict=True))
        plain = self._alone(a, b)
        self._known = [self._affine(batch) for batch in self._batches]
        if not all(self._agree(x, y) for x, y in zip(self._alone(a, b), plain, strict=True)):
            self._known = [Shortcuts() for _ in self._batches]

    @torch.no_grad()
    def _alone(self, a: np.ndarray, b: np.ndarray) -> list[np.ndarray]:
        return [self._in_turn(a, b, k, apart=False) for k in range(len(self._batches))]

    def _affine(self, batch: Any) -> Shortcuts:
        return known_layers.affine(self._model, lambda: self._pass(batch))

    def _look_behind(self) -> bool:
        """Takes layers that seem to be behind rectified units for such; whether there are any."""
        for known, batch in zip(self._known, self._batches, strict=True):
            known.behind = known_layers.behind(known, self._model, lambda batch=batch: self._pass(batch))
        return any(known.behind for known in self._known)

    def _forget_behind(self) -> None:
        for known in self._known:
            known.behind = {}

    def _pass(self, batch: Any) -> None:
        with self._still():
            self._objective.loss(batch)

    @property
    def _model(self) -> known_layers.Model:
        return known_layers.Model(self._objective.model, self._weights, (self._origin, self._u, self._v))

    def _agree(self, one: np.ndarray, other: np.ndarray) -> bool:
        limit = ROUNDING * torch.finfo(self._surface.dtype).eps
        return bool(
            np.allclose(
                one, other, rtol=limit, atol=limit * np.abs(other[np.isfinite(other)]).max(initial=0.0), equal_nan=True
            )
        )

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


def _near(origin: Tensor, direction: Tensor) -> float:
    """A step along a direction that is small beside the weights, so that the loss there is a number."""
    return NEAR * (origin.norm().item() or 1.0) / (direction.norm().item() or 1.0)


TIMED = 4
"""Points of which it is measured which way is faster."""
WORTH_S = 1.0
"""What takes less is not worth to load what compiles, which takes half a second, and three for the first time."""
FEW = 64
"""Points that go in turn: to measure which way is faster would take as long as half of them."""

Way = Callable[[np.ndarray, np.ndarray, int, bool], np.ndarray]
"""The losses of a batch at some points, [K] or, of each sample, [K, samples]."""


class PlaneLoss(Passes):
    """A plane's losses on a surface's sample."""

    _way: Way | None
    _others: list["PlaneLoss"]
    _mapped: bool

    def _take(self, batches: list[Any], affine: bool = False) -> None:
        super()._take(batches, affine)
        self._way, self._others, self._mapped = None, [], False

    def losses(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """L at points (a, b) [K], float64; those with the same a are best given one after another."""
        return np.concatenate([x[:, None] for x in self._run(a, b, apart=False)], 1) @ np.array(self._shares)

    def each(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """The loss of each sample by itself at points (a, b), [K, n] float64."""
        return np.concatenate(self._run(a, b, apart=True), 1)

    def of(self, chosen: Tensor) -> "PlaneLoss":
        """The same plane on some of the samples, by their places in the sample."""
        whole = tuple(torch.cat(parts) for parts in zip(*self._batches, strict=True))
        some = copy.copy(self)
        some._take([tuple(x[chosen] for x in whole)], any(known.affine for known in self._known))
        return some

    def _another(self) -> "PlaneLoss":
        """The same on another copy of the model."""
        other = copy.copy(self)
        other._copy_model()
        other._take(self._batches, any(known.affine for known in self._known))
        other._mapped = self._mapped
        if any(known.behind for known in self._known):
            other._look_behind()
        return other

    @torch.no_grad()
    def _run(self, a: np.ndarray, b: np.ndarray, apart: bool) -> list[np.ndarray]:
        """By batch the losses at all points, [K] or, apart, [K, samples]."""
        if self._way is None and len(a) > FEW:
            self._way = self._fastest(a, b, apart)
        way = self._way or self._in_turn
        return [way(a, b, k, apart) for k in range(len(self._batches))]

    # -- whichever is fastest ------------------------------------------------------------------------------------------

    @torch.no_grad()
    def _by_itself(self, a: np.ndarray, b: np.ndarray, k: int, apart: bool) -> np.ndarray:
        """In turn; or mapped, where points can be, and no weight needs to be moved."""
        mapped = self._mapped and not self._needed(k, apart, *next(rows(a, b, MOST)))
        return self._stacked(a, b, k, apart) if mapped else self._in_turn(a, b, k, apart)

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
                    pool.submit(one._by_itself, a[part], b[part], k, apart)
                    for one, part in zip([self, *self._others], parts, strict=False)
                ]
                return np.concatenate([f.result() for f in found])
        finally:
            torch.set_num_threads(threads)

    def _fastest(self, a: np.ndarray, b: np.ndarray, apart: bool) -> "Way":
        """Measured on the first points; several threads only where mapped points lose: that is for large samples."""
        few = a[:TIMED], b[:TIMED], 0, apart
        alone = _seconds(self._in_turn, *few)
        self._mapped = self._maps(a, b, apart)
        if self._mapped and (mapped := _seconds(self._stacked, *few)) < alone:
            return self._hinged(a, b, apart, self._stacked, mapped) or self._stacked
        if torch.get_num_threads() == 1 or self._surface.device.type != "cpu" or self._random:
            return self._hinged(a, b, apart, self._by_itself, alone) or self._in_turn
        self._shared(a[:1], b[:1], 0, apart)  # makes the copies
        shared = _seconds(self._shared, *few)
        plain = self._shared if shared < alone else self._in_turn
        return self._hinged(a, b, apart, self._shared, min(shared, alone)) or plain

    @torch.no_grad()
    def _hinged(self, a: np.ndarray, b: np.ndarray, apart: bool, way: Way, plain: float) -> Way | None:
        """A way with layers behind rectified units known, if it is right, and TIMED points take longer without."""
        counts = [len(row) for _, row in itertools.islice(rows(a, b, MOST), torch.get_num_threads())]
        compiles = "steepest.analysis.landscape.relu_kernels" not in sys.modules
        if counts[0] < known_layers.MANY or (compiles and plain / TIMED * len(a) < WORTH_S):
            return None
        expected = self._in_turn(a[:TIMED], b[:TIMED], 0, apart)
        if not all(one._look_behind() for one in (self, *self._others)):
            return None
        way(a[: counts[0]], b[: counts[0]], 0, apart)  # what compiles has done so then
        count = sum(counts) if way == self._shared else counts[0]
        began = time.perf_counter()
        found = way(a[:count], b[:count], 0, apart)
        if (time.perf_counter() - began) / count < plain / TIMED and self._agree(found[:TIMED], expected):
            return way
        for one in (self, *self._others):
            one._forget_behind()
        return None

    def _maps(self, a: np.ndarray, b: np.ndarray, apart: bool) -> bool:
        """Whether points can be mapped, and come out as they do by themselves."""
        try:
            one, other = (way(a[:2], b[:2], 0, apart) for way in (self._in_turn, self._stacked))
        except Exception:  # whatever torch, or the model, makes of being mapped
            return False
        return self._agree(one, other)


def _seconds(way: Callable, *args: Any) -> float:
    began = time.perf_counter()
    way(*args)
    return time.perf_counter() - began
