"""Ways to compute the loss at points of a plane, w(a, b) = w₀ + a u + b v, faster than one pass after another.

Three strategies compute the same numbers: `Sequential`, `Vmap` over points and `Threads`. Which is fastest depends on
the model and the number of samples, so `choose_strategy` goes by their sizes: `Vmap` for the losses of few samples, and
`Threads` for a whole data set where there are several threads.

The outputs of first layers are computed once (`affine_layers`).
"""

import contextlib
import copy
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from steepest.analysis.landscape.affine_layers import AffineLayers, find_affine_layers
from steepest.analysis.landscape.planes import Plane, Points
from steepest.curvature.loss_function import LossFunction
from steepest.tasks import data
from steepest.tasks.buffers import Buffers
from steepest.tasks.module_copy import copy_module
from steepest.tasks.objective import Loss

MAX_ROUNDINGS = 1e3
"""Relative difference, in roundings of the dtype, between a loss and the same loss computed in another way."""
VMAP_NUMBERS = 1 << 22
"""Weights of all points of one vmap, at most. A quarter of it takes half as long again on the demo's network."""
MAX_ROW = 64
"""Points of one row that are evaluated before the next starts from w₀ + a u again."""
PROBE_DISTANCE = 0.1
"""Distance from w₀ of the point that checks the affine layers, as a share of ‖w₀‖."""
VMAP_SAMPLES, VMAP_MEAN_SAMPLES = 4.0, 0.5
"""Samples' own losses are faster by vmap up to so many times the samples whose arithmetic takes as long as the calls:
400 on the demo's network (one core of an AMD EPYC, torch 2.13). Means are where a pass is mostly calls: up to half."""
ALIGNMENT = 16
"""Numbers to a multiple of which a weight's view is moved where the model needs it, as for `torch.view_as_complex`."""


