"""The state of a module: parameters, buffers and extra state (`get_extra_state`), by name.

A run begins at such a state, ends at one, and is opened, looked at and resumed there. What a module holds besides, such
as a counter in an attribute, cannot be read in general; `PlainAttributes` notices when it changes.
"""

import copy
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from steepest.errors import TaskError
from steepest.tasks.space import COMPILE_PREFIX, local


@dataclass(frozen=True)
class ModuleState:
    """Copies of what a module consists of; names are without the prefix of torch.compile.

    Attributes:
        parameters, buffers: by name; a tensor that occurs twice under its first name.
        extra: what `get_extra_state` returns, by the module's name ("" is the model itself).
        lost: names of modules whose extra state cannot be copied.
        transient: the buffers that the module's `state_dict` leaves out.
    """

    parameters: Mapping[str, Tensor] = field(default_factory=dict)
    buffers: Mapping[str, Tensor] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)
    lost: tuple[str, ...] = ()
    transient: frozenset[str] = frozenset()

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Parameters and buffers."""
        return {**self.parameters, **self.buffers}


def plain_name(name: str) -> str:
    """A name without the prefix of torch.compile."""
    return name.replace(COMPILE_PREFIX, "")


def parameters_of(model: nn.Module) -> dict[str, Tensor]:
    """The parameters by name, without lazy ones that have no shape yet; of sharded ones the parts of this process."""
    return {plain_name(name): local(p).detach() for name, p in model.named_parameters() if not is_lazy(p)}


def buffers_of(model: nn.Module) -> dict[str, Tensor]:
    """The buffers by name, without lazy ones that have no shape yet."""
    return {plain_name(name): b for name, b in model.named_buffers() if not is_lazy(b)}


def modules_with_extra_state(model: nn.Module) -> dict[str, nn.Module]:
    """The modules that have a `get_extra_state` of their own, by name."""
    return {plain_name(name): m for name, m in model.named_modules() if _has_extra_state(m)}


def _has_extra_state(module: nn.Module) -> bool:
    return type(module).get_extra_state is not nn.Module.get_extra_state


def read_extra(model: nn.Module) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Copies of the extra states by module name, and the names of modules whose state cannot be copied."""
    extra, lost = {}, []
    for name, module in modules_with_extra_state(model).items():
        try:
            extra[name] = copy.deepcopy(module.get_extra_state())
        except Exception:  # deepcopy runs the user's code
            lost.append(name)
    return extra, tuple(lost)


def is_storable(value: Any) -> bool:
    """Whether a value consists of numbers, texts, tensors and containers of them, which a file can hold."""
    if isinstance(value, Mapping):
        return all(isinstance(key, str | int) and is_storable(part) for key, part in value.items())
    if type(value) in (list, tuple):
        return all(map(is_storable, value))
    return value is None or isinstance(value, bool | int | float | str | Tensor)


def storable_extra(model: nn.Module) -> dict[str, Any]:
    """Copies of those extra states that a file can hold."""
    return {name: value for name, value in read_extra(model)[0].items() if is_storable(value)}


def write_extra(model: nn.Module, extra: Mapping[str, Any]) -> None:
    """Gives each module a copy of its extra state."""
    for name, module in modules_with_extra_state(model).items():
        if name in extra:
            module.set_extra_state(copy.deepcopy(extra[name]))


@torch.no_grad()
def read(model: nn.Module) -> ModuleState:
    """A copy of the state."""
    parameters = {name: p.clone() for name, p in parameters_of(model).items()}
    buffers = {name: b.detach().clone() for name, b in buffers_of(model).items()}
    return ModuleState(parameters, buffers, *read_extra(model), transient_buffers(model))


def transient_buffers(model: nn.Module) -> frozenset[str]:
    """The names of the buffers that are not part of the `state_dict`."""
    modules = model.named_modules()
    return frozenset(
        plain_name(f"{path}.{key}" if path else key) for path, m in modules for key in m._non_persistent_buffers_set
    )


def check(model: nn.Module, state: ModuleState, what: str) -> None:
    """Checks that a state can be written into a model; writes nothing.

    Raises:
        TaskError: the model lacks one of its tensors, or has it in another shape; names them.
    """
    own = {**parameters_of(model), **buffers_of(model)}
    absent = [name for name in state.tensors if name not in own]
    other = [name for name, x in state.tensors.items() if name in own and own[name].shape != x.shape]
    if absent or other:
        words = "; ".join(
            f"{problem}: {', '.join(names[:5])}"
            for problem, names in (("not in this model", absent), ("of another shape", other))
            if names
        )
        raise TaskError(f"{what} must have the tensors of this model, got some that are {words}.")


