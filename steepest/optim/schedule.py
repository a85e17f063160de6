"""A schedule as a `torch.optim` scheduler."""

import itertools
import math
import re
import warnings
from collections.abc import Mapping, MutableMapping
from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler

from steepest.errors import InputError
from steepest.schedule import Bound, as_schedule

BETA = re.compile(r"beta([1-9])")
IDENTITY = ("schedule", "steps", "steps_per_epoch", "key", "offset")
"""What a state must have in common with the schedule that loads it."""
STATE_KEYS = {*IDENTITY, "base_lrs", "last_epoch", "plateaus", "_step_count", "_last_lr"}
OLD_STATE_KEYS = {"base_lrs", "last_epoch", "_step_count", "_last_lr", "_get_lr_called_within_step", "_is_initial"}
"""Of Steepest 0.1, whose states do not name their schedule."""
_serials = itertools.count()


class Schedule(LRScheduler):
    """A schedule as a torch scheduler: a hyperparameter of step t is its base value times factor(t).

    Call `step()` after each step of the optimizer. The value follows from t and the base value alone, so it is right
    as soon as the state is loaded, before or after that of the optimizer. After step T the last value is held.

    The base value is the param group's own when the schedule is made, or when the group is added later. A group's
    `lr_scale`, as timm sets it, multiplies its learning rate.

    One optimizer has one schedule for each hyperparameter; a new one replaces the one before, whose `step()` is then
    an error. Two schedules of the learning rate are one text: "cosine * step(30 epochs)".

    A plateau gets the loss by `step(loss)` after the last step of an epoch; the other calls are `step()`. In a sequence
    such as "warmup(500) >> plateau(0.5, patience=3)" it counts while it is the active part.

    Args:
        optimizer: any torch optimizer.
        schedule: a schedule, its text, or a function (t, T) → factor, of which the state has only the name.
        steps: T, the number of steps of the whole run.
        steps_per_epoch: steps of one epoch, for lengths in epochs.
        key: of the hyperparameter in the param groups: "lr", "weight_decay", "momentum", …; "beta1" and "beta2" are the
            numbers in `betas`. Groups that do not have it stay as they are.
        last_epoch: index of the last step, to continue a run without a state; -1 begins one. The param groups must then
            have the base value as `initial_lr` (or `initial_momentum`, …), as in torch.
        offset: -1 evaluates the schedule at the index from 0, as torch, transformers, timm and optax do.

    Raises:
        InputError: the hyperparameter is in no param group, or its base value is not known.

    >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(2))], lr=0.5, momentum=0.9)
    >>> lr = Schedule(optimizer, "warmup(2) >> cosine(floor=0.1)", steps=10)
    >>> momentum = Schedule(optimizer, "linear(end=0.5)", steps=9, key="momentum")
    >>> optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["momentum"]
    (0.25, 0.85)
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        schedule: Any,
        steps: int,
        steps_per_epoch: int = 1,
        *,
        key: str = "lr",
        last_epoch: int = -1,
        offset: int = 0,
    ) -> None:
        if not isinstance(optimizer, torch.optim.Optimizer):
            raise TypeError(f"optimizer must be a torch optimizer, got {type(optimizer).__name__}")
        self.schedule, self.key, self.offset = as_schedule(schedule), key, offset
        self.steps, self.steps_per_epoch = steps, steps_per_epoch
        if self.schedule.needs_base and key != "lr":
            raise InputError(f"min_lr must be for key='lr', got {self.schedule} for {key!r}. Use floor.")
        bound = self._bind(self._keeper)
        self._bounds, self.steps, self.steps_per_epoch = {self._keeper: bound}, bound.T, bound.steps_per_epoch
        groups = optimizer.param_groups
        bases = [_base_value(group, key, is_new=last_epoch == -1) for group in groups]
        if all(base is None for base in bases):
            keys = sorted({name for group in groups for name in group} - {"params"})
            raise InputError(f"key must be a number in the param groups, got {key!r}. They have: {', '.join(keys)}")
        self._serial = next(_serials)
        vars(optimizer).setdefault("_schedules", {})[key] = self._serial
        without = [group for group in groups if "initial_lr" not in group]
        super().__init__(optimizer)
        for group in without if key != "lr" else ():
            del group["initial_lr"]  # the constructor's, which takes every scheduler for one of the learning rate
        self.base_lrs: list[Any] = []  # None for a group without the hyperparameter
        self.last_epoch = last_epoch + 1
        self._write()

    def step(self, metric: Any = None) -> None:  # type: ignore[override]
        """Sets the value of the next step.

        Args:
            metric: the loss of an epoch that ended, for a plateau. Without a plateau, an integer is the index of the
                step, from 0, as in torch's `step(epoch)`.

        Raises:
            InputError: a metric without a plateau, or another schedule of the same hyperparameter was made since.
        """
        self._check_in_use()
        if isinstance(metric, int) and not self._bounds[self._keeper].watches:
            self._step_count += 1
            return self._update_lr(metric)
        if metric is not None:
            self._observe(metric)
        is_counted = hasattr(self.optimizer.step, "_wrapped_by_lr_sched")
        if self._step_count == 1 and is_counted and not getattr(self.optimizer, "_opt_called", False):
            warnings.warn("Call scheduler.step() after optimizer.step(), or the first value is skipped.", stacklevel=2)
        self._step_count += 1
        return self._update_lr()

    def _initial_step(self) -> None:
        """The first step, which torch's constructor and its SequentialLR take."""
        self._step_count = 1
        if hasattr(self, "_last_lr"):
            self._update_lr()

    def _update_lr(self, epoch: int | None = None) -> None:
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        self._write()

    def get_lr(self) -> list[float | Tensor]:
        """The values of the next step, `last_epoch + 1`, of the param groups that have the hyperparameter."""
        return [value for _, value in self._values()]

    def state_dict(self) -> dict[str, Any]:
        """The state, with the schedule as text; `torch.load(weights_only=True)` reads it."""
        return {
            **self._identity(),
            "base_lrs": list(self.base_lrs),
            "last_epoch": self.last_epoch,
            "plateaus": self._bounds[self._keeper].state_dict()["plateaus"],
            "_step_count": self._step_count,
            "_last_lr": list(self._last_lr),
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:  # type: ignore[override]
        """Restores what `state_dict` returned, and sets the value of the next step.

        Raises:
            InputError: the state is another schedule's; nothing is changed.
        """
        self._check_in_use()
        if "schedule" not in state_dict and {"last_epoch", "base_lrs"} <= state_dict.keys() <= OLD_STATE_KEYS:
            warnings.warn(
                "A state of Steepest 0.1 does not name its schedule. The next version will not read it; save it again.",
                DeprecationWarning,
                stacklevel=2,
            )
            state_dict = {"plateaus": [], "_step_count": 1, **self._identity(), **state_dict}
        if not state_dict.keys() >= STATE_KEYS - {"_last_lr"}:
            raise InputError(f"state_dict must come from sd.optim.Schedule, got the keys {', '.join(state_dict)}")
        for name, own in self._identity().items():
            if state_dict[name] != own:
                raise InputError(
                    f"state_dict must be of the same schedule: {name} must be {own}, got {state_dict[name]}"
                )
        bound = self._bind(self._keeper)
        bound.load_state_dict({"plateaus": state_dict["plateaus"]})
        self._bounds = {self._keeper: bound}
        self.base_lrs = [x.clone() if isinstance(x, Tensor) else x for x in state_dict["base_lrs"]]
        self.last_epoch, self._step_count = state_dict["last_epoch"], state_dict["_step_count"]
        self._write()

    @property
    def _keeper(self) -> float | None:
        """The base value whose bound schedule exists always; None where one serves all base values."""
        return math.inf if self.schedule.needs_base else None

    def _identity(self) -> dict[str, Any]:
        return {name: str(self.schedule) if name == "schedule" else getattr(self, name) for name in IDENTITY}

    def _bind(self, base: float | None) -> Bound:
        return self.schedule.bind(self.steps, self.steps_per_epoch, base, self.offset)

    def _factor(self, base: float | Tensor) -> float:
        """The factor of the next step."""
        which = None if self._keeper is None else float(base)
        if which not in self._bounds:
            self._bounds[which] = self._bind(which)
            self._bounds[which].load_state_dict(self._bounds[self._keeper].state_dict())
        return self._bounds[which](self.last_epoch + 1)

    def _observe(self, metric: Any) -> None:
        if not self._bounds[self._keeper].watches:
            raise InputError(f"metric must be given to a schedule with a plateau, got {metric} for {self.schedule}")
        for bound in self._bounds.values():
            bound.observe(self.last_epoch + 1, float(metric))

    def _check_in_use(self) -> None:
        newest = vars(self.optimizer).get("_schedules", {}).get(self.key, self._serial)
        if newest != self._serial:
            raise InputError(
                f"Schedule {self.schedule} was replaced by a newer one of {self.key} of the same optimizer. "
                "Write the two as one schedule: a >> b, or a * b."
            )

    def _values(self) -> list[tuple[MutableMapping[str, Any], float | Tensor]]:
        """The param groups that have the hyperparameter, and its value for the next step."""
        groups = self.optimizer.param_groups
        if len(groups) < len(self.base_lrs):  # some were removed
            self.base_lrs = []
        for group in groups[len(self.base_lrs) :]:
            base = _base_value(group, self.key)
            if base is not None:
                group.setdefault(f"initial_{self.key}", base)
            self.base_lrs.append(base)
        values = []
        for group, base in zip(groups, self.base_lrs, strict=True):
            if base is not None and _value(group, self.key) is not None:
                scale = group.get("lr_scale", 1.0) if self.key == "lr" else 1.0
                values.append((group, base * self._factor(base) * scale))
        return values

    def _write(self) -> None:
        values = self._values()
        for group, value in values:
            _set_value(group, self.key, value)
        self._last_lr = [value for _, value in values]


def _value(group: Mapping[str, Any], key: str) -> Any:
    """A hyperparameter of a param group; None if the group does not have it."""
    beta = BETA.fullmatch(key)
    betas = group.get("betas", ())
    if key not in group and beta and int(beta[1]) <= len(betas):
        return betas[int(beta[1]) - 1]
    value = group.get(key)
    return value if isinstance(value, int | float | Tensor) and not isinstance(value, bool) else None


def _base_value(group: Mapping[str, Any], key: str, is_new: bool = True) -> Any:
    """The base value of a hyperparameter: what was stored as such, else the value itself."""
    value, initial = _value(group, key), group.get(f"initial_{key}")
    if value is not None and initial is None and not is_new:
        raise InputError(
            f"last_epoch needs the base value as 'initial_{key}' in every param group. Set it, or pass -1."
        )
    base = value if initial is None else initial
    return base.clone() if isinstance(base, Tensor) else base


def _set_value(group: MutableMapping[str, Any], key: str, value: Any) -> None:
    old = _value(group, key)
    if isinstance(old, Tensor):  # in place, for a compiled or captured step
        old.copy_(torch.as_tensor(value))
    elif key in group:
        group[key] = value
    else:
        at = int(key.removeprefix("beta")) - 1
        group["betas"] = (*group["betas"][:at], value, *group["betas"][at + 1 :])
