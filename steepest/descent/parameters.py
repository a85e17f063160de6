"""Parameters that code of the user's changes between two steps: frozen, unfrozen, replaced, resized, added or removed.

The space of a descent is then made anew. A parameter that is in the same place with the same shape as before keeps its
optimizer state, as after `load_state_dict(assign=True)`; any other one begins with fresh state.
"""

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from steepest.descent.optimizer import make_optimizer
from steepest.descent.settings import Settings
from steepest.records.run import Event
from steepest.tasks import NORMS_AND_BIASES, Buffers, Space
from steepest.tasks.module_state import plain_name
from steepest.tasks.space import FEWER_DIMENSIONS

NEW_WEIGHTS = "weights"
"""The kind of the event that the trained parameters have changed."""
MAX_NAMES = 3


class Place(NamedTuple):
    """A parameter of a model, and where it is.

    Attributes:
        holder: the dictionary of its module.
        parameter: itself, which keeps its identity from being used again.
        shape: its shape.
        is_trained: whether it requires a gradient.
    """

    holder: dict[str, Any]
    parameter: Tensor
    shape: torch.Size
    is_trained: bool


class ParameterWatch:
    """Notices when the parameters of a model are others.

    Attributes:
        places: of all parameters by name.

    Args:
        model: the model as it is now.
    """

    def __init__(self, model: nn.Module) -> None:
        self.places = _places(model)
        self._raw = list(_raw_places(model))

    def has_changed(self, model: nn.Module) -> bool:
        """Whether a parameter is another one, elsewhere, of another shape, or newly frozen or unfrozen."""
        now = list(_raw_places(model))
        return len(now) != len(self._raw) or not all(
            a.holder is b.holder and a.parameter is b.parameter and a[2:] == b[2:]
            for a, b in zip(now, self._raw, strict=True)
        )


def _raw_places(model: nn.Module) -> Any:
    return (
        Place(m._parameters, p, p.shape, p.requires_grad)
        for m in model.modules()
        for p in m._parameters.values()
        if p is not None
    )


def _places(model: nn.Module) -> dict[str, Place]:
    holders = {id(p): m._parameters for m in model.modules() for p in m._parameters.values() if p is not None}
    return {plain_name(n): Place(holders[id(p)], p, p.shape, p.requires_grad) for n, p in model.named_parameters()}


class Change(NamedTuple):
    """How the parameters of a model have changed.

    Attributes:
        old_names: of the trained parameters that are the same as before, by their names now.
        words: what has changed; empty where the trained parameters are all the same.
    """

    old_names: dict[str, str]
    words: str


def compare(before: Mapping[str, Place], now: Mapping[str, Place]) -> Change:
    """What has changed between two times."""
    by_identity = {id(place.parameter): name for name, place in before.items()}
    old_names: dict[str, str] = {}
    groups: dict[str, list[str]] = {}
    matches = set()
    for name, b in now.items():
        old = by_identity.get(id(b.parameter), name)
        matches.add(old)
        what = _change(before.get(old), b, is_renamed=old != name)
        if b.is_trained and what in ("", "renamed"):
            old_names[name] = old
        if what:
            groups.setdefault(what, []).append(name)
    absent = [name for name, a in before.items() if a.is_trained and name not in matches]
    if absent:
        groups["removed"] = absent
    return Change(old_names, "; ".join(f"{_list(names)} {what}" for what, names in groups.items()))


def _change(a: Place | None, b: Place, is_renamed: bool) -> str:
    """What has become of a parameter, in a word; empty if nothing that matters."""
    if a is None:
        return "added" if b.is_trained else ""
    is_same = a.parameter is b.parameter or a.holder is b.holder
    if a.is_trained != b.is_trained:
        return "unfrozen" if b.is_trained else "frozen"
    if not b.is_trained:
        return ""
    if a.shape != b.shape:
        return "resized"
    return ("renamed" if is_renamed else "") if is_same else "replaced"


def _list(names: Sequence[str]) -> str:
    rest = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return ", ".join(names[:MAX_NAMES]) + rest


def follow(descent: Any) -> bool:
    """Lets a descent train the parameters that its model has now; whether these are others than before.

    Args:
        descent: the `Descent`.

    Raises:
        TaskError: nothing is left to train.
    """
    if not descent.watch.has_changed(descent.model):
        return False
    before, descent.watch = descent.watch.places, ParameterWatch(descent.model.to(descent.device))
    change = compare(before, descent.watch.places)
    if not change.words:
        return False
    descent.space, descent.settings = new_space(descent.model, descent.settings)
    stage, steps = descent.stage, descent.steps
    update = make_optimizer(descent.space, stage.rule, descent.base_lr, descent.settings, steps)[0]
    update.adopt(descent.update, change.old_names)
    descent.update, descent.buffers = update, Buffers(descent.model)
    descent.restart_measurements()
    if descent.recovery is not None:  # snapshots have the weights of before
        descent.recovery.snapshots.good, descent.recovery.snapshots.candidate = [], None
    descent.trained_names.update(dict.fromkeys(descent.space.names))
    words = f"training {descent.space.size:,} weights from here on"
    descent.announce(Event(descent.t + 1, NEW_WEIGHTS, change.words, words))
    return True


class FrozenParameters:
    """Notices frozen parameters that change all the same, as a teacher that follows the trained weights.

    In-place writes through `.data` do not increase a tensor's version, so sums are compared.

    Args:
        model: at the start.
    """

    def __init__(self, model: nn.Module) -> None:
        self._sums = _sums(model, None)

    def changes(self, model: nn.Module) -> list[str]:
        """The names of those that have changed since the last call."""
        now = _sums(model, set(self._sums))
        names = [name for name, sums in now.items() if str(sums) != str(self._sums[name])]  # NaN is equal to NaN
        for name in names:
            del self._sums[name]
        return names


@torch.no_grad()
def _sums(model: nn.Module, names: set[str] | None) -> dict[str, list[float]]:
    """Σx and Σx² of the frozen parameters with these names, or of all."""
    parameters = {
        name: p for name, p in model.named_parameters()
        if not p.requires_grad and not is_lazy(p) and (names is None or plain_name(name) in names)
    }  # fmt: skip
    pairs = []
    for p in parameters.values():
        x = (torch.view_as_real(p) if p.is_complex() else p).double()
        pairs.append(torch.stack([x.sum(), (x * x).sum()]).cpu())
    values = torch.stack(pairs).tolist() if pairs else []
    return {plain_name(name): value for name, value in zip(parameters, values, strict=True)}


def new_space(model: nn.Module, settings: Settings) -> tuple[Space, Settings]:
    """The space of the parameters that are trained now, and the settings without globs that match none of them."""
    names = [plain_name(name) for name, p in model.named_parameters() if p.requires_grad]
    groups = settings.groups and {g: hypers for g, hypers in settings.groups.items() if fnmatch.filter(names, g)}
    no_decay = settings.no_decay
    if no_decay not in (None, NORMS_AND_BIASES, FEWER_DIMENSIONS):
        globs = [no_decay] if isinstance(no_decay, str) else no_decay
        no_decay = [g for g in globs if fnmatch.filter(names, g)]
    present = replace(settings, groups=groups, no_decay=no_decay)
    return Space(model, present.groups, present.no_decay), present