class PlaneSample:
    """Batches on a copy of a surface's model, whose weights are views of one vector, so that a move is one addition.

    Attributes:
        surface: the loss.
        objective: the objective of the copy.
        names: of the trainable parameters.
        weights: the trainable parameters.
        directions: w₀, u and v [N] each.
        parts: w₀, u and v, each with the shapes of the weights.
        point: the vector [N] of which the weights are views.
        is_random: whether the model uses random numbers.
        needs_gradients: whether the objective differentiates inside, so that torch has to record gradients.
        batches: the batches.
        shares: weight of each batch's loss in the mean.

    Args:
        surface: the loss.
        plane: the plane.
        batches: the batches.
        has_affine: whether the model has layers that are affine on the plane; None: tried on two points.
    """

    def __init__(self, surface: LossFunction, plane: Plane, batches: list[Any], has_affine: bool | None = None) -> None:
        self.surface, self._plane = surface, plane
        self.objective = surface.objective.with_model(copy_module(surface.objective.model))
        own = {name: p for name, p in self.objective.model.named_parameters() if p.requires_grad}
        self.names, self.weights = list(own), list[Tensor](own.values())
        self._alignment = ALIGNMENT if surface.needs_aligned_weights() else 1
        self.directions = [self._lay_out(d.to(surface.start)) for d in (plane.origin, *plane.directions)]
        self.parts = [self.split(d) for d in self.directions]
        self.point = self._lay_out(surface.start).clone()
        for p, view in zip(self.weights, self.split(self.point), strict=True):
            p.data = view
        self._buffers = Buffers(self.objective.model)
        self.needs_gradients = self._needs_gradients()
        self.is_random, self._writes_buffers = self._side_effects()
        self._use(batches, surface.shares, has_affine)

    def with_batches(self, batches: list[Any]) -> "PlaneSample":
        """The same model on other batches."""
        other = copy.copy(self)
        other._use(batches, [1 / len(batches)] * len(batches), any(map(len, self._affine)))
        return other

    def without_affine(self) -> "PlaneSample":
        """The same batches and model, all layers of which are computed at every point."""
        other = copy.copy(self)
        other._use(self.batches, self.shares.tolist(), False)
        return other

    def copy(self) -> "PlaneSample":
        """The same batches on another copy of the model."""
        return PlaneSample(self.surface, self._plane, self.batches, any(map(len, self._affine)))

    def split(self, x: Tensor) -> list[Tensor]:
        """A vector [N] as views with the shapes of the weights."""
        parts = x.split([math.ceil(p.numel() / self._alignment) * self._alignment for p in self.weights])
        return [part[: p.numel()].view(p.shape) for part, p in zip(parts, self.weights, strict=True)]

    def _lay_out(self, x: Tensor) -> Tensor:
        """A vector with zeros between the weights, where their views have to be aligned."""
        if self._alignment == 1:
            return x
        parts = x.split(list(self.surface.space.sizes))
        return torch.cat([nn.functional.pad(part, (0, -len(part) % self._alignment)) for part in parts])

    def gradient_mode(self) -> AbstractContextManager[Any]:
        """With gradients only where the objective needs them."""
        return torch.set_grad_enabled(self.needs_gradients)

    @contextmanager
    def fixed_state(self) -> Iterator[None]:
        """The same random numbers and buffers in every pass, if the model uses or writes any."""
        if self._writes_buffers:
            self._buffers.save(all=True)
        with self.surface.deterministic() if self.is_random else nullcontext():
            yield
        if self._writes_buffers:
            self._buffers.restore()

    def loss(self, per_sample: bool) -> Callable[[Any], Tensor]:
        """The mean loss of a batch at the current point, or the loss of each sample."""
        return self.objective.per_sample_losses if per_sample else self.objective.loss

    def affine(self, batch: int, per_sample: bool) -> AffineLayers:
        """The affine layers on a batch; none if the model is called for each sample by itself."""
        is_separate = per_sample and not self.objective.has_output_loss
        return AffineLayers() if is_separate else self._affine[batch]

    @torch.enable_grad()
    def active_weights(self, batch: int, per_sample: bool) -> list[int]:
        """Indices of the weights on which the loss depends once the affine layers are replaced."""
        if (batch, per_sample) not in self._active:
            affine = self.affine(batch, per_sample)
            with affine.replacement() as outputs, self.fixed_state():
                affine.move(outputs, affine.at_line(0.0), 0.0)
                loss = self.objective.loss(self.batches[batch])
            grads = torch.autograd.grad(loss, self.weights, allow_unused=True) if loss.requires_grad else ()
            self._active[batch, per_sample] = [n for n, g in enumerate(grads) if g is not None]
        return self._active[batch, per_sample]

    def _use(self, batches: list[Any], shares: Sequence[float], has_affine: bool | None) -> None:
        self.batches, self.shares = batches, np.array(shares)
        self._affine = [AffineLayers() for _ in batches]
        self._active: dict[tuple[int, bool], list[int]] = {}
        if has_affine or (has_affine is None and self._check_affine()):
            with contextlib.suppress(Exception):  # the user's model may raise anything at another point
                self._affine = self._find_affine()

    def _check_affine(self) -> bool:
        """Whether the losses with affine layers replaced are those without."""
        origin, u, v = (d.norm().item() or 1.0 for d in self.directions)
        probe = Points(*(np.array([sign * PROBE_DISTANCE * origin / d]) for sign, d in ((1, u), (-1, v))))
        none, places = self._affine, range(len(self.batches))
        reference = [Sequential(self)(k, probe, False) for k in places]
        try:
            self._affine = self._find_affine()
            losses = [Sequential(self)(k, probe, False) for k in places]
        except Exception:  # the user's model may raise anything where its layers are replaced
            return False
        finally:
            self._affine = none
        return all(agree(x, y, self.surface.dtype) for x, y in zip(losses, reference, strict=True))

    def _find_affine(self) -> list[AffineLayers]:
        origin, u, v = self.directions
        x, y = self._plane.x, self._plane.y
        corners = [(0.0, 0.0), *((a, b) for a in (x.lo, x.hi) for b in (y.lo, y.hi))]

        def run(batch: Any, a: float, b: float) -> None:
            self.point.copy_(origin + a * u + b * v)
            with self.fixed_state():
                self.objective.loss(batch)

        model = self.objective.model
        return [
            find_affine_layers(model, self.weights, self.parts, [partial(run, batch, *at) for at in corners])
            for batch in self.batches
        ]

    @torch.no_grad()
    def _needs_gradients(self) -> bool:
        try:
            with self.surface.deterministic():
                self.objective.loss(self.surface.batches[0])
        except Exception:  # the user's objective may raise anything, and does again if gradients do not help
            return True
        return False

    def _random_states(self) -> list[Tensor]:
        device = self.surface.device
        states = [torch.get_rng_state()]
        return [*states, torch.cuda.get_rng_state(device)] if device.type == "cuda" else states

    def _side_effects(self) -> tuple[bool, bool]:
        """Whether a pass draws random numbers, and whether it writes buffers."""
        buffers = [b.clone() for b in self.objective.model.buffers()]
        self._buffers.save(all=True)
        with self.surface.deterministic(), self.gradient_mode():
            before = self._random_states()
            self.objective.loss(self.surface.batches[0])
            is_random = not all(map(torch.equal, before, self._random_states()))
        after = list(self.objective.model.buffers())
        writes = len(after) != len(buffers) or not all(torch.equal(x, y) for x, y in zip(buffers, after))
        self._buffers.restore()
        return is_random, writes


# -- Strategies --------------------------------------------------------------------------------------------------------


