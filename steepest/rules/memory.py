"""Which memory a kernel may be handed, and whether it is still what the kernel takes it for.

A kernel gets addresses. So every tensor is checked to be plain: of exactly torch's own types, dense, on the CPU, with
memory, and without the lazy negation or conjugation that only torch's operators apply. Before each step all types,
dtypes, shapes and strides are compared with those of the step before, in one call.
"""

from collections.abc import Container, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch._C._functorch import is_functorch_wrapped_tensor  # pyright: ignore[reportMissingModuleSource]

from steepest.errors import TensorError

REAL_DTYPES = {
    torch.float32: torch.float32, torch.float64: torch.float64,
    torch.complex64: torch.float32, torch.complex128: torch.float64,
}  # fmt: skip
"""The dtypes that have kernels, and the dtype of their real numbers: a complex weight is two real ones."""
PLAIN_TYPES = (Tensor, nn.Parameter, nn.Buffer)

try:
    from torch._C._dynamo.guards import TensorGuards  # 0.13 µs per tensor; our own comparison takes 0.6
except ImportError:
    TensorGuards = None


def local(x: Any) -> Any:
    """The part of a DTensor on this process; any other tensor as it is."""
    return x._local_tensor if hasattr(x, "_local_tensor") else x


def spec(x: Any) -> Any:
    """How a DTensor is laid out over processes; None for any other tensor."""
    return getattr(x, "_spec", None)


def partition(x: Any) -> Any:
    """How a DTensor of any dtype is laid out over processes; None for any other tensor."""
    own = spec(x)
    return own and (own.mesh, own.placements, own.shape, own.stride)


def is_plain(x: Any, dtypes: Container[torch.dtype] = REAL_DTYPES) -> bool:
    """Whether a kernel for these dtypes may read and write a tensor's memory."""
    return (
        is_dense_strided(x)
        and x.device.type == "cpu"
        and x.dtype in dtypes
        and x.data_ptr() != 0  # no memory: no weights, or a storage that was freed
    )


def is_dense_strided(x: Any) -> bool:
    """Whether a tensor is of torch's own types, dense, and without lazy negation or conjugation."""
    return (
        type(x) in PLAIN_TYPES
        and x.layout is torch.strided
        and not x.is_neg()
        and not x.is_conj()
        and not is_functorch_wrapped_tensor(x)
        and is_dense(x)
    )


def is_dense(x: Tensor) -> bool:
    """Whether a tensor is contiguous in some order of its dimensions, as channels_last is."""
    size = 1
    for stride, length in sorted(zip(x.stride(), x.shape, strict=True)):
        if length == 1:
            continue
        if stride != size:
            return False
        size *= length
    return True


def plain_gradient(g: Any, p: Tensor) -> Tensor | None:
    """A gradient as a plain tensor with the dtype and strides of its plain parameter; itself if it is one already.

    None if that is impossible: its shape, device or kind differs.
    """
    if type(g) not in PLAIN_TYPES or g.layout is not torch.strided or g.shape != p.shape or g.device != p.device:
        return None
    if g.dtype is p.dtype and g.stride() == p.stride() and is_dense_strided(g) and g.data_ptr() != 0:
        return g
    return torch.empty_strided(p.shape, p.stride(), dtype=p.dtype, device=p.device).copy_(g.detach())


def check_parameter(name: str, p: Tensor, shape: torch.Size, g: Tensor | None) -> None:
    """Checks that a parameter has the shape of its slots, and a gradient that fits it.

    Raises:
        TensorError: it has not.
    """
    if p.shape != shape:
        raise TensorError(f"{name} must keep its shape {tuple(shape)}, got {tuple(p.shape)}. Start a new descent.")
    if p.device.type == "meta":
        raise TensorError(
            f"{name} must have memory, got a tensor on the meta device. Call model.to_empty(device='cpu')."
        )
    if g is None:
        return
    if g.layout is not torch.strided:
        raise TensorError(
            f"the gradient of {name} must be dense, got {g.layout}. Build the embedding with sparse=False."
        )
    if g.shape != p.shape or g.device != p.device:
        raise TensorError(
            f"the gradient of {name} must have the parameter's shape {tuple(p.shape)} and device {p.device}, "
            f"got {tuple(g.shape)} on {g.device}"
        )


def check_memory(names: Sequence[str], tensors: Sequence[Tensor], gradients: Sequence[Any]) -> None:
    """Checks that tensors which have weights have memory.

    Raises:
        TensorError: the storage of one was freed.
    """
    for name, p, g in zip(names, tensors, gradients, strict=True):
        for what, x in ((name, p), (f"the gradient of {name}", g)):
            if x is not None and x.numel() and not x.data_ptr():
                raise TensorError(f"{what} must have memory, but its storage was freed. Restore it before the step.")


def has_own_memory(tensors: Sequence[Tensor]) -> bool:
    """Whether no two dense tensors share memory."""
    spans = sorted((p.data_ptr(), p.data_ptr() + p.nbytes) for p in tensors if p.numel())
    return all(end <= start for (_, end), (start, _) in zip(spans, spans[1:], strict=False))


class Layouts:
    """The types, dtypes, devices, shapes and strides of a list of tensors at one moment."""

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self._count = len(tensors)
        if TensorGuards is None:
            self._layouts = [_layout(x) for x in tensors]
            return
        sizes: Any = [list(x.shape) for x in tensors]
        strides: Any = [list(x.stride()) for x in tensors]
        self._check = TensorGuards(*tensors, dynamic_dims_sizes=sizes, dynamic_dims_strides=strides).check

    def hold(self, tensors: Sequence[Any]) -> bool:
        """Whether other tensors (or these, later) have the same layouts."""
        if len(tensors) != self._count:
            return False
        if TensorGuards is None:
            return [_layout(x) for x in tensors] == self._layouts
        return self._check(*tensors)


def _layout(x: Any) -> Any:
    if not isinstance(x, Tensor):
        return None
    return type(x), x.dtype, x.device, x.layout, x.shape, x.stride(), x.is_neg(), x.is_conj()
