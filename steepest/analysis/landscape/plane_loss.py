"""The loss at many points of a plane, w(a, b) = w₀ + a u + b v, faster than by one forward pass after another.

Three strategies compute the same numbers: `Sequential`, `Vmap` over points and `Threads`. The fastest
depends on the model and the number of samples, so `choose_strategy` times them on the first points. It is usually
`Vmap` for few samples and `Threads` for a whole data set.

A linear or convolutional layer whose input x does not depend on the weights has, at any point, the output

    x W(a, b) = x W₀ + a x U + b x V

of three outputs that are computed once. This replaces the first layer of most networks by an addition.
"""

import copy
import timeit
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.modules.conv import _ConvNd

from steepest import seeds
from steepest.analysis.landscape.planes import Plane, Points
from steepest.curvature.hessian import module_inputs
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
AFFINE = (nn.Linear, _ConvNd)

Outputs = dict[nn.Module, Tensor]


# -- Affine layers -----------------------------------------------------------------------------------------------------


class AffineOutput(NamedTuple):
    """A layer's output on one batch: at w₀, and the change per unit of a and b."""

    origin: Tensor
    u: Tensor
    v: Tensor


class AffineLayers(dict[nn.Module, AffineOutput]):
    """The affine layers of a model on one batch, with their outputs."""

    @contextmanager
    def replacement(self) -> Iterator[Outputs]:
        """Within this context the layers return the outputs in the dictionary, which `move` writes."""
        outputs: Outputs = {}
        before = {m: m.__dict__.get("forward") for m in self}
        for m in self:
            m.forward = lambda *_, m=m: outputs[m]
        try:
            yield outputs
        finally:
            for m, forward in before.items():
                del m.forward
                if forward is not None:
                    m.forward = forward

    def at_line(self, a: float) -> Outputs:
        """The outputs at (a, 0)."""
        return {m: torch.add(x.origin, x.u, alpha=a) for m, x in self.items()}

    def move(self, outputs: Outputs, line: Outputs, b: float) -> None:
        """Writes the outputs at (a, b), in place, from those at (a, 0)."""
        for m, x in line.items():
            outputs[m] = torch.add(x, self[m].v, alpha=b, out=outputs.get(m))

    def move_under_vmap(self, outputs: Outputs, line: Outputs, b: Tensor) -> None:
        """Does the same under `vmap` over b."""
        outputs.update({m: torch.addcmul(x, self[m].v, b) for m, x in line.items()})


def find_affine_layers(
    model: nn.Module, weights: list[Tensor], directions: list[list[Tensor]], run: Callable[[], object]
) -> AffineLayers:
    """The layers that `run`, a pass on the batch, calls exactly once, on an input that does not depend on the weights.

    One pass is evidence, not proof: the caller has to compare losses.

    Args:
        model: the model.
        weights: its trainable parameters.
        directions: w₀, u and v, each with the shapes of the weights.
        run: a forward pass of the model.
    """
    with torch.enable_grad():
        inputs = module_inputs(model, run, AFFINE)
    index, layers = {id(w): k for k, w in enumerate(weights)}, AffineLayers()
    constants = Tensor.detach, torch.zeros_like, torch.zeros_like  # what is not trained, at w₀ and along u and v
    for layer, calls in inputs.items():
        args, _ = calls[0]
        if len(calls) > 1 or not args or args[0].requires_grad or id(layer.weight) not in index:
            continue
        points = [
            {n: part[index[id(p)]] if id(p) in index else constant(p) for n, p in layer.named_parameters()}
            for part, constant in zip(directions, constants, strict=True)
        ]
        with torch.no_grad():
            layers[layer] = AffineOutput(*(functional_call(layer, p, args[:1]) for p in points))
    return layers


# -- The loss on a plane -----------------------------------------------------------------------------------------------


