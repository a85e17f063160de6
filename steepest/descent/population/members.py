"""Many points at once: K copies of a model's weights and buffers, the loss of each and its gradient.

    Lₖ = L(wₖ),  gₖ = ∇L(wₖ)        k = 1 … K

by `torch.func`: the loss as a function of the weights, mapped over their first dimension; the gradient of the sum of
all losses contains each member's own. BatchNorm statistics and dropout masks belong to each member. `why_not_batched`
compares one member with the model and names what cannot be mapped (control flow that depends on data, a custom
autograd function without vmap, a state that the model carries from batch to batch in an attribute).
"""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.utils._pytree import tree_flatten

from steepest import seeds
from steepest.errors import TaskError
from steepest.rules.memory import is_dense
from steepest.tasks import Loss, Objective, Space, batch_tree
from steepest.tasks.forward import Pass
from steepest.tasks.module_copy import copy_module
from steepest.tasks.module_state import PlainAttributes

GRADIENT_TOLERANCE = 1e-3
"""Relative difference between a member's gradient and the model's own that rounding may cause."""


class Members:
    """K points of one model: what an Update works on (a `Point`), with their buffers.

    Attributes:
        count: K.
        names, rows, overrides: as a Space has them.
        weights, buffers: by the model's own names, [K, ...] each; frozen weights in which models differ are buffers.

    Args:
        models: one for each member, at its start; they differ only in their values.
        objective: of the first model.
        space: of the first model.
    """

    def __init__(self, models: Sequence[nn.Module], objective: Objective, space: Space) -> None:
        self.count, self.objective = len(models), objective
        self.names, self.rows, self.overrides = space.names, space.rows, space.overrides
        parameters = [dict(m.named_parameters()) for m in models]
        names = [name for name, p in parameters[0].items() if p.requires_grad]
        self.weights = {n: torch.stack([p[n].detach() for p in parameters]).requires_grad_() for n in names}
        constants = [n for n, p in parameters[0].items() if not p.requires_grad and _differ(n, parameters)]
        buffers = [{**dict(m.named_buffers()), **{n: p[n] for n in constants}} for m, p in zip(models, parameters)]
        self.buffers = {n: torch.stack([b[n].detach() for b in buffers]) for n in buffers[0]}
        self._loss = Loss(objective)
        self._pass = Loss(objective, objective.forward)
        self._pair: tuple[Any, Any] = (None, None)
        self._before = self.buffers
        self._traces: dict[Any, Callable] = {}
        self._needs_layout = True

    def tensors(self) -> list[Tensor]:
        """The weights [K, ...], in the order of `names`."""
        return list(self.weights.values())

    def gradient(self, batches: Sequence[Any], per_member: bool = False) -> np.ndarray:
        """Leaves each member's gradient in the tensors' `.grad`; returns the losses [K], float64.

        Args:
            batches: the micro-batches of one step.
            per_member: whether a batch has a first dimension of members; else all members share the batch.
        """
        self._before = self.buffers
        for p in self.weights.values():
            p.grad = None  # frees them before the new ones are allocated
        if len(batches) == 1:
            losses, gradients, _ = self._evaluate(batches[0], per_member)
        else:
            losses, gradients = self._accumulate(batches, per_member)
        if self._needs_layout:
            self._match_layout(gradients)
        for name, p in self.weights.items():
            p.grad = gradients[name]
        return losses.double().cpu().numpy()

    @torch.no_grad()
    def _match_layout(self, gradients: Mapping[str, Tensor]) -> None:
        """Gives the weights the strides of their gradients, so that no step has to transpose these."""
        self._needs_layout = False
        for name, g in gradients.items():
            p = self.weights[name]
            if g.stride() != p.stride() and g.stride(0) == p.stride(0) and is_dense(g):
                own = torch.empty_strided(p.shape, g.stride(), dtype=p.dtype, device=p.device)
                self.weights[name] = own.copy_(p).requires_grad_()

    def _accumulate(self, batches: Sequence[Any], per_member: bool) -> tuple[Tensor, dict[str, Tensor]]:
        """Sums over micro-batches, with each member's shares sᵢ of L = Σ sᵢ Lᵢ."""
        losses: Any = 0.0
        parts = [self._evaluate(b, per_member, with_output=True) for b in batches]
        shares = self._shares(batches, parts, per_member)
        gradients: dict[str, Any] = dict.fromkeys(self.weights, 0.0)
        for (part, own, _), share in zip(parts, shares, strict=True):
            if any(share):
                losses = losses + _scale(share, part)
                gradients = {n: total + _scale(share, own[n]) for n, total in gradients.items()}
        return losses, gradients

    def _shares(self, batches: Sequence[Any], parts: Sequence[tuple], per_member: bool) -> list[list[float]]:
        """sᵢ of micro-batch i for each member; one number where all members share the batches.

        They follow from targets, masks and weights in the loss, not from the point, so one member tells for all: that
        with the least loss, as nothing follows from outputs that are not finite.
        """
        values = torch.stack([losses for losses, *_ in parts], 1).double().cpu()
        rank = zip((~values.isfinite()).sum(1).tolist(), values.nan_to_num().sum(1).tolist(), range(self.count))
        order = [k for *_, k in sorted(rank)]
        by_member = []
        for k in range(self.count) if per_member else order[:1]:
            passes = []
            for batch, (losses, _, pair) in zip(batches, parts, strict=True):
                own = _of_member(batch, k) if per_member else batch
                output, target = _of_member(pair, k)
                passes.append(Pass(own, output, target, losses[k]))
            try:
                by_member.append(self.objective.step_shares(passes))
            except TaskError:
                if values[k].isfinite().all():
                    raise
                by_member.append([1 / len(parts)] * len(parts))  # it has diverged: its loss is not finite either way
        return [list(share) for share in zip(*by_member, strict=True)]

    def _evaluate(
        self, batch: Any, per_member: bool, with_output: bool = False
    ) -> tuple[Tensor, dict[str, Tensor], Any]:
        """Losses [K], gradients, and (outputs, targets) [K, ...] if asked for and the loss is a function of them."""
        fresh = {n: b.clone() for n, b in self.buffers.items()}
        with_output = with_output and self.objective.shares_follow_from_loss
        run = self._traces.get(self._form(batch, per_member)) if not with_output else None
        run = run or self._vmap(per_member, self._one_with_output if with_output else self._one)
        with torch.enable_grad(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "There is a performance drop")  # speed is measured by the caller
            losses, buffers, *output = run(self.weights, fresh, batch)
            tensors = torch.autograd.grad(losses.sum(), list(self.weights.values()), allow_unused=True)
        self.buffers = {n: b.detach() for n, b in buffers.items()}
        gradients = {n: torch.zeros_like(p) if g is None else g for (n, p), g in zip(self.weights.items(), tensors)}
        return losses.detach(), gradients, self._rebuild(output[0]) if output else (None, None)

    def _vmap(self, per_member: bool, function: Callable) -> Callable:
        return vmap(function, in_dims=(0, 0, 0 if per_member else None), randomness="different")

    def _one(self, weights: Mapping[str, Tensor], buffers: Mapping[str, Tensor], batch: Any) -> tuple[Tensor, dict]:
        """A member's loss and its new buffers, also of a buffer that `forward` reassigns."""
        return self._call(self._loss, weights, buffers, batch)

    def _one_with_output(self, weights: Any, buffers: Any, batch: Any) -> tuple[Tensor, dict, list[Tensor]]:
        """The same with the tensors of its output and its target, which only `_rebuild` makes trees of."""
        one, buffers = self._call(self._pass, weights, buffers, batch)
        self._pair = (one.output, one.target)
        return one.loss, buffers, batch_tree.tensors(self._pair)

    def _rebuild(self, tensors: Sequence[Tensor]) -> Any:
        pair, rest = self._pair, iter(tensors)
        self._pair = (None, None)  # it was mapped
        return batch_tree.map_tensors(pair, lambda _: next(rest).detach())

    def _call(self, function: Loss, weights: Any, buffers: Any, batch: Any) -> tuple[Any, dict]:
        state = {f"model.{n}": x for n, x in (*weights.items(), *buffers.items())}
        value = functional_call(function, state, (batch,))
        return value, {n: state[f"model.{n}"] for n in buffers}

    def restore(self, live: np.ndarray) -> None:
        """Restores the buffers, as before `gradient`, of members that skip this step: those that are not `live` [K]."""
        if self.buffers and not live.all():
            mask = torch.from_numpy(live)
            for n, b in self.buffers.items():
                wide = mask.to(b.device).view(-1, *[1] * (b.dim() - 1))
                self.buffers[n] = torch.where(wide, b, self._before[n])

    def select(self, indices: np.ndarray) -> None:
        """Keeps only the members at these indices [K']."""
        places = torch.from_numpy(indices)
        self.count = len(indices)
        self.weights = {n: _select(p.detach(), places).requires_grad_() for n, p in self.weights.items()}
        self.buffers = {n: b[places.to(b.device)] for n, b in self.buffers.items()}

    @torch.no_grad()
    def write_to(self, k: int, model: nn.Module, weights: Sequence[Tensor] | None = None) -> None:
        """Copies a member into a model: its weights, or others [K, ...] in their place, and its buffers."""
        into = dict((*model.named_parameters(), *model.named_buffers()))
        tensors = self.weights if weights is None else dict(zip(self.weights, weights, strict=True))
        for n, x in (*tensors.items(), *self.buffers.items()):
            into[n].copy_(x[k])

    def point(self, k: int) -> Tensor:
        """A member's weights as one vector [N]."""
        return torch.cat([p.detach()[k].reshape(-1) for p in self.weights.values()])

    # -- Tracing -------------------------------------------------------------------------------------------------------

    def trace(self, batches: Sequence[Any], per_member: bool = False) -> bool:
        """Traces the mapped loss for such a batch into plain operations, which take half the time.

        A trace freezes what the model decides in Python: two are made, with different random numbers, and used only if
        they are equal. Batches of other shapes are not traced.

        Returns:
            whether the trace is used.
        """
        from torch.fx.experimental.proxy_tensor import make_fx

        function, fresh = self._vmap(per_member, self._one), {n: b.clone() for n, b in self.buffers.items()}
        traces = []
        try:
            for draw in (1, 2):
                with seeds.ours(draw, "trace"), torch.no_grad(), warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    traces.append(make_fx(lambda *args: function(*args))(self.weights, dict(fresh), batches[0]))
        except Exception:  # any error of torch or the model under tracing
            return False
        one, two = traces
        if one.code != two.code or any(True for _ in one.buffers()):  # a constant from outside
            return False
        self._traces[self._form(batches[0], per_member)] = one
        return True

    def _form(self, batch: Any, per_member: bool) -> Any:
        leaves, shape = tree_flatten(batch)
        return self.count, per_member, str(shape), tuple((x.shape, x.dtype) for x in leaves if isinstance(x, Tensor))


