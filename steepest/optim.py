"""The door to torch: our rules as torch optimizers, and our schedules as torch schedulers."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler

from steepest.errors import InputError
from steepest.rules import textbook
from steepest.rules.rule import Rule
from steepest.rules.update import Update
from steepest.schedule import as_schedule


class _Group:
    """The tensors of one param group as a point."""

    def __init__(self, params: list[Tensor]) -> None:
        self.params = params
        self.names = tuple(str(i) for i in range(len(params)))
        self.rows, self.overrides = (0,) * len(params), ({},)

    def tensors(self) -> list[Tensor]:
        return self.params


class RuleOptimizer(torch.optim.Optimizer):
    """A rule as a torch optimizer: param groups, schedulers, `state_dict` and all.

    Args:
        params: parameters, or param groups; any hyperparameter of the rule may stand in a group.
        rule: the rule; its hyperparameters are the defaults.
    """

    def __init__(self, params: Any, rule: Rule) -> None:
        if rule.hypers["lr"] is None:
            raise InputError(f"rule {rule.name} has no default rate; give lr")
        self._rule = rule
        self._updates: list[Update] = []
        super().__init__(params, dict(rule.hypers))

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step of the rule, group by group.

        Returns:
            what the closure returned, if one was given.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for update, group in zip(self._bound(), self.param_groups, strict=True):
            update.advance({name: float(group[name]) for name in self._rule.hypers})
        return loss

    def _bound(self) -> list[Update]:
        """An update per group; a group added since gets its own."""
        for group in self.param_groups[len(self._updates) :]:
            update = Update(_Group(group["params"]), self._rule)
            self._updates.append(update)
            self._share(update, group["params"])
        return self._updates

    def _share(self, update: Update, params: Iterable[Tensor]) -> None:
        """Shows the slots in `self.state`, as views."""
        for i, p in enumerate(params):
            self.state[p] = {slot: by[str(i)] for slot, by in update.slots.items()}

    def state_dict(self) -> dict[str, Any]:
        """As torch has it, with the count of steps and scalar slots of every group."""
        self._bound()
        found = super().state_dict()
        return {**found, "steepest": [{"t": u.t, "scalars": u.scalars} for u in self._updates]}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restores what `state_dict` gave."""
        own = state_dict.get("steepest")
        if own is None or len(own) != len(self.param_groups):
            raise InputError("this state is not from an optimizer of Steepest with as many param groups")
        super().load_state_dict({k: v for k, v in state_dict.items() if k != "steepest"})
        loaded = [
            {slot: x.clone() for slot, x in self.state[p].items()} for g in self.param_groups for p in g["params"]
        ]
        self._updates = []
        updates, states = self._bound(), iter(loaded)
        for update, group, kept in zip(updates, self.param_groups, own, strict=True):
            slots = [next(states) for _ in group["params"]]
            by = {slot: {str(i): s[slot] for i, s in enumerate(slots)} for slot in update.slots}
            update.load({**kept, "slots": by})
            self._share(update, group["params"])


class SGD(RuleOptimizer):
    """Gradient descent, with momentum where it is above 0.

        v ← βv + g,  w ← w − αv        (Nesterov: w ← w − α(g + βv))

    Args:
        params: parameters or param groups.
        lr: α.
        momentum: β.
        weight_decay: λ, added to the gradient as λw.
        nesterov: Nesterov's form.
    """

    def __init__(
        self, params: Any, lr: float = 0.01, momentum: float = 0.0, weight_decay: float = 0.0, nesterov: bool = False
    ) -> None:
        if nesterov and not momentum:
            raise InputError("nesterov=True is given without momentum; give momentum, such as 0.9")
        if not momentum:
            rule = textbook.gradient_descent(lr=lr, weight_decay=weight_decay)
        else:
            form = textbook.nesterov if nesterov else textbook.momentum
            rule = form(lr=lr, beta=momentum, weight_decay=weight_decay)
        super().__init__(params, rule)


class Adam(RuleOptimizer):
    """Adam (Kingma and Ba 2015); the formula is `steepest rules adam`.

    Args:
        params: parameters or param groups.
        lr: α.
        betas: β₁ and β₂.
        eps: ε.
        weight_decay: λ, added to the gradient as λw.
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        beta1, beta2 = betas
        super().__init__(params, textbook.adam(lr=lr, beta1=beta1, beta2=beta2, eps=eps, weight_decay=weight_decay))


class AdamW(RuleOptimizer):
    """AdamW (Loshchilov and Hutter 2019); the formula is `steepest rules adamw`.

    Args:
        params: parameters or param groups.
        lr: α.
        betas: β₁ and β₂.
        eps: ε.
        weight_decay: λ, beside the step as αλw.
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        beta1, beta2 = betas
        super().__init__(params, textbook.adamw(lr=lr, beta1=beta1, beta2=beta2, eps=eps, weight_decay=weight_decay))


class Schedule(LRScheduler):
    """A schedule as a torch scheduler: the rate of step t is its base rate times factor(t), call `step()` after each.

    Args:
        optimizer: any torch optimizer.
        schedule: text or schedule, without plateau.
        steps: T, of the whole run.
        steps_per_epoch: for lengths in epochs.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, schedule: Any, steps: int, steps_per_epoch: int = 1) -> None:
        self._factor = as_schedule(schedule).bind(steps, steps_per_epoch)
        if self._factor.watches:
            raise InputError(
                f"schedule {schedule}: a plateau needs the losses; use torch's ReduceLROnPlateau, or sd.fit"
            )
        super().__init__(optimizer)

    def get_lr(self) -> list[float | Tensor]:
        """The rates of the step to come, which is step `last_epoch + 1`."""
        return [base * self._factor(self.last_epoch + 1) for base in self.base_lrs]

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs: where it is."""
        return {k: v for k, v in super().state_dict().items() if k != "_factor"}
