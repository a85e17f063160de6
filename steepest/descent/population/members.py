"""Many points at once: K copies of a model's weights and buffers, the loss of each and its gradient.

    Lₖ = L(wₖ),  gₖ = ∇L(wₖ)        k = 1 … K

by `torch.func`: the loss as a function of the weights, mapped over their first dimension; the gradient of the sum of
all losses has each member's own. BatchNorm statistics and dropout masks belong to each member. What this cannot carry
(control flow that depends on data, a custom autograd function without vmap) is told by `why_not_batched`, which
compares one
member with the model alone.
"""

import copy
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
from steepest.rules.tensor_groups import is_dense
from steepest.tasks.objective import Loss, Objective
from steepest.tasks.space import Space

AGREES = 1e-3
"""Relative difference of a member's gradient from the model's own that rounding may make."""


class Members:
    """K points of one model: what an Update works on (a `Point`), with their buffers.

    Attributes:
        count: K, of those that are still there.
        names, rows, overrides: as a Space has them.
        weights, buffers: by the model's own names, [K, ...] each.

    Args:
        models: one for each member, at its start; all alike but for their numbers.
        objective: of the first of them, which serves as the form of all.
        space: likewise.
    """

    def __init__(self, models: Sequence[nn.Module], objective: Objective, space: Space) -> None:
        self.count, self.objective = len(models), objective
        self.names, self.rows, self.overrides = space.names, space.rows, space.overrides
        own = [dict(m.named_parameters()) for m in models]
        trained = [name for name, p in own[0].items() if p.requires_grad]
        self.weights = {n: torch.stack([p[n].detach() for p in own]).requires_grad_() for n in trained}
        held = [dict(m.named_buffers()) for m in models]
        self.buffers = {n: torch.stack([b[n] for b in held]) for n in held[0]}
        self._whole = Loss(objective)
        self._before = self.buffers
        self._traced: dict[Any, Callable] = {}
        self._laid = False

    def tensors(self) -> list[Tensor]:
        """The weights [K, ...], in the order of `names`."""
        return list(self.weights.values())

    def gradient(self, batches: Sequence[Any], apart: bool = False) -> np.ndarray:
        """Leaves each member's gradient in the tensors' `.grad`; returns the losses [K], float64.

        Args:
            batches: the micro-batches of one step.
            apart: whether a batch has a first dimension of members; else all see the same.
        """
        self._before = self.buffers
        for p in self.weights.values():
            p.grad = None  # before the new ones are there
        if len(batches) == 1:
            losses, gradients = self._passed(batches[0], apart)
        else:
            losses, gradients = self._accumulated(batches, apart)
        if not self._laid:
            self._lay(gradients)
        for name, p in self.weights.items():
            p.grad = gradients[name]
        return losses.double().cpu().numpy()

    @torch.no_grad()
    def _lay(self, gradients: Mapping[str, Tensor]) -> None:
        """Lays the weights in memory as their gradients come, so that no step has to turn these round."""
        self._laid = True
        for name, g in gradients.items():
            p = self.weights[name]
            if g.stride() != p.stride() and g.stride(0) == p.stride(0) and is_dense(g):
                own = torch.empty_strided(p.shape, g.stride(), dtype=p.dtype, device=p.device)
                self.weights[name] = own.copy_(p).requires_grad_()

    def _accumulated(self, batches: Sequence[Any], apart: bool) -> tuple[Tensor, dict[str, Tensor]]:
        """Micro-batches, weighted by what each loss is a mean over."""
        counts = [self.objective.loss_weight(_first(b) if apart else b) for b in batches]
        shares = [n / sum(counts) for n in counts]
        found = [(self._passed(b, apart), share) for b, share in zip(batches, shares, strict=True) if share]
        losses = sum(share * losses for (losses, _), share in found)
        return losses, {n: sum(share * g[n] for (_, g), share in found) for n in self.weights}  # type: ignore[return-value]

    def _passed(self, batch: Any, apart: bool) -> tuple[Tensor, dict[str, Tensor]]:
        fresh = {n: b.clone() for n, b in self.buffers.items()}
        run = self._traced.get(self._form(batch, apart)) or self._mapped(apart)
        with torch.enable_grad(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "There is a performance drop")  # it is measured, so nobody need know
            losses, buffers = run(self.weights, fresh, batch)
            found = torch.autograd.grad(losses.sum(), list(self.weights.values()), allow_unused=True)
        self.buffers = {n: b.detach() for n, b in buffers.items()}
        gradients = {n: torch.zeros_like(p) if g is None else g for (n, p), g in zip(self.weights.items(), found)}
        return losses.detach(), gradients

    def _mapped(self, apart: bool) -> Callable:
        return vmap(self._one, in_dims=(0, 0, 0 if apart else None), randomness="different")

    def _one(self, weights: Mapping[str, Tensor], buffers: Mapping[str, Tensor], batch: Any) -> tuple[Tensor, dict]:
        """A member's loss, and its buffers afterwards, also one that was assigned anew."""
        held = {f"model.{n}": x for n, x in (*weights.items(), *buffers.items())}
        loss = functional_call(self._whole, held, (batch,))
        return loss, {n: held[f"model.{n}"] for n in buffers}

    def restore(self, live: np.ndarray) -> None:
        """The buffers of members that do not take this step [K], as before `gradient`."""
        if self.buffers and not live.all():
            taken = torch.from_numpy(live)
            for n, b in self.buffers.items():
                wide = taken.to(b.device).view(-1, *[1] * (b.dim() - 1))
                self.buffers[n] = torch.where(wide, b, self._before[n])

    def keep(self, chosen: np.ndarray) -> None:
        """Goes on with some of the members only: their places [K']."""
        places = torch.from_numpy(chosen)
        self.count = len(chosen)
        self.weights = {n: _picked(p.detach(), places).requires_grad_() for n, p in self.weights.items()}
        self.buffers = {n: b[places.to(b.device)] for n, b in self.buffers.items()}

    @torch.no_grad()
    def put(self, k: int, model: nn.Module, weights: Sequence[Tensor] | None = None) -> None:
        """Copies a member into a model: its weights, or others [K, ...] in their place, and its buffers."""
        into = dict((*model.named_parameters(), *model.named_buffers()))
        given = self.weights if weights is None else dict(zip(self.weights, weights, strict=True))
        for n, x in (*given.items(), *self.buffers.items()):
            into[n].copy_(x[k])

    def point(self, k: int) -> Tensor:
        """A member's weights as one vector [N]."""
        return torch.cat([p.detach()[k].reshape(-1) for p in self.weights.values()])

    # -- without the mapping -------------------------------------------------------------------------------------------

    def trace(self, batches: Sequence[Any], apart: bool = False) -> bool:
        """Records what the mapping does with such a batch as plain operations, which then take half the time.

        What a model decides in Python is frozen in the record: it is made twice, with other random numbers, and used
        only where both are the same. Other shapes of batches go the usual way.

        Returns:
            whether there is such a record.
        """
        from torch.fx.experimental.proxy_tensor import make_fx

        mapped, fresh = self._mapped(apart), {n: b.clone() for n, b in self.buffers.items()}
        made = []
        try:
            for draw in (1, 2):
                with seeds.ours(draw, "trace"), torch.no_grad(), warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    made.append(make_fx(lambda *given: mapped(*given))(self.weights, dict(fresh), batches[0]))
        except Exception:  # whatever torch, or the model, makes of being recorded
            return False
        one, two = made
        if one.code != two.code or any(True for _ in one.buffers()):  # a constant that came from somewhere
            return False
        self._traced[self._form(batches[0], apart)] = one
        return True

    def untrace(self) -> None:
        """Forgets the records."""
        self._traced.clear()

    def _form(self, batch: Any, apart: bool) -> Any:
        leaves, shape = tree_flatten(batch)
        return self.count, apart, str(shape), tuple((x.shape, x.dtype) for x in leaves if isinstance(x, Tensor))