def why_not_batched(model: nn.Module, objective: Objective, space: Space, batches: Sequence[Any], seed: int) -> str:
    """Why runs of this model cannot be batched; empty where a member's loss and gradient agree with the model's.

    A model that draws random numbers is compared in eval mode. The model is not changed.
    """
    writes = _attribute_writes(model, objective, batches[0], seed)
    if writes:
        return f"forward writes to {writes}: what a model keeps there, and not in a buffer, members would share"
    single = copy_module(model)
    if _is_random(objective.with_model(copy_module(model)), batches, seed):
        single.eval()
    own = objective.with_model(single)
    try:
        members = Members([single], own, space)
        losses = members.gradient(batches)
    except Exception as error:  # any error of torch or the model under vmap
        return first_line(error)
    obstacle = _why_not_in_training(model, objective, space, batches)
    if obstacle:
        return obstacle
    loss = own.gradient(batches, single.parameters())
    gradients = {n: p.grad for n, p in single.named_parameters() if p.grad is not None}
    if not np.isfinite(loss):
        return ""
    size = sum(_squared_norm(g) for g in gradients.values())
    gap = sum(
        _squared_norm(p.grad[0] - gradients.get(n, 0.0)) for n, p in members.weights.items() if p.grad is not None
    )
    if abs(losses[0] - loss) <= GRADIENT_TOLERANCE * abs(loss) + 1e-12 and gap <= GRADIENT_TOLERANCE**2 * size:
        return ""
    far = math.sqrt(gap / size) if size else math.inf
    return f"batched loss {losses[0]:.6g}, single-model loss {loss:.6g}; gradients differ by {far:.2g}"


