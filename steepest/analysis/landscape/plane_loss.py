"""The loss at many points of a plane, w(a, b) = w₀ + a u + b v, faster than by one forward pass after another.

Three strategies compute the same numbers: `Sequential`, `Vmap` over points and `Threads`. The fastest
depends on the model and the number of samples, so `choose_strategy` times them on the first points. It is usually
`Vmap` for few samples and `Threads` for a whole data set.
"""

import copy
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
from steepest.analysis.landscape.affine_layers import AffineLayers, find_affine_layers
from steepest.analysis.landscape.planes import Plane, Points
from steepest.curvature.loss_function import LossFunction
from steepest.tasks import data
from steepest.tasks.objective import Loss

MAX_ROUNDINGS = 1e3
"""Relative difference, in roundings of the dtype, between a loss and the same loss computed in another way."""
VMAP_NUMBERS = 1 << 22
"""Weights of all points of one vmap, at most. A quarter of it takes half as long again on the demo's network."""
MAX_ROW = 64
"""Points of one row that are evaluated before the next starts from w₀ + a u again."""
PROBE_DISTANCE = 0.1
"""Distance from w₀ of the point that checks the affine layers, as a share of ‖w₀‖."""
MIN_TIMED_POINTS = 65
"""With fewer points, timing the strategies would take as long as half of the work."""
TIMED_POINTS = 4


class PlaneLoss:
    """The loss on a plane, over a surface's sample.

    Attributes:
        samples: number of samples n.

    Args:
        surface: the loss.
        plane: the plane.
    """

    def __init__(self, surface: LossFunction, plane: Plane) -> None:
        self._init(PlaneSample(PlaneModel(surface, plane), list(surface.batches)))

    def _init(self, sample: "PlaneSample") -> None:
        self._sample, self._strategy = sample, None
        self.samples = sum(data.count(batch) for batch in sample.batches)

    def losses(self, points: Points) -> np.ndarray:
        """L at K points [K], float64; points of one row should be adjacent."""
        return np.stack(self._run(points, per_sample=False), 1) @ self._sample.shares

    def per_sample_losses(self, points: Points) -> np.ndarray:
        """The loss of each sample at K points, [K, n] float64."""
        return np.concatenate(self._run(points, per_sample=True), 1)

    def subset(self, rows: Tensor) -> "PlaneLoss":
        """The same plane on some of the samples, by index."""
        other = copy.copy(self)
        whole = tuple(torch.cat(parts) for parts in zip(*self._sample.batches, strict=True))
        other._init(self._sample.with_batches([tuple(x[rows] for x in whole)]))
        return other

    @torch.no_grad()
    def _run(self, points: Points, per_sample: bool) -> list[np.ndarray]:
        """The losses by batch."""
        if self._strategy is None and len(points) >= MIN_TIMED_POINTS:
            self._strategy = choose_strategy(self._sample, points, per_sample)
        strategy = self._strategy or Sequential(self._sample)
        return [strategy(batch, points, per_sample) for batch in range(len(self._sample.batches))]


# -- A model on a plane ------------------------------------------------------------------------------------------------


class PlaneModel:
    """A copy of a surface's model. Its weights are views of one vector, so that a move is one addition.

    Attributes:
        surface: the loss.
        objective: the objective of the copy.
        names: of the trainable parameters.
        weights: the trainable parameters.
        directions: w₀, u and v [N] each.
        parts: w₀, u and v, each with the shapes of the weights.
        point: the vector [N] of which the weights are views.
    """

    def __init__(self, surface: LossFunction, plane: Plane) -> None:
        self.surface, self._plane = surface, plane
        self.objective = surface.objective.with_model(copy.deepcopy(surface.objective.model))
        own = dict(self.objective.model.named_parameters())
        self.names = [n for n, p in own.items() if p.requires_grad]
        self.weights: list[Tensor] = [own[n] for n in self.names]
        self.directions = [d.to(surface.start) for d in (plane.origin, *plane.directions)]
        self.parts = [self.split(d) for d in self.directions]
        self.point = surface.start.clone()
        for p, view in zip(self.weights, self.split(self.point), strict=True):
            p.data = view
        self.is_random = self._is_random()

    def copy(self) -> "PlaneModel":
        """Another copy of the model."""
        return PlaneModel(self.surface, self._plane)

    def split(self, x: Tensor) -> list[Tensor]:
        """A vector [N] as views with the shapes of the weights."""
        parts = x.split(list(self.surface.space.sizes))
        return [part.view(p.shape) for part, p in zip(parts, self.weights, strict=True)]

    @contextmanager
    def fixed_seed(self) -> Iterator[None]:
        """The same random numbers in every pass, if the model uses any."""
        if not self.is_random:
            yield
            return
        with seeds.ours(0, "surface"):
            yield

    def loss(self, batch: Any) -> Tensor:
        """L on a batch at the current point."""
        with self.fixed_seed():
            return self.objective.loss(batch)

    @torch.no_grad()
    def _is_random(self) -> bool:
        with seeds.ours(0, "surface"):
            before = torch.get_rng_state()
            self.objective.loss(self.surface.batches[0])
            return not torch.equal(before, torch.get_rng_state())