Strategy = Callable[[int, Points, bool], np.ndarray]
"""(batch, K points, per_sample) -> the loss of the batch [K], or of each of its n samples [K, n]; float64. A strategy
uses every sample of the batch, and all strategies agree up to rounding."""


class Sequential:
    """One point after another, on all threads of torch."""

    def __init__(self, sample: PlaneSample) -> None:
        self._sample = sample

    def __call__(self, batch: int, points: Points, per_sample: bool) -> np.ndarray:
        with self._sample.gradient_mode():
            return self._losses(batch, points, per_sample)

    def _losses(self, batch: int, points: Points, per_sample: bool) -> np.ndarray:
        sample, (origin, u, v) = self._sample, self._sample.directions
        loss, affine = sample.loss(per_sample), sample.affine(batch, per_sample)
        losses = []
        with affine.replacement() as outputs:
            for a, row in points.rows(MAX_ROW):
                base, line = torch.add(origin, u, alpha=a), affine.at_line(a)
                for b in row.tolist():
                    torch.add(base, v, alpha=b, out=sample.point)
                    affine.move(outputs, line, b)
                    with sample.fixed_state():
                        losses.append(loss(sample.batches[batch]).detach())
        return torch.stack(losses).double().cpu().numpy()


class Vmap:
    """Several points of a row at once, by vmap."""

    def __init__(self, sample: PlaneSample) -> None:
        self._sample = sample
        self._row = max(1, min(MAX_ROW, VMAP_NUMBERS // sample.surface.size))

    @torch.no_grad()
    def __call__(self, batch: int, points: Points, per_sample: bool) -> np.ndarray:
        sample, (origin, u, _), v = self._sample, self._sample.directions, self._sample.parts[2]
        affine, whole = sample.affine(batch, per_sample), Loss(sample.objective, sample.loss(per_sample))
        active = sample.active_weights(batch, per_sample)
        losses = []
        with affine.replacement() as outputs:
            for a, row in points.rows(self._row):
                base, line = sample.split(torch.add(origin, u, alpha=a)), affine.at_line(a)

                def loss_at(b: Tensor, base: list[Tensor] = base, line: dict = line) -> Tensor:
                    affine.move_under_vmap(outputs, line, b)
                    weights = {f"model.{sample.names[n]}": torch.addcmul(base[n], v[n], b) for n in active}
                    return functional_call(whole, weights, (sample.batches[batch],))

                with sample.fixed_state():
                    losses.append(vmap(loss_at, randomness="same")(torch.from_numpy(row).to(origin)))
        return torch.cat(losses).double().cpu().numpy()


class Threads:
    """A share of the points on each of torch's threads, with a copy of the model and operations on one thread."""

    def __init__(self, sample: PlaneSample) -> None:
        copies = (sample.copy() for _ in range(torch.get_num_threads() - 1))
        self._workers = [Sequential(one) for one in (sample, *copies)]

    def __call__(self, batch: int, points: Points, per_sample: bool) -> np.ndarray:
        threads = torch.get_num_threads()
        parts = [part for part in np.array_split(np.arange(len(points)), len(self._workers)) if len(part)]
        torch.set_num_threads(1)
        try:
            with ThreadPoolExecutor(len(parts)) as pool:  # new threads inherit the number
                shares = zip(self._workers, parts)
                futures = [pool.submit(worker, batch, points[part], per_sample) for worker, part in shares]
                return np.concatenate([future.result() for future in futures])
        finally:
            torch.set_num_threads(threads)


def choose_strategy(sample: PlaneSample, points: Points, per_sample: bool) -> Strategy:
    """The strategy for a sample of that size, if it computes what plain evaluation computes at the first points."""
    surface, largest = sample.surface, max(map(data.count, sample.batches))
    is_on_cpu, sequential = surface.device.type == "cpu", Sequential(sample)
    most = (VMAP_SAMPLES if per_sample else VMAP_MEAN_SAMPLES) * surface.work().few_samples
    if not is_on_cpu or largest <= most:
        by_vmap = Vmap(sample)
        try:
            if agree(by_vmap(0, points[:2], per_sample), sequential(0, points[:2], per_sample), surface.dtype):
                return by_vmap
        except Exception:  # vmap runs the user's model, and torch and the model can raise anything
            return sequential
    if torch.get_num_threads() == 1 or not is_on_cpu or sample.is_random:
        return sequential
    return Threads(sample)


def agree(losses: np.ndarray, reference: np.ndarray, dtype: torch.dtype) -> bool:
    """Whether losses are equal up to rounding."""
    limit = MAX_ROUNDINGS * torch.finfo(dtype).eps
    largest = np.abs(reference[np.isfinite(reference)]).max(initial=0.0)
    return bool(np.allclose(losses, reference, rtol=limit, atol=limit * largest, equal_nan=True))
