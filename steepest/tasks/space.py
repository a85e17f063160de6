"""Where a model's weights are: names, shapes, addresses, groups.

The weights are one point `w` in weight space, spread over the model's own tensors. A space knows every trainable
parameter once, by name and by the place that holds it; it gathers the point as one vector and scatters a vector back.
The user's tensors are never moved or re-pointed, and nothing is attached to them: the places are looked up anew at
each step.
"""

import fnmatch
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from steepest.errors import InputError, TaskError, nearest

NORMS_AND_BIASES = "norms and biases"
COMPILED = "_orig_mod."
"""What torch.compile puts before the names of a module's parameters."""


class Space:
    """The trainable parameters of a module: each once, tied ones under their first name, frozen ones not at all.

    Attributes:
        names: of the parameters, without what torch.compile puts in front.
        shapes: of the parameters.
        size: number of weights N.
        rows: for each parameter the row of `overrides` that holds for it.
        overrides: what differs from the common hyperparameters, row by row; `lr_scale` multiplies the rate.

    Args:
        module: the model.
        groups: hyperparameters by glob on parameter names, such as `{"head.*": {"lr_scale": 0.1}}`; later globs win.
        no_decay: parameters without weight decay: "norms and biases" (those of fewer than two dimensions), a list of
            globs, or None for none.

    Raises:
        TaskError: nothing to train, or lazy modules that do not know their shapes yet.
        InputError: a glob that matches nothing.
    """

    def __init__(
        self,
        module: nn.Module,
        groups: Mapping[str, Mapping[str, float]] | None = None,
        no_decay: str | Sequence[str] | None = NORMS_AND_BIASES,
    ) -> None:
        found = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
        _check(module, found)
        self.names = tuple(name.replace(COMPILED, "") for name, _ in found)
        self.shapes = tuple(p.shape for _, p in found)
        self.sizes = tuple(p.numel() for _, p in found)
        self.size = sum(self.sizes)
        self._places = [_place(module, name) for name, _ in found]
        self.rows, self.overrides = self._grouped(groups or {}, no_decay)

    def tensors(self) -> list[Tensor]:
        """The parameters as they are now, also after `.to()` or `load_state_dict(assign=True)`."""
        return [holder[key] for holder, key in self._places]

    def named(self) -> Iterator[tuple[str, Tensor]]:
        """Names and parameters."""
        return zip(self.names, self.tensors(), strict=True)

    @torch.no_grad()
    def gather(self) -> Tensor:
        """The point [N]: a copy, on the first parameter's device, in the widest dtype among the parameters."""
        tensors = self.tensors()
        dtype = functools.reduce(torch.promote_types, (p.dtype for p in tensors))
        return torch.cat([p.detach().reshape(-1).to(tensors[0].device, dtype) for p in tensors])

    @torch.no_grad()
    def scatter(self, point: Tensor) -> None:
        """Copies a point [N] into the parameters.

        Raises:
            InputError: the point has another length.
        """
        if point.shape != (self.size,):
            raise InputError(f"a point of shape {tuple(point.shape)} is given; this space has {self.size} weights")
        for p, part in zip(self.tensors(), point.split(list(self.sizes)), strict=True):
            p.copy_(part.view(p.shape))

    def _grouped(
        self, groups: Mapping[str, Mapping[str, float]], no_decay: str | Sequence[str] | None
    ) -> tuple[tuple[int, ...], tuple[dict[str, Any], ...]]:
        """Every parameter's row, and the rows; those that differ in nothing are one."""
        undecayed = self._undecayed(no_decay)
        for glob in groups:
            self._matching(glob, "groups")
        overrides: list[dict[str, Any]] = []
        rows = []
        for name in self.names:
            row: dict[str, Any] = {"weight_decay": 0.0} if name in undecayed else {}
            for glob, hypers in groups.items():
                if fnmatch.fnmatchcase(name, glob):
                    row |= hypers
            if row not in overrides:
                overrides.append(row)
            rows.append(overrides.index(row))
        return tuple(rows), tuple(overrides)

    def _undecayed(self, no_decay: str | Sequence[str] | None) -> set[str]:
        if no_decay is None:
            return set()
        if no_decay == NORMS_AND_BIASES:
            return {name for name, shape in zip(self.names, self.shapes, strict=True) if len(shape) < 2}
        globs = [no_decay] if isinstance(no_decay, str) else no_decay
        return {name for glob in globs for name in self._matching(glob, "no_decay")}

    def _matching(self, glob: str, argument: str) -> list[str]:
        found = fnmatch.filter(self.names, glob)
        if not found:
            raise InputError(f"{argument}: no parameter matches '{glob}'. {nearest(glob, self.names)}")
        return found


def _place(module: nn.Module, name: str) -> tuple[dict[str, Any], str]:
    """The dictionary that holds a parameter, and its key there."""
    path, _, key = name.rpartition(".")
    return module.get_submodule(path)._parameters, key


def _check(module: nn.Module, found: list[tuple[str, nn.Parameter]]) -> None:
    kind = type(module).__name__
    for name, p in found:
        if isinstance(p, nn.parameter.UninitializedParameter):
            raise TaskError(f"{kind}: parameter {name} has no shape yet; run the model once on a batch to give it one")
        if p.layout is not torch.strided:
            raise TaskError(f"{kind}: parameter {name} is {p.layout}; expected are ordinary (strided) tensors")
        if not p.is_floating_point():
            raise TaskError(f"{kind}: parameter {name} is {p.dtype}; expected are real floating-point weights")
    if not found:
        frozen = sum(1 for _ in module.parameters())
        why = f"all {frozen} parameters are frozen (requires_grad=False)" if frozen else "it has no parameters"
        raise TaskError(f"{kind} has nothing to train: {why}")