@torch.no_grad()
def write(model: nn.Module, state: ModuleState) -> None:
    """Copies a state into a model; what the state lacks stays as it is.

    Raises:
        TaskError: the model lacks one of its tensors, or has it in another shape; nothing is written then.
    """
    check(model, state, "the state")
    own = {**parameters_of(model), **buffers_of(model)}
    for name, x in state.tensors.items():
        own[name].copy_(x)
    write_extra(model, state.extra)


@contextmanager
def unchanged_on_error(model: nn.Module) -> Iterator[None]:
    """If the block fails, the model is as before: tensors, extra state, training mode, device, requires_grad."""
    with torch.no_grad():
        tensors = [(x, x.data, None if is_lazy(x) else x.detach().clone()) for x in model.parameters()]
        buffers = [
            (m._buffers, key, b, None if is_lazy(b) else b.detach().clone())
            for m in model.modules()
            for key, b in m._buffers.items()
            if b is not None
        ]
    modes = [(m, m.training) for m in model.modules()]
    flags = [(p, p.requires_grad, p.grad) for p in model.parameters() if not is_lazy(p)]
    extra = read_extra(model)[0]
    try:
        yield
    except BaseException:
        with torch.no_grad():
            for x, data, values in tensors:
                if values is not None:
                    x.data = data.copy_(values)
            for holder, key, b, values in buffers:
                holder[key] = b if values is None else b.copy_(values)
        for module, training in modes:
            module.training = training
        for p, requires_grad, gradient in flags:
            p.requires_grad_(requires_grad)
            p.grad = gradient
        write_extra(model, extra)
        raise


PLAIN = (bool, int, float, Tensor, list, tuple, dict, set, deque, type(None))
"""Types of attributes whose changes are noticed."""
TORCHS = frozenset(vars(nn.Module()))
"""Attributes that every module has."""


class PlainAttributes(NamedTuple):
    """Numbers and tensors that modules hold as plain attributes, neither parameters nor buffers.

    Attributes:
        values: by "module.attribute"; of a tensor itself and its version.
        has_extra: whether those of modules with an extra state, which saves them, are among them.
    """

    values: dict[str, Any]
    has_extra: bool = False

    @classmethod
    def of(cls, model: nn.Module, has_extra: bool = False) -> "PlainAttributes":
        """The attributes now; those of modules with an extra state only if that is asked for."""
        own = {id(x) for x in (*model.parameters(), *model.buffers())}
        values = {}
        for name, module in model.named_modules():
            if not has_extra and _has_extra_state(module):
                continue
            for key, value in vars(module).items():
                if key not in TORCHS and isinstance(value, PLAIN) and not _is_computed(module, key):
                    values[plain_name(f"{name}.{key}" if name else key)] = _content(value, own)
        return cls(values, has_extra)

    def changes(self, model: nn.Module) -> list[str]:
        """The names of the attributes that differ now."""
        now = PlainAttributes.of(model, self.has_extra).values
        names = dict.fromkeys((*self.values, *now))
        return [name for name in names if not _is_same(self.values.get(name), now.get(name))]

    def differences(self, other: "PlainAttributes") -> list[str]:
        """The names of the attributes whose values differ from another model's."""
        names = dict.fromkeys((*self.values, *other.values))
        return [name for name in names if not _is_equal(self.values.get(name), other.values.get(name))]


def _is_computed(module: nn.Module, key: str) -> bool:
    """Whether an attribute follows from parameters at each forward pass, as under `torch.nn.utils.weight_norm`."""
    return any(name.startswith(f"{key}_") for name, _ in module._parameters.items())


def _content(value: Any, own: set[int]) -> Any:
    """A number; of a tensor itself, which keeps its identity from being used again, and its version."""
    if isinstance(value, Tensor):
        return None if id(value) in own else (value, value._version)
    if isinstance(value, dict):
        return {key: _content(x, own) for key, x in value.items() if isinstance(x, PLAIN)}
    if isinstance(value, list | tuple | deque):
        return [_content(x, own) for x in value if isinstance(x, PLAIN)]
    return set(value) if isinstance(value, set) else value


def _is_tensor(content: Any) -> bool:
    return isinstance(content, tuple)


def _is_same(a: Any, b: Any) -> bool:
    return _compare(a, b, lambda x, y: x[0] is y[0] and x[1] == y[1])


def _is_equal(a: Any, b: Any) -> bool:
    return _compare(a, b, lambda x, y: x[0].shape == y[0].shape and torch.equal(x[0], y[0]))


def _compare(a: Any, b: Any, are_same: Callable[[Any, Any], bool]) -> bool:
    """Whether two contents are the same; tensors, which are there with their versions, as `are_same` says."""
    if _is_tensor(a) or _is_tensor(b):
        return _is_tensor(a) and _is_tensor(b) and are_same(a, b)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(_compare(x, y, are_same) for x, y in zip(a, b, strict=True))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_compare(x, b[key], are_same) for key, x in a.items())
    return type(a) is type(b) and (a == b or a != a)
