"""A model's trainable parameters as one point w [N]: names, shapes, places, groups.

A space lists every trainable parameter once, by name and by the dictionary that holds it. It gathers the point as one
vector and scatters a vector back. The user's tensors are never moved or replaced; they are looked up at each step, so
that they may be.
"""

import fnmatch
import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from steepest.errors import InputError, TaskError, nearest
from steepest.records.config import FEWER_DIMENSIONS, NORMS_AND_BIASES

NORM_CLASS = re.compile(r"[Nn]orm(?![a-z])")
"""In the class names of norms: LayerNorm, BatchNorm2d, LlamaRMSNorm, LayerNormFp32; not Normalizer or NormedLinear."""
BIAS_NAMES = ("bias*", "*_bias")
"""Names of biases in their modules: bias, in_proj_bias, bias_ih_l0, bias_k."""
PARAMETRIZATION = ".parametrizations."
"""What torch puts between a module and the name of a parameter that is computed from others."""
COMPILE_PREFIX = "_orig_mod."
"""Prefix that torch.compile adds to parameter names."""


class Space:
    """The trainable parameters of a module; tied parameters once, under their first name.

    Attributes:
        module: the model.
        names: parameter names, without the prefix of torch.compile.
        shapes: parameter shapes.
        modules: for each parameter the module that it belongs to; of a parametrized weight the module with that weight.
        size: number of weights N.
        is_sharded: whether each process has a part of every parameter (FSDP2): `tensors` are then these parts.
        rows: for each parameter its row of `overrides`.
        overrides: hyperparameters that differ from the common ones, by row; `lr_scale` multiplies the learning rate.

    Args:
        module: the model.
        groups: hyperparameters by glob on parameter names, such as `{"head.*": {"lr_scale": 0.1}}`; later globs win.
        no_decay: parameters without weight decay: "norms and biases" (all of modules whose class is named as a norm,
            and what is named `bias*` or `*_bias`), "fewer than two dimensions", a list of globs, or None for none.

    Raises:
        TaskError: no trainable parameter, or one that is lazy, sparse or complex.
        InputError: a glob matches no parameter.
    """

    def __init__(
        self,
        module: nn.Module,
        groups: Mapping[str, Mapping[str, float]] | None = None,
        no_decay: str | Sequence[str] | None = NORMS_AND_BIASES,
    ) -> None:
        trainable = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
        _check(module, trainable)
        self.module = module
        self.names = tuple(name.replace(COMPILE_PREFIX, "") for name, _ in trainable)
        self.shapes = tuple(p.shape for _, p in trainable)
        self.sizes = tuple(p.numel() for _, p in trainable)
        self.size = sum(self.sizes)
        modules = dict(module.named_modules(remove_duplicate=False))  # a scripted module has no `get_submodule`
        self.modules = tuple(modules[_owner(name)[0]] for name, _ in trainable)
        self._places = [_place(modules, name) for name, _ in trainable]
        self.is_sharded = any(local(p) is not p for _, p in trainable)
        self.rows, self.overrides = self._group_rows(groups or {}, no_decay)

    def tensors(self) -> list[Tensor]:
        """The current parameters, also after `.to()` or `load_state_dict(assign=True)`."""
        if self.is_sharded:
            return [local(holder[key]) for holder, key in self._places]
        return [holder[key] for holder, key in self._places]

    def named(self) -> Iterator[tuple[str, Tensor]]:
        """Names and parameters."""
        return zip(self.names, self.tensors(), strict=True)

    @torch.no_grad()
    def gather(self) -> Tensor:
        """The point w [N]: a copy on the first parameter's device, in the widest dtype of the parameters."""
        tensors = self.tensors()
        dtype = functools.reduce(torch.promote_types, (p.dtype for p in tensors))
        return torch.cat([p.detach().reshape(-1).to(tensors[0].device, dtype) for p in tensors])

    @torch.no_grad()
    def scatter(self, point: Tensor) -> None:
        """Copies a point w [N] into the parameters.

        Raises:
            InputError: the point has another shape.
        """
        if point.shape != (self.size,):
            raise InputError(f"point must have shape ({self.size},), got {tuple(point.shape)}")
        for p, part in zip(self.tensors(), point.split(list(self.sizes)), strict=True):
            p.copy_(part.view(p.shape))

    def _group_rows(
        self, groups: Mapping[str, Mapping[str, float]], no_decay: str | Sequence[str] | None
    ) -> tuple[tuple[int, ...], tuple[dict[str, Any], ...]]:
        """Every parameter's row, and the distinct rows."""
        without_decay = self._names_without_decay(no_decay)
        for glob in groups:
            self._match(glob, "groups")
        overrides: list[dict[str, Any]] = []
        rows = []
        for name in self.names:
            row: dict[str, Any] = {"weight_decay": 0.0} if name in without_decay else {}
            for glob, hypers in groups.items():
                if fnmatch.fnmatchcase(name, glob):
                    row |= hypers
            if row not in overrides:
                overrides.append(row)
            rows.append(overrides.index(row))
        return tuple(rows), tuple(overrides)

    def _names_without_decay(self, no_decay: str | Sequence[str] | None) -> set[str]:
        if no_decay is None:
            return set()
        if no_decay == NORMS_AND_BIASES:
            return {name for name, owner in zip(self.names, self.modules, strict=True) if is_norm_or_bias(name, owner)}
        if no_decay == FEWER_DIMENSIONS:
            return {name for name, shape in zip(self.names, self.shapes, strict=True) if len(shape) < 2}
        globs = [no_decay] if isinstance(no_decay, str) else no_decay
        return {name for glob in globs for name in self._match(glob, "no_decay")}

    def _match(self, glob: str, argument: str) -> list[str]:
        names = fnmatch.filter(self.names, glob)
        if not names:
            raise InputError(f"{argument}: no parameter matches '{glob}'. {nearest(glob, self.names)}")
        return names