def why_not_batched(model: nn.Module, objective: Objective, space: Space, batches: Sequence[Any], seed: int) -> str:
    """Why members of this model cannot be computed at once; empty where one of them agrees with the model alone.

    A model that draws random numbers is compared in eval mode. Nothing is changed.
    """
    alone = copy.deepcopy(model)
    if _is_random(objective.with_model(copy.deepcopy(model)), batches, seed):
        alone.eval()
    own = objective.with_model(alone)
    try:
        members = Members([alone], own, space)
        losses = members.gradient(batches)
    except Exception as error:  # whatever torch, or the model, makes of being mapped
        return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
    loss = own.gradient(batches, alone.parameters())
    gradients = {n: p.grad for n, p in alone.named_parameters() if p.grad is not None}
    if not np.isfinite(loss):
        return ""
    size = sum(_squared(g) for g in gradients.values())
    gap = sum(_squared(p.grad[0] - gradients.get(n, 0.0)) for n, p in members.weights.items() if p.grad is not None)
    if abs(losses[0] - loss) <= AGREES * abs(loss) + 1e-12 and gap <= AGREES**2 * size:
        return ""
    far = math.sqrt(gap / size) if size else math.inf
    return f"a member's loss is {losses[0]:.6g}, the model's own {loss:.6g}, and their gradients differ by {far:.2g}"


def _squared(x: Tensor) -> float:
    return x.double().square().sum().item()


@torch.no_grad()
def _is_random(objective: Objective, batches: Sequence[Any], seed: int) -> bool:
    """Whether the loss depends on random numbers."""
    found = []
    for draw in (1, 2):
        with seeds.ours(seed, "random", draw):
            found.append(objective.value(batches))
    return found[0] != found[1]


def _first(batch: Any) -> Any:
    return tuple(x[0] for x in batch)


def _picked(p: Tensor, places: Tensor) -> Tensor:
    """Some of the members [K', …], laid in memory as all were."""
    return torch.empty_strided((len(places), *p.shape[1:]), p.stride(), dtype=p.dtype, device=p.device).copy_(
        p[places.to(p.device)]
    )
