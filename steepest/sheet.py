"""The loss at many points of a plane, w(a, b) = w₀ + a u + b v, faster than one point after another.

Points go in turn, or mapped (`passes`), or on several threads, each with a share of the points, a copy of the model and
operations of one thread. What is fastest is measured: for few samples it is to map them, for a whole data set to share.
"""

import copy
import itertools
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor

from steepest import shortcuts
from steepest.passes import MOST, Passes
from steepest.shortcuts import rows

TIMED = 4
"""Points of which it is measured which way is faster."""
WORTH_S = 1.0
"""What takes less is not worth to load what compiles, which takes half a second, and three for the first time."""
FEW = 64
"""Points that go in turn: to measure which way is faster would take as long as half of them."""

Way = Callable[[np.ndarray, np.ndarray, int, bool], np.ndarray]
"""The losses of a batch at some points, [K] or, of each sample, [K, samples]."""


class Sheet(Passes):
    """A plane's losses on a surface's sample."""

    _way: Way | None
    _others: list["Sheet"]
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

    def of(self, chosen: Tensor) -> "Sheet":
        """The same plane on some of the samples, by their places in the sample."""
        whole = tuple(torch.cat(parts) for parts in zip(*self._batches, strict=True))
        some = copy.copy(self)
        some._take([tuple(x[chosen] for x in whole)], any(known.affine for known in self._known))
        return some

    def _another(self) -> "Sheet":
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
        compiles = "steepest.kinks" not in sys.modules
        if counts[0] < shortcuts.MANY or (compiles and plain / TIMED * len(a) < WORTH_S):
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