class PlaneSample:
    """Batches on a model, with the layers of the model that are affine on the plane.

    Attributes:
        model: the model.
        batches: the batches.
        shares: weight of each batch's loss in the mean.

    Args:
        model: the model.
        batches: the batches.
        has_affine: whether such layers exist; None: tried on two points.
    """

    def __init__(self, model: PlaneModel, batches: list[Any], has_affine: bool | None = None) -> None:
        self.model, self.batches = model, batches
        counts = [model.objective.loss_weight(b) for b in batches]
        self.shares = np.array([n / sum(counts) for n in counts])
        self._affine = [AffineLayers() for _ in batches]
        self._active: dict[tuple[int, bool], list[int]] = {}
        if has_affine is None:
            has_affine = self._check_affine()
        if has_affine:
            self._find_affine()

    def with_batches(self, batches: list[Any]) -> "PlaneSample":
        """The same model on other batches."""
        return PlaneSample(self.model, batches, any(map(len, self._affine)))

    def copy(self) -> "PlaneSample":
        """The same batches on another copy of the model."""
        return PlaneSample(self.model.copy(), self.batches, any(map(len, self._affine)))

    def loss(self, per_sample: bool) -> Callable[[Any], Tensor]:
        """The mean loss of a batch, or the loss of each sample."""
        objective = self.model.objective
        return objective.per_sample_losses if per_sample else objective.loss

    def affine(self, batch: int, per_sample: bool) -> AffineLayers:
        """The affine layers on a batch; none if the model is called for each sample by itself."""
        is_separate = per_sample and not self.model.objective.has_output_loss
        return AffineLayers() if is_separate else self._affine[batch]

    @torch.enable_grad()
    def active_weights(self, batch: int, per_sample: bool) -> list[int]:
        """Indices of the weights on which the loss depends once the affine layers are replaced."""
        if (batch, per_sample) not in self._active:
            affine = self.affine(batch, per_sample)
            with affine.replacement() as outputs:
                affine.move(outputs, affine.at_line(0.0), 0.0)
                loss = self.model.loss(self.batches[batch])
            grads = torch.autograd.grad(loss, self.model.weights, allow_unused=True) if loss.requires_grad else ()
            self._active[batch, per_sample] = [n for n, g in enumerate(grads) if g is not None]
        return self._active[batch, per_sample]

    def _check_affine(self) -> bool:
        """Whether the losses with affine layers replaced are those without."""
        origin, u, v = (d.norm().item() or 1.0 for d in self.model.directions)
        probe = Points(*(np.array([sign * PROBE_DISTANCE * origin / d]) for sign, d in ((1, u), (-1, v))))
        reference = [Sequential(self)(k, probe, False) for k in range(len(self.batches))]
        self._find_affine()
        losses = [Sequential(self)(k, probe, False) for k in range(len(self.batches))]
        self._affine = [AffineLayers() for _ in self.batches]
        return all(agree(x, y, self.model) for x, y in zip(losses, reference, strict=True))

    def _find_affine(self) -> None:
        model = self.model
        self._affine = [
            find_affine_layers(model.objective.model, model.weights, model.parts, lambda b=batch: model.loss(b))
            for batch in self.batches
        ]


# -- Strategies --------------------------------------------------------------------------------------------------------


Strategy = Callable[[int, Points, bool], np.ndarray]
"""(batch, K points, per_sample) -> the loss of the batch [K], or of each of its n samples [K, n]; float64. A strategy
uses every sample of the batch, and all strategies agree up to rounding."""