def _attribute_writes(model: nn.Module, objective: Objective, batch: Any, seed: int) -> str:
    """The plain attributes that change in a pass, such as a carried state or a counter, in words; empty for none."""
    for is_training in (True, False):
        twin = copy_module(model)
        twin.train(is_training)
        before = PlainAttributes.of(twin, has_extra=True)
        with seeds.ours(seed, "attributes"):
            objective.with_model(twin).loss(batch)
        names = before.changes(twin)
        if names:
            return ", ".join(names[:3])
    return ""


def _why_not_in_training(model: nn.Module, objective: Objective, space: Space, batches: Sequence[Any]) -> str:
    """Why the model in training mode cannot be mapped: there it may do more, such as a spectral norm's iteration."""
    twins = [copy_module(model) for _ in range(2)]
    try:
        for twin in twins:
            twin.train()  # alone: a model's own `train` may return nothing
        Members(twins, objective.with_model(twins[0]), space).gradient(batches)
    except Exception as error:  # any error of torch or the model under vmap
        return first_line(error)
    return ""


def first_line(error: Exception) -> str:
    """An error in one line."""
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"


def _differ(name: str, tensors: Sequence[Mapping[str, Tensor]]) -> bool:
    first, *others = (by[name] for by in tensors)
    return any(x is not first and not torch.equal(x, first) for x in others)


def _squared_norm(x: Tensor) -> float:
    return x.double().square().sum().item()


@torch.no_grad()
def _is_random(objective: Objective, batches: Sequence[Any], seed: int) -> bool:
    """Whether the loss depends on random numbers."""
    losses = []
    for draw in (1, 2):
        with seeds.ours(seed, "random", draw):
            losses.append(objective.value(batches))
    return losses[0] != losses[1]


def _of_member(tree: Any, k: int) -> Any:
    return batch_tree.map_tensors(tree, lambda x: x[k])


def _scale(share: Sequence[float], x: Tensor) -> Tensor:
    """Members' values [K, ...] times their shares [K] or [1]; 0 where a share is, also of NaN."""
    if len(share) == 1:
        return share[0] * x
    factor = torch.tensor(share, dtype=x.dtype, device=x.device).view(-1, *[1] * (x.dim() - 1))
    return torch.where(factor == 0, 0, factor * x)


def _select(p: Tensor, places: Tensor) -> Tensor:
    """Some of the members [K', …], with the strides that all had."""
    return torch.empty_strided((len(places), *p.shape[1:]), p.stride(), dtype=p.dtype, device=p.device).copy_(
        p[places.to(p.device)]
    )