def local(x: Any) -> Any:
    """The part of a DTensor on this process; any other tensor as it is."""
    return getattr(x, "_local_tensor", x)


def _owner(name: str) -> tuple[str, str]:
    """The path of the module that a parameter belongs to, and its name there."""
    path, separator, key = name.rpartition(PARAMETRIZATION)
    if separator:
        return path, key.partition(".")[0]
    path, _, key = name.rpartition(".")
    return path, key


def is_norm_or_bias(name: str, owner: nn.Module) -> bool:
    key = _owner(name)[1]
    return bool(NORM_CLASS.search(type(owner).__name__)) or any(fnmatch.fnmatchcase(key, glob) for glob in BIAS_NAMES)


def _place(modules: Mapping[str, nn.Module], name: str) -> tuple[dict[str, Any], str]:
    """The dictionary that holds a parameter, and its key."""
    path, _, key = name.rpartition(".")
    return modules[path]._parameters, key


def _check(module: nn.Module, trainable: list[tuple[str, nn.Parameter]]) -> None:
    kind = type(module).__name__
    for name, p in trainable:
        if isinstance(p, nn.parameter.UninitializedParameter):
            raise TaskError(
                f"{kind}: parameter {name} must have a shape. Run the model once on a batch to initialise lazy modules."
            )
        if p.layout is not torch.strided:
            raise TaskError(f"{kind}: parameter {name} must be dense (torch.strided), got {p.layout}")
        if not p.is_floating_point():
            raise TaskError(
                f"{kind}: parameter {name} must be real floating-point, got {p.dtype}. Store a complex one as two real "
                "ones, or freeze it."
            )
    if not trainable:
        count = sum(1 for _ in module.parameters())
        why = f"all {count} parameters are frozen (requires_grad=False)" if count else "it has no parameters"
        raise TaskError(f"{kind} has nothing to train: {why}")