class PlaneLoss:
    """The loss on a plane, over a surface's sample.

    Args:
        surface: the loss.
        plane: the plane.
    """

    def __init__(self, surface: LossFunction, plane: Plane) -> None:
        self._sample = PlaneSample(surface, plane, list(surface.batches))
        self._strategy: Strategy | None = None

    @property
    def samples(self) -> int:
        """Number of samples n."""
        return sum(data.count(batch) for batch in self._sample.batches)

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
        other._sample, other._strategy = self._sample.with_batches([tuple(x[rows] for x in whole)]), None
        return other

    @torch.no_grad()
    def _run(self, points: Points, per_sample: bool) -> list[np.ndarray]:
        """The losses by batch."""
        if self._strategy is None and len(points) >= MIN_TIMED_POINTS:
            self._strategy = choose_strategy(self._sample, points, per_sample)
        strategy = self._strategy or Sequential(self._sample)
        return [strategy(batch, points, per_sample) for batch in range(len(self._sample.batches))]


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
        self.objective = surface.objective.with_model(copy.deepcopy(surface.objective.model))
        own = {name: p for name, p in self.objective.model.named_parameters() if p.requires_grad}
        self.names, self.weights = list(own), list[Tensor](own.values())
        self.directions = [d.to(surface.start) for d in (plane.origin, *plane.directions)]
        self.parts = [self.split(d) for d in self.directions]
        self.point = surface.start.clone()
        for p, view in zip(self.weights, self.split(self.point), strict=True):
            p.data = view
        self.is_random = self._is_random()
        self._use(batches, has_affine)

    def with_batches(self, batches: list[Any]) -> "PlaneSample":
        """The same model on other batches."""
        other = copy.copy(self)
        other._use(batches, any(map(len, self._affine)))
        return other

    def copy(self) -> "PlaneSample":
        """The same batches on another copy of the model."""
        return PlaneSample(self.surface, self._plane, self.batches, any(map(len, self._affine)))

    def split(self, x: Tensor) -> list[Tensor]:
        """A vector [N] as views with the shapes of the weights."""
        parts = x.split(list(self.surface.space.sizes))
        return [part.view(p.shape) for part, p in zip(parts, self.weights, strict=True)]

    def fixed_seed(self) -> AbstractContextManager[Any]:
        """The same random numbers in every pass, if the model uses any."""
        return seeds.ours(0, "surface") if self.is_random else nullcontext()

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
            with affine.replacement() as outputs, self.fixed_seed():
                affine.move(outputs, affine.at_line(0.0), 0.0)
                loss = self.objective.loss(self.batches[batch])
            grads = torch.autograd.grad(loss, self.weights, allow_unused=True) if loss.requires_grad else ()
            self._active[batch, per_sample] = [n for n, g in enumerate(grads) if g is not None]
        return self._active[batch, per_sample]

    def _use(self, batches: list[Any], has_affine: bool | None) -> None:
        self.batches = batches
        counts = [self.objective.loss_weight(b) for b in batches]
        self.shares = np.array([n / sum(counts) for n in counts])
        self._affine = [AffineLayers() for _ in batches]
        self._active: dict[tuple[int, bool], list[int]] = {}
        if has_affine or (has_affine is None and self._check_affine()):
            self._affine = self._find_affine()

    def _check_affine(self) -> bool:
        """Whether the losses with affine layers replaced are those without."""
        origin, u, v = (d.norm().item() or 1.0 for d in self.directions)
        probe = Points(*(np.array([sign * PROBE_DISTANCE * origin / d]) for sign, d in ((1, u), (-1, v))))
        none, places = self._affine, range(len(self.batches))
        reference = [Sequential(self)(k, probe, False) for k in places]
        self._affine = self._find_affine()
        losses = [Sequential(self)(k, probe, False) for k in places]
        self._affine = none
        return all(agree(x, y, self.surface.dtype) for x, y in zip(losses, reference, strict=True))

    def _find_affine(self) -> list[AffineLayers]:
        def run(batch: Any) -> None:
            with self.fixed_seed():
                self.objective.loss(batch)

        model = self.objective.model
        return [find_affine_layers(model, self.weights, self.parts, lambda b=b: run(b)) for b in self.batches]

    @torch.no_grad()
    def _is_random(self) -> bool:
        with seeds.ours(0, "surface"):
            before = torch.get_rng_state()
            self.objective.loss(self.surface.batches[0])
            return not torch.equal(before, torch.get_rng_state())


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
        sample, (origin, u, v) = self._sample, self._sample.directions
        loss, affine = sample.loss(per_sample), sample.affine(batch, per_sample)
        losses = []
        with affine.replacement() as outputs:
            for a, row in points.rows(MAX_ROW):
                base, line = torch.add(origin, u, alpha=a), affine.at_line(a)
                for b in row.tolist():
                    torch.add(base, v, alpha=b, out=sample.point)
                    affine.move(outputs, line, b)
                    with sample.fixed_seed():
                        losses.append(loss(sample.batches[batch]))
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

                with sample.fixed_seed():
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
    """The fastest strategy on the first points. Threads are tried only if vmap is not faster than one by one."""

    def seconds(strategy: Strategy) -> float:
        return timeit.timeit(lambda: strategy(0, points[:TIMED_POINTS], per_sample), number=1)

    sequential, by_vmap, dtype = Sequential(sample), Vmap(sample), sample.surface.dtype
    time_alone = seconds(sequential)
    try:
        can_batch = agree(sequential(0, points[:2], per_sample), by_vmap(0, points[:2], per_sample), dtype)
    except Exception:  # vmap runs the user's model, and torch and the model can raise anything
        can_batch = False
    if can_batch and seconds(by_vmap) < time_alone:
        return by_vmap
    if torch.get_num_threads() == 1 or sample.surface.device.type != "cpu" or sample.is_random:
        return sequential
    by_threads = Threads(sample)
    return by_threads if seconds(by_threads) < time_alone else sequential


def agree(losses: np.ndarray, reference: np.ndarray, dtype: torch.dtype) -> bool:
    """Whether losses are equal up to rounding."""
    limit = MAX_ROUNDINGS * torch.finfo(dtype).eps
    largest = np.abs(reference[np.isfinite(reference)]).max(initial=0.0)
    return bool(np.allclose(losses, reference, rtol=limit, atol=limit * largest, equal_nan=True))