class Sequential:
    """One point after another, on all threads of torch."""

    def __init__(self, sample: PlaneSample) -> None:
        self._sample = sample

    @torch.no_grad()
    def __call__(self, batch: int, points: Points, per_sample: bool) -> np.ndarray:
        sample, model = self._sample, self._sample.model
        loss, affine = sample.loss(per_sample), sample.affine(batch, per_sample)
        origin, u, v = model.directions
        losses = []
        with affine.replacement() as outputs:
            for a, row in points.rows(MAX_ROW):
                base, line = torch.add(origin, u, alpha=a), affine.at_line(a)
                for b in row.tolist():
                    torch.add(base, v, alpha=b, out=model.point)
                    affine.move(outputs, line, b)
                    with model.fixed_seed():
                        losses.append(loss(sample.batches[batch]))
        return torch.stack(losses).double().cpu().numpy()


class Vmap:
    """Several points of a row at once, by vmap."""

    def __init__(self, sample: PlaneSample) -> None:
        self._sample = sample
        self._row = max(1, min(MAX_ROW, VMAP_NUMBERS // sample.model.surface.size))

    @torch.no_grad()
    def __call__(self, batch: int, points: Points, per_sample: bool) -> np.ndarray:
        sample, model = self._sample, self._sample.model
        affine, whole = sample.affine(batch, per_sample), Loss(model.objective, sample.loss(per_sample))
        active, (origin, u, _), v = sample.active_weights(batch, per_sample), model.directions, model.parts[2]
        losses = []
        with affine.replacement() as outputs:
            for a, row in points.rows(self._row):
                base, line = model.split(torch.add(origin, u, alpha=a)), affine.at_line(a)

                def loss_at(b: Tensor, base: list[Tensor] = base, line: dict = line) -> Tensor:
                    affine.move_under_vmap(outputs, line, b)
                    weights = {f"model.{model.names[n]}": torch.addcmul(base[n], v[n], b) for n in active}
                    return functional_call(whole, weights, (sample.batches[batch],))

                with model.fixed_seed():
                    losses.append(vmap(loss_at, randomness="same")(torch.from_numpy(row).to(origin)))
        return torch.cat(losses).double().cpu().numpy()


class Threads:
    """A share of the points on each of torch's threads, with a copy of the model and single-by_threads operations."""

    def __init__(self, sample: PlaneSample) -> None:
        copies = (sample.copy() for _ in range(torch.get_num_threads() - 1))
        self._workers = [Sequential(one) for one in (sample, *copies)]

    def __call__(self, batch: int, points: Points, per_sample: bool) -> np.ndarray:
        threads = torch.get_num_threads()
        parts = [part for part in np.array_split(np.arange(len(points)), len(self._workers)) if len(part)]
        torch.set_num_threads(1)
        try:
            with ThreadPoolExecutor(len(parts)) as pool:  # new threads inherit the number
                futures = [
                    pool.submit(worker, batch, points[part], per_sample)
                    for worker, part in zip(self._workers, parts, strict=False)
                ]
                return np.concatenate([future.result() for future in futures])
        finally:
            torch.set_num_threads(threads)


def choose_strategy(sample: PlaneSample, points: Points, per_sample: bool) -> Strategy:
    """The fastest strategy on the first points. Threads are tried only if vmap is not faster than one by one."""
    model, first = sample.model, points[:TIMED_POINTS]
    sequential, by_vmap = Sequential(sample), Vmap(sample)
    time_alone = _seconds(sequential, first, per_sample)
    can_batch = _supports_vmap(by_vmap, sequential, points[:2], per_sample, model)
    if can_batch and _seconds(by_vmap, first, per_sample) < time_alone:
        return by_vmap
    if torch.get_num_threads() == 1 or model.surface.device.type != "cpu" or model.is_random:
        return sequential
    by_threads = Threads(sample)
    return by_threads if _seconds(by_threads, first, per_sample) < time_alone else sequential


def agree(losses: np.ndarray, reference: np.ndarray, model: PlaneModel) -> bool:
    """Whether losses are equal up to rounding."""
    limit = MAX_ROUNDINGS * torch.finfo(model.surface.dtype).eps
    largest = np.abs(reference[np.isfinite(reference)]).max(initial=0.0)
    return bool(np.allclose(losses, reference, rtol=limit, atol=limit * largest, equal_nan=True))


def _supports_vmap(
    by_vmap: Strategy, sequential: Strategy, points: Points, per_sample: bool, model: PlaneModel
) -> bool:
    """Whether vmap can run the model, and gives its losses."""
    try:
        return agree(sequential(0, points, per_sample), by_vmap(0, points, per_sample), model)
    except Exception:  # vmap runs the user's model, and torch and the model can raise anything
        return False


def _seconds(strategy: Strategy, points: Points, per_sample: bool) -> float:
    start = time.perf_counter()
    strategy(0, points, per_sample)
    return time.perf_counter() - start
