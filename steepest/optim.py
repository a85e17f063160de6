"""Steepest in a PyTorch loop: update rules as `torch.optim` optimizers, schedules as `torch.optim` schedulers."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler

from steepest.errors import InputError
from steepest.rules import textbook
from steepest.rules.rule import Rule
from steepest.rules.update import Update
from steepest.schedule import as_schedule


class _ParamGroup:
    """The tensors of one param group as a point."""

    def __init__(self, params: list[Tensor]) -> None:
        self.params = params
        self.names = tuple(str(i) for i in range(len(params)))
        self.rows, self.overrides = (0,) * len(params), ({},)

    def tensors(self) -> list[Tensor]:
        return self.params


class RuleOptimizer(torch.optim.Optimizer):
    """An update rule as a torch optimizer, with param groups, schedulers and `state_dict`.

    Args:
        params: parameters, or param groups, which may set any hyperparameter of the rule.
        rule: the rule; its hyperparameters are the defaults.

    Raises:
        InputError: the rule has no learning rate.
    """

    def __init__(self, params: Any, rule: Rule) -> None:
        if rule.hypers["lr"] is None:
            raise InputError(f"lr is missing: rule {rule.name} has no default. Pass {rule.name}(lr=...).")
        self._rule = rule
        self._updates: list[Update] = []
        super().__init__(params, dict(rule.hypers))

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step of the rule.

        Args:
            closure: recomputes the loss; optional.

        Returns:
            The closure's loss, or None without a closure.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for update, group in zip(self._sync_updates(), self.param_groups, strict=True):
            update.advance({name: float(group[name]) for name in self._rule.hypers})
        return loss

    def _sync_updates(self) -> list[Update]:
        """One update per param group, also for the groups added since the last call; `state` has views of its slots."""
        for group in self.param_groups[len(self._updates) :]:
            update = Update(_ParamGroup(group["params"]), self._rule)
            self._updates.append(update)
            for i, p in enumerate(group["params"]):
                self.state[p] = {slot: views[str(i)] for slot, views in update.slots.items()}
        return self._updates

    def state_dict(self) -> dict[str, Any]:
        """As in torch; "steepest" has the step count and the scalar slots of every param group."""
        updates = self._sync_updates()
        return {**super().state_dict(), "steepest": [{"t": u.t, "scalars": u.scalars} for u in updates]}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned.

        Raises:
            InputError: the state belongs to another optimizer.
        """
        own = state_dict.get("steepest")
        if own is None or len(own) != len(self.param_groups):
            count = f"{len(self.param_groups)} param group{'s' * (len(self.param_groups) > 1)}"
            other = "another optimizer" if own is None else f"{len(own)}"
            raise InputError(f"state_dict must come from a Steepest optimizer with {count}, got {other}")
        super().load_state_dict({k: v for k, v in state_dict.items() if k != "steepest"})
        states = [[dict(self.state[p]) for p in group["params"]] for group in self.param_groups]
        self._updates = []
        for update, slots, rest in zip(self._sync_updates(), states, own, strict=True):
            views = {slot: {str(i): s[slot] for i, s in enumerate(slots)} for slot in update.slots}
            update.load({**rest, "slots": views})


class SGD(RuleOptimizer):
    """Gradient descent, optionally with momentum.

        v ← βv + g,  w ← w − αv        (Nesterov: w ← w − α(g + βv))

    Args:
        params: parameters or param groups.
        lr: α.
        momentum: β.
        weight_decay: λ, added to the gradient as λw.
        nesterov: whether to use Nesterov's momentum.

    Raises:
        InputError: nesterov without momentum.
    """

    def __init__(
        self, params: Any, lr: float = 0.01, momentum: float = 0.0, weight_decay: float = 0.0, nesterov: bool = False
    ) -> None:
        if nesterov and not momentum:
            raise InputError(f"nesterov=True needs momentum above 0, such as 0.9, got momentum={momentum}")
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
        weight_decay: λ, decoupled: the step includes αλw.
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
    """A schedule as a torch scheduler: the learning rate of step t is the base learning rate times factor(t).

    Call `step()` after each step of the optimizer.

    Args:
        optimizer: any torch optimizer.
        schedule: a schedule or its text, without a plateau.
        steps: T, the number of steps of the whole run.
        steps_per_epoch: steps of one epoch, for lengths in epochs.

    Raises:
        InputError: the schedule has a plateau.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, schedule: Any, steps: int, steps_per_epoch: int = 1) -> None:
        self._factor = as_schedule(schedule).bind(steps, steps_per_epoch)
        if self._factor.watches:
            raise InputError(
                f"schedule cannot contain a plateau, which needs the losses, got {schedule}. "
                "Use torch's ReduceLROnPlateau, or sd.fit."
            )
        super().__init__(optimizer)

    def get_lr(self) -> list[float | Tensor]:
        """The learning rates of the next step, `last_epoch + 1`."""
        return [base * self._factor(self.last_epoch + 1) for base in self.base_lrs]

    def state_dict(self) -> dict[str, Any]:
        """The state of the scheduler, without the schedule itself."""
        return {k: v for k, v in super().state_dict().items() if k != "_factor"}
